package influx

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/hubtest/engine"
	"github.com/songhua-io/hub/internal/store"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/store/storetest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// influxd is a real InfluxDB with a database for each asking test.
type influxd struct{ *engine.Server }

func startInflux(t testing.TB) influxd {
	if testing.Short() {
		t.Skip("starts influxd; make test")
	}
	return influxd{engine.Influx(t)}
}

var databases atomic.Int64

// bucket makes a new one. It has few shards, however far apart the times of a test
// lie: each costs files and memory.
func (s influxd) bucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("db%d", databases.Add(1))
	s.influxQL(t, "CREATE DATABASE "+name+" WITH SHARD DURATION 2600w")
	t.Cleanup(func() { s.influxQL(t, "DROP DATABASE "+name) })
	return name + "/autogen"
}

func (s influxd) influxQL(t testing.TB, q string) string {
	t.Helper()
	resp, err := http.PostForm(s.URL+"/query?"+url.Values{"u": {engine.InfluxUser}, "p": {engine.InfluxPassword}}.Encode(), url.Values{"q": {q}})
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close() //nolint:errcheck // a test
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s %s %v", q, resp.Status, text, err)
	}
	return string(text)
}

// configAt is of a server that takes a token.
func configAt(t testing.TB, url, bucket, token string) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.URL, cfg.Bucket, cfg.TokenFile = url, bucket, filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(cfg.TokenFile, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return cfg
}

func clientWith(t testing.TB, cfg Config) *Client {
	t.Helper()
	c, err := New(cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func (s influxd) client(t testing.TB, bucket string) *Client {
	t.Helper()
	return clientWith(t, configAt(t, s.URL, bucket, engine.InfluxToken))
}

func metric(name string, pairs ...string) []telemetry.Label {
	l := []telemetry.Label{{Name: "__name__", Value: name}}
	for i := 0; i < len(pairs); i += 2 {
		l = append(l, telemetry.Label{Name: pairs[i], Value: pairs[i+1]})
	}
	return l
}

// queued is a client behind its queue, as the hub has it.
type queued struct {
	*queue.Queue
	storage.Queryable
	stop func()
}

// queuedAt opens a queue that forwards until it is closed. What is refused for good
// goes to poison.
func queuedAt(t testing.TB, dir string, c *Client, poison func([]telemetry.Label, telemetry.Point, telemetry.Reason, string)) *queued {
	t.Helper()
	cfg := queue.DefaultConfig()
	cfg.Dir, cfg.BatchWait, cfg.Shards = dir, time.Millisecond, 2
	q, err := queue.Open(cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), c,
		func(all []queue.Poisoned) error {
			for _, p := range all {
				poison(p.Labels, p.Point, p.Reason, p.Detail)
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if err := q.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("the queue ends: %v", err)
		}
	}()
	return &queued{Queue: q, Queryable: c, stop: func() { cancel(); <-ended }}
}

func (q *queued) Close() error {
	q.stop()
	return q.Queue.Close()
}

const lastWins = "InfluxDB keeps the value that came last, and says nothing"

var lacks = []storetest.Lack{
	{Promise: "another value of a stored time is refused", Why: lastWins},
	{Promise: "another value within one commit is refused", Why: lastWins},
	{Promise: "another value is refused however late and however alike", Why: lastWins},
}

func TestInfluxKeepsThePromisesOfAStore(t *testing.T) {
	s := startInflux(t)
	buckets := map[string]string{}
	storetest.Run(t, func(t *testing.T, dir string) store.Engine {
		if buckets[dir] == "" {
			buckets[dir] = s.bucket(t) // a directory is of one test
		}
		return queuedAt(t, dir, s.client(t, buckets[dir]), func(l []telemetry.Label, p telemetry.Point, r telemetry.Reason, detail string) {
			t.Errorf("refused %v %v as %s: %s", l, p, r, detail)
		})
	}, lacks...)
}
