// Package model knows what each kind of device measures and can be asked for:
// its metrics with unit, range and grade, its commands and its configuration.
// What it answers from memory is on disk: a change is durable before anybody
// sees it. It knows of no device but by the model that it names.
package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Bounds of a model.
const (
	MaxDocument   = 256 << 10 // bytes, as sent and as kept
	maxMetrics    = 1000
	maxCommands   = 200
	maxID         = 128
	maxMetricName = 200
	maxName       = 200  // bytes of a name for people
	maxSemantic   = 1024 // bytes
)

// Document is a model as people write it, in YAML or JSON (docs/formats/models.md).
type Document struct {
	ID    string `yaml:"id" json:"id"`
	Names Names  `yaml:"names" json:"names"`
	// Kind is the kind of device that may name the model; empty: any.
	Kind string `yaml:"kind" json:"kind,omitempty"`
	// Grade is the least grade of everything that such a device reports. Art. 74(3)
	Grade string `yaml:"grade" json:"grade,omitempty"`
	// UnknownMetrics is allow or refuse; allow when empty.
	UnknownMetrics string   `yaml:"unknown_metrics" json:"unknown_metrics,omitempty"`
	Metrics        []Metric `yaml:"metrics" json:"metrics,omitempty"`
	// Commands holds a JSON Schema of the parameters of each command. Without it
	// a device may be asked for anything, with it for nothing else.
	Commands map[string]json.RawMessage `yaml:"commands" json:"commands,omitzero"`
	// Config is a JSON Schema of the configuration that a device may be given.
	Config json.RawMessage `yaml:"config" json:"config,omitempty"`
}

// Names are what people call a model.
type Names struct {
	ZH string `yaml:"zh" json:"zh,omitempty"`
	EN string `yaml:"en" json:"en,omitempty"`
}

// Metric is one thing that is measured.
type Metric struct {
	Name string `yaml:"name" json:"name"`
	// Names are what people call it; may be absent.
	Names Names `yaml:"names" json:"names,omitzero"`
	// Unit is a code of SenML or UCUM.
	Unit string `yaml:"unit" json:"unit,omitempty"`
	// Min and Max bound a plausible value, both in Unit and both included.
	Min *float64 `yaml:"min" json:"min,omitempty"`
	Max *float64 `yaml:"max" json:"max,omitempty"`
	// Step is the least difference that the device can tell; 0 for unknown.
	Step float64 `yaml:"step" json:"step,omitempty"`
	// Period is how often it is measured, such as 60s; empty for unknown.
	Period string `yaml:"period" json:"period,omitempty"`
	// Semantic says what the quantity is: words, or the URI of a definition.
	Semantic string `yaml:"semantic" json:"semantic,omitempty"`
	Grade    string `yaml:"grade" json:"grade,omitempty"`
}

// Policies for metrics that a model does not list.
const (
	allow  = "allow"
	refuse = "refuse"
)

// Invalid lists everything that is wrong with a document.
type Invalid struct {
	File   string // empty when it did not come from one
	Faults []strict.Error
}

func (e *Invalid) Error() string {
	lines := make([]string, len(e.Faults))
	for i, f := range e.Faults {
		if lines[i] = f.Error(); e.File != "" {
			lines[i] = e.File + ": " + lines[i]
		}
	}
	return strings.Join(lines, "\n")
}

// Parse reads a document in YAML or JSON, checks all of it and compiles its
// schemas. The error is an *Invalid with every fault.
func Parse(text []byte) (*Model, error) {
	if len(text) > MaxDocument {
		return nil, &Invalid{Faults: []strict.Error{strict.Fault("", "", "the model has %d bytes; at most %d are allowed", len(text), MaxDocument)}}
	}
	var d Document
	if faults := strict.Decode(yamlOf(text), &d); len(faults) > 0 {
		return nil, &Invalid{Faults: faults}
	}
	return compile(d)
}

// yamlOf returns text that YAML reads as JSON does: of all JSON only characters
// that are escaped as surrogates mean nothing there.
func yamlOf(text []byte) []byte {
	if !bytes.Contains(bytes.ToLower(text), []byte(`\ud`)) {
		return text
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return text
	}
	if plain, err := json.Marshal(v); err == nil {
		return plain
	}
	return text
}

// Check implements strict.Checker.
func (d Document) Check(path string) []strict.Error {
	c := checks{path: path}
	c.add("id", CheckID(d.ID))
	c.add("names", d.Names.check())
	if d.Kind != "" {
		_, err := telemetry.ParseKind(d.Kind)
		c.add("kind", err)
	}
	c.add("grade", checkGrade(d.Grade))
	if d.UnknownMetrics != "" && d.UnknownMetrics != allow && d.UnknownMetrics != refuse {
		c.add("unknown_metrics", fmt.Errorf("%q is neither allow nor refuse", d.UnknownMetrics))
	}
	d.checkMetrics(&c)
	if len(d.Commands) > maxCommands {
		c.add("commands", fmt.Errorf("are %d; at most %d are allowed", len(d.Commands), maxCommands))
	}
	for _, name := range slices.Sorted(maps.Keys(d.Commands)) {
		c.add("commands."+name, checkCommandName(name))
		c.add("commands."+name, checkSchema(d.Commands[name]))
	}
	if len(d.Config) > 0 {
		c.add("config", checkSchema(d.Config))
	}
	return c.faults
}

