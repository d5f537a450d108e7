package coap_test

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/simulate/load"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// discard is a store that keeps nothing.
type discard struct{}

func (discard) Series([]telemetry.Label) telemetry.SeriesID { return 1 }
func (discard) Forget([]telemetry.SeriesID)                 {}
func (discard) Commit([]*telemetry.Write) error             { return nil }
func (discard) Oldest(now time.Time) time.Time              { return now.Add(-400 * 24 * time.Hour) }

func login(i int) (device, secret string) {
	device = fmt.Sprintf("load-%05d", i)
	return device, doortest.Secret(device)
}

// BenchmarkConfirmable measures acknowledged confirmable messages a second,
// generator and hub in one process. Run it with -benchtime 1x: each round
// sends for three seconds.
func BenchmarkConfirmable(b *testing.B) {
	for _, store := range []string{"discard", "local"} {
		for _, s := range []struct{ connections, window, samples int }{{100, 1, 1}, {100, 8, 1}, {1000, 1, 1}} {
			b.Run(fmt.Sprintf("%s/%dx%dx%d", store, s.connections, s.window, s.samples), func(b *testing.B) {
				benchConfirmable(b, store, load.Config{Connections: s.connections, Window: s.window, Samples: s.samples, Login: login})
			})
		}
	}
}

func benchConfirmable(b *testing.B, kind string, cfg load.Config) {
	hub := doortest.StartOn(b, ingest.DefaultConfig(), benchStore(b, kind), func(q *quota.Config) {
		q.Device.SamplesPerSecond, q.Device.MessagesPerSecond = 10_000_000, 10_000_000
	})
	for i := range cfg.Connections {
		id, _ := login(i)
		hub.Register(id, telemetry.KindSensor)
	}
	door := coap.New(coap.DefaultConfig(), coap.Deps{Pipeline: hub.Pipeline, Gate: hub, Mail: &hub.Mail, Quotas: hub.Quotas, Log: hub.Log, Clock: time.Now, Metrics: hub.Metrics})
	conn := listen(b)
	h := &house{hub, door, conn.LocalAddr().String()}
	h.run(b, func(ctx context.Context) error { return door.Serve(ctx, conn) })
	cfg.Address = h.addr
	b.ResetTimer()
	for i := range b.N {
		cfg.First, cfg.Start = 0, time.Now().Add(time.Duration(i)*time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		r, err := load.CoAP(ctx, cfg)
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		b.Log(r)
		b.ReportMetric(r.MessagesPerSecond(), "messages/s")
	}
}

func benchStore(b *testing.B, kind string) ingest.Store {
	if kind != "local" {
		return discard{}
	}
	cfg := local.DefaultConfig()
	cfg.Dir = b.TempDir()
	if dir := os.Getenv("HUB_BENCH_DIR"); dir != "" {
		cfg.Dir = dir + "/" + b.Name()
	}
	db, err := local.Open(context.Background(), cfg, doortest.Quiet(), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	})
	return db
}
