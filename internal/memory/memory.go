// Package memory tells Go's collector how much memory the program may use and
// how much garbage it may keep.
package memory

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"runtime/debug"

	"github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/songhua-io/hub/internal/config/strict"
)

// ofWhatThereIs is the part of the machine's memory, or of its cgroup's, that
// Go may use; the rest is for what Go does not count: maps of files, SQLite's
// caches, stacks of the kernel.
const ofWhatThereIs = 0.8

// Config is what the collector may use. It works harder as Limit comes near,
// and the program goes on above it: what lives is never refused.
type Config struct {
	// Limit is the memory that Go's collector works to stay below; 0 takes four fifths of what the cgroup or the machine has. GOMEMLIMIT in the environment goes before it.
	Limit strict.Bytes `yaml:"limit"`
	// Garbage is how much garbage may lie beside what lives before it is collected, in percent: 400 costs memory and saves processor time where much is scheduled. GOGC in the environment goes before it.
	Garbage int `yaml:"garbage"`
}

// DefaultConfig works out the limit and collects as Go does by itself.
func DefaultConfig() Config { return Config{Garbage: 100} }

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	const least = 64 << 20
	errs := strict.Between(path, "garbage", c.Garbage, 10, 10_000)
	if c.Limit != 0 && c.Limit < least {
		errs = append(errs, strict.Fault(path, "limit", "%s is less than %s, which a hub needs; raise it, or write 0 for four fifths of what there is", c.Limit, strict.Bytes(least)))
	}
	return errs
}

// Apply sets the collector of this process. Where it cannot be known how much
// memory there is, it is not limited, and the log says so.
func (c Config) Apply(log *slog.Logger) {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(c.Garbage)
	}
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	limit := int64(c.Limit)
	if limit == 0 {
		var err error
		if limit, err = share(memlimit.FromCgroup, memlimit.FromSystem); err != nil {
			log.Warn("memory_not_limited", "error", err, "way_out", "set memory.limit")
			return
		}
	}
	debug.SetMemoryLimit(limit)
	log.Debug("memory_limited", "bytes", limit)
}

// share is the part of the least of what the sources say there is; a source
// that knows of no limit says nothing, and one of them must know.
func share(sources ...memlimit.Provider) (int64, error) {
	least, known := uint64(math.MaxInt64), false
	var errs []error
	for _, source := range sources {
		n, err := source()
		if err == nil && n == 0 {
			err = errors.New("0 bytes are no limit")
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		least, known = min(least, n), true
	}
	if !known {
		return 0, fmt.Errorf("read how much memory there is: %w", errors.Join(errs...))
	}
	return int64(ofWhatThereIs * float64(least)), nil
}
