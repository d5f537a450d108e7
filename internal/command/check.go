package command

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Check returns every bound that makes no sense.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "max_open_per_device", c.MaxOpenPerDevice, 1),
		strict.AtLeast(path, "max_open", c.MaxOpen, 1),
		strict.AtLeast(path, "keep", c.Keep, time.Hour),
	)
}
