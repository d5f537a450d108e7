package strict

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

type door struct {
	Address string        `yaml:"address"`
	Timeout time.Duration `yaml:"timeout"`
	Window  int           `yaml:"window"`
}

func (d door) Check(path string) []Error {
	if d.Window > 100 {
		return []Error{Fault(path, "window", "%d is more than 100; lower it", d.Window)}
	}
	return nil
}

type unit struct {
	ID   uint8   `yaml:"id"`
	Unit float64 `yaml:"scale"`
}

func (u *unit) SetDefaults() { u.Unit = 1 }

type common struct {
	Name string `yaml:"name"`
}

type config struct {
	Device  string            `yaml:"device"`
	Size    Bytes             `yaml:"size"`
	MQTT    door              `yaml:"mqtt"`
	TLS     *door             `yaml:"tls"`
	Units   []unit            `yaml:"units"`
	Doors   map[string]door   `yaml:"doors"`
	Tags    map[string]string `yaml:"tags"`
	Allow   []string          `yaml:"allow"`
	Live    bool              `yaml:"live"`
	common  `yaml:",inline"`
	Common  common `yaml:",inline"`
	NoTag   int
	Skipped func() `yaml:"-"`
}

func defaults() config {
	return config{Size: 64 << 20, MQTT: door{Address: "127.0.0.1:1883", Timeout: 10 * time.Second, Window: 16}, Allow: []string{"a"}}
}

func TestAConfigKeepsDefaultsOfAbsentKeys(t *testing.T) {
	got := defaults()
	errs := Decode([]byte(`
device: 220100
size: 1.5GiB
mqtt: {window: 0x10}
tls: {address: "x"}
units: [{id: 7}, {id: 8, scale: 0.5}]
doors: {north: {timeout: 1m30s}}
tags: {site: "01"}
allow: [b, c]
live: true
name: n
no_tag: 3
`), &got)
	if errs != nil {
		t.Fatal(errs)
	}
	want := defaults()
	want.Device, want.Size, want.Live, want.Common.Name, want.NoTag = "220100", 3<<29, true, "n", 3
	want.TLS = &door{Address: "x"}
	want.Units = []unit{{7, 1}, {8, 0.5}}
	want.Doors = map[string]door{"north": {Timeout: 90 * time.Second}}
	want.Tags = map[string]string{"site": "01"}
	want.Allow = []string{"b", "c"}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(config{}), cmp.AllowUnexported(common{})); d != "" {
		t.Error(d)
	}
}

func TestEveryFaultIsNamedAtOnce(t *testing.T) {
	c := defaults()
	errs := Decode([]byte(`device: [a]
sise: 1MiB
size: 12
mqtt:
  adress: x
  timeout: 5
  window: 101
units:
  - id: 300
  - id: -1
    scale: many
  - 5
doors:
  north: {timeout: 2d}
  south: {window: 1000, window: 2}
tags: [x]
live: yes
allow:
zzzzzzzzzzzz: 1
`), &c)
	var got []string
	for _, e := range errs {
		got = append(got, e.Error())
	}
	want := []string{
		`line 1: device: a list stands where one value is wanted, a text`,
		`line 2: sise: unknown key; did you mean "size"?`,
		`line 3: size: "12" has no unit; write 12MiB, 12KiB or 12B`,
		`line 5: mqtt.adress: unknown key; did you mean "address"?`,
		`line 6: mqtt.timeout: "5" has no unit; write 5s, 5ms or the like`,
		`line 7: mqtt.window: 101 is more than 100; lower it`,
		`line 9: units[0].id: "300" is not a whole number from 0 to 255`,
		`line 10: units[1].id: "-1" is not a whole number from 0 to 255`,
		`line 11: units[1].scale: "many" is not a number`,
		`line 12: units[2]: "5" is no group of keys; write keys beneath it, such as id: …`,
		`line 14: doors.north.timeout: "2d" is in days, which have no fixed length here; write 48h`,
		`line 15: doors.south.window: stands here twice, first in line 15; remove one`,
		`line 16: tags: a list is no group of keys; write keys beneath it, such as name: value`,
		`line 17: live: "yes" is not true or false`,
		`line 18: allow: has no value; give one or remove the key`,
		`line 19: zzzzzzzzzzzz: unknown key; known here: device, size, mqtt, tls, units, doors, tags, allow, live, name, no_tag`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFilesThatAreNoConfig(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"not YAML":         {"a: [", "line 1: not valid YAML: did not find expected node content"},
		"two documents":    {"device: a\n---\ndevice: b\n", "line 2: not valid YAML: a second document begins"},
		"a list":           {"- a\n", "line 1: a list is no group of keys"},
		"an unknown alias": {"device: *x\n", "not valid YAML: unknown anchor"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := defaults()
			errs := Decode([]byte(c.in), &cfg)
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), c.want) {
				t.Errorf("got %v, want %q", errs, c.want)
			}
		})
	}
	for _, in := range []string{"", "# only a comment\n", "---\n"} {
		cfg := defaults()
		if errs := Decode([]byte(in), &cfg); errs != nil {
			t.Errorf("%q: %v", in, errs)
		}
	}
}

func TestTheAnnotatedConfigReadsBackToItself(t *testing.T) {
	c := defaults()
	c.Tags = map[string]string{"site": "01", "on": "yes: no"}
	const pkg = "github.com/songhua-io/hub/internal/config/strict."
	out := Annotate(&c, map[string]string{pkg + "config.Device": "The id of the device.\nTwo lines.", pkg + "unit.ID": "Unit number."})
	back := config{}
	if errs := Decode(out, &back); errs != nil {
		t.Fatalf("%v\n%s", errs, out)
	}
	c.Units, back.Units, c.Doors, back.Doors = nil, nil, nil, nil
	if d := cmp.Diff(c, back, cmp.AllowUnexported(config{}), cmp.AllowUnexported(common{})); d != "" {
		t.Errorf("%s\n%s", d, out)
	}
	for _, want := range []string{"# The id of the device.\n# Two lines.\ndevice: \"\"\n", "units: []\n#   -\n#     # Unit number.\n#     id: 0\n#     scale: 1\n", "timeout: 10s\n", "size: 64MiB\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("device: a\nmqtt: {window: 3}\nunits: [{id: 1}]\n"))
	f.Add([]byte("a: &a [*a]\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		c := defaults()
		Decode(in, &c)
	})
}

func TestALineHasItsKeyPath(t *testing.T) {
	const text = "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up\n  - alert: B\n    labels:\n      severity: page\n"
	for line, want := range map[int]string{2: "groups[0].name", 4: "groups[0].rules[0].alert", 5: "groups[0].rules[0].expr", 8: "groups[0].rules[1].labels.severity", 20: ""} {
		if got := PathAt([]byte(text), line); got != want {
			t.Errorf("line %d is %q, want %q", line, got, want)
		}
	}
	if got := PathAt([]byte("a: [\n"), 1); got != "" {
		t.Errorf("of what cannot be read: %q", got)
	}
}
