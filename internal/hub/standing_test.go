package hub

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// counted is a store that takes everything, counts its commits, and holds them
// back while gate is closed to them.
type counted struct {
	gate chan struct{} // every commit takes one token; closed: no limit

	mu      sync.Mutex
	names   map[string]telemetry.SeriesID
	commits int
	last    map[telemetry.SeriesID]telemetry.Point
}

func newCounted() *counted {
	return &counted{gate: make(chan struct{}), names: map[string]telemetry.SeriesID{}, last: map[telemetry.SeriesID]telemetry.Point{}}
}

func (c *counted) Series(labels []telemetry.Label) telemetry.SeriesID {
	c.mu.Lock()
	defer c.mu.Unlock()
	name := fmt.Sprint(labels)
	if _, ok := c.names[name]; !ok {
		c.names[name] = telemetry.SeriesID(len(c.names) + 1)
	}
	return c.names[name]
}

func (c *counted) Forget([]telemetry.SeriesID) {}

func (c *counted) Oldest(time.Time) time.Time { return time.Time{} }

func (c *counted) Keep(time.Time, *ingest.Message) {}

func (c *counted) Commit(writes []*telemetry.Write) error {
	<-c.gate
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits++
	for _, w := range writes {
		for _, p := range w.Points {
			if p.Time >= c.last[p.Series].Time {
				c.last[p.Series] = p
			}
		}
	}
	return nil
}

func (c *counted) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.commits
}

// assembly is records, registry, ingest and presence as Run puts them together.
type assembly struct {
	*counted
	registry *registry.Registry
	pipeline *ingest.Pipeline
	presence *registry.Presence
	standing *standing
	records  *records.DB
	stop     func()
}

func assemble(t *testing.T, dir string) *assembly {
	t.Helper()
	log, a := slog.New(slog.DiscardHandler), &assembly{counted: newCounted()}
	var err error
	must := func() {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	a.records, err = records.Open(t.Context(), filepath.Join(dir, recordsFile))
	must()
	sealer, err := registry.OpenSealer(filepath.Join(dir, secretsFile))
	must()
	a.registry, err = registry.Open(t.Context(), registry.Config{Records: a.records, Sealer: sealer, Log: log, Now: time.Now})
	must()
	a.pipeline = ingest.New(ingest.DefaultConfig(), ingest.Deps{
		Store: a.counted, Directory: a.registry, Notes: notes{a.registry}, Desk: a.counted, Quotas: quota.New(quota.DefaultConfig(), time.Now(), prometheus.NewRegistry()),
		Log: log, Clock: time.Now, Metrics: prometheus.NewRegistry(),
	})
	a.standing = newStanding(a.counted, a.counted, a.pipeline, a.registry, time.Now, log)
	a.presence, err = registry.NewPresence(t.Context(), registry.PresenceConfig{
		Registry: a.registry, Records: a.records, Activity: activity{a.pipeline}, On: a.standing.turn,
		Log: log, Now: time.Now, Metrics: prometheus.NewRegistry(),
	})
	must()
	a.standing.presence = a.presence
	s := newStack(log)
	s.onStop("records", a.records.Close)
	s.start("ingest", a.pipeline.Run)
	s.start("presence", a.presence.Run)
	a.stop = sync.OnceFunc(func() {
		if err := s.stop(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(a.stop)
	return a
}

func (a *assembly) add(t *testing.T, specs ...registry.Spec) {
	t.Helper()
	if _, err := a.registry.CreateBatch(t.Context(), specs); err != nil {
		t.Fatal(err)
	}
}

// report lets a device report a value for a time.
func (a *assembly) report(t *testing.T, at time.Time, devices ...string) {
	t.Helper()
	var d ingest.Delivery
	for _, id := range devices {
		d.Add(id, codec.JSON, fmt.Appendf(nil, `{"ts": %d, "v": 1}`, at.UnixMilli()))
	}
	if err := a.pipeline.Ingest(&d); err != nil {
		t.Fatal(err)
	}
	for i := range d.Messages {
		if d.Messages[i].Accepted != 1 {
			t.Fatalf("%+v", d.Messages[i].Rejects)
		}
	}
}

// A power cut in a district: every device of it connects, reports and drops
// while the store is slow, and then the hub is stopped.
func TestThousandsThatDropTogetherShareCommits(t *testing.T) {
	const n = 5000
	dir := t.TempDir()
	a := assemble(t, dir)
	specs, ids := make([]registry.Spec, n), make([]string, n)
	for i := range specs {
		ids[i] = fmt.Sprintf("d%04d", i)
		specs[i] = registry.Spec{ID: ids[i]}
	}
	a.add(t, specs...)
	go func() { a.gate <- struct{}{} }()
	a.report(t, time.Now(), ids...)

	for _, id := range ids {
		a.presence.Connected(id)
		a.presence.Left(id, registry.ReasonLost)
	}
	before := a.count()
	go close(a.gate)
	a.stop()
	// What the first flush took, and what came while it waited, cost two each.
	if got := a.count() - before; got > 4 {
		t.Errorf("%d commits for %d devices that dropped", got, n)
	}

	var ended, offline int
	for name, id := range a.names {
		p := a.last[id]
		if telemetry.IsStaleMarker(p.Value) {
			ended++
		} else if p.Value == 0 && p.Time > 0 {
			offline++
		} else {
			t.Fatalf("%s ends with %+v", name, p)
		}
	}
	if ended != n || offline != n {
		t.Errorf("%d series are ended and %d devices shown offline, of %d", ended, offline, n)
	}

	again := assemble(t, dir)
	close(again.gate)
	for _, id := range ids {
		if got := again.presence.Of(id); got.State != registry.Offline || got.Reason != registry.ReasonLost {
			t.Fatalf("after the stop %s is %s (%s)", id, got.State, got.Reason)
		}
	}
}
