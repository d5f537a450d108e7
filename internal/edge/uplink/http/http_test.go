package http

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	nethttp "net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// hub is a server that answers as a hub does, or as the test says.
type hub struct {
	t *testing.T

	mu       sync.Mutex
	code     int // of answers to posts
	says     string
	posts    []string // path, type, coding
	received []string
	news     bool // a command waits
}

func (h *hub) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.Header.Get("Authorization") != "Bearer s3cret" {
		w.WriteHeader(nethttp.StatusUnauthorized)
		return
	}
	q := r.URL.Query()
	switch rest := strings.TrimPrefix(r.URL.Path, "/api/v1/devices/rsu-7/"); {
	case r.Method == nethttp.MethodPost:
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			h.t.Error(err)
		}
		h.posts = append(h.posts, rest+" "+r.Header.Get("Content-Type")+" "+r.Header.Get("Content-Encoding"))
		w.Header().Set("Retry-After", "7")
		w.WriteHeader(h.code)
		_, _ = io.WriteString(w, h.says)
	case rest == "config" && q.Get("version") != "3":
		_, _ = io.WriteString(w, `{"version":3,"config":{"a":1}}`)
	case rest == "config":
		h.wait(r, q.Get("wait"))
		w.WriteHeader(nethttp.StatusNotModified)
	case q.Has("received"):
		h.received = append(h.received, q["received"]...)
		w.WriteHeader(nethttp.StatusUnprocessableEntity) // it was answered meanwhile
	case h.news:
		h.news = false
		_, _ = io.WriteString(w, `[{"id":"c-1","name":"ping"},{"id":"c-2","name":"ping"}]`)
	default:
		h.wait(r, q.Get("wait"))
		_, _ = io.WriteString(w, `[]`)
	}
}

// wait is a long poll, in which others may ask.
func (h *hub) wait(r *nethttp.Request, s string) {
	d, err := time.ParseDuration(s)
	if err != nil {
		h.t.Error(err)
	}
	h.mu.Unlock()
	defer h.mu.Lock()
	select {
	case <-r.Context().Done():
	case <-time.After(min(d, 20*time.Millisecond)):
	}
}

