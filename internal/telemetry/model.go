package telemetry

import (
	"bytes"
	"time"
)

// Model is what ingest knows of a kind of device: an immutable snapshot. A
// change of the model makes a new one.
type Model struct {
	ID string
	// Kind is the kind of device that may name the model; empty: any.
	Kind  Kind
	Grade Grade
	// Closed models take no metrics but those they list.
	Closed  bool
	metrics map[string]*Metric
	highest Grade // of the metrics
	// The shortest and the longest period of a metric; 0 where none has one.
	shortest, longest time.Duration
}

// Metric is one thing that a kind of device measures.
type Metric struct {
	Name string
	Unit string // empty: the sender's own
	// Min and Max bound a plausible value, in Unit; infinite where there is no bound.
	Min, Max float64
	Grade    Grade
	Period   time.Duration // how often it is measured; 0 for not known
}

// NewModel returns the snapshot of a model with these metrics.
func NewModel(id string, kind Kind, grade Grade, closed bool, metrics []Metric) *Model {
	m := &Model{ID: id, Kind: kind, Grade: grade, Closed: closed, metrics: make(map[string]*Metric, len(metrics))}
	for i := range metrics {
		m.metrics[metrics[i].Name] = &metrics[i]
		m.highest = max(m.highest, metrics[i].Grade)
		if p := metrics[i].Period; p > 0 {
			m.longest = max(m.longest, p)
			if m.shortest == 0 || p < m.shortest {
				m.shortest = p
			}
		}
	}
	return m
}

// Cycle is how often such a device reports something; 0 for not known.
func (m *Model) Cycle() time.Duration {
	if m == nil {
		return 0
	}
	return m.shortest
}

// Period is how often a metric is measured, and that of its quality series the
// same; 0 for not known. An empty name stands for the metric that comes most
// seldom.
func (m *Model) Period(name []byte) time.Duration {
	switch {
	case m == nil || m.longest == 0:
		return 0
	case len(name) == 0:
		return m.longest
	}
	if known := m.metrics[string(bytes.TrimSuffix(name, []byte(OutOfRange)))]; known != nil {
		return known.Period
	}
	return 0
}

// Metric returns what the model says of a metric; nil for one that it does not
// list. A nil model lists none.
func (m *Model) Metric(name []byte) *Metric {
	if m == nil {
		return nil
	}
	return m.metrics[string(name)]
}

// Highest is the highest grade that anything of the model can have; Ungraded for
// a nil model.
func (m *Model) Highest() Grade {
	if m == nil {
		return Ungraded
	}
	return max(m.Grade, m.highest)
}

// Above returns the names of the metrics that have a grade of their own above g,
// those of their quality series included, in no order.
func (m *Model) Above(g Grade) (names []string) {
	if m == nil {
		return nil
	}
	for name, metric := range m.metrics {
		if metric.Grade > g {
			names = append(names, name, name+OutOfRange)
		}
	}
	return names
}

// OutOfRange is what the name of a metric's quality series ends in: 1 at the
// times of samples beyond the model's bounds, 0 at that of the first one back
// within them.
const OutOfRange = "_out_of_range"

// UnitTag is the tag of series in another unit than the model's.
const UnitTag = "unit"
