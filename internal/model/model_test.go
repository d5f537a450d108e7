package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/telemetry"
)

func golden(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func parsed(t *testing.T, text string) *Model {
	t.Helper()
	m, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAModelIsTheSameInYAMLAndJSON(t *testing.T) {
	fromYAML := parsed(t, string(golden(t, "soil-probe.yaml")))
	fromJSON := parsed(t, string(golden(t, "soil-probe.json")))
	if !bytes.Equal(fromYAML.text, fromJSON.text) {
		t.Errorf("YAML %s\nJSON %s", fromYAML.text, fromJSON.text)
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, fromYAML.text, "", "  "); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden(t, "soil-probe.json")), indented.String()+"\n"); diff != "" {
		t.Errorf("-golden +got:\n%s", diff)
	}
	if again := parsed(t, string(fromYAML.text)); !bytes.Equal(again.text, fromYAML.text) {
		t.Errorf("what is kept reads back as %s", again.text)
	}
}

func TestWhatIngestNeedsOfAModel(t *testing.T) {
	v := parsed(t, string(golden(t, "soil-probe.yaml"))).view
	if v.ID != "songhua/soil-probe@1" || v.Kind != telemetry.KindSensor || v.Grade != telemetry.General || !v.Closed {
		t.Errorf("%+v", v)
	}
	if diff := cmp.Diff(&telemetry.Metric{Name: "soil_temperature", Unit: "Cel", Min: -40, Max: 60, Period: time.Hour}, v.Metric([]byte("soil_temperature"))); diff != "" {
		t.Error(diff)
	}
	if m := v.Metric([]byte("battery")); m == nil || !math.IsInf(m.Min, -1) || !math.IsInf(m.Max, 1) {
		t.Errorf("%+v", m)
	}
	if m := v.Metric([]byte("wind")); m != nil {
		t.Errorf("%+v", m)
	}
}

func TestEveryFaultOfAModelIsNamedAtOnce(t *testing.T) {
	_, err := Parse([]byte(`id: -probe
nmaes: {en: x}
kind: toaster
grade: secret
unknown_metrics: maybe
metrics:
  - name: temperature
    unit: Cel
    min: 60
    max: -40
    step: -1
    period: often
  - {name: temperature}
  - {name: wind_out_of_range}
  - {nam: x, min: low}
commands:
  re boot: {}
  set: {type: objekt}
  far: {$ref: "http://example.org/schema"}
  self: {$ref: "#/$defs/a", $defs: {a: {items: {$ref: "#/$defs/a"}}}}
  id: {$id: "http://example.org/"}
  list: [1]
config: {pattern: "("}
`))
	want := []string{
		`line 1: id: "-probe" is no id of a model; it has 1 to 128 of A-Z a-z 0-9 . _ : / @ - and starts with a letter or digit, such as songhua/soil-probe@1`,
		`line 2: nmaes: unknown key; did you mean "names"?`,
		`line 3: kind: kind "toaster" is not one of sensor, rsu, node, gateway, meter`,
		`line 4: grade: grade "secret" is not one of ungraded, general, important, core`,
		`line 5: unknown_metrics: "maybe" is neither allow nor refuse`,
		`line 9: metrics[0].min: 60 is more than max, -40; exchange them`,
		`line 11: metrics[0].step: -1 is negative; write the least difference that the device can tell, or leave it out`,
		`line 12: metrics[0].period: "often" is no duration; write it like 60s or 1h30m`,
		`line 13: metrics[1].name: "temperature" stands here twice, first in metrics[0]; remove one`,
		`line 14: metrics[2].name: "wind_out_of_range" ends in _out_of_range, which the hub itself writes for samples out of range; choose another name`,
		`line 15: metrics[3].nam: unknown key; did you mean "name"?`,
		`line 15: metrics[3].min: "low" is not a number`,
		`line 15: metrics[3].name: is missing; a metric has the name under which it is stored, such as temperature`,
		`line 17: commands.re boot: "re boot" is no name of a command; it has 1 to 64 of A-Z a-z 0-9 . _ : - and starts with a letter or digit, such as reboot`,
		`line 18: commands.set: is no correct JSON Schema: .type: `,
		`line 19: commands.far: $ref "http://example.org/schema" leads nowhere; refer to #/$defs/NAME of the same schema`,
		`line 20: commands.self: $ref "#/$defs/a" leads back to itself; a schema without end is not taken`,
		`line 21: commands.id: $id is not taken; a schema stands for itself and refers to #/$defs/NAME only`,
		`line 22: commands.list: [1] is no JSON Schema; write {type: object, properties: …}, or {} for anything`,
		`line 23: config: is no correct JSON Schema: `,
	}
	var invalid *Invalid
	if !errors.As(err, &invalid) {
		t.Fatal(err)
	}
	got := strings.Split(invalid.Error(), "\n")
	names := "names: are missing; write zh: … or en: … or both"
	if got[0] != names { // it stands in no line of the file
		t.Errorf("first %q, want %q", got[0], names)
	}
	for i, line := range got[1:] {
		if i >= len(want) || !strings.HasPrefix(line, want[i]) {
			t.Errorf("unexpected %q", line)
		}
	}
	if len(got) != len(want)+1 {
		t.Errorf("%d faults, want %d", len(got), len(want)+1)
	}
}

