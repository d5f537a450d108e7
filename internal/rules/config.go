package rules

import (
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config says which rules are evaluated, and when.
type Config struct {
	// Dir is a directory of rule files of your own, those of folders in it too: *.yaml and *.yml as Prometheus reads them, but *_test.yaml. The hub follows what changes there; of a file that is wrong it keeps what it last read.
	Dir string `yaml:"dir"`
	// Shipped says whether the rules that come with the hub are evaluated (docs/rules.md).
	Shipped bool `yaml:"shipped"`
	// Off are names of shipped groups, alerts and recorded series that are not evaluated.
	Off []string `yaml:"off"`
	// Interval is how often groups are evaluated that do not say.
	Interval time.Duration `yaml:"interval"`
	// Lateness is how long after a moment its data may come, for groups without query_offset: rules are evaluated that much later, and an alert is known that much later.
	Lateness time.Duration `yaml:"lateness"`
	// Reach is how far back rules are evaluated again when data come later than that.
	Reach time.Duration `yaml:"reach"`
	// Concurrency is how many groups are evaluated at once.
	Concurrency int `yaml:"concurrency"`
	// Keep is how long the history of alerts is kept.
	Keep time.Duration `yaml:"keep"`
	// MaxHistory is how many entries of it are kept at most.
	MaxHistory int `yaml:"max_history"`
}

// DefaultConfig evaluates the shipped rules every minute.
func DefaultConfig() Config {
	return Config{Shipped: true, Interval: time.Minute, Lateness: 30 * time.Second, Reach: time.Hour, Concurrency: 2, Keep: 180 * 24 * time.Hour, MaxHistory: 1_000_000}
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	var all []strict.Error
	all = append(all, strict.Between(path, "interval", c.Interval, MinInterval, MaxInterval)...)
	all = append(all, strict.Between(path, "lateness", c.Lateness, 0, MaxLateness)...)
	all = append(all, strict.Between(path, "reach", c.Reach, 0, MaxReach)...)
	all = append(all, strict.Between(path, "concurrency", c.Concurrency, 1, 16)...)
	all = append(all, strict.AtLeast(path, "keep", c.Keep, time.Hour)...)
	all = append(all, strict.Between(path, "max_history", c.MaxHistory, 1000, 100_000_000)...)
	return all
}

// MaxReach bounds how far back rules are evaluated again.
const MaxReach = 24 * time.Hour
