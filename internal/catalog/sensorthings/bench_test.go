package sensorthings

import (
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"

	"github.com/songhua-io/hub/internal/registry"
)

var (
	observationsFlag = flag.Int("observations", 1_000_000, "observations of the benchmark's store, over 100 devices and 30 days")
	loadOnly         = flag.Bool("load", false, "say how long loading took")
)

// blocks is a store of blocks of 54 hours, as long as the hub's own grow, that are
// written without a log.
func blocks(b *testing.B, w *world, devices, total int) (from time.Time, step time.Duration, per int) {
	b.Helper()
	const days, length = 30, 54 * time.Hour
	per = total / devices
	step = (days * 24 * time.Hour / time.Duration(per)).Truncate(time.Millisecond)
	from = w.now.Add(-days * 24 * time.Hour).Truncate(length)
	dir := b.TempDir()
	end := from.Add(time.Duration(per) * step)
	for begin := from; begin.Before(end); begin = begin.Add(length) {
		writer, err := tsdb.NewBlockWriter(slog.New(slog.DiscardHandler), dir, length.Milliseconds())
		w.ok(err)
		// A head takes nothing that is half a block behind, so all devices go forward together.
		refs := make([]storage.SeriesRef, devices)
		for part := begin; part.Before(begin.Add(length)); part = part.Add(length / 9) {
			app := writer.Appender(b.Context())
			for d := range devices {
				ls := labels.FromStrings("__name__", "level", "device", fmt.Sprintf("d%03d", d), "kind", "sensor", "region", "220100")
				i := int((part.Sub(from) + step - 1) / step)
				for at := from.Add(time.Duration(i) * step); at.Before(part.Add(length/9)) && i < per; at = at.Add(step) {
					refs[d], err = app.Append(refs[d], ls, at.UnixMilli(), float64(i%1000)/10)
					w.ok(err)
					i++
				}
			}
			w.ok(app.Commit())
		}
		_, err = writer.Flush(b.Context())
		w.ok(err)
		w.ok(writer.Close())
	}
	db, err := tsdb.Open(dir, nil, nil, tsdb.DefaultOptions(), nil)
	w.ok(err)
	db.DisableCompactions()
	b.Cleanup(func() { db.Close() })
	w.reads = db
	return from, step, per
}

// BenchmarkPage asks for pages of 100 observations, the first and ones behind a
// nextLink at a chance place, of one datastream and of all.
func BenchmarkPage(b *testing.B) {
	pages(b, func(w *world) {
		w.metrics = newRegistry()
		w.serve = w.api(none)
	})
}

// pages asks for pages of a world that was made ready.
func pages(b *testing.B, ready func(*world)) {
	w := newWorld(b, none)
	const devices = 100
	var specs []registry.Spec
	for d := range devices {
		specs = append(specs, registry.Spec{ID: fmt.Sprintf("d%03d", d), Region: "220100"})
	}
	w.register(specs...)
	began := time.Now()
	from, step, per := blocks(b, w, devices, *observationsFlag)
	if *loadOnly {
		b.Logf("%d observations, one every %v of each device, loaded in %v", per*devices, step, time.Since(began))
	}
	ready(w)
	deep := func() (string, string) {
		id := fmt.Sprintf("d%03d~level", rand.IntN(devices))
		at := from.Add(time.Duration(per/2+rand.IntN(per/2-200)) * step).UnixMilli()
		return id, (&options{}).next(observationID(id, at))
	}
	for _, page := range []struct {
		name string
		path func() string
	}{
		{"first", func() string { return "Datastreams('d050~level')/Observations" }},
		{"deep", func() string {
			id, next := deep()
			return "Datastreams('" + id + "')/Observations?" + next
		}},
		{"newest", func() string { return "Datastreams('d050~level')/Observations?$orderby=phenomenonTime desc" }},
		{"deep-down", func() string {
			id, next := deep()
			return "Datastreams('" + id + "')/Observations?$orderby=phenomenonTime desc&" + next
		}},
		{"all-first", func() string { return "Observations" }},
		{"all-deep", func() string {
			_, next := deep()
			return "Observations?" + next
		}},
		{"things", func() string {
			return "Things?$expand=Datastreams($expand=Observations($top=1;$orderby=phenomenonTime desc))"
		}},
	} {
		b.Run(page.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				p := page.path()
				began := time.Now()
				code, text := w.ask(p)
				took = append(took, time.Since(began))
				if n := strings.Count(text, `"@iot.selfLink"`); code != 200 || n < 100 {
					b.Fatalf("%s: %d with %d entities: %.300s", p, code, n, text)
				}
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
		})
	}
}
