package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// receiver is a server that speaks one version of remote write and says what a
// test has it say. It takes every sample once that it does not refuse.
type receiver struct {
	*httptest.Server
	t       *testing.T
	version version
	refuse  func(s sent) (status int, text string)
	before  func(w http.ResponseWriter, r *http.Request) (done bool)

	mu       sync.Mutex
	taken    map[sent]int
	requests int
}

func receive(t *testing.T, v version) *receiver {
	r := &receiver{t: t, version: v, taken: map[sent]int{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) client(change ...func(*Config)) *Client {
	return client(r.t, r.URL+"/api/v1/write", r.URL, append([]func(*Config){func(c *Config) { c.Reader, c.Timeout = Query, 10*time.Second }}, change...)...)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.before != nil && r.before(w, req) {
		return
	}
	switch req.URL.Path {
	case "/metrics":
		fmt.Fprintln(w, "process_start_time_seconds 1764166323.5")
		return
	case "/api/v1/write":
	default:
		http.NotFound(w, req)
		return
	}
	r.requests++
	packed, _ := io.ReadAll(req.Body)
	body, err := snappy.Decode(nil, packed)
	if err != nil {
		r.t.Error(err)
	}
	is := v1
	if strings.Contains(req.Header.Get("Content-Type"), "io.prometheus.write.v2.Request") {
		is = v2
	}
	if is != r.version {
		http.Error(w, "unsupported", http.StatusUnsupportedMediaType)
		return
	}
	all := decoded(r.t, is, body)
	for _, s := range all {
		if r.refuse != nil {
			if status, text := r.refuse(s); status != 0 {
				w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "0")
				http.Error(w, text, status)
				return
			}
		}
	}
	for _, s := range all {
		r.taken[s]++
	}
	if is == v2 {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(len(all)))
	}
	w.WriteHeader(http.StatusNoContent)
}

func someSeries(n int) []queue.Series {
	s := queue.Series{Labels: metric("load", "n1")}
	for i := range n {
		s.Points = append(s.Points, telemetry.Point{Time: int64(i) * 1000, Value: float64(i)})
	}
	return []queue.Series{s}
}

func TestTheVersionIsTheOneThatTheServerSpeaks(t *testing.T) {
	for _, v := range []version{v1, v2} {
		r := receive(t, v)
		c := r.client()
		for range 3 {
			if err := c.Send(t.Context(), someSeries(5)); err != nil {
				t.Fatal(err)
			}
		}
		if len(r.taken) != 5 {
			t.Errorf("version %d: %d samples came, want 5", v, len(r.taken))
		}
		if want := map[version]int{v1: 4, v2: 3}[v]; r.requests != want {
			t.Errorf("version %d: %d requests for three batches, want %d: the version is found out once", v, r.requests, want)
		}
	}
}

// A server that knows of no version 2 finds nothing in such a request, and says
// that all went well.
func TestSuccessWithoutACountIsNoSuccessOfVersion2(t *testing.T) {
	r := receive(t, v1)
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		if strings.Contains(req.Header.Get("Content-Type"), "v2") {
			w.WriteHeader(http.StatusNoContent)
			return true
		}
		return false
	}
	if err := r.client().Send(t.Context(), someSeries(5)); err != nil || len(r.taken) != 5 {
		t.Errorf("%d samples came, want 5: %v", len(r.taken), err)
	}
}

func TestACountThatIsShortIsNoSuccess(t *testing.T) {
	r := receive(t, v2)
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/api/v1/write" {
			w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "0")
			w.WriteHeader(http.StatusNoContent)
			return true
		}
		return false
	}
	err := r.client().Send(t.Context(), someSeries(2))
	if refused, ok := errors.AsType[*queue.Refused](err); !ok || len(refused.Points) != 2 {
		t.Errorf("%v, want both points refused", err)
	}
}

func TestPoisonIsFoundAndTheRestIsStored(t *testing.T) {
	for _, v := range []version{v1, v2} {
		r := receive(t, v)
		bad := []int{0, 17, 18, 63, 99}
		r.refuse = func(s sent) (int, string) {
			if slices.Contains(bad, int(s.time/1000)) {
				return http.StatusBadRequest, "label name is not fine"
			}
			return 0, ""
		}
		err := r.client().Send(t.Context(), someSeries(100))
		refused, ok := errors.AsType[*queue.Refused](err)
		if !ok {
			t.Fatal(err)
		}
		var got []int
		for _, p := range refused.Points {
			got = append(got, p.Point)
			if p.Reason != telemetry.ReasonLabelInvalid || !strings.Contains(p.Detail, "label name is not fine") {
				t.Errorf("refused as %s: %s", p.Reason, p.Detail)
			}
		}
		if !slices.Equal(got, bad) || len(r.taken) != 95 {
			t.Errorf("version %d: refused %v, want %v; %d came, want 95", v, got, bad, len(r.taken))
		}
		if r.requests > 100 {
			t.Errorf("version %d: %d requests for five points of a hundred", v, r.requests)
		}
	}
}

