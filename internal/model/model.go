package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Errors, wrapped with the thing they are about.
var (
	ErrUnknown = errors.New("is not known")
	ErrStale   = errors.New("was changed by somebody else meanwhile")
	ErrInUse   = errors.New("is in use")
	ErrOfFile  = errors.New("comes from a file")
	ErrFull    = errors.New("are as many as there may be")
	ErrInvalid = errors.New("is not valid")
)

// Model is what is known of a kind of device. It is immutable: a change makes
// a new one.
type Model struct {
	Document
	// File is the name of the file that it comes from; empty for the API.
	File    string
	Version int64
	Updated time.Time

	text     []byte // the document as JSON
	view     *telemetry.Model
	commands map[string]*jsonschema.Schema // nil: anything goes
	config   *jsonschema.Schema            // nil: anything goes
}

// compile makes a model of a document that is checked.
func compile(d Document) (*Model, error) {
	m := &Model{Document: d}
	var err error
	if m.text, err = json.Marshal(d); err != nil {
		return nil, fmt.Errorf("model %s: %w", d.ID, err)
	}
	if len(m.text) > MaxDocument {
		return nil, &Invalid{Faults: []strict.Error{strict.Fault("", "", "the model has %d bytes as JSON; at most %d are allowed", len(m.text), MaxDocument)}}
	}
	if d.Commands != nil {
		m.commands = make(map[string]*jsonschema.Schema, len(d.Commands))
	}
	for name, text := range d.Commands {
		if m.commands[name], err = compileSchema(text); err != nil {
			return nil, fmt.Errorf("model %s: commands.%s: %w", d.ID, name, err)
		}
	}
	if len(d.Config) > 0 {
		if m.config, err = compileSchema(d.Config); err != nil {
			return nil, fmt.Errorf("model %s: config: %w", d.ID, err)
		}
	}
	m.view = d.view()
	return m, nil
}

func (d Document) view() *telemetry.Model {
	metrics := make([]telemetry.Metric, len(d.Metrics))
	for i, m := range d.Metrics {
		low, high := m.bounds()
		metrics[i] = telemetry.Metric{Name: m.Name, Unit: m.Unit, Min: low, Max: high, Grade: gradeOf(m.Grade), Period: periodOf(m.Period)}
	}
	return telemetry.NewModel(d.ID, telemetry.Kind(d.Kind), gradeOf(d.Grade), d.UnknownMetrics == refuse, metrics)
}

// Periods are used within what a device may declare.
const (
	minPeriod = 100 * time.Millisecond
	maxPeriod = 31 * 24 * time.Hour
)

// periodOf reads a period that is checked; 0 for none.
func periodOf(s string) time.Duration {
	p, err := time.ParseDuration(s)
	if err != nil {
		return 0
	}
	return min(max(p, minPeriod), maxPeriod)
}

// gradeOf reads a grade that is checked.
func gradeOf(s string) telemetry.Grade {
	g, err := telemetry.ParseGrade(s)
	if err != nil {
		return telemetry.Ungraded
	}
	return g
}

// Highest is the highest grade that anything of the model can have.
func (m *Model) Highest() telemetry.Grade { return m.view.Highest() }

// Command reports why a device of this model may not be asked for something; a
// nil model, and one that describes no commands, allow everything. Absent
// parameters count as an empty object.
func (m *Model) Command(name string, params json.RawMessage) error {
	if m == nil || m.commands == nil {
		return nil
	}
	s, ok := m.commands[name]
	if !ok {
		known := "it has none"
		if len(m.commands) > 0 {
			known = "it has " + strings.Join(slices.Sorted(maps.Keys(m.commands)), ", ")
		}
		return fmt.Errorf("command %.70q %w: model %s does not describe it, %s; add it to the model, or ask for another", name, ErrInvalid, m.ID, known)
	}
	if len(params) == 0 {
		params = json.RawMessage("{}")
	}
	return of(m, accepts(s, "params", params))
}

// Configuration reports why a device of this model may not be given a
// configuration; a nil model, and one that describes none, allow everything.
func (m *Model) Configuration(doc json.RawMessage) error {
	if m == nil || m.config == nil {
		return nil
	}
	return of(m, accepts(m.config, "config", doc))
}

func of(m *Model, err error) error {
	if err != nil {
		err = fmt.Errorf("%w; `hub model show %s` has the schema", err, m.ID)
	}
	return err
}
