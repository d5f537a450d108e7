// Package source is the contract between what the agent reads from and the
// rest of it: a source gives records, gets back whether they are safe on disk,
// and when it fails it fails alone.
//
//go:generate go run ./gendoc ../../../docs/formats/agent-metrics.md
package source

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Record is what a source read at one time.
type Record struct {
	Samples []telemetry.Sample
	States  []telemetry.State
	// Raws are messages that go to the hub as they are.
	Raws []Raw
	// Faults are the parts that could not be read while the rest could: a dead
	// unit of a bus, a line that is no telemetry. They are shown, not stored.
	Faults []error
	// Dropped counts what the source was given since its last record and could
	// not keep, such as datagrams that came too fast.
	Dropped uint64
}

// Raw is a message for the topic devices/{id}/<Suffix>.
type Raw struct {
	Suffix  string
	Payload []byte
}

// Put keeps a record. When it returns nil the record is on disk and will reach
// the hub, but for parts that are too large for any message: they become faults
// and are counted, and a source that can tell its sender asks [Fit] before. On
// an error the record is not kept, and the source does not acknowledge it to its
// own sender. The record's bytes are not used after Put returned.
type Put func(context.Context, Record) error

// Source reads until the context ends or it fails. The supervisor starts it
// again after a failure; a source does not retry by itself. Run gives every
// resource free before it returns.
type Source interface {
	Run(context.Context, Put) error
}

// Func is a source made of its Run method.
type Func func(context.Context, Put) error

// Run calls the function.
func (f Func) Run(ctx context.Context, put Put) error { return f(ctx, put) }

// Common is what every source is configured by.
type Common struct {
	// Name tells sources of one kind apart; it stands in the logs and in the
	// label source of edge_source_up. Empty means the kind, with a number from
	// the second one on.
	Name string `yaml:"name"`
	// Tags are added to every sample of the source.
	Tags map[string]string `yaml:"tags"`
}

// CheckTags reports tags that the hub would not take.
func (c Common) CheckTags(path string) []strict.Error { return CheckTags(path, "tags", c.Tags) }

// CheckTags reports tags that the hub would not take.
func CheckTags(path, key string, tags map[string]string) (errs []strict.Error) {
	for name := range tags {
		if name == "" || telemetry.IsReserved([]byte(name)) {
			errs = append(errs, strict.Fault(path, key, "%q is a label that the hub sets itself; choose another name", name))
		}
	}
	return errs
}

// Gather waits for one element and takes those that are there already, at most
// limit in all; false when the context ended.
func Gather[T any](ctx context.Context, in <-chan T, into []T, limit int) ([]T, bool) {
	select {
	case <-ctx.Done():
		return into, false
	case v := <-in:
		into = append(into, v)
	}
	for len(into) < limit {
		select {
		case v := <-in:
			into = append(into, v)
		default:
			return into, true
		}
	}
	return into, true
}

// Interval is how often a polled source reads.
type Interval struct {
	// Interval is the time from one reading to the next.
	Interval time.Duration `yaml:"interval"`
}

// MinInterval is the shortest time between two readings.
const MinInterval = 100 * time.Millisecond

// CheckInterval reports an interval that is too short.
func (i Interval) CheckInterval(path string) []strict.Error {
	if i.Interval < MinInterval {
		return []strict.Error{strict.Fault(path, "interval", "%s is shorter than %s; raise it", i.Interval, MinInterval)}
	}
	return nil
}

// Every calls read at once and then at each interval, and puts what it gives.
// A reading has the interval, at least ten seconds, to end.
func Every(ctx context.Context, interval time.Duration, put Put, read func(context.Context) (Record, error)) error {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := once(ctx, max(interval, 10*time.Second), put, read); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func once(ctx context.Context, limit time.Duration, put Put, read func(context.Context) (Record, error)) error {
	bounded, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	r, err := read(bounded)
	if err != nil {
		return err
	}
	return put(ctx, r)
}

// Reading collects samples of one time.
type Reading struct {
	Record
	ms int64
}

// At begins a reading.
func At(t time.Time) *Reading { return &Reading{ms: t.UnixMilli()} }

// Add adds a sample; tags are names and values in turn.
func (r *Reading) Add(metric, unit string, value float64, tags ...string) {
	s := telemetry.Sample{Metric: []byte(metric), Unit: []byte(unit), Time: r.ms, Value: value, Index: int32(len(r.Samples))}
	for i := 0; i+1 < len(tags); i += 2 {
		s.Tags = append(s.Tags, telemetry.Tag{Name: []byte(tags[i]), Value: []byte(tags[i+1])})
	}
	r.Samples = append(r.Samples, s)
}

// Fault notes a part that could not be read; nil is no fault.
func (r *Reading) Fault(err error) {
	if err != nil {
		r.Faults = append(r.Faults, err)
	}
}

// Tagged returns a Put that adds tags to every sample; the sample's own win.
func Tagged(put Put, tags map[string]string) Put {
	if len(tags) == 0 {
		return put
	}
	var list []telemetry.Tag
	for _, n := range slices.Sorted(maps.Keys(tags)) {
		list = append(list, telemetry.Tag{Name: []byte(n), Value: []byte(tags[n])})
	}
	return func(ctx context.Context, r Record) error {
		for i := range r.Samples {
			AddTags(&r.Samples[i], list)
		}
		return put(ctx, r)
	}
}

// AddTags adds tags to a sample in a list of its own; those that the sample has
// stay.
func AddTags(s *telemetry.Sample, tags []telemetry.Tag) {
	own := s.Tags
	s.Tags = slices.Clone(own)
	for _, t := range tags {
		if !slices.ContainsFunc(own, func(o telemetry.Tag) bool { return string(o.Name) == string(t.Name) }) {
			s.Tags = append(s.Tags, t)
		}
	}
}
