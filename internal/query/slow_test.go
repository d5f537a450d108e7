package query

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
)

// until waits for a condition that others bring about.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(time.Millisecond) { // between two looks at a condition
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within two minutes", what)
		}
	}
}

// starve asks with ever more time until a question has enough to come to where it
// waits for memory that another has, and tells what it answers then.
func starve(ask func(timeout time.Duration) (int, string)) (code int, body string) {
	for timeout := 10 * time.Millisecond; timeout < 2*time.Minute; timeout *= 2 {
		code, body = ask(timeout)
		if code != http.StatusServiceUnavailable || strings.Contains(body, "raise query.max_samples") {
			break
		}
	}
	return code, body
}

// much stores series and returns a range query over them with this many points.
func much(h *hub, devices, points int) string {
	all := make([]labels.Labels, devices)
	for i := range all {
		all[i] = series("v", fmt.Sprintf("device-%05d", i), "220100")
	}
	h.store(time.Minute, 1, all...)
	return "/query_range?" + url.Values{"query": {"v"}, "start": {fmt.Sprint(noon.Unix() - 60)}, "end": {fmt.Sprint(noon.Unix())},
		"step": {fmt.Sprint(60 / float64(points))}}.Encode()
}

// unread asks over a connection of its own that never reads the answer.
func (h *hub) unread(path string) {
	h.t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.URL, "http://"))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { c.Close() })
	if err := c.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		h.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(c, "GET /api/v1%s HTTP/1.1\r\nHost: x\r\nRegion: \r\n\r\n", path); err != nil {
		h.t.Fatal(err)
	}
}

// TestWhoDoesNotReadHoldsNoTurn leaves an answer of 30 MB unread while there is
// one turn: others are answered, and the reader is cut off in the end.
func TestWhoDoesNotReadHoldsNoTurn(t *testing.T) {
	h := serve(t, func(c *Config, _ *Source) { c.MaxConcurrency = 1 })
	h.api.patience = -time.Hour // the speed alone would give it a minute
	h.unread(much(h, 2000, 600))
	until(t, "an answer was given up", func() bool { return testutil.ToFloat64(h.api.metrics.unsent) == 1 })
	if n := h.api.answers.taken.Load(); n != 0 {
		t.Errorf("the answer that was given up holds %d bytes", n)
	}

	h.api.patience = time.Hour
	h.unread(much(h, 2000, 600))
	until(t, "the answer lies in memory", func() bool { return h.api.answers.taken.Load() > 20<<20 })
	if code, body := h.get("/query?query=vector(1)"); code != http.StatusOK {
		t.Errorf("another question: %d %s", code, body)
	}
	if n := testutil.ToFloat64(h.api.metrics.running); n != 0 {
		t.Errorf("%v questions run", n)
	}
}

func TestAnswersAreBoundedInMemory(t *testing.T) {
	h := serve(t, func(c *Config, _ *Source) { c.MaxAnswerBytes = 30 << 20 })
	h.api.patience = time.Hour
	code, body := h.get(much(h, 3000, 600)) // 40 MB
	if code != http.StatusUnprocessableEntity || !strings.Contains(body, "more than 31457280 bytes") {
		t.Errorf("too large in itself: %d %.300s", code, body)
	}
	path := much(h, 1500, 600) + "&limit=1500" // 20 MB
	h.unread(path)
	until(t, "the answer lies in memory", func() bool {
		return h.api.answers.taken.Load() > 10<<20 && testutil.ToFloat64(h.api.metrics.running) == 0
	})
	code, body, header := h.as("", http.MethodGet, path, nil)
	if code != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" || !strings.Contains(body, "query.max_answer_bytes") {
		t.Errorf("no room: %d %.300s", code, body)
	}
	if code, body := h.get("/query?query=vector(1)"); code != http.StatusOK {
		t.Errorf("a short answer always has room: %d %s", code, body)
	}
	if n := testutil.ToFloat64(h.api.metrics.limited.WithLabelValues(limitAnswer)); n != 2 {
		t.Errorf("counted %v times", n)
	}
}

