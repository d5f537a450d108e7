package whole

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest"
)

// startWith is start with a config file, in a data directory.
func startWith(t *testing.T, dir, config string) *hubtest.Hub {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	file := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return hubtest.Start(t, hubtest.Build(t, ""), dir, "--config", file)
}

// line is a connection that speaks HTTP by hand.
type line struct {
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, h *hubtest.Hub) *line {
	t.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(h.HTTP, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &line{c, bufio.NewReader(c)}
}

func (l *line) ask(h *hubtest.Hub, path string) error {
	_, err := fmt.Fprintf(l, "GET %s HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\n\r\n", path, h.Token)
	return err
}

func (l *line) answer() error {
	resp, err := http.ReadResponse(l.r, nil)
	if err != nil {
		return err
	}
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode == http.StatusTooManyRequests {
		err = errors.New(resp.Status)
	}
	return err
}

// TestAReaderThatReadsNothingKeepsNobodyWaiting leaves a large answer unread on
// a hub that answers one query at a time.
func TestAReaderThatReadsNothingKeepsNobodyWaiting(t *testing.T) {
	h := startWith(t, t.TempDir(), "query:\n  max_concurrency: 1\n")
	eventually(t, patience, "the hub wrote its own metrics", func() bool { return has(t, h, `count({job="hub"}) > 300`) })
	now := time.Now().Unix()
	path := "/prometheus/api/v1/query_range?" + url.Values{
		"query": {`{job="hub"}`}, "start": {fmt.Sprint(now)}, "end": {fmt.Sprint(now + 240)}, "step": {"0.1"},
	}.Encode()
	deaf := dial(t, h)
	if err := deaf.Conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	if err := deaf.ask(h, path); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the answer waits for its reader", func() bool { return metric(t, h, "hub_query_answer_bytes") > 1<<20 })
	if !has(t, h, "vector(1)") {
		t.Error("another query has no answer")
	}
	if n := metric(t, h, "hub_query_answer_bytes"); n <= 1<<20 {
		t.Errorf("the answer is no longer unread: %v bytes", n)
	}
}

// metric reads one of the hub's own metrics; it must have no labels.
func metric(t *testing.T, h *hubtest.Hub, name string) (value float64) {
	t.Helper()
	resp, err := http.Get(h.HTTP + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	for l := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(l, name+" "); ok {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

func TestAFloodOfConnectionsIsRefusedAtTheHTTPDoor(t *testing.T) {
	h := startWith(t, t.TempDir(), "http:\n  max_connections: 100\nquotas:\n  address:\n    connections: 20\n")
	first := dial(t, h)
	if err := first.ask(h, "/healthz"); err != nil {
		t.Fatal(err)
	}
	if err := first.answer(); err != nil {
		t.Fatal(err)
	}
	refused := 0
	for range 200 {
		c := dial(t, h)
		if c.ask(h, "/healthz") != nil || c.answer() != nil {
			refused++
		}
	}
	if refused < 180 {
		t.Errorf("%d of 200 connections were refused", refused)
	}
	if err := first.ask(h, "/healthz"); err != nil {
		t.Fatal(err)
	}
	if err := first.answer(); err != nil {
		t.Errorf("the first connection no longer works: %v", err)
	}
}

// TestRejectsAreReplayedOnceTheirCauseIsMended takes a reject from the door to
// the desk, through a restart, and on its way again.
func TestRejectsAreReplayedOnceTheirCauseIsMended(t *testing.T) {
	dir := t.TempDir()
	h := startWith(t, dir, "quotas:\n  device:\n    series: 1\n")
	secret := h.AddDevice(t, "t1", "sensor")
	at := time.Now().UnixMilli()
	body := fmt.Sprintf(`{"ts": %d, "a": 1, "b": 2}`, at)
	if status, answer := post(t, h, "t1", secret, body); status != http.StatusOK || !strings.Contains(answer, "series_limit") {
		t.Fatalf("the second series: %d %s", status, answer)
	}
	if status, answer := post(t, h, "t1", secret, `{"a": `); status != http.StatusBadRequest {
		t.Fatalf("half a message: %d %s", status, answer)
	}
	if code, err := h.Stop(); err != nil || code != 0 {
		t.Fatalf("stopped with %d, %v", code, err)
	}

	h = startWith(t, dir, "")
	type reject struct {
		ID, Reason, Payload string
		Size                int
	}
	list := func(query string) []reject {
		var page struct{ Items []reject }
		if err := h.Do(t.Context(), http.MethodGet, "/api/v1/rejects"+query, nil, &page); err != nil {
			t.Fatal(err)
		}
		return page.Items
	}
	kept := list("")
	if len(kept) != 2 || kept[0].Reason != "malformed" || kept[1].Reason != "series_limit" || kept[1].Size != len(body) || kept[1].Payload != "" {
		t.Fatalf("at the desk: %+v", kept)
	}
	var one reject
	if err := h.Do(t.Context(), http.MethodGet, "/api/v1/rejects/"+kept[1].ID, nil, &one); err != nil || one.Payload == "" {
		t.Errorf("one of them: %+v, %v", one, err)
	}
	act := func(verb, which string) (done struct{ Count int }) {
		var filter map[string]any
		if which == "" {
			filter = map[string]any{"all": true}
		} else {
			filter = map[string]any{"reason": which}
		}
		if err := h.Do(t.Context(), http.MethodPost, "/api/v1/rejects:"+verb, filter, &done); err != nil {
			t.Fatal(err)
		}
		return done
	}
	if n := act("replay", "").Count; n != 1 {
		t.Errorf("%d messages were stored", n)
	}
	found, err := h.Query(t.Context(), `b{device="t1"}`, time.UnixMilli(at).Add(time.Second))
	if err != nil || len(found) != 1 || found[0].Value[1] != "2" {
		t.Errorf("the sample that was rejected: %+v, %v", found, err)
	}
	if left := list("?payload=true"); len(left) != 1 || left[0].Reason != "malformed" || left[0].Payload == "" {
		t.Errorf("left at the desk: %+v", left)
	}
	if n := act("drop", "malformed").Count; n != 1 {
		t.Errorf("%d messages were dropped", n)
	}
	if left := list(""); len(left) != 0 {
		t.Errorf("left at the desk: %+v", left)
	}
}
