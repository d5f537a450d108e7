//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package coap

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"
	piondtls "github.com/pion/dtls/v3"
	coapdtls "github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	"github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

// hub answers every request with the code and options of the test.
type hub struct {
	t    *testing.T
	mu   sync.Mutex
	code codes.Code
	says string
	opts message.Options

	path, query string
	format      message.MediaType
	body        []byte
}

func (h *hub) ServeCOAP(w mux.ResponseWriter, r *mux.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.path, _ = r.Options().Path()
	if q, err := r.Options().Queries(); err == nil {
		h.query = strings.Join(q, "&")
	}
	h.format, _ = r.Options().ContentFormat()
	if r.Body() != nil {
		var err error
		if h.body, err = io.ReadAll(r.Body()); err != nil {
			h.t.Error(err)
		}
	}
	if err := w.SetResponse(h.code, message.TextPlain, bytes.NewReader([]byte(h.says)), h.opts...); err != nil {
		h.t.Error(err)
	}
}

func (h *hub) answer(code codes.Code, opts ...message.Option) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.code, h.says, h.opts = code, "because", opts
}

func (h *hub) plain(t *testing.T) *url.URL {
	l, err := net.NewListenUDP("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := udp.NewServer(options.WithMux(h))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		<-served
		_ = l.Close()
	})
	return &url.URL{Scheme: "coap", Host: l.LocalAddr().String()}
}

func (h *hub) secure(t *testing.T, secret string) *url.URL {
	cfg := &piondtls.Config{
		PSK:             func(id []byte) ([]byte, error) { return map[string][]byte{"rsu-7": []byte(secret)}[string(id)], nil },
		PSKIdentityHint: []byte("hub"),
		CipherSuites:    []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_CCM_8},
	}
	l, err := net.NewDTLSListener("udp4", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := coapdtls.NewServer(options.WithMux(h))
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		_ = l.Close()
		<-served
	})
	return &url.URL{Scheme: "coaps", Host: l.Addr().String()}
}

// connect returns a link that is up until the test ends.
func connect(t *testing.T, address *url.URL, secret string) *Link {
	t.Helper()
	l, _ := run(t, address, secret)
	return l
}

