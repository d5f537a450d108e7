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
	"sync"
	"sync/atomic"
	"testing"
	"time"

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

// unqueued is a client as an engine without a queue.
type unqueued struct {
	*Client
	mu     sync.Mutex
	ids    map[string]telemetry.SeriesID
	labels []([]telemetry.Label)
	closed bool
}

func (u *unqueued) Series(labels []telemetry.Label) telemetry.SeriesID {
	u.mu.Lock()
	defer u.mu.Unlock()
	key := string(appendKey(nil, labels))
	if id, ok := u.ids[key]; ok {
		return id
	}
	u.labels = append(u.labels, append([]telemetry.Label(nil), labels...))
	u.ids[key] = telemetry.SeriesID(len(u.labels))
	return u.ids[key]
}

func (u *unqueued) Forget([]telemetry.SeriesID)    {}
func (u *unqueued) Oldest(now time.Time) time.Time { return time.Time{} }
func (u *unqueued) Run(ctx context.Context) error  { <-ctx.Done(); return nil }
func (u *unqueued) Close() error                   { u.closed = true; return u.Client.Close() }

func (u *unqueued) Commit(writes []*telemetry.Write) error {
	if u.closed {
		return store.ErrFailed
	}
	var batch []queue.Series
	u.mu.Lock()
	for _, w := range writes {
		w.Refused = w.Refused[:0]
		for _, p := range w.Points {
			if n := len(batch); n > 0 && batch[n-1].Points[0].Series == p.Series {
				batch[n-1].Points = append(batch[n-1].Points, p)
				continue
			}
			batch = append(batch, queue.Series{Labels: u.labels[p.Series-1], Points: []telemetry.Point{p}})
		}
	}
	u.mu.Unlock()
	return u.Send(context.Background(), batch)
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
		return &unqueued{Client: s.client(t, buckets[dir]), ids: map[string]telemetry.SeriesID{}}
	}, lacks...)
}
