package http_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	nethttp "net/http"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/ingest/http"
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

// BenchmarkRequests measures answered requests a second, generator and hub in
// one process. Run it with -benchtime 1x: each round sends for three seconds.
func BenchmarkRequests(b *testing.B) {
	for _, store := range []string{"discard", "local"} {
		for _, samples := range []int{1, 20} {
			b.Run(fmt.Sprintf("%s/50x%d", store, samples), func(b *testing.B) {
				benchRequests(b, store, load.Config{Connections: 50, Samples: samples, Login: login})
			})
		}
	}
}

func benchRequests(b *testing.B, kind string, cfg load.Config) {
	hub := doortest.StartOn(b, ingest.DefaultConfig(), benchStore(b, kind), func(q *quota.Config) {
		q.Device.SamplesPerSecond, q.Device.MessagesPerSecond = 10_000_000, 10_000_000
	})
	for i := range cfg.Connections {
		id, _ := login(i)
		hub.Register(id, telemetry.KindSensor)
	}
	door := http.New(http.DefaultConfig(), http.Deps{Pipeline: hub.Pipeline, Gate: hub, Mail: &hub.Mail, Quotas: hub.Quotas, Log: hub.Log, Metrics: hub.Metrics})
	mux := nethttp.NewServeMux()
	for _, r := range door.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	server := httptest.NewServer(mux)
	b.Cleanup(server.Close)
	cfg.Address = strings.TrimPrefix(server.URL, "http://")
	b.ResetTimer()
	for i := range b.N {
		cfg.Start = time.Now().Add(time.Duration(i) * time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		r, err := load.HTTP(ctx, cfg)
		cancel()
		if err != nil {
			b.Fatal(err)
		}
		b.Log(r)
		b.ReportMetric(r.MessagesPerSecond(), "requests/s")
	}
}

func benchStore(b *testing.B, kind string) ingest.Store {
	if kind != "local" {
		return discard{}
	}
	cfg := local.DefaultConfig()
	cfg.Dir = b.TempDir()
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
