package local_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

const (
	benchSeries = 100_000
	benchCommit = 10_000 // samples between two fsyncs
)

// fleet is a load of gauges: a random walk with two decimals every 10 s.
type fleet struct {
	ids    []telemetry.SeriesID
	values []float64
	start  int64
	next   int // samples made so far
	late   int // percent of samples that come 1 min to 4 h late
	rng    *rand.Rand
	writes []*telemetry.Write
}

func newFleet(db *local.DB, n, late int) *fleet {
	f := &fleet{values: make([]float64, n), start: time.Now().UnixMilli(), late: late, rng: rand.New(rand.NewPCG(1, 2))}
	for i := range n {
		f.ids = append(f.ids, db.Series([]telemetry.Label{
			{Name: "__name__", Value: "metric_" + strconv.Itoa(i%20)},
			{Name: "device", Value: fmt.Sprintf("device-%06d", i/20)},
			{Name: "kind", Value: "sensor"},
			{Name: "region", Value: "220100"},
			{Name: "site", Value: "site-" + strconv.Itoa(i%97)},
		}))
	}
	for range benchCommit / 100 {
		f.writes = append(f.writes, &telemetry.Write{})
	}
	return f
}

// batch makes the next commit's samples, 100 a write.
func (f *fleet) batch() []*telemetry.Write {
	for _, w := range f.writes {
		w.Reset()
		for range 100 {
			i := f.next % len(f.ids)
			t := f.start + int64(f.next/len(f.ids))*10_000 + f.rng.Int64N(50)
			if f.rng.IntN(100) < f.late {
				t -= 60_000 + f.rng.Int64N(4*3600_000)
			}
			f.values[i] += float64(f.rng.IntN(100)-50) / 100
			w.Points = append(w.Points, telemetry.Point{Series: f.ids[i], Time: t, Value: f.values[i]})
			f.next++
		}
	}
	return f.writes
}

// BenchmarkCommit counts samples as operations: ns/op is the wall time of one.
func BenchmarkCommit(b *testing.B) {
	for _, late := range []int{0, 20} {
		b.Run(fmt.Sprintf("late=%d%%", late), func(b *testing.B) {
			db := openAt(b, b.TempDir())
			defer db.Close()
			f := newFleet(db, benchSeries, late)
			for range 2 * benchSeries / benchCommit { // every series has a head chunk
				commit(b, db, f.batch())
			}
			b.ResetTimer()
			for n := 0; n < b.N; n += benchCommit {
				b.StopTimer()
				batch := f.batch()
				b.StartTimer()
				commit(b, db, batch)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds()/1e6, "Msamples/s")
		})
	}
}

func commit(b *testing.B, db *local.DB, writes []*telemetry.Write) {
	if err := db.Commit(writes); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOpen opens a store that was not closed, with 5 M samples in its log.
func BenchmarkOpen(b *testing.B) {
	dir := b.TempDir()
	db := openAt(b, dir)
	f := newFleet(db, benchSeries, 0)
	for f.next < 5_000_000 {
		commit(b, db, f.batch())
	}
	killed := b.TempDir()
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		b.Fatal(err)
	}
	if err := db.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		b.StopTimer()
		again := b.TempDir()
		if err := os.CopyFS(again, os.DirFS(killed)); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
		db := openAt(b, again)
		b.StopTimer()
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkMemory prints what the process holds with 100k live series of 240
// samples each.
func BenchmarkMemory(b *testing.B) {
	for b.Loop() {
		before := resident(b)
		db := openAt(b, b.TempDir())
		f := newFleet(db, benchSeries, 0)
		for f.next < 240*benchSeries {
			commit(b, db, f.batch())
		}
		b.ReportMetric(resident(b)-before, "MB-full-load")
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		b.ReportMetric(float64(m.HeapAlloc)/1e6, "MB-heap-live")
		runtime.KeepAlive(f)
		if err := db.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// resident returns the process' resident megabytes.
func resident(b *testing.B) float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip("no /proc/self/status")
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1000
}