func TestModelsAreBounded(t *testing.T) {
	const head = "id: a\nnames: {en: x}\n"
	deep := strings.Repeat(`{"items":`, 60) + "{}" + strings.Repeat("}", 60)
	var wide, chain strings.Builder
	for i := range maxMetrics + 1 {
		fmt.Fprintf(&wide, "- {name: m%d}\n", i)
	}
	for i := range 12 { // each definition holds the next twice: 2^12 of the last
		fmt.Fprintf(&chain, `"d%d": {"allOf": [{"$ref": "#/$defs/d%d"}, {"$ref": "#/$defs/d%d"}]}, `, i, i+1, i+1)
	}
	bomb := "config: &a [x, x, x, x, x, x, x, x, x, x]\ncommands:\n  b: &b [*a, *a, *a, *a, *a, *a, *a, *a, *a, *a]\n  c: &c [*b, *b, *b, *b, *b, *b, *b, *b, *b, *b]\n  d: &d [*c, *c, *c, *c, *c, *c, *c, *c, *c, *c]\n  e: [*d, *d, *d, *d, *d, *d]\n"
	for name, c := range map[string]struct{ text, want string }{
		"bytes":           {head + "# " + strings.Repeat("x", MaxDocument), "at most 262144 are allowed"},
		"metrics":         {head + "metrics:\n" + wide.String(), "metrics: are 1001; at most 1000 are allowed"},
		"depth":           {head + "config: " + deep, "deeper than 48 levels"},
		"deeper":          {head + "config: " + strings.Repeat(`{"items":`, 100) + "{}" + strings.Repeat("}", 100), "deeper than 64 levels"},
		"references":      {head + "config: {$ref: \"#/$defs/d0\", $defs: {" + chain.String() + `"d12": {}}}`, "more than 5000 values when its references are written out"},
		"unused chain":    {head + "config: {$defs: {" + chain.String() + `"d12": {}}}`, "more than 5000 values when its references are written out"},
		"aliases":         {head + bomb, "is larger than 10000 values"},
		"a cycle in YAML": {head + "config: &a {items: *a}", "deeper than 64 levels"},
		"numbers":         {head + "config: {maximum: 1e999999}", "is no correct JSON Schema: .maximum"},
		"closed and void": {head + "unknown_metrics: refuse", "refuse without metrics refuses everything"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse([]byte(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v, want %q", err, c.want)
			}
		})
	}
}

