package remotewrite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"

	"github.com/klauspost/compress/snappy"
)

// Ready returns nil when the server takes remote write and can be read. It
// writes no sample.
func (c *Client) Ready(ctx context.Context) error {
	_, err := c.submit(ctx, request{v1, snappy.Encode(nil, nil)})
	if status := statusOf(err); status/100 == 4 && status != 401 && status != 403 && status != 404 && status != 405 {
		err = nil // it reads requests, and minds that this one is empty
	}
	if err != nil {
		return fmt.Errorf("write to %s: %w", c.cfg.WriteURL, err)
	}
	r, err := c.readerOf(ctx)
	if err != nil {
		return fmt.Errorf("read from %s: %w", c.cfg.QueryURL, err)
	}
	if r == Export {
		return c.readyVictoria(ctx)
	}
	return nil
}

// readyVictoria says when a VictoriaMetrics would show what came twice as twice.
// Reading here joins it.
func (c *Client) readyVictoria(ctx context.Context) error {
	return c.metrics(ctx, func(line string) bool {
		if !strings.HasPrefix(line, `flag{name="dedup.minScrapeInterval"`) {
			return true
		}
		if strings.Contains(line, `value="0s"`) {
			c.log.Warn("VictoriaMetrics keeps samples that are sent again twice: others who count there count them twice; run it with -dedup.minScrapeInterval=1ms", "url", c.cfg.WriteURL)
		}
		return false
	})
}

// readerOf returns how the server is read, which is asked of it once.
func (c *Client) readerOf(ctx context.Context) (Reader, error) {
	if c.cfg.Reader != Auto {
		return c.cfg.Reader, nil
	}
	if r := c.reader.Load(); r != nil {
		return *r, nil
	}
	nothing := url.Values{"match[]": {`{__name__="songhua_hub_asks_what_is_here"}`}, "start": {"1"}, "end": {"2"}}
	for _, try := range []struct {
		reader Reader
		ask    func() error
	}{
		{Export, func() error { return c.succeeds(c.form(ctx, "/api/v1/export", nothing)) }},
		{RemoteRead, func() error { return c.succeeds(c.readRequest(ctx, math.MaxInt64-1, math.MaxInt64, nil, nil)) }},
		{Query, func() error { return c.succeeds(c.form(ctx, "/api/v1/query", url.Values{"query": {"1"}})) }},
	} {
		err := try.ask()
		if err == nil {
			c.reader.Store(&try.reader)
			c.log.Info("series are read from the engine", "url", c.cfg.QueryURL, "reader", try.reader)
			return try.reader, nil
		}
		switch statusOf(err) {
		case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		default:
			return "", err
		}
		if try.reader == Query {
			return "", fmt.Errorf("query_url %s is no Prometheus API that could be read: %w", c.cfg.QueryURL, err)
		}
	}
	return "", errors.New("unreachable")
}

func (c *Client) succeeds(req *http.Request, err error) error {
	if err != nil {
		return err
	}
	body, err := c.ask(req)
	if err != nil {
		return err
	}
	drain(body)
	return nil
}

// ask returns the body of an answer that is a success.
func (c *Client) ask(req *http.Request) (io.ReadCloser, error) {
	resp, err := c.read.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		defer drain(resp.Body)
		return nil, failure(resp)
	}
	return resp.Body, nil
}

// form prepares a request of the Prometheus API.
func (c *Client) form(ctx context.Context, path string, values url.Values) (*http.Request, error) {
	req, err := c.request(ctx, http.MethodPost, c.cfg.QueryURL, path, strings.NewReader(values.Encode()))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return req, err
}

// protobuf prepares a request of the remote read protocol.
func (c *Client) protobuf(ctx context.Context, body []byte) (*http.Request, error) {
	req, err := c.request(ctx, http.MethodPost, c.cfg.QueryURL, "/api/v1/read", bytes.NewReader(snappy.Encode(nil, body)))
	if err == nil {
		req.Header.Set("Content-Type", "application/x-protobuf")
		req.Header.Set("Content-Encoding", "snappy")
		req.Header.Set("X-Prometheus-Remote-Read-Version", "0.1.0")
	}
	return req, err
}
