package remotewrite

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// restarting is a receiver whose process has a start time, or tells none.
func restarting(t *testing.T, process *string) *receiver {
	r := receive(t, v2)
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path != "/metrics" {
			return false
		}
		if *process == "" {
			http.NotFound(w, req)
			return true
		}
		fmt.Fprintln(w, "# TYPE process_start_time_seconds gauge\nprocess_start_time_seconds "+*process)
		return true
	}
	return r
}

func TestARestartedServerIsSentAgainWhatItMayHaveLost(t *testing.T) {
	process := "1764166323"
	r := restarting(t, &process)
	c := r.client()
	for i := range 3 {
		if err := c.Send(t.Context(), someSeries(i+1)); err != nil {
			t.Fatal(err)
		}
	}
	if r.requests != 3 {
		t.Fatalf("%d requests for three batches", r.requests)
	}
	if err := c.verify(t.Context()); err != nil || r.requests != 3 {
		t.Errorf("%d requests to a server that was not restarted: %v", r.requests, err)
	}
	process = "1764166324"
	if err := c.verify(t.Context()); err != nil || r.requests != 6 {
		t.Errorf("%d requests to a server that was restarted, want the three again: %v", r.requests, err)
	}
	if err := c.verify(t.Context()); err != nil || r.requests != 6 {
		t.Errorf("%d requests: sent again once more: %v", r.requests, err)
	}
}

// A server that tells no start time may be another process whenever there is a
// new connection, and only then.
func TestAServerWithoutAStartTimeIsSentAgainForNewConnectionsAlone(t *testing.T) {
	process := ""
	r := restarting(t, &process)
	c := r.client()
	for range 3 {
		if err := c.Send(t.Context(), someSeries(2)); err != nil {
			t.Fatal(err)
		}
	}
	before := r.requests
	for range 3 {
		if err := c.verify(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if r.requests != before {
		t.Errorf("%d requests without a new connection", r.requests-before)
	}
	r.CloseClientConnections()
	for c.Send(t.Context(), someSeries(2)) != nil { // an end of the old connection may come in between
	}
	if r.requests <= before+1 {
		t.Error("nothing was sent again for a new connection")
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	process := "1764166323"
	r := restarting(t, &process)
	c := r.client(func(cfg *Config) { cfg.Unflushed = 20 * time.Millisecond })
	c.hold.most = 1
	for i := range 5 {
		if err := c.Send(t.Context(), someSeries(i+1)); err != nil {
			t.Fatal(err)
		}
		if len(c.hold.kept) != 1 {
			t.Errorf("%d requests are kept, want the newest", len(c.hold.kept))
		}
	}
}
