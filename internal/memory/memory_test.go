package memory

import (
	"errors"
	"io"
	"log/slog"
	"math"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/KimMachineGun/automemlimit/memlimit"
)

// restored puts the collector of the test's process back as it was.
func restored(t *testing.T) {
	limit, percent := debug.SetMemoryLimit(-1), debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	t.Cleanup(func() {
		debug.SetMemoryLimit(limit)
		debug.SetGCPercent(percent)
	})
	debug.SetMemoryLimit(math.MaxInt64)
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
}

// now is what the collector of this process works by.
func now() (limit int64, percent int) {
	percent = debug.SetGCPercent(100)
	debug.SetGCPercent(percent)
	return debug.SetMemoryLimit(-1), percent
}

func TestTheLeastOfMachineAndCgroupIsShared(t *testing.T) {
	none := func() (uint64, error) { return 0, memlimit.ErrNoLimit }
	for _, c := range []struct {
		name    string
		sources []memlimit.Provider
		want    int64
	}{
		{"a container on a larger machine", []memlimit.Provider{memlimit.Limit(1000), memlimit.Limit(8000)}, 800},
		{"a container that may have more than there is", []memlimit.Provider{memlimit.Limit(9000), memlimit.Limit(8000)}, 6400},
		{"no container", []memlimit.Provider{none, memlimit.Limit(8000)}, 6400},
		{"a machine that does not say", []memlimit.Provider{memlimit.Limit(1000), memlimit.Limit(0)}, 800},
	} {
		if got, err := share(c.sources...); err != nil || got != c.want {
			t.Errorf("%s: %d bytes, %v; want %d", c.name, got, err, c.want)
		}
	}
	if _, err := share(none, memlimit.Limit(0)); !errors.Is(err, memlimit.ErrNoLimit) {
		t.Errorf("nothing is known of this machine, and the error is %v", err)
	}
}

func TestTheCollectorIsSet(t *testing.T) {
	quiet := slog.New(slog.NewTextHandler(io.Discard, nil))

	restored(t)
	Config{Limit: 1 << 30, Garbage: 250}.Apply(quiet)
	if limit, percent := now(); limit != 1<<30 || percent != 250 {
		t.Errorf("limit %d and %d %%; want those that were set", limit, percent)
	}

	DefaultConfig().Apply(quiet)
	system, err := memlimit.FromSystem()
	if err != nil {
		t.Fatal(err)
	}
	if limit, percent := now(); limit < 1<<20 || uint64(limit) >= system || percent != 100 {
		t.Errorf("limit %d and %d %% on a machine with %d bytes; want less than it has, and 100 %%", limit, percent, system)
	}

	t.Setenv("GOGC", "300")
	t.Setenv("GOMEMLIMIT", "3GiB")
	before, _ := now()
	Config{Limit: 1 << 30, Garbage: 250}.Apply(quiet)
	if limit, percent := now(); limit != before || percent != 100 {
		t.Errorf("limit %d and %d %% though the environment says otherwise", limit, percent)
	}
}

func TestSettingsThatNoHubCanKeep(t *testing.T) {
	if errs := DefaultConfig().Check("memory"); len(errs) > 0 {
		t.Error(errs)
	}
	errs := Config{Limit: 1 << 20, Garbage: -1}.Check("memory")
	if len(errs) != 2 || !strings.Contains(errs[1].Error(), "1MiB is less than 64MiB") {
		t.Error(errs)
	}
}