func TestTextOutsideTheBasicPlane(t *testing.T) {
	if m := parsed(t, `{"id": "a", "names": {"zh": "\ud842\udfb7田", "en": "a\/b"}}`); m.Names != (Names{"𠮷田", "a/b"}) {
		t.Errorf("%+v", m.Names)
	}
}

func TestWhatADeviceMayBeAskedFor(t *testing.T) {
	m := parsed(t, string(golden(t, "soil-probe.yaml")))
	for _, c := range []struct {
		name, params string
		wants        []string // of the error; nil for none
	}{
		{"reboot", ``, nil},
		{"reboot", `{"when": "now"}`, nil},
		{"set_period", `{"period": 60}`, nil},
		{"set_period", ``, []string{"params is not valid", "missing property 'period'", "hub model show songhua/soil-probe@1"}},
		{"set_period", `{"period": 5, "x": 1}`, []string{"params.period: minimum", "params: additional properties 'x' not allowed"}},
		{"set_period", `{"period": 1e400}`, []string{"no number that a computer holds"}},
		{"set_period", `{"period": `, []string{"is no JSON value"}},
		{"explode", `{}`, []string{`command "explode" is not valid`, "it has reboot, set_period"}},
	} {
		check(t, c.name+" "+c.params, m.Command(c.name, json.RawMessage(c.params)), c.wants)
	}
	check(t, "config", m.Configuration(json.RawMessage(`{"name": "a", "levels": [1, 2], "since": "2026-01-31"}`)), nil)
	check(t, "config", m.Configuration(json.RawMessage(`{"levels": [1, "x", 3, 4]}`)), []string{"config.levels[1]: got string, want number", "config.levels: maxItems"})

	open := parsed(t, "id: a\nnames: {en: x}")
	check(t, "undescribed", errors.Join(open.Command("explode", nil), open.Configuration(json.RawMessage(`[]`)), (*Model)(nil).Command("x", nil)), nil)
	closed := parsed(t, "id: a\nnames: {en: x}\ncommands: {}")
	check(t, "none", parsed(t, string(closed.text)).Command("reboot", nil), []string{"it has none"})
}

func check(t *testing.T, what string, err error, wants []string) {
	t.Helper()
	if (err == nil) != (wants == nil) || err != nil && !errors.Is(err, ErrInvalid) {
		t.Errorf("%s: %v, want %q", what, err, wants)
		return
	}
	for _, want := range wants {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", what, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("id: a\nnames: {en: x}\nconfig: &a {items: *a}\n"))
	f.Add([]byte(`{"id": "a", "names": {"zh": "\ud842\udfb7"}, "commands": {"a": {"$ref": "#/$defs/b", "$defs": {"b": {}}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		again, err := Parse(m.text)
		if err != nil || !bytes.Equal(again.text, m.text) {
			t.Errorf("%q is kept as %s, which reads back as %v, %v", text, m.text, again, err)
		}
	})
}

func TestPeriodsOfMetrics(t *testing.T) {
	m := parsed(t, "id: a\nnames: {en: x}\nmetrics:\n- {name: air, period: 60s}\n- {name: soil, period: 1h}\n- {name: rain}\n- {name: slow, period: 9000h}\n").view
	if m.Cycle() != time.Minute || m.Period([]byte("soil")) != time.Hour || m.Period([]byte("soil_out_of_range")) != time.Hour ||
		m.Period([]byte("rain")) != 0 || m.Period([]byte("wind")) != 0 || m.Period(nil) != 31*24*time.Hour {
		t.Errorf("%v; %v, %v, %v, %v", m.Cycle(), m.Period([]byte("soil")), m.Period([]byte("rain")), m.Period([]byte("wind")), m.Period(nil))
	}
	if none := (*telemetry.Model)(nil); none.Cycle() != 0 || none.Period([]byte("air")) != 0 {
		t.Error("no model has a period")
	}
}
