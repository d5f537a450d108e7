package push

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/edge/source"
)

func TestAnswers(t *testing.T) {
	for _, c := range []struct {
		name, kind, body string
		full             bool
		want             string
	}{
		{"flat JSON", "application/json", `{"a": 1, "b": 2}`, false, `200 {"accepted":2}`},
		{"line protocol", "text/plain; charset=utf-8", "m v=1\n", false, `200 {"accepted":1}`},
		{"what kind is told by its first byte", "", `[{"n":"a","v":1}]`, false, `200 {"accepted":1}`},
		{"a part that no message takes", "application/json", `{"a": 1, "s": "` + strings.Repeat("x", 2000) + `"}`, false, `200 {"accepted":1,"rejected":["the state \"s\" has 2001 B`},
		{"nothing that a message takes", "text/plain", "m,t=" + strings.Repeat("x", 900) + ",u=" + strings.Repeat("x", 900) + " v=1\n", false, `422 {"accepted":0,"rejected":["a sample of \"m_v\" has`},
		{"another type", "application/xml", "<a/>", false, `415`},
		{"no telemetry", "application/json", `{"a": `, false, `400`},
		{"too much", "text/plain", strings.Repeat("m v=1\n", 800_000), false, `413`},
		{"a disk that takes nothing", "application/json", `{"a": 1}`, true, `503`},
	} {
		t.Run(c.name, func(t *testing.T) {
			kept := 0
			put := func(_ context.Context, r source.Record) error {
				kept += len(r.Samples)
				if c.full {
					return errors.New("no space left")
				}
				return nil
			}
			server := httptest.NewServer(&door{device: "d1", limit: 1000, now: time.Now, put: put})
			defer server.Close()
			resp, err := http.Post(server.URL, c.kind, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			got := fmt.Sprintf("%d %s", resp.StatusCode, strings.TrimSpace(string(body)))
			if !strings.HasPrefix(got, c.want) {
				t.Error(cmp.Diff(c.want, got))
			}
			if ok := resp.StatusCode == http.StatusOK; !c.full && ok != (kept > 0) {
				t.Errorf("%d kept, answer %d", kept, resp.StatusCode)
			}
		})
	}
}

func TestNoRequestOutlivesItsSource(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &door{device: "d1", limit: 1000, now: time.Now, put: func(context.Context, source.Record) error { return nil }}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, l, d, slog.New(slog.DiscardHandler)) }()
	sender, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer sender.Close()
	// A sender that does not get on with its body.
	if _, err := fmt.Fprintf(sender, "POST /telemetry HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); d.open.TryLock(); {
		d.open.Unlock()
		if time.Now().After(deadline) {
			t.Fatal("the request is not taken")
		}
		<-time.After(time.Millisecond)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(2 * time.Minute):
		t.Fatal("the source does not end")
	}
	if !d.open.TryLock() {
		t.Error("the request goes on")
	}
}
