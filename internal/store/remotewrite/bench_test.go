package remotewrite

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// BenchmarkSend is what a real server takes from four shards, in requests of
// 10,000 samples of 500 series each: an operation is a request.
func BenchmarkSend(b *testing.B) {
	b.Run("victoria-metrics", func(b *testing.B) { benchmarkSend(b, startVictoria(b)) })
	b.Run("prometheus", func(b *testing.B) { benchmarkSend(b, startPrometheus(b)) })
}

func benchmarkSend(b *testing.B, s *server) {
	const shards = 4
	if err := s.Send(b.Context(), fleet(20)); err != nil { // finds out the version
		b.Fatal(err)
	}
	begin := time.Now().Add(-24 * time.Hour).UnixMilli()
	work := make(chan int)
	before := cpu()
	b.ResetTimer()
	var all sync.WaitGroup
	for shard := range shards {
		batch := fleet(10_000)
		for i := range batch {
			batch[i].Labels[4].Value = fmt.Sprintf("plant-%d-%d", shard, i%7)
		}
		all.Go(func() {
			n := 0
			for range work {
				advance(batch, begin+int64(n)*20_000)
				if err := s.Send(b.Context(), batch); err != nil {
					b.Error(err)
				}
				n++
			}
		})
	}
	for i := range b.N {
		work <- i
	}
	close(work)
	all.Wait()
	samples := float64(b.N) * 10_000
	b.ReportMetric(samples/b.Elapsed().Seconds(), "samples/s")
	b.ReportMetric(float64(cpu()-before)/samples, "cpu-ns/sample")
}

// advance moves the points of a batch to a later time, with other values.
func advance(batch []queue.Series, begin int64) {
	for i := range batch {
		for j := range batch[i].Points {
			batch[i].Points[j] = telemetry.Point{Time: begin + int64(j)*1000, Value: float64((begin/1000+int64(i+j))%500) / 4}
		}
	}
}

// cpu is what this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
