package source

import (
	"fmt"
	"slices"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Fit leaves out of a record what makes a message larger than limit bytes by
// itself, and says of each part that it did. The hub reads no such message: it
// would never be acknowledged and hold up what waits behind it. The record that
// was passed stays as it is.
func Fit(r Record, limit int) (Record, []error) {
	var large []error
	tooLarge := func(what string, n int) bool {
		large = append(large, fmt.Errorf("%s has %d B and a message at most %d; send less at once, or raise uplink.max_message", what, n, limit))
		return true
	}
	r.Samples = without(r.Samples, func(s telemetry.Sample) bool {
		n := len(s.Metric) + len(s.Unit)
		for _, t := range s.Tags {
			n += len(t.Name) + len(t.Value)
		}
		return n > limit && tooLarge(fmt.Sprintf("a sample of %.40q", s.Metric), n)
	})
	r.States = without(r.States, func(s telemetry.State) bool {
		n := len(s.Name) + len(s.Value)
		return n > limit && tooLarge(fmt.Sprintf("the state %.40q", s.Name), n)
	})
	r.Raws = without(r.Raws, func(raw Raw) bool {
		return len(raw.Payload) > limit && tooLarge("a message for "+raw.Suffix, len(raw.Payload))
	})
	return r, large
}

// without copies only when something goes.
func without[T any](all []T, drop func(T) bool) []T {
	kept, whole := all, true
	for i, v := range all {
		switch {
		case drop(v):
			if whole {
				kept, whole = slices.Clone(all[:i]), false
			}
		case !whole:
			kept = append(kept, v)
		}
	}
	return kept
}
