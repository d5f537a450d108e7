// Package correction keeps what was found wrong in stored samples and shows the
// store with it put right: the raw sample stays as it came, a correction is added
// and never changed, and whoever asks as of an earlier time sees what was known
// then. It knows of no doors and of nobody's rights.
package correction

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Operation is what a correction does to the values it is about.
type Operation string

// The operations. A later one works on what earlier ones made of a sample.
const (
	Set     Operation = "set"     // the value is another
	Scale   Operation = "scale"   // the value is Factor × value + Offset
	Remove  Operation = "remove"  // there was no such sample
	Restore Operation = "restore" // the value is the raw one again
)

// Operations lists the operations.
func Operations() []Operation { return []Operation{Set, Scale, Remove, Restore} }

// Errors, wrapped with the thing they are about.
var (
	ErrInvalid = errors.New("correction is not valid")
	ErrNothing = errors.New("has no sample there")
	ErrOld     = errors.New("is not the old value")
	ErrFull    = errors.New("has as many corrections as are kept")
)

// Correction says that samples are not what was measured. The zero value of
// Labels means every series of the device and metric.
type Correction struct {
	ID             int64             `json:"-"`
	Device, Metric string            `json:"-"`
	Labels         map[string]string `json:"labels,omitempty"` // that a series must have, besides device and metric
	From, To       int64             `json:"-"`                // ms, both included
	Operation      Operation         `json:"operation"`
	Value          float64           `json:"value"`  // of Set
	Factor         float64           `json:"factor"` // of Scale
	Offset         float64           `json:"offset"` // of Scale
	// Old is what the value was, of a correction of one sample.
	Old     *float64 `json:"old,omitempty"`
	Samples int64    `json:"samples"` // how many it was about when it was made
	By      string   `json:"by"`
	Reason  string   `json:"reason"`
	// Ticket is the objection, or the request of a person, that it answers; empty: none.
	Ticket string `json:"ticket,omitempty"`
	At     int64  `json:"-"` // when it was made, ms; none is older than the one before
}

// The labels by which a correction finds its series.
const (
	metricLabel = "__name__"
	deviceLabel = "device"
)

// Bounds of a correction.
const (
	maxReason = 2000 // bytes
	maxLabels = 16
)

// check returns all that is wrong with a correction.
func (c *Correction) check() error {
	var faults []string
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	if c.Device == "" || c.Metric == "" {
		bad("device and metric must be given")
	}
	if c.From > c.To {
		bad("from lies behind to; swap them")
	}
	if !slices.Contains(Operations(), c.Operation) {
		bad("operation %q is none of set, scale, remove and restore", c.Operation)
	}
	for _, v := range []struct {
		name  string
		value float64
	}{{"value", c.Value}, {"factor", c.Factor}, {"offset", c.Offset}} {
		if math.IsNaN(v.value) || math.IsInf(v.value, 0) {
			bad("%s %v is no finite number; to take a sample away, remove it", v.name, v.value)
		}
	}
	if c.Operation == Scale && c.Factor == 1 && c.Offset == 0 {
		bad("factor 1 and offset 0 change nothing")
	}
	if strings.TrimSpace(c.Reason) == "" || len(c.Reason) > maxReason || !utf8.ValidString(c.Reason) {
		bad("the reason must be text of 1 to %d bytes", maxReason)
	}
	if len(c.Labels) > maxLabels {
		bad("%d labels are given; at most %d", len(c.Labels), maxLabels)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Labels)) {
		if name == "" || name == deviceLabel || name == metricLabel {
			bad("label %q does not belong among labels; give device and metric by their own names", name)
		}
	}
	if c.Old != nil && c.From != c.To {
		bad("an old value is that of one sample; give one time, or leave it out")
	}
	if len(faults) == 0 {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInvalid, strings.Join(faults, "; "))
}

// About reports whether it is about a series with these labels.
func (c *Correction) About(labels map[string]string) bool {
	if labels[metricLabel] != c.Metric || labels[deviceLabel] != c.Device {
		return false
	}
	for name, value := range c.Labels {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// about reports whether it is about a series of its device and metric.
func (c *Correction) about(ls labels.Labels) bool {
	for name, value := range c.Labels {
		if ls.Get(name) != value {
			return false
		}
	}
	return true
}

// overlaps reports whether it is about a time of a stretch.
func (c *Correction) overlaps(from, to int64) bool { return c.From <= to && c.To >= from }

// apply makes of a raw value what corrections say, in the order in which they
// were made; kept is false for a sample that was removed. The end of a series is
// no value, and stays.
func apply(all []*Correction, raw float64) (v float64, kept bool) {
	if telemetry.IsStaleMarker(raw) {
		return raw, true
	}
	v, kept = raw, true
	for _, c := range all {
		switch c.Operation {
		case Set:
			v, kept = c.Value, true
		case Scale:
			v = c.Factor*v + c.Offset
		case Remove:
			kept = false
		case Restore:
			v, kept = raw, true
		}
	}
	return v, kept
}

// clock writes a time for people.
func clock(ms int64) string { return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z") }

// String names what it is about.
func (c *Correction) String() string {
	name := c.Metric + "{device=" + fmt.Sprintf("%q", c.Device)
	for _, l := range slices.Sorted(maps.Keys(c.Labels)) {
		name += fmt.Sprintf(",%s=%q", l, c.Labels[l])
	}
	return name + "}"
}
