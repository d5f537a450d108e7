package local

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says where series are kept and for how long.
type Config struct {
	// Dir is the directory of the store. It is created when absent. One process
	// at a time may use it.
	Dir string `yaml:"-"`
	// Retention is how long samples are kept, by their own time. Whole blocks
	// are removed once all of their samples are older.
	Retention time.Duration `yaml:"retention"`
	// MaxBytes bounds the disk space of blocks, logs and late data together; the
	// oldest blocks go first. 0 means no bound but the disk.
	MaxBytes int64 `yaml:"max_bytes"`
	// OutOfOrderWindow is how far behind the newest sample of all series a
	// sample may lie to go among the recent data. Older ones, up to Retention,
	// go to blocks of their own and are as durable and visible.
	OutOfOrderWindow time.Duration `yaml:"out_of_order_window"`
}

const day = 24 * time.Hour

// DefaultConfig keeps 400 days: a year can be compared with the same weeks of
// the year before, and the report about a year can be made in the month after
// it. The directory is left to the caller.
func DefaultConfig() Config {
	return Config{Retention: 400 * day, OutOfOrderWindow: 30 * day}
}

// Check returns every fault of the configuration.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "retention", c.Retention, day),
		strict.AtLeast(path, "max_bytes", c.MaxBytes, 0),
		strict.Between(path, "out_of_order_window", c.OutOfOrderWindow, time.Hour, max(time.Hour, c.Retention)),
	)
}
