package queue

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// fleet is a load: devices of 20 metrics that send them all every 10 s in one
// message, gauges with one to three decimals.
type fleet struct {
	ids    []telemetry.SeriesID
	values []float64
	start  int64
	next   int // samples made so far
	rng    *rand.Rand
	writes []*telemetry.Write
}

const perMessage = 20

// newFleet returns a fleet whose commits hold so many messages.
func newFleet(q *Queue, series, messages int) *fleet {
	f := &fleet{values: make([]float64, series), start: time.Now().UnixMilli(), rng: rand.New(rand.NewPCG(1, 2))}
	for i := range series {
		f.ids = append(f.ids, q.Series(labelsOf(i)))
		f.values[i] = float64(f.rng.IntN(5000))
	}
	for range messages {
		f.writes = append(f.writes, &telemetry.Write{})
	}
	return f
}

func (f *fleet) batch() []*telemetry.Write {
	for _, w := range f.writes {
		w.Reset()
		t := f.start + int64(f.next/len(f.ids))*10_000 + f.rng.Int64N(50)
		for range perMessage {
			i := f.next % len(f.ids)
			f.values[i] += float64(f.rng.IntN(101) - 50)
			w.Points = append(w.Points, telemetry.Point{Series: f.ids[i], Time: t, Value: f.values[i] / [...]float64{10, 100, 1000}[i%3]})
			f.next++
		}
	}
	return f.writes
}

// count is a destination that takes everything and counts.
type count struct{ samples, sum atomic.Int64 }

func (c *count) Send(_ context.Context, batch []Series) error {
	n, sum := 0, int64(0)
	for _, s := range batch {
		n += len(s.Points)
		for _, p := range s.Points {
			sum += int64(math.Float64bits(p.Value)>>20) ^ p.Time
		}
	}
	c.samples.Add(int64(n))
	c.sum.Add(sum)
	return nil
}

// BenchmarkQueueCommit counts samples as operations, by how many messages of 20
// share a commit and its fsync.
func BenchmarkQueueCommit(b *testing.B) {
	for _, messages := range []int{5, 50, 500} {
		b.Run(fmt.Sprintf("messages=%d", messages), func(b *testing.B) {
			r := newRig(b, new(count), func(c *Config) { c.MaxBytes = 1 << 40 })
			r.close()
			r.on.segment = segmentBytes
			r.open()
			f := newFleet(r.Queue, 100_000, messages)
			if err := r.Commit(f.batch()); err != nil {
				b.Fatal(err)
			}
			before := r.bytes
			b.ResetTimer()
			b.ReportAllocs()
			n := 0
			for n < b.N {
				b.StopTimer()
				writes := f.batch()
				b.StartTimer()
				if err := r.Commit(writes); err != nil {
					b.Fatal(err)
				}
				n += messages * perMessage
			}
			b.StopTimer()
			b.ReportMetric(float64(n)/b.Elapsed().Seconds()/1e6, "Msamples/s")
			b.ReportMetric(float64(r.bytes-before)/float64(n), "B/sample")
		})
	}
}

// BenchmarkQueueOutage has the destination away while QUEUE_OUTAGE samples
// (20 M when it is not set; 720 M are four hours of 50,000 a second) are
// committed, then takes them while as many more come in as 50,000 a second are.
func BenchmarkQueueOutage(b *testing.B) {
	size, rate := 20_000_000, 50_000
	if s := os.Getenv("QUEUE_OUTAGE"); s != "" {
		var err error
		if size, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for range b.N {
		to := new(count)
		r := newRig(b, to, func(c *Config) { c.BatchWait, c.MaxBytes = DefaultConfig().BatchWait, 1<<40 })
		r.close()
		r.on.segment = segmentBytes
		r.open()
		const messages = 500
		f := newFleet(r.Queue, 100_000, messages)
		before := resident(b)
		for range size / messages / perMessage {
			if err := r.Commit(f.batch()); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(r.bytes)/float64(f.next), "B/sample")
		b.ReportMetric(float64(resident(b)-before)/1e6, "MB_grown_in_outage")
		start := time.Now()
		r.start()
		more := 0
		for int(to.samples.Load()) < f.next {
			if due := int(time.Since(start).Seconds() * float64(rate)); more < due {
				if err := r.Commit(f.batch()); err != nil {
					b.Fatal(err)
				}
				more += messages * perMessage
				continue
			}
			runtime.Gosched()
			time.Sleep(time.Millisecond)
		}
		took := time.Since(start)
		b.ReportMetric(float64(to.samples.Load())/took.Seconds()/1e6, "Msamples/s_forwarded")
		b.ReportMetric(float64(size)/float64(rate)/took.Seconds(), "x_real_time")
		b.ReportMetric(float64(resident(b)-before)/1e6, "MB_grown")
		r.stop()
	}
}

// resident returns the memory of the process.
func resident(b *testing.B) int64 {
	runtime.GC()
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(data), "VmRSS:")
	kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb << 10
}
