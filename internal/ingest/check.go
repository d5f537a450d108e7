package ingest

import (
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// maxFuture is how far ahead of the hub's clock any device may be allowed to
// be; further, a time is an error and not a clock that goes fast.
const maxFuture = 24 * time.Hour

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	errs := slices.Concat(
		strict.Between(path, "future_skew", c.FutureSkew, 0, maxFuture),
		strict.AtLeast(path, "max_series", c.MaxSeries, 1),
		strict.AtLeast(path, "max_tags", c.MaxTags, 0),
		strict.AtLeast(path, "max_name_bytes", c.MaxNameBytes, 1),
		strict.AtLeast(path, "max_value_bytes", c.MaxValueBytes, 1),
		strict.AtLeast(path, "max_message_samples", c.MaxMessageSamples, 1),
		strict.AtLeast(path, "max_pending", c.MaxPending, 1),
	)
	for _, kind := range slices.Sorted(maps.Keys(c.Windows)) {
		if _, err := telemetry.ParseKind(kind); err != nil {
			errs = append(errs, strict.Fault(path, "windows."+kind, "%v", err))
		}
	}
	return errs
}

// Check returns every bound that makes no sense.
func (w Window) Check(path string) []strict.Error {
	return slices.Concat(
		strict.Between(path, "future", w.Future, 0, maxFuture),
		strict.AtLeast(path, "past", w.Past, 0),
	)
}
