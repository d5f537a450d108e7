package remotewrite

import (
	"context"
	"encoding/pem"
	"io"
	"log/slog"
	"math"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/hubtest/engine"
)

// dedup has VictoriaMetrics keep what is sent twice once.
const dedup = "-dedup.minScrapeInterval=1ms"

// server is a real one with a client of it.
type server struct {
	*engine.Server
	*Client
	victoria bool
}

func client(t testing.TB, write, query string, change ...func(*Config)) *Client {
	t.Helper()
	cfg := DefaultConfig()
	cfg.WriteURL, cfg.QueryURL = write, query
	for _, f := range change {
		f(&cfg)
	}
	for _, f := range cfg.Check("remote_write") {
		t.Fatal(f)
	}
	c, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func startVictoria(t testing.TB, change ...func(*Config)) *server {
	t.Helper()
	s := engine.Victoria(t, dedup)
	return &server{s, client(t, s.URL+"/api/v1/write", s.URL, change...), true}
}

func startPrometheus(t testing.TB, change ...func(*Config)) *server {
	t.Helper()
	s := engine.Prometheus(t)
	return &server{s, client(t, s.URL+"/api/v1/write", s.URL, change...), false}
}

// flush makes what was sent readable.
func (s *server) flush(t testing.TB) {
	t.Helper()
	if !s.victoria {
		return
	}
	resp, err := http.Get(s.URL + "/internal/force_flush")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
}

// everyServer runs a test with each real server.
func everyServer(t *testing.T, check func(t *testing.T, s *server), change ...func(*Config)) {
	if testing.Short() {
		t.Skip("starts servers")
	}
	t.Parallel() // most of them wait
	for name, start := range map[string]func(testing.TB, ...func(*Config)) *server{"victoria-metrics": startVictoria, "prometheus": startPrometheus} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(t, start(t, change...))
		})
	}
}

type sample struct {
	t    int64
	bits uint64
}

func at(t int64, v float64) sample { return sample{t, math.Float64bits(v)} }

// stored reads by series.
func stored(t testing.TB, from storage.Queryable, mint, maxt int64, ms ...*labels.Matcher) map[string][]sample {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	q, err := from.Querier(mint, maxt)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close() //nolint:errcheck // a test
	all := map[string][]sample{}
	set := q.Select(ctx, true, nil, ms...)
	for set.Next() {
		name := set.At().Labels().String()
		all[name] = []sample{}
		it := set.At().Iterator(nil)
		for it.Next() == chunkenc.ValFloat {
			ts, v := it.At()
			all[name] = append(all[name], at(ts, v))
		}
		if it.Err() != nil {
			t.Fatal(it.Err())
		}
	}
	if set.Err() != nil {
		t.Fatal(set.Err())
	}
	return all
}

func named(name string) *labels.Matcher {
	return labels.MustNewMatcher(labels.MatchEqual, "__name__", name)
}

// orderly is a prometheus without an out-of-order window.
func startOrderly(t testing.TB) *server {
	t.Helper()
	s := engine.PrometheusWithin(t, 0)
	return &server{s, client(t, s.URL+"/api/v1/write", s.URL), false}
}

func pemOf(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
