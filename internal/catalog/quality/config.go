package quality

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says when datasets are measured, and from where on something is a
// finding.
type Config struct {
	// After is how long after the end of a day, in China's time, it is measured; what comes later counts for no measurement.
	After time.Duration `yaml:"after"`
	// Completeness is the least share of what is expected that is no finding.
	Completeness float64 `yaml:"completeness"`
	// Validity is the least share of plausible samples that is no finding.
	Validity float64 `yaml:"validity"`
	// Consistency is the least share of samples that came once, in order and not from the future, that is no finding.
	Consistency float64 `yaml:"consistency"`
	// FlatLine is for how long a value may stay the same to the last bit, where the model says in which steps it is measured; 0 is never.
	FlatLine time.Duration `yaml:"flat_line"`
	// Near is within how many metres a device counts as standing in the same place as another one.
	Near float64 `yaml:"near"`
	// MaxSeries bounds the series that are looked at of one dataset, and those of all together among which copies are looked for.
	MaxSeries int `yaml:"max_series"`
	// Timeout bounds the time of one dataset, and of the search for copies.
	Timeout time.Duration `yaml:"timeout"`
	// Keep is how long measurements are kept.
	Keep time.Duration `yaml:"keep"`
}

// DefaultConfig returns what holds for a hub without a config file.
func DefaultConfig() Config {
	return Config{
		After: 2 * time.Hour, Completeness: 0.95, Validity: 0.99, Consistency: 0.99, FlatLine: 6 * time.Hour, Near: 100,
		MaxSeries: 100_000, Timeout: 10 * time.Minute, Keep: 3 * 365 * 24 * time.Hour,
	}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.Between(path, "after", c.After, 0, 20*time.Hour),
		strict.Between(path, "completeness", c.Completeness, 0, 1),
		strict.Between(path, "validity", c.Validity, 0, 1),
		strict.Between(path, "consistency", c.Consistency, 0, 1),
		strict.Between(path, "flat_line", c.FlatLine, 0, 24*time.Hour),
		strict.Between(path, "near", c.Near, 0, 10_000),
		strict.Between(path, "max_series", c.MaxSeries, 1, 1_000_000),
		strict.Between(path, "timeout", c.Timeout, time.Second, 6*time.Hour),
		strict.Between(path, "keep", c.Keep, 24*time.Hour, 30*365*24*time.Hour),
	)
}
