package api

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

// TestTheEventsOfAWorkloadArePagedAndNarrowed reads the story of one workload,
// of its leases too, by those who may.
func TestTheEventsOfAWorkloadArePagedAndNarrowed(t *testing.T) {
	h := centre(t)
	h.far()
	jilin := h.as(h.roleToken("jl", access.Scheduler, "22"))
	mine := jilin.want(201, jilin.do("POST", "/api/v1/workloads", one("mine", 1, "")))
	h.want(201, h.do("POST", "/api/v1/workloads", one("other", 1, "")))
	id, lease := mine.body["id"].(string), at(mine.body, "lease", "id").(string)
	h.want(204, h.do("DELETE", "/api/v1/workloads/"+id, ""))

	var told []string
	last := 0.0
	for path, next := "/api/v1/workloads/"+id+"/events?limit=2", any(""); next != nil; path = fmt.Sprintf("/api/v1/workloads/%s/events?limit=2&cursor=%s", id, next) {
		r := jilin.want(200, jilin.do("GET", path, ""))
		items, _ := r.body["items"].([]any)
		if len(items) == 0 || len(items) > 2 {
			t.Fatalf("a page of %d: %s", len(items), r.text)
		}
		for _, e := range items {
			if at(e, "object") != id && at(e, "object") != lease || at(e, "seq").(float64) <= last {
				t.Errorf("%v is not of %s, or comes late", e, id)
			}
			last = at(e, "seq").(float64)
			told = append(told, fmt.Sprint(at(e, "to")))
		}
		next = r.body["next_cursor"]
	}
	if got := strings.Join(told, " "); got != "submitted reserved held cancelled released" {
		t.Errorf("it went %s", got)
	}
	if r := h.want(200, h.do("GET", fmt.Sprintf("/api/v1/workloads/%s/events?since=%.0f", id, last), "")); len(r.body["items"].([]any)) != 0 {
		t.Errorf("after the last: %s", r.text)
	}
	beijing := h.as(h.roleToken("bj", access.Operator, "11"))
	beijing.want(404, beijing.do("GET", "/api/v1/workloads/"+id+"/events", ""))
	h.want(404, h.do("GET", "/api/v1/workloads/w-nobody/events", ""))
	h.want(422, h.do("GET", "/api/v1/workloads/"+id+"/events?since=-1", ""))
	h.want(422, h.do("GET", "/api/v1/workloads/"+id+"/events?cursor=x", ""))
}

// shifted is a clock that a test moves.
type shifted struct{ by atomic.Int64 }

func (s *shifted) now() time.Time       { return time.Now().Add(time.Duration(s.by.Load())) }
func (s *shifted) pass(d time.Duration) { s.by.Add(int64(d)) }

// eventually waits for what becomes true.
func (h *hub) eventually(what string, is func() bool) {
	h.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			h.Fatalf("%s has not come", what)
		}
	}
}

// TestAWatchIsToldThatItsEventsAreGone has the ledger forget events by itself.
func TestAWatchIsToldThatItsEventsAreGone(t *testing.T) {
	clock, cfg := &shifted{}, loop.DefaultConfig()
	cfg.Ledger.MaxEvents = 1000
	h := startWith(t, cfg, clock.now)
	batch := `{"workloads": [` + strings.TrimSuffix(strings.Repeat(one("w", 1, "")+",", 200), ",") + `]}`
	h.want(200, h.do("POST", "/api/v1/workloads:batch", batch))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	seen := 0.0
	if err := h.events(ctx, "?since=0", func(e map[string]any) bool {
		if e != nil {
			seen = e["seq"].(float64)
		}
		return seen == 100
	}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		h.want(200, h.do("POST", "/api/v1/workloads:batch", batch))
	}
	clock.pass(2 * time.Minute) // when the ledger looks what to forget
	gone := reply{}
	h.eventually("410", func() bool {
		// A stream that has not ended is no answer yet.
		short, stop := context.WithCancel(t.Context())
		defer stop()
		req, err := http.NewRequestWithContext(short, "GET", h.server.URL+fmt.Sprintf("/api/v1/watch?since=%.0f", seen), nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+h.token)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		if gone.status = resp.StatusCode; gone.status == 410 {
			text, _ := io.ReadAll(resp.Body)
			gone.text = string(text)
		}
		return gone.status == 410
	})
	if !strings.Contains(gone.text, "read a snapshot") {
		t.Errorf("410 does not say what to do: %s", gone.text)
	}
}

