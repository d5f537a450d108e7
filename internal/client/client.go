// Package client speaks to a running hub for people at a command line: every
// error it returns says what to do next.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// DefaultURL is where a hub listens that was told nothing else.
const DefaultURL = "http://127.0.0.1:8080"

// maxAnswer bounds what is read of an answer.
const maxAnswer = 256 << 20

// Client calls one hub.
type Client struct {
	base  string
	token string
	http  *http.Client
	dir   string // data directory that the hub or the token was taken from
	own   bool   // the token lies in dir
	key   string // Idempotency-Key of what is written; empty for none
}

// Where says which hub is meant, in the order in which the parts count: URL
// and Token as given on the command line, Data as given there, then the
// environment's, then the data directory that a hub uses by default.
type Where struct {
	URL, Token, Data     string
	EnvURL, EnvToken     string
	DefaultDataDirectory string
}

// Find returns the client of the hub that is meant. The admin token of a data
// directory is only ever sent to the hub of that directory or to this machine,
// unless the directory was named together with the URL.
func Find(w Where) (*Client, error) {
	if w.URL == "" && w.Data != "" && listening(w.Data) == "" {
		return nil, fmt.Errorf("no hub runs in %s: it has no hub.json; start one with `hub serve --data %s`, or name another with --hub URL", w.Data, w.Data)
	}
	base, dir := w.address()
	c, err := New(base, "")
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	c.dir = dir
	c.token, err = w.secret(u, dir)
	c.own = w.Token == "" && (w.EnvToken == "" || w.Data != "")
	return c, err
}

// New returns the client of the hub at a base URL that shows this token.
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("hub %q is no URL; write it like %s", base, DefaultURL)
	}
	return &Client{base: strings.TrimRight(base, "/"), token: token, http: &http.Client{Timeout: 2 * time.Minute}}, nil
}

// Once returns a client whose writes carry an Idempotency-Key: sent again, they
// change nothing and are answered as before. An empty key makes none.
func (c *Client) Once(key string) *Client {
	d := *c
	d.key = key
	return &d
}

// address returns the URL and the data directory that belongs to it.
func (w Where) address() (base, dir string) {
	switch {
	case w.URL != "":
		return w.URL, first(w.Data, w.DefaultDataDirectory)
	case w.Data != "":
		return listening(w.Data), w.Data
	case w.EnvURL != "":
		return w.EnvURL, w.DefaultDataDirectory
	}
	return first(listening(w.DefaultDataDirectory), DefaultURL), w.DefaultDataDirectory
}

