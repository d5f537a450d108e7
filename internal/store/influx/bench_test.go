package influx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/influxdata/influxdb-client-go/v2/api"
	"github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// benchBatch is of series with the labels of a device, as many points each.
func benchBatch(series, points int, from int64) []queue.Series {
	var batch []queue.Series
	for i := range series {
		s := queue.Series{Labels: metric("temperature", "device", fmt.Sprintf("probe-%05d", i), "kind", "sensor", "region", "220100", "room", "a 1", "site", "plant-a")}
		for j := range points {
			s.Points = append(s.Points, telemetry.Point{Time: from + int64(j)*10_000, Value: math.Round(20000+math.Sin(float64(i+j))*1000) / 100})
		}
		batch = append(batch, s)
	}
	return batch
}

// cpu is what this process has had of processors. Other load on the machine does
// not count.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perPoint reports, at the end, what one point of n an operation costs.
func perPoint(b *testing.B, n int) func() {
	since := cpu(b)
	return func() {
		b.ReportMetric(float64((cpu(b)-since).Nanoseconds())/float64(b.N)/float64(n), "cpu-ns/point")
	}
}

func BenchmarkEncode(b *testing.B) {
	for _, points := range []int{1, 20} {
		batch := benchBatch(10_000/points, points, 1764000000000)
		b.Run(fmt.Sprintf("%d points a series", points), func(b *testing.B) {
			s, out := &sending{batch: batch, from: []int{0}}, &body{}
			for i := range batch {
				s.from = append(s.from, s.from[i]+points)
			}
			b.ReportAllocs()
			defer perPoint(b, 10_000)()
			for b.Loop() {
				s.encode(out, 0, 10_000)
			}
			b.ReportMetric(float64(len(out.lines))/10_000, "B/point")
		})
		b.Run(fmt.Sprintf("%d points a series, gzip", points), func(b *testing.B) {
			s, out := &sending{batch: batch, from: []int{0}}, &body{}
			for i := range batch {
				s.from = append(s.from, s.from[i]+points)
			}
			n := 0
			defer perPoint(b, 10_000)()
			for b.Loop() {
				s.encode(out, 0, 10_000)
				packed, err := out.pack()
				if err != nil {
					b.Fatal(err)
				}
				n = len(packed)
			}
			b.ReportMetric(float64(n)/10_000, "B/point")
		})
	}
}

// BenchmarkEncodeByTheLibrary is what the client library's own points cost.
func BenchmarkEncodeByTheLibrary(b *testing.B) {
	batch := benchBatch(10_000, 1, 1764000000000)
	b.ReportAllocs()
	defer perPoint(b, 10_000)()
	for b.Loop() {
		var out strings.Builder
		for _, s := range batch {
			p := write.NewPointWithMeasurement(s.Labels[0].Value)
			for _, l := range s.Labels[1:] {
				p.AddTag(l.Name, l.Value)
			}
			out.WriteString(write.PointToLineProtocol(p.AddField(valueField, s.Points[0].Value).SetTime(time.UnixMilli(s.Points[0].Time)), time.Millisecond))
		}
	}
}

// BenchmarkForward sends batches to a real InfluxDB on the same machine, one after
// the other.
func BenchmarkForward(b *testing.B) {
	s := startInflux(b)
	for _, packed := range []bool{false, true} {
		b.Run(fmt.Sprintf("gzip=%v", packed), func(b *testing.B) {
			c := s.client(b, s.bucket(b))
			c.cfg.Gzip = packed
			from := int64(1764000000000)
			defer perPoint(b, 10_000)()
			for b.Loop() {
				b.StopTimer()
				batch := benchBatch(500, 20, from)
				from += 200_000
				b.StartTimer()
				if err := c.Send(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(10_000*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

// rowsOf2 is an answer with n rows.
func rowsOf2(n int) string {
	head, tail, _ := strings.Cut(answerOf2, ",,0,")
	row, _, _ := strings.Cut(",,0,"+tail, "\r\n")
	return head + strings.Repeat(row+"\r\n", n)
}

func BenchmarkRows(b *testing.B) {
	answer := rowsOf2(10_000)
	b.Run("own", func(b *testing.B) {
		b.ReportAllocs()
		defer perPoint(b, 10_000)()
		for b.Loop() {
			f := &found{most: 1 << 30, by: map[string]*series{}}
			if err := readRows(strings.NewReader(answer), f.add); err != nil || len(f.all) != 1 {
				b.Fatal(err, len(f.all))
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		b.ReportAllocs()
		defer perPoint(b, 10_000)()
		for b.Loop() {
			r := api.NewQueryTableResult(io.NopCloser(strings.NewReader(answer)))
			n := 0
			for r.Next() {
				if _, ok := r.Record().Value().(float64); ok {
					n++
				}
			}
			if r.Err() != nil || n != 10_000 {
				b.Fatal(r.Err(), n)
			}
		}
	})
}

// BenchmarkCatchUp is how fast what waits in the queue goes to a real InfluxDB, and,
// in the same run, how fast that server takes the same lines ready made, by as many
// requests at once: what it takes at most.
func BenchmarkCatchUp(b *testing.B) {
	const requests, request = 60, 10_000
	s := startInflux(b)
	batches := make([][]queue.Series, requests)
	for i := range batches {
		batches[i] = benchBatch(500, request/500, 1764000000000+int64(i)*200_000)
	}
	shards := queue.DefaultConfig().Shards
	report := func(b *testing.B, since time.Duration) {
		b.ReportMetric(requests*request*float64(b.N)/b.Elapsed().Seconds(), "samples/s")
		b.ReportMetric(float64((cpu(b)-since).Nanoseconds())/float64(b.N)/requests/request, "cpu-ns/sample")
	}
	b.Run("ready made", func(b *testing.B) {
		var bodies []*body
		for _, batch := range batches {
			se, out := &sending{batch: batch, from: []int{0}}, &body{}
			for i := range batch {
				se.from = append(se.from, se.from[i]+len(batch[i].Points))
			}
			se.encode(out, 0, request)
			bodies = append(bodies, out)
		}
		since := cpu(b)
		b.ResetTimer()
		for range b.N {
			c := s.client(b, s.bucket(b))
			var g errgroup.Group
			g.SetLimit(shards)
			for _, out := range bodies {
				g.Go(func() error { return c.write(b.Context(), out) })
			}
			if err := g.Wait(); err != nil {
				b.Fatal(err)
			}
		}
		report(b, since)
	})
	b.Run("queue", func(b *testing.B) {
		since := cpu(b)
		for range b.N {
			b.StopTimer()
			cfg := queue.DefaultConfig()
			cfg.Dir = b.TempDir()
			q, err := queue.Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), s.client(b, s.bucket(b)),
				func([]queue.Poisoned) error { return errors.New("refused") })
			if err != nil {
				b.Fatal(err)
			}
			for _, batch := range batches {
				w := &telemetry.Write{}
				for _, series := range batch {
					id := q.Series(series.Labels)
					for _, point := range series.Points {
						point.Series = id
						w.Points = append(w.Points, point)
					}
				}
				if err := q.Commit([]*telemetry.Write{w}); err != nil {
					b.Fatal(err)
				}
			}
			ctx, stop := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			b.StartTimer()
			go func() { ended <- q.Run(ctx) }()
			if err := q.Settle(ctx); err != nil {
				b.Fatal(err)
			}
			b.StopTimer()
			stop()
			<-ended
			if err := q.Close(); err != nil {
				b.Fatal(err)
			}
		}
		report(b, since)
	})
}
