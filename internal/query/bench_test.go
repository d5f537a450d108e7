package query

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/teststorage"
	"golang.org/x/sys/unix"
)

// farm is 10,000 devices: all but one in a hundred report every 10 s, for two
// hours; the rest every hour, for five.
type farm struct{}

func (farm) name(i int) string { return "dev-" + strconv.Itoa(i) }

func (farm) Period(device, _ string) (time.Duration, bool) {
	i, err := strconv.Atoi(device[len("dev-"):])
	if err != nil {
		return 0, false
	}
	if i%100 == 99 {
		return time.Hour, true
	}
	return 10 * time.Second, true
}

func (farm) MaxPeriod() time.Duration { return time.Hour }

func (farm) LongPeriods() []string { return nil }

func (f farm) fill(b *testing.B) storage.Storage {
	db := teststorage.New(b, func(o *tsdb.Options) { o.OutOfOrderTimeWindow = 24 * time.Hour.Milliseconds() })
	for from := 0; from < 10_000; from += 500 {
		app := db.Appender(b.Context())
		for i := from; i < from+500; i++ {
			period, _ := f.Period(f.name(i), "")
			span := 2 * time.Hour
			if period > time.Minute {
				span = 5 * time.Hour
			}
			ls := labels.FromStrings("__name__", "temperature", "device", f.name(i), "group", strconv.Itoa(i/100), "kind", "sensor", "region", "220100", "site", strconv.Itoa(i%50))
			var ref storage.SeriesRef
			for at := noon.Add(-span); at.Before(noon); at = at.Add(period) {
				var err error
				if ref, err = app.Append(ref, ls, at.UnixMilli(), 20+float64(at.Unix()%600)/100); err != nil {
					b.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	return db
}

// BenchmarkQuery compares PromQL's own five minutes with holding each device's
// value for its own time, over the same data.
func BenchmarkQuery(b *testing.B) {
	db := farm{}.fill(b)
	ctx := withScope(b.Context(), Scope{})
	engine := promql.NewEngine(promql.EngineOpts{MaxSamples: 50_000_000, Timeout: time.Minute, Parser: parser.NewParser(parser.Options{})})
	ways := []struct {
		name string
		from storage.Queryable
		back time.Duration
	}{
		{"plain", confined{db, 1_000_000}, plainHold},
		{"held", held{confined{db, 1_000_000}, farm{}, &longOnes{periods: farm{}}, lookback(farm{})}, lookback(farm{})},
	}
	for _, q := range []struct {
		name, expr string
		span, step time.Duration
	}{
		{"instant_10k_series", "temperature", 0, 0},
		{"range_100_series_1h_15s", `temperature{group="7"}`, time.Hour, 15 * time.Second},
		{"range_100_series_1h_60s_rate", `rate(temperature{group="7"}[5m])`, time.Hour, time.Minute},
		{"range_1_series_1h_15s", `temperature{device="dev-7"}`, time.Hour, 15 * time.Second},
	} {
		for _, way := range ways {
			b.Run(fmt.Sprintf("%s/%s", q.name, way.name), func(b *testing.B) {
				opts := promql.NewPrometheusQueryOpts(false, way.back, nil)
				before := cpu(b)
				for b.Loop() {
					var made promql.Query
					var err error
					if q.step == 0 {
						made, err = engine.NewInstantQuery(ctx, way.from, opts, q.expr, noon)
					} else {
						made, err = engine.NewRangeQuery(ctx, way.from, opts, q.expr, noon.Add(-q.span), noon, q.step)
					}
					if err != nil {
						b.Fatal(err)
					}
					if res := made.Exec(ctx); res.Err != nil {
						b.Fatal(res.Err)
					}
					made.Close()
				}
				b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// cpu returns the processor time of this process: what others on the machine
// do alters it less than the time on the wall.
func cpu(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