// run returns a link that is up until stop is called, which waits for its end.
func run(t *testing.T, address *url.URL, secret string) (l *Link, stop func()) {
	t.Helper()
	l, err := New(address, uplink.Identity{Device: "rsu-7", Secret: uplink.Secret{Value: secret}}, slog.New(slog.NewTextHandler(t.Output(), nil)), uplink.Inbox{Rejects: func(r uplink.Rejects) { t.Errorf("rejects that nobody told of: %+v", r) }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ups, ended := make(chan bool, 16), make(chan error, 1)
	go func() { ended <- l.Run(ctx, func(up bool) { ups <- up }) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	select {
	case <-ups:
	case <-time.After(2 * time.Minute):
		t.Fatal("the link does not come up")
	}
	return l, stop
}

func TestAMessageIsSentInBlocks(t *testing.T) {
	for _, scheme := range []string{"coap", "coaps"} {
		t.Run(scheme, func(t *testing.T) {
			h := &hub{t: t, code: codes.Changed}
			address, query := h.plain(t), "token=a secret of a device"
			if scheme == "coaps" {
				address, query = h.secure(t, "a secret of a device"), ""
			}
			l := connect(t, address, "a secret of a device")
			body := bytes.Repeat([]byte("0123456789"), 2000)
			pack, err := zstd.NewWriter(nil)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range []uplink.Message{
				{Suffix: "telemetry/senml-cbor", Payload: body},
				{Suffix: "telemetry/senml-cbor", Payload: pack.EncodeAll(body, nil), Zstd: true},
			} {
				if err := l.Send(t.Context(), m); err != nil {
					t.Fatal(err)
				}
				h.mu.Lock()
				if h.path != "/devices/rsu-7/telemetry" || h.format != message.AppSenmlCbor || h.query != query || !bytes.Equal(h.body, body) {
					t.Errorf("%s %s %v %d B", h.path, h.query, h.format, len(h.body))
				}
				h.mu.Unlock()
			}
			if err := l.Send(t.Context(), uplink.Message{Suffix: "v2x/uper", Payload: []byte{1, 2}}); err != nil {
				t.Error(err)
			}
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.path != "/devices/rsu-7/v2x" {
				t.Error(h.path)
			}
		})
	}
}

func TestAStopUnderABacklogRefusesNothing(t *testing.T) {
	h := &hub{t: t, code: codes.Changed}
	l, stop := run(t, h.plain(t), "s")
	pack, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	// What takes long to unpack, so that the stop comes while sends do.
	m := uplink.Message{Suffix: "telemetry/senml-cbor", Payload: pack.EncodeAll(make([]byte, 4<<20), nil), Zstd: true}
	ctx, cancel := context.WithCancel(t.Context())
	const backlog = 64
	begun, results := make(chan struct{}, backlog), make(chan error, backlog)
	for range backlog {
		go func() {
			begun <- struct{}{}
			results <- l.Send(ctx, m)
		}()
	}
	for range backlog {
		<-begun
	}
	cancel()
	stop()
	for range backlog {
		select {
		case err := <-results:
			if errors.As(err, new(*uplink.Refused)) {
				t.Error("a good message was given up: ", err)
			}
		case <-time.After(2 * time.Minute):
			t.Fatal("a send does not end")
		}
	}
}

func TestRejectsOfAMessageAreTold(t *testing.T) {
	h := &hub{t: t, code: codes.Changed, says: `{"accepted":7,"rejected":[{"index":1,"stage":"validate","reason":"time_past","detail":"1970"}]}`}
	l := connect(t, h.plain(t), "s")
	var got uplink.Rejects
	l.in.Rejects = func(r uplink.Rejects) { got = r }
	if err := l.Send(t.Context(), uplink.Message{Suffix: "telemetry/json", Payload: []byte("{}"), Samples: 10}); err != nil {
		t.Fatal(err)
	}
	if got.Total != 3 || len(got.Listed) != 1 || got.Listed[0] != (uplink.Reject{Stage: "validate", Reason: "time_past", Detail: "1970"}) {
		t.Errorf("%+v", got)
	}
}

func TestAnswersAreToldApart(t *testing.T) {
	h := &hub{t: t}
	l := connect(t, h.plain(t), "s")
	send := func() error {
		return l.Send(t.Context(), uplink.Message{Suffix: "telemetry/json", Payload: []byte("{}")})
	}

	h.answer(codes.ServiceUnavailable, message.Option{ID: message.MaxAge, Value: []byte{7}})
	if e := (*uplink.Later)(nil); !errors.As(send(), &e) || e.After != 7*time.Second {
		t.Error(e)
	}
	h.answer(codes.TooManyRequests)
	if e := (*uplink.Later)(nil); !errors.As(send(), &e) || e.After != time.Minute {
		t.Error(e)
	}
	h.answer(codes.RequestEntityTooLarge)
	if e := (*uplink.TooLarge)(nil); !errors.As(send(), &e) || !strings.Contains(e.Detail, "because") {
		t.Error(e)
	}
	h.answer(codes.UnsupportedMediaType)
	if e := (*uplink.Refused)(nil); !errors.As(send(), &e) || !strings.Contains(e.Detail, "because") {
		t.Error(e)
	}
	h.answer(codes.Unauthorized)
	if e := (*uplink.Refused)(nil); errors.As(send(), &e) || send() == nil {
		t.Error("a message is given up because the secret is wrong")
	}
}

// A hub that refuses the secret ends the session: the next reads it anew.
func TestARefusedSecretIsReadAgain(t *testing.T) {
	h := &hub{t: t, code: codes.Unauthorized, says: "the secret is wrong"}
	file := filepath.Join(t.TempDir(), "secret")
	write := func(secret string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("of before")
	l, err := New(h.plain(t), uplink.Identity{Device: "rsu-7", Secret: uplink.Secret{File: file}}, slog.New(slog.NewTextHandler(t.Output(), nil)), uplink.Inbox{})
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"of before", "of now"} {
		write(secret)
		var sent error
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		err := l.session(ctx, func(up bool) {
			if up {
				sent = l.Send(ctx, uplink.Message{Suffix: "telemetry/json", Payload: []byte("{}")})
			}
		})
		if sent == nil || err == nil || ctx.Err() != nil {
			t.Errorf("sent with %v, the session ended with %v", sent, err)
		}
		cancel()
		h.mu.Lock()
		if h.query != "token="+secret {
			t.Errorf("%s, want the token %s", h.query, secret)
		}
		h.mu.Unlock()
	}
}

func TestASecretIsNotSentInClearText(t *testing.T) {
	for address, ok := range map[string]bool{"coap://127.0.0.1": true, "coap://[::1]:5683": true, "coap://localhost": true, "coap://10.0.0.1": false, "coaps://10.0.0.1": true} {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		if err := CheckURL(u); (err == nil) != ok {
			t.Errorf("%s: %v", address, err)
		}
	}
}
