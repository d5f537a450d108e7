// Package client is for programs that have work run, or capacity reserved, by a
// Songhua hub, and for those that read what it releases of datasets. It sends what
// docs/compute.md and docs/formats/release.md describe and imports nothing but the
// standard library.
package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls one hub. Its methods may be called from any goroutine.
type Client struct {
	base  string
	token string
	// HTTP is what requests are sent by; New sets one that waits a minute for an
	// answer's head. It must not bound a whole answer, which would end watches.
	HTTP *http.Client
}

// maxAnswer bounds what is read of an answer that is no stream.
const maxAnswer = 64 << 20

// New returns the client of the hub at a base URL (https://hub.example:8443)
// that shows a token of role scheduler (`hub token add NAME --role scheduler`).
func New(base, token string) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("hub %q is no URL; write it like https://hub.example:8443", base)
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.ResponseHeaderTimeout = time.Minute
	return &Client{base: strings.TrimRight(base, "/"), token: token, HTTP: &http.Client{Transport: t}}, nil
}

// Problem is the hub's refusal (RFC 9457).
type Problem struct {
	Status  int       `json:"status"`
	Title   string    `json:"title"`
	Detail  string    `json:"detail"`
	Errors  []Fault   `json:"errors"`
	Reasons []Reason  `json:"reasons"` // why capacity was not promised
	Refused []Refusal `json:"refused"` // pool by pool
}

// Fault is one thing that is wrong with a request.
type Fault struct {
	Location string `json:"location"` // body.tasks[0].duration
	Message  string `json:"message"`
}

// Error implements error.
func (p *Problem) Error() string { return fmt.Sprintf("hub: %d %s: %s", p.Status, p.Title, p.Detail) }

// StatusOf returns the HTTP status of a refusal; 0 when an error is none.
func StatusOf(err error) int {
	var p *Problem
	if errors.As(err, &p) {
		return p.Status
	}
	return 0
}

func (c *Client) request(ctx context.Context, method, path, key string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, err
	}
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	return c.send(req)
}

// send sends a request with the token, and makes a *Problem of a refusal.
func (c *Client) send(req *http.Request) (*http.Response, error) {
	req.Header.Set("Authorization", "Bearer "+c.token)
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	p := &Problem{}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil || json.Unmarshal(text, p) != nil || p.Status == 0 {
		p = &Problem{Status: resp.StatusCode, Title: http.StatusText(resp.StatusCode), Detail: string(text[:min(len(text), 200)])}
	}
	return nil, p
}

func (c *Client) call(ctx context.Context, method, path, key string, in, out any) error {
	resp, err := c.request(ctx, method, path, key, in)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if out == nil {
		return nil
	}
	return json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(out)
}