func TestAPointThatIsAheadIsRefusedAsSuch(t *testing.T) {
	r := receive(t, v2)
	ahead := time.Now().Add(time.Hour).UnixMilli()
	r.refuse = func(s sent) (int, string) {
		if s.time == ahead {
			return http.StatusBadRequest, "err-mimir-too-far-in-future"
		}
		return 0, ""
	}
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		if req.URL.Path == "/api/v1/query" {
			fmt.Fprint(w, `{"status":"success","data":{"resultType":"matrix","result":[]}}`)
			return true
		}
		return false
	}
	batch := someSeries(3)
	batch[0].Points[1].Time = ahead
	err := r.client().Send(t.Context(), batch)
	refused, ok := errors.AsType[*queue.Refused](err)
	if !ok || len(refused.Points) != 1 || refused.Points[0].Point != 1 || refused.Points[0].Reason != telemetry.ReasonTimeFuture {
		t.Errorf("%v, want point 1 refused with time_future", err)
	}
}

func TestARequestThatIsTooLargeIsHalved(t *testing.T) {
	r := receive(t, v2)
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		if req.ContentLength > 400 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return true
		}
		return false
	}
	if err := r.client().Send(t.Context(), someSeries(200)); err != nil || len(r.taken) != 200 {
		t.Errorf("%d samples came, want 200: %v", len(r.taken), err)
	}
}

