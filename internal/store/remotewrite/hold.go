package remotewrite

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// maxHeld bounds the bytes of requests that are kept for a server that may lose
// them: two million samples and more. When they are reached, sending waits.
const maxHeld = 64 << 20

// hold keeps what the server has acknowledged until it must be durable there.
// VictoriaMetrics acknowledges before, and loses it when it is killed. A process
// that was restarted is found out by its start time in /metrics, which is asked
// for whenever there is a new connection.
type hold struct {
	doubt atomic.Bool // the server may be another process than before

	// gate is held for reading while a request is under way, and for writing
	// while it is found out which process answers.
	gate    sync.RWMutex
	process string // start time of the server's process; guarded by gate

	mu    sync.Mutex
	kept  []kept // in the order of their times
	bytes int
	most  int // bytes
}

type kept struct {
	request
	at time.Time // of the answer
}

func (h *hold) keep(r request) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept = append(h.kept, kept{r, time.Now()}) // of several at once in any order
	h.bytes += len(r.packed)
}

// release lets go of what was acknowledged before t.
func (h *hold) release(t time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for n < len(h.kept) && h.kept[n].at.Before(t) {
		h.bytes -= len(h.kept[n].packed)
		n++
	}
	h.kept = slices.Delete(h.kept, 0, n)
}

// oldest returns when the oldest request was acknowledged, and the bytes of all.
func (h *hold) oldest() (at time.Time, bytes int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.kept) > 0 {
		at = h.kept[0].at
	}
	return at, h.bytes
}

// settled returns when a request may be sent.
func (c *Client) settled(ctx context.Context) error {
	for {
		oldest, bytes := c.hold.oldest()
		full := bytes > c.hold.most
		if !full && !c.hold.doubt.Load() {
			return nil
		}
		if full {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Until(oldest.Add(c.cfg.Unflushed + time.Millisecond))):
			}
		}
		if err := c.verify(ctx); err != nil {
			return err
		}
		if !full {
			return nil // a connection opened meanwhile is looked at afterwards
		}
	}
}

// afterwards is for a request that was begun at that time and acknowledged by
// now: if it may have been by another process than the ones before, that is found
// out first. Else the process has lived through all of that time.
func (c *Client) afterwards(ctx context.Context, began time.Time) error {
	if c.hold.doubt.Load() {
		return c.verify(ctx)
	}
	c.hold.release(began.Add(-c.cfg.Unflushed))
	return nil
}

// verify finds out whether the server is still the process that acknowledged
// what is kept. If not, all of it is sent again; else what is old enough is let go.
func (c *Client) verify(ctx context.Context) error {
	h := &c.hold
	h.gate.Lock()
	defer h.gate.Unlock()
	doubted := h.doubt.Swap(false)
	began := time.Now()
	process, err := c.process(ctx)
	if err != nil {
		h.doubt.Store(true)
		return err
	}
	if process != h.process && h.process != "" || process == "" && doubted {
		if err := c.again(ctx); err != nil {
			h.doubt.Store(true)
			return err
		}
	}
	h.process = process
	h.release(began.Add(-c.cfg.Unflushed))
	return nil
}

// again sends all that is kept. What the server refuses now, it had taken once:
// it is said, and not tried for ever.
func (c *Client) again(ctx context.Context) error {
	h := &c.hold
	h.mu.Lock()
	all := slices.Clone(h.kept)
	h.mu.Unlock()
	for i := range all {
		_, err := c.submit(ctx, all[i].request)
		if status := statusOf(err); status/100 == 4 && status != http.StatusTooManyRequests {
			c.log.Error("samples that a server had acknowledged were lost by its restart: it refuses them now", "url", c.cfg.WriteURL, "err", err)
		} else if err != nil {
			return err
		}
		all[i].at = time.Now()
	}
	h.mu.Lock()
	h.kept = all // nobody adds to it while the gate is held
	h.mu.Unlock()
	if len(all) > 0 {
		c.log.Info("sent again what the server may have lost by its restart", "url", c.cfg.WriteURL, "requests", len(all))
	}
	return nil
}

// Run looks after what is kept while nothing is sent, until ctx ends.
func (c *Client) Run(ctx context.Context) error {
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-every.C:
		}
		oldest, _ := c.hold.oldest()
		if !oldest.IsZero() && (c.hold.doubt.Load() || time.Since(oldest) > c.cfg.Unflushed+time.Second) {
			if err := c.verify(ctx); err != nil && ctx.Err() == nil {
				c.log.Debug("cannot see whether the server was restarted", "url", c.cfg.WriteURL, "err", err)
			}
		}
	}
}

// metrics calls each with the lines of the server's own metrics, until it
// returns false. A server that shows none is no error.
func (c *Client) metrics(ctx context.Context, each func(line string) bool) error {
	u, err := url.Parse(c.cfg.WriteURL)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	req, err := c.request(ctx, http.MethodGet, u.Scheme+"://"+u.Host, "/metrics", nil)
	if err != nil {
		return err
	}
	resp, err := c.read.Do(req)
	if err != nil {
		return err
	}
	defer drain(resp.Body)
	if resp.StatusCode/100 == 5 {
		return failure(resp)
	}
	if resp.StatusCode != http.StatusOK {
		return nil
	}
	lines := bufio.NewScanner(io.LimitReader(resp.Body, 64<<20))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() && each(lines.Text()) {
	}
	return lines.Err()
}

// process names the server's process by its start time, with the resolution of
// a second at least; empty when it does not tell.
func (c *Client) process(ctx context.Context) (started string, err error) {
	if c.cfg.Unflushed == 0 {
		return "durable", nil
	}
	err = c.metrics(ctx, func(line string) bool {
		name, value, _ := strings.Cut(line, " ")
		if name != "process_start_time_seconds" {
			return true
		}
		started = value
		return false
	})
	if err != nil {
		return "", fmt.Errorf("see which process answers: %w", err)
	}
	return started, nil
}
