package ingest

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// maxFuture is how far ahead of the hub's clock any device may be allowed to
// report: an engine counts what it still takes from the newest sample, and
// gives a day for this.
const maxFuture = 24 * time.Hour

// Check returns every bound that makes no sense, each with its key.
func (c Config) Check() error {
	errs := []error{future("future_skew", c.FutureSkew)}
	for _, b := range []struct {
		key string
		n   int
	}{
		{"samples_per_second", c.SamplesPerSecond},
		{"series_per_device", c.SeriesPerDevice},
		{"max_series", c.MaxSeries},
		{"max_tags", c.MaxTags},
		{"max_name_bytes", c.MaxNameBytes},
		{"max_value_bytes", c.MaxValueBytes},
		{"max_message_samples", c.MaxMessageSamples},
		{"max_pending", c.MaxPending},
	} {
		if b.n < 1 {
			errs = append(errs, fmt.Errorf("%s is %d; it must be at least 1", b.key, b.n))
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(c.Windows)) {
		if _, err := telemetry.ParseKind(kind); err != nil {
			errs = append(errs, fmt.Errorf("windows.%s: %w", kind, err))
		}
		w := c.Windows[kind]
		errs = append(errs, future("windows."+kind+".future", w.Future))
		if w.Past < 0 {
			errs = append(errs, fmt.Errorf("windows.%s.past is %v; 0s means as far as the store keeps, otherwise it is positive", kind, w.Past))
		}
	}
	return errors.Join(errs...)
}

func future(key string, d time.Duration) error {
	if d < 0 || d > maxFuture {
		return fmt.Errorf("%s is %v; use 0s to %v", key, d, maxFuture)
	}
	return nil
}
