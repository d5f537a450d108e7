package release

import (
	"context"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/catalog"
)

// day is a day of series at 1 min: a walk with two decimals each, as sensors
// report. By is time or series, whichever rows are ordered by first.
func day(series int, placed bool) *Table {
	const minutes = 24 * 60
	n := series * minutes
	t := &Table{Rows: n, Columns: []Column{
		{Item: catalog.Item{Name: "time", Title: catalog.Text{ZH: "时间", EN: "Time"}, Type: catalog.Instant}, Integers: make([]int64, n)},
		{Item: catalog.Item{Name: "device", Title: catalog.Text{ZH: "设备", EN: "Device"}, Type: catalog.String, Length: 64}, Strings: make([]string, n)},
		{Item: catalog.Item{Name: "metric", Title: catalog.Text{ZH: "指标", EN: "Metric"}, Type: catalog.String}, Strings: make([]string, n)},
		{Item: catalog.Item{Name: "value", Title: catalog.Text{ZH: "值", EN: "Value"}, Type: catalog.Number, Unit: "Cel"}, Numbers: make([]float64, n)},
	}}
	if placed {
		t.Columns = append(t.Columns, Column{Item: catalog.Item{Name: "place", Title: catalog.Text{ZH: "位置", EN: "Place"}, Type: catalog.Place}, Strings: make([]string, n)})
	}
	start := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	r := rand.New(rand.NewPCG(1, 2))
	for s := range series {
		at := 10 + 20*r.Float64()
		device, place := fmt.Sprintf("sensor-%04d", s), fmt.Sprintf(`{"type":"Point","coordinates":[125.%04d,43.%04d]}`, r.IntN(10000), r.IntN(10000))
		for m := range minutes {
			row := m*series + s
			at += r.NormFloat64() * .05
			t.Columns[0].Integers[row] = start + int64(m)*60_000
			t.Columns[1].Strings[row], t.Columns[2].Strings[row] = device, "temperature"
			t.Columns[3].Numbers[row] = math.Round(at*100) / 100
			if placed {
				t.Columns[4].Strings[row] = place
			}
		}
	}
	return t
}

type counting struct{ n int64 }

func (c *counting) Write(p []byte) (int, error) { c.n += int64(len(p)); return len(p), nil }

// cpu is the time that the process has computed, of all its threads: what is
// measured on a machine that others use too.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkWriters(b *testing.B) {
	t := day(1000, true)
	bySeries, err := t.Ordered([]string{"device", "time"})
	if err != nil {
		b.Fatal(err)
	}
	for name, write := range map[string]func(context.Context, *Table, io.Writer) error{"csv": writeCSV, "ndjson": writeNDJSON, "geojson": writeGeoJSON, "parquet": writeParquet} {
		for order, t := range map[string]*Table{"time": t, "series": bySeries} {
			b.Run(name+"/"+order, func(b *testing.B) {
				before := cpu()
				defer func() { b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/op") }()
				for b.Loop() {
					c := &counting{}
					if err := write(context.Background(), t, c); err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(c.n)/float64(t.Rows), "B/row")
				}
			})
		}
	}
	b.Run("all", func(b *testing.B) {
		before := cpu()
		defer func() { b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/op") }()
		for b.Loop() {
			var g errgroup.Group
			for _, write := range []func(context.Context, *Table, io.Writer) error{writeCSV, writeNDJSON, writeGeoJSON, writeParquet} {
				g.Go(func() error { return write(context.Background(), t, io.Discard) })
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkRelease makes a release of a day of 1,000 series at 1 min, with all
// files, durably.
func BenchmarkRelease(b *testing.B) {
	d := draft(day(1000, true))
	var before time.Duration
	for b.Loop() {
		dir := b.TempDir()
		w := open(b, dir, nil)
		before -= cpu()
		m := put(b, w, d)
		before += cpu()
		b.ReportMetric(float64(m.File(ParquetFile).Size)/float64(m.Rows), "parquet-B/value")
		x := must(w.index("soil", 1))
		stored, size := 0, int64(0)
		for _, k := range x.Files {
			size += k.Size
			for _, n := range k.Chunks {
				stored += max(n, -n)
			}
		}
		b.ReportMetric(float64(size)/1e6, "MB")
		b.ReportMetric(float64(stored)/1e6, "MB-on-disk")
	}
	b.ReportMetric(before.Seconds()/float64(b.N), "cpu-s/op")
}

// BenchmarkCut makes the part of such a day that half of the devices, without
// their places, and all hours but the first are, and then opens what is there.
func BenchmarkCut(b *testing.B) {
	d := draft(day(1000, true))
	d.Key = []string{"device", "time"}
	var where []Stretch
	for s := range 1000 {
		where = append(where, Stretch{Rows: 24 * 60, Regions: []string{fmt.Sprintf("22010%d", 2+s%2)}, Bin: time.Minute})
	}
	dir := b.TempDir()
	w := cutting(b, dir, 1<<30, where, nil)
	put(b, w, d)
	var spent time.Duration
	n := 0
	for b.Loop() {
		w := cutting(b, dir, 1<<30, where, nil)
		spent -= cpu()
		m, c, err := w.OpenCut(b.Context(), "soil", 1, &Cut{Items: []string{"time", "device", "value"}, Area: "220102", From: from.Add(9 * time.Hour)}, CSVFile)
		if err != nil {
			b.Fatal(err)
		}
		spent += cpu()
		c.Close()
		b.ReportMetric(float64(m.Rows), "rows")
		b.ReportMetric(float64(w.CutUse().Bytes)/1e6, "MB-on-disk")
		n++
	}
	b.ReportMetric(spent.Seconds()/float64(n), "cpu-s/op")
}