func TestWhatIsNoFaultOfThePointsIsTriedLater(t *testing.T) {
	for status, wayOut := range map[int]string{429: "", 500: "", 503: "", 401: "token_file", 403: "token_file", 404: "write_url", 405: "write_url", 301: "redirect"} {
		r := receive(t, v2)
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			if req.URL.Path != "/api/v1/write" {
				return false
			}
			if status == 429 || status == 503 {
				w.Header().Set("Retry-After", "7")
			}
			if status == 301 {
				w.Header().Set("Location", "/elsewhere")
			}
			http.Error(w, "not now", status)
			return true
		}
		err := r.client().Send(t.Context(), someSeries(10))
		if _, refused := errors.AsType[*queue.Refused](err); refused || err == nil {
			t.Errorf("%d: %v, want an error that is tried again", status, err)
			continue
		}
		later, isLater := errors.AsType[*queue.Later](err)
		if want := status == 429 || status == 503; isLater != want || isLater && later.After != 7*time.Second {
			t.Errorf("%d: %v, want Retry-After: %v", status, err, want)
		}
		if !strings.Contains(err.Error(), wayOut) {
			t.Errorf("%d: %v does not name %s", status, err, wayOut)
		}
		if r.requests > 0 {
			t.Errorf("%d: the points were looked for what is wrong with them", status)
		}
	}
}

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "0": 0, "30": 30 * time.Second, "-1": 0, "soon": 0, "86400": time.Hour} {
		if got := retryAfter(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
	if got := retryAfter(time.Now().Add(time.Minute).UTC().Format(http.TimeFormat)); got < 30*time.Second || got > time.Minute {
		t.Errorf("a minute from now: %v", got)
	}
}

func TestARequestEndsWithItsContext(t *testing.T) {
	r := receive(t, v2)
	release := make(chan struct{})
	r.before = func(http.ResponseWriter, *http.Request) bool { <-release; return true }
	defer close(release)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.client().Send(ctx, someSeries(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestWhoTheHubIsGoesWithEveryRequest(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "secret")
	secret := func(text string) {
		if err := os.WriteFile(file, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		change func(*Config)
		want   func(r *http.Request) bool
	}{
		{func(c *Config) { c.TokenFile = file }, func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer the-second" }},
		{func(c *Config) { c.User, c.PasswordFile = "hub", file }, func(r *http.Request) bool {
			u, p, _ := r.BasicAuth()
			return u == "hub" && p == "the-second"
		}},
	} {
		r := receive(t, v2)
		client := r.client(c.change, func(cfg *Config) { cfg.Headers = map[string]string{"X-Scope-OrgID": "changchun"} })
		secret("the-first")
		if err := client.Send(t.Context(), someSeries(1)); err != nil {
			t.Fatal(err)
		}
		secret("the-second")
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			if !c.want(req) || req.Header.Get("X-Scope-OrgID") != "changchun" {
				t.Errorf("%s comes with %v", req.URL.Path, req.Header)
			}
			return false
		}
		if err := client.Send(t.Context(), someSeries(2)); err != nil {
			t.Fatal(err)
		}
		q, _ := client.Querier(0, 1)
		_, _, _ = q.LabelNames(t.Context(), nil)
		secret("")
		if err := client.Send(t.Context(), someSeries(3)); err == nil || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "the-second") {
			t.Errorf("an empty file: %v", err)
		}
	}
}

func TestAServerOfATestAuthorityIsBelieved(t *testing.T) {
	r := &receiver{t: t, version: v2, taken: map[sent]int{}}
	r.Server = httptest.NewTLSServer(r)
	defer r.Close()
	if err := r.client().Send(t.Context(), someSeries(1)); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("an unknown authority: %v", err)
	}
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(r.Certificate().Raw), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.client(func(c *Config) { c.TLS.CA = ca }).Send(t.Context(), someSeries(1)); err != nil || len(r.taken) != 1 {
		t.Errorf("%d samples came: %v", len(r.taken), err)
	}
}

func TestConfigFaultsAreNamed(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"write_url":   func(c *Config) { c.WriteURL = "" },
		"query_url":   func(c *Config) { c.QueryURL = "127.0.0.1:8428" },
		"user":        func(c *Config) { c.User = "hub" },
		"token_file":  func(c *Config) { c.TokenFile, c.User, c.PasswordFile = "a", "b", "c" },
		"reader":      func(c *Config) { c.Reader = "magic" },
		"headers":     func(c *Config) { c.Headers = map[string]string{"authorization": "Bearer x"} },
		"timeout":     func(c *Config) { c.Timeout = 0 },
		"unflushed":   func(c *Config) { c.Unflushed = -time.Second },
		"max_samples": func(c *Config) { c.MaxSamples = -1 },
	} {
		cfg := DefaultConfig()
		cfg.WriteURL, cfg.QueryURL = "http://a/api/v1/write", "http://a"
		if errs := cfg.Check("store.remote.remote_write"); len(errs) > 0 {
			t.Fatalf("the default is refused: %v", errs)
		}
		change(&cfg)
		errs := cfg.Check("store.remote.remote_write")
		if len(errs) == 0 || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("%s: %v", want, errs)
		}
	}
	if errs := (Config{WriteURL: "http://hub:gaosu@a/w", QueryURL: "http://a"}).Check("x"); strings.Contains(fmt.Sprint(errs), "gaosu") {
		t.Errorf("a secret is shown: %v", errs)
	}
}

// Prometheus says "out of order" to a point that it has as well as to one that
// it will never take.
func TestRepetitionIsToldFromConflictAndLateness(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a server")
	}
	s := startOrderly(t)
	now := time.Now().UnixMilli()
	send := func(ps ...telemetry.Point) *queue.Refused {
		t.Helper()
		err := s.Send(t.Context(), []queue.Series{{Labels: metric("soil", "p1"), Points: ps}})
		refused, ok := errors.AsType[*queue.Refused](err)
		if err != nil && !ok {
			t.Fatal(err)
		}
		return refused
	}
	a, b, c := telemetry.Point{Time: now - 3000, Value: 1}, telemetry.Point{Time: now - 2000, Value: math.NaN()}, telemetry.Point{Time: now - 1000, Value: 3}
	if r := send(a, b, c); r != nil {
		t.Fatal(r)
	}
	if r := send(a, b, c); r != nil {
		t.Errorf("a repetition is refused: %v", r)
	}
	other, late := a, a
	other.Value, late.Time = 7, now-2500
	r := send(late, other, b, c, telemetry.Point{Time: now, Value: 4})
	var got []telemetry.Reason
	for _, p := range r.Points {
		got = append(got, p.Reason)
	}
	if diff := cmp.Diff([]telemetry.Reason{telemetry.ReasonTimePast, telemetry.ReasonConflict}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	want := []sample{at(a.Time, 1), at(b.Time, math.NaN()), at(c.Time, 3), at(now, 4)}
	if diff := cmp.Diff(want, stored(t, s, 0, now, named("soil"))[`{__name__="soil", device="p1"}`], cmp.AllowUnexported(sample{})); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}
