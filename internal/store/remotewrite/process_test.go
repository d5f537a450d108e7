package remotewrite

import (
	"errors"
	"fmt"
	"net/http"
	"testing"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestAProcessIsNamedByItsStart, and one that tells none by whether it was away.
func TestAProcessIsNamedByItsStart(t *testing.T) {
	metrics, cut := "", false
	r := receive(t, v2)
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		switch {
		case cut:
			panic(http.ErrAbortHandler)
		case req.URL.Path != "/metrics":
			return false
		case metrics == "":
			http.NotFound(w, req)
		default:
			fmt.Fprintln(w, metrics)
		}
		return true
	}
	set := func(change func()) {
		r.mu.Lock()
		defer r.mu.Unlock()
		change()
	}
	c := r.client()
	name := func() string {
		t.Helper()
		s, err := c.Process(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	send := func() {
		t.Helper()
		if err := c.Send(t.Context(), someSeries(1)); (err != nil) != cut {
			t.Fatal(err)
		}
	}
	send()
	first := name()
	c.write.CloseIdleConnections()
	send()
	if again := name(); again != first {
		t.Errorf("a new connection alone makes %q of %q", again, first)
	}
	set(func() { cut = true })
	send()
	set(func() { cut = false })
	send()
	second := name()
	if second == first {
		t.Error("one that was away is the same")
	}
	if other := r.client(); true {
		if again, err := other.Process(t.Context()); again == first || again == second || err != nil {
			t.Errorf("another hub takes it for %q: %v", again, err)
		}
	}

	seen := map[string]string{}
	for _, m := range []string{
		"process_start_time_seconds 1764166323",
		"process_start_time_seconds 1764166324",
		"process_start_time_seconds 1764166324\nvm_app_uptime_seconds 1",
		"process_start_time_seconds 1764166325.25",
		"process_start_time_seconds 1764166325.26\nprometheus_tsdb_wal_fsync_duration_seconds_sum 1",
	} {
		set(func() { metrics = m })
		if before, twice := seen[name()]; twice {
			t.Errorf("%q and %q are one", m, before)
		}
		seen[name()] = m
	}
	for m, same := range map[string]string{
		"process_start_time_seconds 1764166324\nvm_app_uptime_seconds 2":                 "process_start_time_seconds 1764166324",
		"process_start_time_seconds 9\nprometheus_tsdb_wal_fsync_duration_seconds_sum 1": "process_start_time_seconds 1764166325.26\nprometheus_tsdb_wal_fsync_duration_seconds_sum 1",
	} {
		if set(func() { metrics = m }); seen[name()] != same {
			t.Errorf("%q is not the same as %q", m, same)
		}
	}
	set(func() { cut = true })
	if s, err := c.Process(t.Context()); err == nil {
		t.Errorf("one that told its start and does not answer is %q", s)
	}
}

// TestATooOldSampleIsRefusedWhateverTheStatus: Prometheus 2.42 says 500, and would
// be asked for ever.
func TestATooOldSampleIsRefusedWhateverTheStatus(t *testing.T) {
	r := receive(t, v2)
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		switch req.URL.Path {
		case "/api/v1/write":
			http.Error(w, "too old sample", http.StatusInternalServerError)
		case "/api/v1/query":
			fmt.Fprint(w, `{"status": "success", "data": {"resultType": "matrix", "result": []}}`)
		default:
			return false
		}
		return true
	}
	var refused *queue.Refused
	if err := r.client().Send(t.Context(), someSeries(1)); !errors.As(err, &refused) || refused.Points[0].Reason != telemetry.ReasonTimePast {
		t.Errorf("%v, want it refused as %s", err, telemetry.ReasonTimePast)
	}
}