func TestAKeyEndsAfterSevenDays(t *testing.T) {
	clock := &shifted{}
	h := startWith(t, loop.DefaultConfig(), clock.now)
	post := func() reply {
		return h.want(202, h.do("POST", "/api/v1/workloads", one("nightly", 1, ""), "Idempotency-Key: nightly"))
	}
	first := post().body["id"]
	clock.pass(7*24*time.Hour - time.Hour)
	if r := post(); r.body["id"] != first || r.body["repeated"] != true {
		t.Errorf("before seven days: %s", r.text)
	}
	h.want(409, h.do("POST", "/api/v1/workloads", one("other", 1, ""), "Idempotency-Key: nightly"))
	clock.pass(2 * time.Hour)
	h.eventually("the end of the key", func() bool { return post().body["id"] != first })
}

// pipe is an answer to a reader that reads when it likes.
type pipe struct {
	net.Conn
	header http.Header
}

func (p *pipe) Header() http.Header { return p.header }
func (p *pipe) WriteHeader(int)     {}
func (p *pipe) FlushError() error   { return nil }

// TestASlowReaderIsCutOffAndResumes has a reader stop in the middle of a stream:
// nothing is kept for it, it is cut off, and goes on from what it has seen.
func TestASlowReaderIsCutOffAndResumes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db, err := records.Open(t.Context(), filepath.Join(t.TempDir(), "r.db"))
		if err != nil {
			t.Fatal(err)
		}
		s, err := loop.Open(t.Context(), loop.DefaultConfig(), loop.Deps{Records: db, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		defer func() {
			stop()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			_ = db.Close()
		}()
		submit := func() {
			all := make([]loop.Submission, 500)
			for i := range all {
				all[i].Workload = &schedule.Workload{Tenant: "default", Name: "w", Gang: schedule.GangNone, Shape: schedule.AnyShape, Objective: schedule.Cheapest,
					Tasks: []schedule.Task{{Name: "main", Min: 1, Max: 1, Use: schedule.Vector{schedule.CPUMilli: 1000}, P50: time.Hour, P95: time.Hour}}}
			}
			for _, a := range s.Submit(ctx, all...) {
				if a.Err != nil {
					t.Fatal(a.Err)
				}
			}
		}
		submit()
		a := &API{Deps: Deps{Scheduler: s, Log: slog.New(slog.DiscardHandler)}}
		// read follows a stream for n events, then stops reading, and returns the
		// last that it saw and how long the hub waited for it.
		read := func(since, n int) (last int, waited time.Duration) {
			here, there := net.Pipe()
			defer here.Close()
			done := make(chan struct{})
			go func() {
				defer close(done)
				r, _ := http.NewRequestWithContext(ctx, "GET", fmt.Sprintf("/api/v1/watch?since=%d", since), nil)
				a.watch(&pipe{there, http.Header{}}, r)
				_ = there.Close()
			}()
			lines := bufio.NewScanner(here)
			for last = since; n > 0 && lines.Scan(); {
				if id, ok := strings.CutPrefix(lines.Text(), "id: "); ok {
					seq := 0
					if _, err := fmt.Sscan(id, &seq); err != nil || seq != last+1 {
						t.Fatalf("event %q follows %d", id, last)
					}
					last, n = seq, n-1
				}
			}
			began := time.Now()
			submit() // what happens meanwhile waits for nobody
			<-done
			return last, time.Since(began)
		}
		last, waited := read(0, 10)
		if waited < writeWithin || waited > writeWithin+beat {
			t.Errorf("it was cut off after %v, want %v", waited, writeWithin)
		}
		last, _ = read(last, 700)
		if last != 710 {
			t.Errorf("it has seen up to %d, want 710", last)
		}
	})
}
