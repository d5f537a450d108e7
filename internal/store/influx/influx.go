// Package influx keeps series in an InfluxDB 2, or 1.8, by its v2 API. What is
// sent is stored when Send returns; sending it again changes nothing. Queries read
// it by Flux. docs/formats/engines.md says what is held how, and what is not.
package influx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	influxhttp "github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/prometheus/prometheus/storage"
)

// Client writes to and reads from one bucket. Its methods may be called from any
// goroutine.
type Client struct {
	cfg      Config
	log      *slog.Logger
	client   influxdb2.Client
	writeURL string
	queryURL string
	token    *authorised
}

// New makes a client; nothing is sent yet.
func New(cfg Config, log *slog.Logger) (*Client, error) {
	if faults := cfg.Check("influx"); len(faults) > 0 {
		return nil, faults[0]
	}
	to, err := cfg.httpClient()
	if err != nil {
		return nil, fmt.Errorf("InfluxDB %s: %w", cfg.URL, err)
	}
	options := influxdb2.DefaultOptions().SetHTTPClient(to).SetApplicationName("songhua")
	c := &Client{cfg: cfg, log: log, token: to.Transport.(*authorised), client: influxdb2.NewClientWithOptions(cfg.URL, "", options)}
	api := c.client.HTTPService().ServerAPIURL()
	c.writeURL = api + "write?" + url.Values{"org": {cfg.Org}, "bucket": {cfg.Bucket}, "precision": {"ms"}}.Encode()
	c.queryURL = api + "query?" + url.Values{"org": {cfg.Org}}.Encode()
	return c, nil
}

var _ storage.Queryable = (*Client)(nil)

// Close gives connections back.
func (c *Client) Close() error {
	c.token.to.CloseIdleConnections()
	return nil
}

// Ready reports whether the server is there and lets the bucket be read.
func (c *Client) Ready(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, c.cfg.Timeout)
	defer stop()
	version := ""
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, c.client.HTTPService().ServerURL()+"ping", nil)
	if err != nil {
		return fmt.Errorf("InfluxDB %s: %w", c.cfg.URL, err)
	}
	if fault := c.client.HTTPService().DoHTTPRequest(request, nil, func(r *http.Response) error {
		version = r.Header.Get("X-Influxdb-Version")
		return drain(r.Body)
	}); fault != nil {
		return c.failure("ping", fault)
	}
	err = c.rows(ctx, fmt.Sprintf("from(bucket: %s)\n|> range(start: -1s)\n|> limit(n: 1)", fluxString(c.cfg.Bucket)), func(*row) error { return nil })
	if err != nil {
		return err
	}
	c.log.Info("influx_server", "url", c.cfg.URL, "bucket", c.cfg.Bucket, "version", version)
	return nil
}

// post posts a body and hands the answer to read, which may be nil.
func (c *Client) post(ctx context.Context, to string, body []byte, headers func(http.Header), read func(io.Reader) error) *influxhttp.Error {
	fault := c.client.HTTPService().DoPostRequest(ctx, to, bytes.NewReader(body), func(r *http.Request) { headers(r.Header) }, func(r *http.Response) error {
		var err error
		if read != nil {
			err = read(r.Body)
		}
		if err != nil {
			return errors.Join(err, r.Body.Close()) // and the rest of it is not waited for
		}
		return drain(r.Body)
	})
	return fault
}

// maxDrain bounds what is read of an answer in which nothing is looked for.
const maxDrain = 64 << 10

// drain reads what is left of an answer, so that its connection serves again.
func drain(body io.ReadCloser) error {
	_, err := io.CopyN(io.Discard, body, maxDrain)
	if err == io.EOF {
		err = nil
	}
	return errors.Join(err, body.Close())
}

// Error is what the server, or the way to it, answers to a request.
type Error struct {
	Doing  string // what was asked of it
	URL    string
	Status int // of HTTP; 0 when there was no answer
	Text   string
	Err    error // why there was no answer

	verdict verdict // on the points of a write
}

func (e *Error) Error() string {
	text := e.Text
	if e.Status != 0 {
		text = fmt.Sprintf("answers %d: %s", e.Status, e.Text)
	}
	return fmt.Sprintf("InfluxDB %s: %s: %s", e.URL, e.Doing, text) + e.wayOut()
}

func (e *Error) Unwrap() error { return e.Err }

// wayOut is what an operator can do about it.
func (e *Error) wayOut() string {
	switch {
	case e.Status == http.StatusUnauthorized:
		return "; put a token that it knows into token_file"
	case e.Status == http.StatusForbidden && strings.Contains(strings.ToLower(e.Text), "flux"):
		return "; set flux-enabled = true in its configuration"
	case e.Status == http.StatusForbidden:
		return "; give the token the right to read and write the bucket"
	case e.Status == http.StatusNotFound, strings.Contains(e.Text, "no database"), strings.Contains(e.Text, "invalid retention policy"), strings.Contains(e.Text, "retention policy not found"), strings.Contains(e.Text, "could not find bucket"):
		return "; create the bucket (InfluxDB 1.8: the database and its retention policy), or correct org and bucket"
	case e.Status >= 300 && e.Status < 400:
		return "; url is to name the server itself"
	}
	return ""
}

// maxText bounds what is told of an answer.
const maxText = 500

func clip(text string) string {
	if len(text) > maxText {
		return strings.ToValidUTF8(text[:maxText], "") + "…"
	}
	return text
}

// failure makes an error of what the client library says, without the token,
// whatever the server wrote into its answer.
func (c *Client) failure(doing string, fault *influxhttp.Error) *Error {
	text := fault.Message
	if fault.Err != nil || text == "" {
		text = fault.Error()
	}
	text = c.token.hide(strings.Join(strings.Fields(text), " ")) // some answers are CSV, others pages
	e := &Error{Doing: doing, URL: c.cfg.URL, Status: fault.StatusCode, verdict: verdictOf(fault.StatusCode, text)}
	e.Text = clip(text)
	if fault.StatusCode == 0 {
		e.Err = fault.Err
	}
	return e
}
