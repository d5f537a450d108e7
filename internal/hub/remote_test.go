package hub

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/ingest/desk"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/store/remotewrite"
	"github.com/songhua-io/hub/internal/telemetry"
)

// taker is a server of remote write that takes everything, or nothing.
type taker struct {
	*httptest.Server
	takes atomic.Bool
}

func newTaker(t testing.TB) *taker {
	k := &taker{}
	k.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !k.takes.Load() {
			http.Error(w, "in maintenance", http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(k.Close)
	return k
}

// behind has a hub keep its series at the server.
func (k *taker) behind(local time.Duration) func(*hub) {
	return func(h *hub) { k.keeps(&h.cfg, local) }
}

// keeps names the server in a configuration.
func (k *taker) keeps(c *config.Config, local time.Duration) {
	cfg := remotewrite.DefaultConfig()
	cfg.WriteURL, cfg.QueryURL, cfg.Reader, cfg.Unflushed = k.URL+"/api/v1/write", k.URL, remotewrite.Query, 0
	r := &c.Store.Remote
	r.Kind, r.Local, r.RemoteWrite = config.RemoteWrite, local, &cfg
	r.Queue.MaxBytes = 256 << 20
}

// TestAFullQueueRefusesAtTheDoorsAndTakesAgain: nothing is taken of what comes
// meanwhile, and the hub does not end.
func TestAFullQueueRefusesAtTheDoorsAndTakesAgain(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 256 MiB")
	}
	k := newTaker(t)
	h := whole(t, t.TempDir(), k.behind(0))
	secret := h.register(t, registry.Spec{ID: "probe"})
	send := func() (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.at.HTTP+"/api/v1/devices/probe/telemetry", strings.NewReader(fmt.Sprintf(`{"ts": %d, "level": 1}`, time.Now().UnixMilli())))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var text strings.Builder
		if err := resp.Write(&text); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, text.String()
	}
	if code, text := send(); code != http.StatusOK {
		t.Fatalf("while the engine is away: %d %s", code, text)
	}
	h.fill(t)
	before, _, _ := h.pipeline.Totals()
	if code, text := send(); code != http.StatusTooManyRequests || !strings.Contains(text, "Retry-After") || !strings.Contains(text, "engine") {
		t.Errorf("while it is full: %d %s", code, text)
	}
	if after, _, _ := h.pipeline.Totals(); after != before {
		t.Error("something was taken")
	}
	if err := h.ready(); err == nil || !strings.Contains(err.Error(), "max_bytes") || !strings.Contains(err.Error(), "in maintenance") {
		t.Errorf("ready: %v", err)
	}
	k.takes.Store(true)
	soon(t, "it takes again", func() bool { code, _ := send(); return code == http.StatusOK })
	if err := h.ready(); err != nil {
		t.Error(err)
	}
}

// TestWhatTheEngineWillNeverTakeGoesToTheDesk, as a line that can be replayed.
func TestWhatTheEngineWillNeverTakeGoesToTheDesk(t *testing.T) {
	for _, c := range []struct {
		labels []telemetry.Label
		value  float64
		device string
		line   string
	}{
		{[]telemetry.Label{{Name: "__name__", Value: "soil moisture"}, {Name: "device", Value: "probe"}, {Name: "kind", Value: "sensor"}, {Name: "room", Value: "a,b=c d"}}, 21.5, "probe", `soil\ moisture,room=a\,b\=c\ d value=21.5 1764000000000000000` + "\n"},
		{[]telemetry.Label{{Name: "__name__", Value: "level"}, {Name: "device", Value: "probe"}}, math.Inf(1), "probe", ""},
		{[]telemetry.Label{{Name: "__name__", Value: "hub_up"}, {Name: "job", Value: "hub"}}, 1, "", "hub_up,job=hub value=1 1764000000000000000\n"},
	} {
		device, line := lineOf(c.labels, telemetry.Point{Time: 1764000000000, Value: c.value})
		if device != c.device || string(line) != c.line {
			t.Errorf("%v: %q of %q, want %q of %q", c.labels, line, device, c.line, c.device)
		}
	}
}

// TestWhatTheEngineRefusesAgainIsOnTheDeskOnce: what was under way when the hub or
// the server ended is sent, and refused, again.
func TestWhatTheEngineRefusesAgainIsOnTheDeskOnce(t *testing.T) {
	dir := t.TempDir()
	labels := []telemetry.Label{{Name: "__name__", Value: "level"}, {Name: "device", Value: "probe"}}
	for i := range 2 {
		h := whole(t, dir)
		if err := h.poison([]queue.Poisoned{{Labels: labels, Point: telemetry.Point{Time: 1764000000000, Value: 1}, Reason: telemetry.ReasonTimePast, Detail: fmt.Sprintf("attempt %d", i)}}); err != nil {
			t.Fatal(err)
		}
		page, err := h.desk.List(t.Context(), desk.Query{})
		if err != nil || len(page.Entries) != 1 {
			t.Errorf("after start %d: %+v, %v", i+1, page.Entries, err)
		}
		h.end(t)
	}
}

// TestTheStoreHereIsNotAskedForWhatItMissed while the engine elsewhere was alone.
func TestTheStoreHereIsNotAskedForWhatItMissed(t *testing.T) {
	dir := t.TempDir()
	k := newTaker(t)
	since := func(local time.Duration) time.Time {
		h := whole(t, dir, k.behind(local))
		defer h.end(t)
		return h.series.Since()
	}
	first := since(time.Hour)
	if again := since(time.Hour); !again.Equal(first) {
		t.Errorf("at the second start: since %v, want %v", again, first)
	}
	since(0)
	before := time.Now()
	after := since(time.Hour)
	if after.Before(before) {
		t.Errorf("after a time alone: since %v, want %v or later", after, before)
	}
	if again := since(time.Hour); !again.Equal(after) {
		t.Errorf("at the start after that: since %v, want %v", again, after)
	}
}
