package hub

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/quota"
)

// asked is a connection that has been answered once.
type asked struct {
	net.Conn
	r      *bufio.Reader
	status int
	header http.Header
}

func (c *asked) ask() error {
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	c.status, c.header = resp.StatusCode, resp.Header
	if _, err = io.Copy(io.Discard, resp.Body); err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return err
}

func TestAFloodOfHTTPConnectionsIsRefused(t *testing.T) {
	for _, bound := range []struct {
		name              string
		total, perAddress int
		told              bool // they are told so
	}{{"in total", 3, 100, false}, {"from an address", 100, 3, true}} {
		t.Run(bound.name, func(t *testing.T) {
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			cfg, reg := quota.DefaultConfig(), prometheus.NewRegistry()
			cfg.Address.Connections = bound.perAddress
			l := newLimit(bound.total, quota.New(cfg, time.Now(), reg), time.Now, reg)
			h := &hub{log: slog.New(slog.DiscardHandler)}
			server := h.newServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }))
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(l.over(tcp, quota.HTTP)) }()
			t.Cleanup(func() {
				server.Close()
				<-ended
			})
			dial := func() *asked {
				c, err := net.Dial("tcp", tcp.Addr().String())
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { c.Close() })
				if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				return &asked{Conn: c, r: bufio.NewReader(c)}
			}
			first := dial()
			if err := first.ask(); err != nil {
				t.Fatal(err)
			}
			refused := 0
			for range 50 {
				c := dial()
				err := c.ask()
				for range 10 { // one too many is closed unanswered when this machine takes longer than toldWithin to ask
					if err != nil && c.status == 0 && bound.told {
						c = dial()
						err = c.ask()
					}
				}
				if err == nil {
					continue
				}
				refused++
				if told := c.status == http.StatusTooManyRequests; told != bound.told || told && c.header.Get("Retry-After") != "10" {
					t.Errorf("answered %d %v", c.status, c.header)
				}
			}
			if refused != 48 {
				t.Errorf("%d of 50 connections were refused; want 48", refused)
			}
			if err := first.ask(); err != nil {
				t.Errorf("the first connection no longer works: %v", err)
			}
			first.Close()
			for deadline := time.Now().Add(patience); dial().ask() != nil; runtime.Gosched() {
				if time.Now().After(deadline) {
					t.Fatal("a connection that ended left no room")
				}
			}
		})
	}
}