// TestQuestionsShareTheMemoryForSamples: within its share each runs at once;
// beyond it one at a time.
func TestQuestionsShareTheMemoryForSamples(t *testing.T) {
	h := serve(t, func(c *Config, _ *Source) { c.MaxSamples, c.MaxConcurrency = 4000, 2 }) // 1000 each, 3000 for one
	small, large, huge := much(h, 10, 60), much(h, 10, 200), much(h, 10, 400)
	free, f := h.api.samples.take(t.Context())
	if f != nil {
		t.Fatal(f.err)
	}
	if code, body := h.get(small); code != http.StatusOK {
		t.Errorf("within its share: %d %s", code, body)
	}
	code, body := starve(func(timeout time.Duration) (int, string) { return h.get(large + "&timeout=" + timeout.String()) })
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "raise query.max_samples") {
		t.Errorf("while another has the rest: %d %s", code, body)
	}
	if code, body, _ := h.as("", http.MethodPost, "/read", readRequest(t)); code != http.StatusOK {
		t.Errorf("remote read within its share: %d %s", code, body)
	}
	free()
	for range 2 { // what was taken is given back
		if code, body := h.get(large); code != http.StatusOK || strings.Count(body, "device-") != 10 {
			t.Errorf("with the rest: %d %.300s", code, body)
		}
	}
	if code, body := h.get(huge); code != http.StatusUnprocessableEntity || !strings.Contains(body, "too many samples") {
		t.Errorf("more than there is: %d %.300s", code, body)
	}
}

func TestRemoteReadTakesMemoryLikeOthers(t *testing.T) {
	h := serve(t, func(c *Config, _ *Source) { c.MaxSamples, c.MaxConcurrency = 40, 2 }) // 10 each, 30 for one
	for i := range 20 {
		h.store(time.Duration(20-i)*time.Minute, 1, series("v", "a", "1"))
	}
	if code, body, _ := h.as("", http.MethodPost, "/read", readRequest(t)); code != http.StatusOK {
		t.Errorf("beyond its share: %d %s", code, body)
	}
	free, f := h.api.samples.take(t.Context())
	if f != nil {
		t.Fatal(f.err)
	}
	patient := h.api.config.Timeout
	code, body := starve(func(timeout time.Duration) (int, string) {
		h.api.config.Timeout = timeout
		code, body, _ := h.as("", http.MethodPost, "/read", readRequest(t))
		return code, body
	})
	if code != http.StatusServiceUnavailable || !strings.Contains(body, "raise query.max_samples") {
		t.Errorf("while another has the rest: %d %s", code, body)
	}
	h.api.config.Timeout = patient
	free()
	for i := range 30 {
		h.store(time.Duration(30-i)*time.Minute, 1, series("w", "a", "1"))
	}
	if code, body, _ := h.as("", http.MethodPost, "/read", readRequest(t)); code != http.StatusUnprocessableEntity {
		t.Errorf("more than there is: %d %s", code, body)
	}
}

// TestLongAnswersAreWhole reads an answer of many chunks, plain and by gzip.
func TestLongAnswersAreWhole(t *testing.T) {
	h := serve(t, nil)
	path := much(h, 100, 600)
	code, body := h.get(path)
	if code != http.StatusOK || strings.Count(body, `,"1"]`) != 100*601 || !strings.HasSuffix(body, "]]}]}}") {
		t.Errorf("%d, %d points, ends with %q", code, strings.Count(body, `,"1"]`), body[max(0, len(body)-20):])
	}
	resp, err := (&http.Client{Transport: withRegion{}}).Get(h.URL + "/api/v1" + path) // unpacks gzip
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if unpacked, err := io.ReadAll(resp.Body); err != nil || string(unpacked) != body || !resp.Uncompressed {
		t.Errorf("gzip (%t): %d bytes, %v; plain has %d", resp.Uncompressed, len(unpacked), err, len(body))
	}
	until(t, "the memory is given back", func() bool { return h.api.answers.taken.Load() == 0 })
}

type withRegion struct{}

func (withRegion) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Region", "")
	return http.DefaultTransport.RoundTrip(r)
}
