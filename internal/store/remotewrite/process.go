package remotewrite

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Unflushed implements queue.Forgetful.
func (c *Client) Unflushed() time.Duration { return c.cfg.Unflushed }

// Process implements queue.Forgetful: it names the server's process by its start
// time in /metrics. One that tells none is another one whenever connections to it
// were cut or refused, or a proxy did not find it; one with a log of the TSDB of
// Prometheus is always the same.
func (c *Client) Process(ctx context.Context) (string, error) {
	var started, uptime string
	logged := false
	err := c.metrics(ctx, func(line string) bool {
		name, value, _ := strings.Cut(line, " ")
		logged = logged || strings.HasPrefix(name, "prometheus_tsdb_wal_")
		switch name {
		case "process_start_time_seconds":
			started = value
		case "vm_app_uptime_seconds":
			uptime = value
		}
		return true
	})
	if err != nil && c.tells.Load() {
		return "", fmt.Errorf("see which process answers: %w", err)
	}
	if err != nil || started == "" {
		return c.absences.name(), nil
	}
	c.tells.Store(true)
	if logged { // Prometheus, Thanos: what they answered for is in their log
		return "logged", nil
	}
	// VictoriaMetrics tells its start in whole seconds: within the first two, the
	// next process may tell the same.
	if up, err := strconv.Atoi(uptime); err == nil && up < 2 {
		started += " just now"
	}
	return started, nil
}

// absences counts how often a server was away and came back, for one that does
// not tell when it started.
type absences struct {
	mu    sync.Mutex
	away  bool
	times int
	hub   string // another hub does not know what was before
}

func (a *absences) name() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.hub == "" {
		a.hub = rand.Text()
	}
	return fmt.Sprintf("%s %d", a.hub, a.times)
}

// after takes notice of how a request ended. One that nobody answered in time was
// not cut.
func (a *absences) after(err error) {
	timeout := net.Error(nil)
	switch status := statusOf(err); {
	case status == http.StatusBadGateway:
	case status != 0, errors.Is(err, context.Canceled), errors.As(err, &timeout) && timeout.Timeout():
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away && err == nil {
		a.times++
	}
	a.away = err != nil
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