// listening returns the URL that the hub of a data directory wrote down when
// it started; empty when there is none.
func listening(dir string) string {
	var at struct {
		HTTP string `json:"http"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "hub.json"))
	if err != nil || json.Unmarshal(text, &at) != nil {
		return ""
	}
	return at.HTTP
}

func (w Where) secret(u *url.URL, dir string) (string, error) {
	switch {
	case w.Token != "":
		return w.Token, nil
	case w.EnvToken != "" && w.Data == "":
		return w.EnvToken, nil
	case w.Data == "" && !loopback(u.Hostname()):
		return "", fmt.Errorf("no token for the hub at %s; give --token or set HUB_TOKEN (`hub token add` makes one)", u.Redacted())
	}
	path := filepath.Join(dir, "admin.token")
	text, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("no token: give --token, set HUB_TOKEN, or name the hub's data directory with --data (%w)", err)
	}
	return strings.TrimSpace(string(text)), nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func first(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// Problem is the hub's refusal (RFC 9457).
type Problem struct {
	Status int    `json:"-"` // of the answer: Prometheus has a word of this name
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Errors []struct {
		Message  string `json:"message"`
		Location string `json:"location"`
		Value    any    `json:"value"`
	} `json:"errors"`
	// PromQL is Prometheus' own way to say what was wrong.
	PromQL string `json:"error"`
}

func (p *Problem) Error() string {
	text := first(first(p.Detail, p.PromQL), p.Title)
	for _, e := range p.Errors {
		if !strings.Contains(text, e.Message) {
			text += "; " + strings.TrimPrefix(e.Location, "body.") + ": " + e.Message
		}
	}
	return text
}

// Call sends a request and decodes the answer into into, unless that is nil.
// What the hub refuses is a *Problem.
func (c *Client) Call(ctx context.Context, method, path string, query url.Values, body, into any) error {
	req, err := c.request(ctx, method, path, query, body)
	if err != nil {
		return err
	}
	return c.send(req, into)
}

func (c *Client) send(req *http.Request, into any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return c.unreachable(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("the answer of the hub at %s broke off: %w", c.base, err)
	}
	return c.decode(resp, text, into)
}

func (c *Client) request(ctx context.Context, method, path string, query url.Values, body any) (*http.Request, error) {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		send = bytes.NewReader(text)
	}
	target := c.base + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, target, send)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	if c.key != "" {
		req.Header.Set("Idempotency-Key", c.key)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, nil
}

// Post sends bytes of a media type, and is otherwise Call.
func (c *Client) Post(ctx context.Context, path string, query url.Values, media string, body []byte, into any) error {
	req, err := c.request(ctx, http.MethodPost, path, query, nil)
	if err != nil {
		return err
	}
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	req.Header.Set("Content-Type", media)
	return c.send(req, into)
}

// Stream asks for an answer that is as long as it is; the caller reads and
// closes it. What the hub refuses is a *Problem.
func (c *Client) Stream(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	req, err := c.request(ctx, http.MethodGet, path, query, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.stream(req)
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}

// Resume is Stream for the part of a file behind its first n bytes, as long as it
// has a tag; the part begins at from, which is 0 where it has another one.
func (c *Client) Resume(ctx context.Context, path string, n int64, tag string) (part io.ReadCloser, from int64, err error) {
	req, err := c.request(ctx, http.MethodGet, path, nil, nil)
	if err != nil {
		return nil, 0, err
	}
	if n > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", n))
		req.Header.Set("If-Range", tag)
	}
	resp, err := c.stream(req)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusPartialContent {
		from = n
	}
	return resp.Body, from, nil
}

// stream sends a request whose answer is as long as it is.
func (c *Client) stream(req *http.Request) (*http.Response, error) {
	patient := *c.http
	patient.Timeout = 0 // the context bounds it
	resp, err := patient.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the answer of the hub at %s broke off: %w", c.base, err)
	}
	return nil, c.decode(resp, text, nil)
}

func (c *Client) decode(resp *http.Response, text []byte, into any) error {
	if resp.StatusCode/100 == 2 {
		if into == nil || len(text) == 0 {
			return nil
		}
		if err := json.Unmarshal(text, into); err != nil {
			return fmt.Errorf("what answers at %s is no hub, or another version: %w", c.base, err)
		}
		return nil
	}
	p := &Problem{}
	if json.Unmarshal(text, p) != nil || p.Detail == "" && p.PromQL == "" {
		return fmt.Errorf("the hub at %s answered %s: %.200s", c.base, resp.Status, text)
	}
	p.Status = resp.StatusCode
	if p.Status == http.StatusUnauthorized && c.own && c.left() {
		return fmt.Errorf("%w (if the hub of %s does not run, another one answers at %s: start it with `hub serve --data %s`)", p, c.dir, c.base, c.dir)
	}
	return p
}

// left reports whether the address is what a hub wrote into its data directory.
// One that was killed left it there.
func (c *Client) left() bool { return c.dir != "" && listening(c.dir) == c.base }

func (c *Client) unreachable(err error) error {
	var op *net.OpError
	if errors.As(err, &op) && op.Op == "dial" && c.left() {
		return fmt.Errorf("the hub of %s does not run: nothing answers at %s, where it was last; start it with `hub serve --data %s`, or name another with --hub URL (%w)", c.dir, c.base, c.dir, op.Err)
	}
	if errors.As(err, &op) && op.Op == "dial" {
		return fmt.Errorf("no hub answers at %s; start one with `hub serve`, or name it with --hub URL or --data DIR (%w)", c.base, op.Err)
	}
	return fmt.Errorf("the hub at %s cannot be asked: %w", c.base, err)
}

// Pages calls a list until it ends, or limit items came (0: all), and returns
// the items as they came.
func Pages[T any](ctx context.Context, c *Client, path string, query url.Values, limit int) (all []T, err error) {
	const most = 1000
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	for {
		n := most
		if limit > 0 {
			n = min(most, limit-len(all))
		}
		q.Set("limit", fmt.Sprint(n))
		var page struct {
			Items []T    `json:"items"`
			Next  string `json:"next_cursor"`
		}
		if err := c.Call(ctx, http.MethodGet, path, q, nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if page.Next == "" || limit > 0 && len(all) >= limit {
			return all, nil
		}
		q.Set("cursor", page.Next)
	}
}
