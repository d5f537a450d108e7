package desk

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "max_entries", c.MaxEntries, 1),
		strict.AtLeast(path, "max_bytes", c.MaxBytes, maxPayload),
		strict.AtLeast(path, "max_age", c.MaxAge, time.Second),
	)
}
