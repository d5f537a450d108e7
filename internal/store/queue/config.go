package queue

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config bounds the queue in front of an outside engine.
type Config struct {
	// Dir is created when it is absent; one process may have it open.
	Dir string `yaml:"-"`
	// MaxBytes bounds the disk space of what waits for the engine. A queue that is full refuses at the doors, so that devices keep what they have. A sample takes 4 to 12 bytes: 16 GiB are four hours of 200,000 samples/s.
	MaxBytes strict.Bytes `yaml:"max_bytes"`
	// Shards is how many requests to the engine are under way at once. The samples of one series go one after another whatever it is.
	Shards int `yaml:"shards"`
	// BatchSamples is how many samples one request carries at most.
	BatchSamples int `yaml:"batch_samples"`
	// BatchWait is how long a sample waits for others to share its request.
	BatchWait time.Duration `yaml:"batch_wait"`
	// Retention is how long the engine keeps samples: older ones are refused at the doors; 0 takes every age.
	Retention time.Duration `yaml:"retention"`
}

const (
	minBytes   = 4 * segmentBytes
	maxShards  = 64
	maxSamples = 1_000_000
)

// DefaultConfig returns the settings of a queue for a server nearby. The
// directory is left to the caller.
func DefaultConfig() Config {
	return Config{MaxBytes: 16 << 30, Shards: 4, BatchSamples: 10_000, BatchWait: 250 * time.Millisecond, Retention: 10 * 365 * 24 * time.Hour}
}

// Check returns every fault of the configuration.
func (c Config) Check(path string) []strict.Error {
	return slices.Concat(
		strict.AtLeast(path, "max_bytes", c.MaxBytes, minBytes),
		strict.Between(path, "shards", c.Shards, 1, maxShards),
		strict.Between(path, "batch_samples", c.BatchSamples, 1, maxSamples),
		strict.Between(path, "batch_wait", c.BatchWait, time.Millisecond, time.Minute),
		strict.AtLeast(path, "retention", c.Retention, 0),
	)
}