type checks struct {
	path   string
	faults []strict.Error
}

func (c *checks) add(key string, err error) {
	if err != nil {
		c.faults = append(c.faults, strict.Fault(c.path, key, "%v", err))
	}
}

func (d Document) checkMetrics(c *checks) {
	if len(d.Metrics) > maxMetrics {
		c.add("metrics", fmt.Errorf("are %d; at most %d are allowed", len(d.Metrics), maxMetrics))
	}
	if d.UnknownMetrics == refuse && len(d.Metrics) == 0 {
		c.add("unknown_metrics", fmt.Errorf("refuse without metrics refuses everything; list metrics, or write allow"))
	}
	seen := map[string]int{}
	for i, m := range d.Metrics {
		at := fmt.Sprintf("metrics[%d].", i)
		m.check(c, at)
		if first, twice := seen[m.Name]; twice {
			c.add(at+"name", fmt.Errorf("%q stands here twice, first in metrics[%d]; remove one", m.Name, first))
			continue
		}
		seen[m.Name] = i
	}
}

func (m Metric) check(c *checks, at string) {
	c.add(at+"name", checkMetricName(m.Name))
	if m.Names != (Names{}) {
		c.add(at+"names", m.Names.check())
	}
	if len(m.Unit) > telemetry.MaxUnit || !plain(m.Unit) {
		c.add(at+"unit", fmt.Errorf("%.70q has more than %d bytes or control characters; write a code of SenML or UCUM, such as Cel", m.Unit, telemetry.MaxUnit))
	}
	if m.Min != nil && m.Max != nil && *m.Min > *m.Max {
		c.add(at+"min", fmt.Errorf("%v is more than max, %v; exchange them", *m.Min, *m.Max))
	}
	if m.Step < 0 {
		c.add(at+"step", fmt.Errorf("%v is negative; write the least difference that the device can tell, or leave it out", m.Step))
	}
	if p, err := time.ParseDuration(m.Period); m.Period != "" && (err != nil || p <= 0) {
		c.add(at+"period", fmt.Errorf("%q is no duration; write it like 60s or 1h30m", m.Period))
	}
	if len(m.Semantic) > maxSemantic || !plain(m.Semantic) {
		c.add(at+"semantic", fmt.Errorf("has more than %d bytes or control characters", maxSemantic))
	}
	c.add(at+"grade", checkGrade(m.Grade))
}

func (m Metric) bounds() (low, high float64) {
	low, high = math.Inf(-1), math.Inf(1)
	if m.Min != nil {
		low = *m.Min
	}
	if m.Max != nil {
		high = *m.Max
	}
	return low, high
}

func checkMetricName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("is missing; a metric has the name under which it is stored, such as temperature")
	case len(name) > maxMetricName || !plain(name):
		return fmt.Errorf("%.70q has more than %d bytes or control characters", name, maxMetricName)
	case strings.HasSuffix(name, telemetry.OutOfRange):
		return fmt.Errorf("%q ends in %s, which the hub itself writes for samples out of range; choose another name", name, telemetry.OutOfRange)
	}
	return nil
}

// CheckID reports why s is no id of a model.
func CheckID(s string) error {
	if s == "" {
		return fmt.Errorf("is missing; a model has an id such as songhua/soil-probe@1")
	}
	bad := strings.IndexFunc(s, func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("._:/@-", r))
	})
	if len(s) > maxID || bad >= 0 || strings.ContainsRune("._:/@-", rune(s[0])) || strings.Contains(s, "//") || strings.Contains(s, "..") {
		return fmt.Errorf("%.140q is no id of a model; it has 1 to %d of A-Z a-z 0-9 . _ : / @ - and starts with a letter or digit, such as songhua/soil-probe@1", s, maxID)
	}
	return nil
}

func checkCommandName(name string) error {
	if telemetry.CheckDeviceID(name) != nil {
		return fmt.Errorf("%.70q is no name of a command; it has 1 to %d of A-Z a-z 0-9 . _ : - and starts with a letter or digit, such as reboot", name, telemetry.MaxDeviceID)
	}
	return nil
}

func checkGrade(s string) error {
	if s == "" {
		return nil
	}
	_, err := telemetry.ParseGrade(s)
	return err
}

func (n Names) check() error {
	if n.ZH == "" && n.EN == "" {
		return fmt.Errorf("are missing; write zh: … or en: … or both")
	}
	for _, s := range []string{n.ZH, n.EN} {
		if len(s) > maxName || !plain(s) {
			return fmt.Errorf("%.40q has more than %d bytes or control characters", s, maxName)
		}
	}
	return nil
}

// plain reports whether s is UTF-8 without control characters.
func plain(s string) bool { return utf8.ValidString(s) && strings.IndexFunc(s, unicode.IsControl) < 0 }
