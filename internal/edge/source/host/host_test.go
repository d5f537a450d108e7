package host

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
)

func TestThisMachineIsRead(t *testing.T) {
	h := &host{cfg: DefaultConfig(), now: time.Now, energy: newEnergy(t.TempDir())}
	seen := map[string]float64{}
	for range 2 {
		r, err := h.read(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Faults { // a machine may have a part that cannot be read
			t.Log(f)
		}
		for _, s := range r.Samples {
			seen[string(s.Metric)] = s.Value
			known := slices.ContainsFunc(source.Metrics(), func(m source.Metric) bool {
				return m.Name == string(s.Metric) && m.Unit == string(s.Unit) && m.Source == "host"
			})
			if !known {
				t.Errorf("%s in %s is not in the list of metrics", s.Metric, s.Unit)
			}
		}
	}
	for _, m := range []string{"host_cpu_count", "host_memory_total_bytes", "host_memory_used_bytes", "host_disk_total_bytes", "host_uptime_seconds", "host_processes"} {
		if seen[m] <= 0 {
			t.Errorf("%s is %g", m, seen[m])
		}
	}
}

func TestEnergyCountsOverTheWrap(t *testing.T) {
	dir := t.TempDir()
	write := func(file, value string) {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(value+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("intel-rapl:0/name", "package-0")
	write("intel-rapl:0/max_energy_range_uj", "10000000")
	write("intel-rapl:0:1/name", "dram")
	write("intel-rapl:0:1/max_energy_range_uj", "10000000")
	write("intel-rapl:0:1/energy_uj", "5")
	e := newEnergy(dir)
	for _, c := range []struct {
		count string
		want  float64
	}{{"9000000", 0}, {"9500000", 0.5}, {"1000000", 2}, {"2000000", 3}} {
		write("intel-rapl:0/energy_uj", c.count)
		r := source.At(time.Now())
		if err := e.read(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		got := map[string]float64{}
		for _, s := range r.Samples {
			got[string(s.Tags[0].Value)] = s.Value
		}
		if got["package-0"] != c.want || len(got) != 2 {
			t.Errorf("at %s: %v, want %g", c.count, got, c.want)
		}
		if _, ok := got["package-0/dram"]; !ok {
			t.Errorf("no part named after its package: %v", got)
		}
	}
}