func connect(t *testing.T, h *hub, in uplink.Inbox) *Link {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	l := New(address, uplink.Identity{Device: "rsu-7", Secret: uplink.Secret{Value: "s3cret"}}, slog.New(slog.NewTextHandler(t.Output(), nil)), in)
	ctx, cancel := context.WithCancel(context.Background())
	ups, ended := make(chan bool, 16), make(chan error, 1)
	go func() { ended <- l.Run(ctx, func(up bool) { ups <- up }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ups:
	case <-time.After(2 * time.Minute):
		t.Fatal("it does not come up")
	}
	return l
}

func TestWhatAnswersMean(t *testing.T) {
	h := &hub{t: t}
	var told []uplink.Rejects
	l := connect(t, h, uplink.Inbox{Rejects: func(r uplink.Rejects) { told = append(told, r) }})
	refused, large, later := new(*uplink.Refused), new(*uplink.TooLarge), new(*uplink.Later)
	for _, c := range []struct {
		suffix string
		code   int
		says   string
		as     any // nil: delivered; "again": to be sent again
	}{
		{"telemetry/senml-cbor", 200, `{"accepted":3}`, nil},
		{"telemetry/json", 200, `{"accepted":2,"rejected":[{"stage":"validate","reason":"future"}]}`, nil},
		{"telemetry/json", 422, `{"accepted":0,"rejected":[{"stage":"validate","reason":"future"}]}`, nil},
		{"telemetry/json", 400, "", refused},
		{"v2x/uper", 415, "", refused},
		{"telemetry/json", 413, "", large},
		{"telemetry/json", 429, "", later},
		{"telemetry/json", 503, "", later},
		{"telemetry/json", 404, "", "again"},
		{"telemetry/json", 401, "", "again"},
		{"telemetry/json", 302, "", "again"},
		{"commands/c-1/reply", 204, "", nil},
		{"commands/c-1/reply", 404, "", refused},
		{"config/reported", 422, "", refused},
		{"config/reported", 503, "", later},
	} {
		h.mu.Lock()
		h.code, h.says = c.code, c.says
		h.mu.Unlock()
		err := l.Send(t.Context(), uplink.Message{Suffix: c.suffix, Payload: []byte("x"), Samples: 3})
		switch {
		case c.as == nil && err == nil:
		case c.as == "again" && err != nil && !errors.As(err, refused) && !errors.As(err, large) && !errors.As(err, later):
		case c.as != nil && c.as != "again" && errors.As(err, c.as):
		default:
			t.Errorf("%s answered %d: %v", c.suffix, c.code, err)
		}
	}
	if (*later).After != 7*time.Second {
		t.Errorf("the pause is %s", (*later).After)
	}
	if len(told) != 2 || told[0].Total != 1 || told[1].Total != 3 {
		t.Errorf("told of rejects: %+v", told)
	}
	if err := l.Send(t.Context(), uplink.Message{Suffix: "telemetry/senml-cbor", Zstd: true}); err == nil {
		t.Error("503 is no delivery")
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, want := range []string{"telemetry/senml-cbor application/senml+cbor ", "telemetry/senml-cbor application/senml+cbor zstd", "v2x application/octet-stream ", "commands/c-1/reply application/json ", "config/reported application/json "} {
		if !slices.Contains(h.posts, want) {
			t.Errorf("%q was not posted; %q", want, h.posts)
		}
	}
}

func TestTheHubIsHeardByLongPolls(t *testing.T) {
	h := &hub{t: t, news: true}
	heard := make(chan string, 100)
	failed := false
	connect(t, h, uplink.Inbox{
		Wanted: func(m []byte) { heard <- string(m) },
		Command: func(m []byte) error {
			if strings.Contains(string(m), "c-2") && !failed {
				failed = true
				return fmt.Errorf("no room")
			}
			heard <- string(m)
			return nil
		},
	})
	for _, want := range []string{`{"version":3,"config":{"a":1}}`, `{"id":"c-1","name":"ping"}`} {
		select {
		case got := <-heard:
			if got != want {
				t.Errorf("heard %s, want %s", got, want)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s is not heard", want)
		}
	}
	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(time.Millisecond) {
		h.mu.Lock()
		got := slices.Clone(h.received)
		h.mu.Unlock()
		if slices.Equal(got, []string{"c-1"}) {
			break
		}
		if len(got) > 1 || time.Now().After(end) {
			t.Fatalf("confirmed %v, want c-1 alone", got)
		}
	}
	select {
	case again := <-heard:
		t.Errorf("%s is handed on again", again)
	default:
	}
}

func TestSecretsGoInClearTextToThisMachineOnly(t *testing.T) {
	for address, ok := range map[string]bool{"http://127.0.0.1:8080": true, "http://localhost": true, "http://[::1]:1": true, "https://hub.example": true, "http://hub.example": false, "http://10.0.0.1": false} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckURL(u); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestASecretIsReadForEverySession(t *testing.T) {
	h := &hub{t: t, code: nethttp.StatusOK, says: `{"accepted":1}`}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	address, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "secret")
	l := New(address, uplink.Identity{Device: "rsu-7", Secret: uplink.Secret{File: file}}, slog.New(slog.NewTextHandler(t.Output(), nil)), uplink.Inbox{})
	ups := 0
	session := func(secret string) error {
		if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		return l.session(ctx, func(up bool) { ups++; cancel() })
	}
	if err := session(" \n"); err == nil || !strings.Contains(err.Error(), "uplink.secret_file: "+file+" is empty") {
		t.Error(err)
	}
	if err := session("of before\n"); err == nil || ups > 0 {
		t.Errorf("%v, up %d times", err, ups)
	}
	if _ = session("s3cret\n"); ups == 0 {
		t.Error("the new secret is not read")
	}
}
