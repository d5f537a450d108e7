package edge

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/uplink"
)

// crew is a roster of sources that the test makes.
func crew(t *testing.T) (r *roster, put chan source.Record, ctx context.Context) {
	t.Helper()
	put = make(chan source.Record, 100)
	r = newRoster(func(_ context.Context, rec source.Record) error { put <- rec; return nil }, 1<<20, testLog(t), time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r, put, ctx
}

func member(name, text string, run source.Func) named {
	return named{name, "sources." + name, text, func() source.Source { return run }}
}

// TestOnlyWhatChangesIsReplaced: others go on, and what is replaced has ended
// before its successor begins, as a port asks for.
func TestOnlyWhatChangesIsReplaced(t *testing.T) {
	r, _, ctx := crew(t)
	var begun, port atomic.Int32
	hold := func(ctx context.Context, put source.Put) error {
		begun.Add(1)
		if !port.CompareAndSwap(0, 1) {
			t.Error("two have the port")
		}
		defer port.Store(0)
		if err := put(ctx, source.Record{}); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}
	var others atomic.Int32
	other := func(ctx context.Context, _ source.Put) error { others.Add(1); <-ctx.Done(); return nil }
	for i, text := range []string{"a", "a", "b", "c"} {
		started := r.set(ctx, []named{member("x", "same", other), member("port", text, hold)})
		if want := []int{2, 0, 1, 1}[i]; len(started) != want {
			t.Errorf("%d started, want %d", len(started), want)
		}
	}
	until(t, "the last has begun", func() bool { return begun.Load() >= 1 && port.Load() == 1 })
	if err := r.restart(ctx, "port"); err != nil {
		t.Error(err)
	}
	if err := r.restart(ctx, "nobody"); err == nil || !strings.Contains(err.Error(), "x") {
		t.Errorf("restart of nobody: %v", err)
	}
	r.set(ctx, []named{member("x", "same", other)})
	if port.Load() != 0 || others.Load() != 1 {
		t.Errorf("port %d, the other began %d times", port.Load(), others.Load())
	}
}

// wish is a hub that wants something of an agent with one source.
type wish struct {
	*remote
	reports chan reported
	used    []string // intervals of the host
}

func newWish(t *testing.T, file string) (*wish, context.Context) {
	t.Helper()
	cfg, faults := ParseConfig([]byte(file))
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	w := &wish{remote: newRemote(cfg, testLog(t)), reports: make(chan reported, 10)}
	r, _, ctx := crew(t)
	w.trial = 300 * time.Millisecond
	w.use = func(ctx context.Context, cfg Config) []*running {
		w.used = append(w.used, cfg.Sources.Host.Interval.Interval.String())
		run := func(ctx context.Context, put source.Put) error {
			if cfg.Tags["broken"] != "" {
				return errors.New("the bus is not there")
			}
			err := put(ctx, source.Record{})
			<-ctx.Done()
			return err
		}
		return r.set(ctx, []named{member("host", cfg.Sources.Host.Interval.Interval.String()+cfg.Tags["broken"], run)})
	}
	w.send = func(_ context.Context, m uplink.Message) error {
		var got reported
		if err := json.Unmarshal(m.Payload, &got); err != nil || m.Suffix != "config/reported" {
			t.Errorf("%s: %v", m.Suffix, err)
		}
		w.reports <- got
		return nil
	}
	return w, ctx
}

// says returns the next report that is of the version.
func (w *wish) says(t *testing.T, version int64) reported {
	t.Helper()
	for {
		select {
		case r := <-w.reports:
			if r.Version == version {
				return r
			}
		case <-time.After(longWait):
			t.Fatalf("version %d is not reported", version)
		}
	}
}

func TestTheLastGoodConfigurationStays(t *testing.T) {
	data := t.TempDir()
	file := "device: d1\ndata: " + data + "\nuplink: {secret: s}\n"
	w, ctx := newWish(t, file)
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	w.use(ctx, w.restore())
	go func() { ended <- w.run(ctx) }()
	if r := w.says(t, 0); r.Config.at("sources.host.interval") != "10s" {
		t.Errorf("reported %v", r)
	}
	for _, c := range []struct{ wanted, path, interval string }{
		{`{"version": 1, "config": {"sources": {"host": {"interval": "20s"}}}}`, "", "20s"},
		{`{"version": 2, "config": {"sources": {"host": {"interval": "1ms"}}}}`, "sources.host.interval", "20s"},
		{`{"version": 3, "config": {"sources": {"host": {"interval": "30s"}}, "tags": {"broken": "yes"}}}`, "sources.host", "20s"},
		{`{"version": 4, "config": null}`, "", "10s"},
		{`{"version": 5, "config": {"sources": {"host": {"interval": "40s"}}}}`, "", "40s"},
		{`{"version": 6, "config": {"sources": {"host": {"interval": "50s"}}, "data": "/"}}`, "data", "40s"},
	} {
		w.take([]byte(c.wanted))
		var head wanted
		if err := json.Unmarshal([]byte(c.wanted), &head); err != nil {
			t.Fatal(err)
		}
		r := w.says(t, head.Version)
		path := ""
		if len(r.Errors) > 0 {
			path = r.Errors[0].Path
		}
		if path != c.path || r.Config.at("sources.host.interval") != c.interval {
			t.Errorf("%s: reported %v in use and %+v", c.wanted, r.Config.at("sources.host.interval"), r.Errors)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if want := []string{"10s", "20s", "30s", "20s", "10s", "40s"}; !slices.Equal(w.used, want) {
		t.Errorf("used %v, want %v", w.used, want)
	}

	for _, c := range []struct{ name, file, interval string }{
		{"as it was", file, "40s"},
		{"another device", strings.Replace(file, "d1", "d2", 1), "10s"},
		{"another file of its own", file + "sources: {gpu: {name: host}, host: {enabled: false}}\n", "40s"},
	} {
		w, _ := newWish(t, c.file)
		if got := w.restore().Sources.Host.Interval.Interval.String(); got != c.interval {
			t.Errorf("%s: begins with %s, want %s", c.name, got, c.interval)
		}
	}
	if err := os.WriteFile(wantedFile(w.own), []byte(`{"device": "d1", "version": 5, "conf`), 0o600); err != nil {
		t.Fatal(err)
	}
	if w, _ := newWish(t, file); w.restore().Sources.Host.Interval.Interval != 10*time.Second {
		t.Error("half a file was used")
	}
}

// TestHistoryWaitsForNobodyInAFlush: a rate that would take hours is passed by.
func TestHistoryWaitsForNobodyInAFlush(t *testing.T) {
	b := startBroker(t)
	cfg, url := pushed(t, b.url())
	cfg.Uplink.BackfillRate = 1
	b.stop()
	stop := startAgent(t, cfg)
	for i := range 20 {
		send(t, url, "flushed", i)
	}
	stop()
	b.start()
	h := b.hub("rsu-7")
	startAgent(t, cfg)
	message := `{"id": "c-1", "name": "flush", "delivery": "at_least_once"}`
	until(t, "the agent hears", func() bool {
		wait(t, h.client.Publish("devices/rsu-7/commands", 1, false, message))
		h.mu.Lock()
		defer h.mu.Unlock()
		return slices.ContainsFunc(h.raw, func(b []byte) bool { return strings.Contains(string(b), `"state":"done"`) })
	})
	until(t, "what waited arrives", func() bool { return h.missing("flushed", 20) == 0 })
}
