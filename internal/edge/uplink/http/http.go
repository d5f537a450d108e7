// Package http sends the agent's messages as HTTP requests with the device's
// secret, and hears the hub by long polls: for networks that let nothing else
// out.
package http

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	nethttp "net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge/uplink"
)

const (
	// answerTimeout is how long a request may take that waits for nothing but
	// the hub's disk.
	answerTimeout = time.Minute
	// pollWait is how long the hub may keep a request that waits for news.
	pollWait = 30 * time.Second
	// maxAnswer bounds what is read of an answer to telemetry.
	maxAnswer = 64 << 10
	// defaultPause is the pause when the hub names none.
	defaultPause = 10 * time.Second
	// keepPause is the pause after a command that could not be kept: it comes
	// again at once.
	keepPause = time.Second
)

// Link is a hub that answers requests.
type Link struct {
	url *url.URL
	id  uplink.Identity
	log *slog.Logger
	in  uplink.Inbox

	mu      sync.Mutex
	current *session // nil while down
}

// session is the hub as the credentials of one moment reach it.
type session struct {
	client *nethttp.Client
	secret string
}

// Schemes are the schemes of the URLs that New takes.
func Schemes() []string { return []string{"http", "https"} }

// CheckURL reports why an address cannot be used: without TLS the secret would
// be readable on the way.
func CheckURL(u *url.URL) error {
	if u.Scheme != "http" {
		return nil
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
		return nil
	}
	return fmt.Errorf("%q would send the secret in clear text; write https://%s", u, u.Hostname())
}

// New returns a link to an address such as https://hub.example:8443. in takes
// what the hub says.
func New(address *url.URL, id uplink.Identity, log *slog.Logger, in uplink.Inbox) *Link {
	return &Link{url: address, id: id, log: log, in: in}
}

// Run keeps the link up until the context ends.
func (l *Link) Run(ctx context.Context, up func(bool)) error {
	session := func(ctx context.Context) error { return l.session(ctx, up) }
	return uplink.Reconnect(ctx, session, func(err error, in time.Duration) {
		l.log.Warn("uplink_lost", "url", l.url.Redacted(), "error", err, "retry_in", in.Round(time.Millisecond))
	})
}

// session lasts as long as the hub answers the polls. It has connections of its
// own, which show the credentials of this moment.
func (l *Link) session(ctx context.Context, up func(bool)) error {
	trust, err := l.id.TLS.Load()
	if err != nil {
		return err
	}
	secret, err := l.id.Secret.Read()
	if err != nil {
		return err
	}
	transport := &nethttp.Transport{Proxy: nethttp.ProxyFromEnvironment, TLSClientConfig: trust, MaxIdleConnsPerHost: 16, IdleConnTimeout: 2 * pollWait, ForceAttemptHTTP2: true}
	defer transport.CloseIdleConnections()
	client := &nethttp.Client{Transport: transport, CheckRedirect: func(*nethttp.Request, []*nethttp.Request) error { return nethttp.ErrUseLastResponse }}
	s := &session{client, secret}
	p := &poll{link: l, session: s, version: "0"}
	if err := p.config(ctx, 0); err != nil {
		return fmt.Errorf("the hub does not take the device: %w", err)
	}
	l.set(s)
	defer l.set(nil)
	up(true)
	defer up(false)
	l.log.Info("uplink_connected", "url", l.url.Redacted())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { // also without anybody who hears: it shows whether the hub is there
		for {
			if err := p.config(ctx, pollWait); err != nil {
				return err
			}
		}
	})
	if l.in.Command != nil {
		g.Go(func() error {
			for {
				if err := p.commands(ctx, pollWait); err != nil {
					return err
				}
			}
		})
	}
	return g.Wait()
}

func (l *Link) set(s *session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.current = s
}

// Send posts a message and waits for the hub's answer.
func (l *Link) Send(ctx context.Context, m uplink.Message) error {
	l.mu.Lock()
	s := l.current
	l.mu.Unlock()
	if s == nil {
		return uplink.ErrDown
	}
	ctx, cancel := context.WithTimeout(ctx, answerTimeout)
	defer cancel()
	req, err := l.request(ctx, nethttp.MethodPost, path(m.Suffix), m.Payload)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", mediaType(m.Suffix))
	if m.Zstd {
		req.Header.Set("Content-Encoding", "zstd")
	}
	code, header, body, err := s.do(req, maxAnswer)
	if err != nil {
		return err
	}
	said := mailed(m.Suffix)
	if err := verdict(code, header, body, said); err != nil || said {
		return err
	}
	r, err := uplink.ParseRejects(body, m.Samples)
	if err != nil {
		l.log.Warn("rejects_unreadable", "error", err)
	} else if r.Total > 0 {
		l.in.Rejects(r)
	}
	return nil
}

// mailed reports whether a message is an answer to the hub rather than
// telemetry.
func mailed(suffix string) bool {
	first, _, _ := strings.Cut(suffix, "/")
	return first == uplink.Commands || first == uplink.Config
}

func path(suffix string) string {
	if strings.HasPrefix(suffix, "v2x/") {
		return "v2x"
	}
	return suffix
}

func mediaType(suffix string) string {
	switch {
	case suffix == "telemetry/senml-cbor":
		return "application/senml+cbor"
	case suffix == "telemetry/json", mailed(suffix):
		return "application/json"
	}
	return "application/octet-stream"
}

func (l *Link) request(ctx context.Context, method, rest string, body []byte) (*nethttp.Request, error) {
	address := strings.TrimRight(l.url.String(), "/") + "/api/v1/devices/" + url.PathEscape(l.id.Device) + "/" + rest
	return nethttp.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
}

func (s *session) do(req *nethttp.Request, limit int64) (int, nethttp.Header, []byte, error) {
	req.Header.Set("Authorization", "Bearer "+s.secret)
	resp, err := s.client.Do(req)
	if err != nil {
		return 0, nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, limit))
	return resp.StatusCode, resp.Header, body, err
}

// verdict is what an answer means for the message. Answers about the sender
// rather than the message (401, 403, 404) are failures that an operator can
// mend, so telemetry stays; an answer to a command that is not known any more
// does not.
func verdict(code int, header nethttp.Header, body []byte, said bool) error {
	switch {
	case code/100 == 2, code == nethttp.StatusUnprocessableEntity && !said:
		return nil
	case code == nethttp.StatusTooManyRequests, code == nethttp.StatusServiceUnavailable:
		return &uplink.Later{After: pause(header)}
	case code == nethttp.StatusRequestEntityTooLarge:
		return &uplink.TooLarge{Detail: detail(code, body)}
	case code == nethttp.StatusBadRequest, code == nethttp.StatusUnsupportedMediaType, code == nethttp.StatusUnprocessableEntity, said && code == nethttp.StatusNotFound:
		return &uplink.Refused{Detail: detail(code, body)}
	}
	return fmt.Errorf("the hub answered %s", detail(code, body))
}

func pause(header nethttp.Header) time.Duration {
	if n, err := strconv.Atoi(header.Get("Retry-After")); err == nil && n >= 0 {
		return time.Duration(n) * time.Second
	}
	return defaultPause
}

// detail says what the hub said (RFC 9457).
func detail(code int, body []byte) string {
	var problem struct {
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &problem) == nil && problem.Detail != "" {
		return fmt.Sprintf("%d: %s", code, problem.Detail)
	}
	return fmt.Sprintf("%d: %.200s", code, body)
}
