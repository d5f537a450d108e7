// Package remotewrite forwards samples to servers that take Prometheus remote
// write, VictoriaMetrics, Mimir, Thanos and Prometheus itself, and reads series
// back from them as a storage.Queryable. docs/formats/engines.md says what each
// of them cannot hold.
package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Client speaks to one server. It may be used by any goroutine.
type Client struct {
	cfg Config
	log *slog.Logger

	write *http.Client // for remote write
	read  *http.Client // for all else

	version  atomic.Int32 // of the protocol that the server speaks
	reader   atomic.Pointer[Reader]
	window   atomic.Int64 // milliseconds that one query may span; 0 is no bound
	encoders sync.Pool

	absences absences
	tells    atomic.Bool // the server has told when it started
}

// New returns a client; nothing is asked of the server yet.
func New(cfg Config, log *slog.Logger) (*Client, error) {
	trusted, err := cfg.TLS.Load()
	if err != nil {
		return nil, err
	}
	c := &Client{cfg: cfg, log: log, encoders: sync.Pool{New: func() any { return &encoder{} }}}
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	transport := func() *http.Transport {
		return &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dialer.DialContext, TLSClientConfig: trusted.Clone(), TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 64, IdleConnTimeout: 90 * time.Second, ResponseHeaderTimeout: cfg.Timeout, ForceAttemptHTTP2: true}
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	c.write = &http.Client{CheckRedirect: stay, Timeout: cfg.Timeout, Transport: transport()}
	c.read = &http.Client{CheckRedirect: stay, Transport: transport()}
	return c, nil
}

// request prepares a request with what proves who the hub is. The URL's path is
// relative to base unless it is empty.
func (c *Client) request(ctx context.Context, method, base, path string, body io.Reader) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(base, "/")+path, body)
	if err != nil {
		return nil, err
	}
	for name, value := range c.cfg.Headers {
		req.Header.Set(name, value)
	}
	req.Header.Set("User-Agent", "songhua-hub")
	switch {
	case c.cfg.TokenFile != "":
		token, err := secret("token_file", c.cfg.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case c.cfg.User != "":
		password, err := secret("password_file", c.cfg.PasswordFile)
		if err != nil {
			return nil, err
		}
		req.SetBasicAuth(c.cfg.User, password)
	}
	return req, nil
}

func secret(key, path string) (string, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	s := strings.TrimSpace(string(text))
	if s == "" {
		return "", fmt.Errorf("%s: %s is empty; write the secret into it", key, path)
	}
	return s, nil
}

// answered is an answer that is no success.
type answered struct {
	url     string
	status  int
	text    string        // the beginning of the body
	after   time.Duration // Retry-After
	written string        // what it says it has stored; empty when it does not say
}

func (a *answered) Error() string {
	wayOut := ""
	switch a.status {
	case http.StatusUnauthorized, http.StatusForbidden:
		wayOut = "; see that token_file, or user and password_file, hold what the server knows, and that it may write and read"
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		wayOut = "; see that write_url and query_url are those of the server (docs/formats/engines.md); Prometheus takes remote write with --web.enable-remote-write-receiver"
	}
	if a.status/100 == 3 {
		wayOut = "; redirects are not followed: give the URL that it leads to"
	}
	return fmt.Sprintf("%s answers %d: %s%s", a.url, a.status, a.text, wayOut)
}

// maxText bounds what is kept of an error's body.
const maxText = 1024

// failure reads an answer that is no success. The body may be read no further.
func failure(resp *http.Response) *answered {
	text, _ := io.ReadAll(io.LimitReader(resp.Body, maxText))
	return &answered{url: place(resp.Request.URL), status: resp.StatusCode, text: strings.TrimSpace(strings.ToValidUTF8(string(text), "\ufffd")),
		after: retryAfter(resp.Header.Get("Retry-After")), written: resp.Header.Get(samplesWritten)}
}

// place is a URL without its query.
func place(u *url.URL) string { return u.Scheme + "://" + u.Host + u.Path }

// retryAfter reads the header: seconds or a date (RFC 9110, 10.2.3).
func retryAfter(text string) time.Duration {
	if seconds, err := time.ParseDuration(text + "s"); err == nil && seconds >= 0 {
		return min(seconds, time.Hour)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), time.Hour)
	}
	return 0
}

// statusOf returns the status of an answer that is an error; 0 when none came.
func statusOf(err error) int {
	if a, ok := errors.AsType[*answered](err); ok {
		return a.status
	}
	return 0
}

// drain reads the rest of a short answer, so that its connection is used again.
func drain(body io.ReadCloser) {
	_, _ = io.CopyN(io.Discard, body, 64<<10)
	_ = body.Close()
}
