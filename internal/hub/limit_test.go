package hub

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// asked is a connection that has been answered once.
type asked struct {
	net.Conn
	r *bufio.Reader
}

func (c *asked) ask() error {
	if _, err := fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

func TestAFloodOfHTTPConnectionsIsRefused(t *testing.T) {
	for _, bound := range []struct {
		name              string
		total, perAddress int
	}{{boundTotal, 3, 100}, {boundAddress, 100, 3}} {
		t.Run(bound.name, func(t *testing.T) {
			tcp, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := newLimit(bound.total, bound.perAddress, prometheus.NewRegistry())
			h := &hub{log: slog.New(slog.DiscardHandler)}
			server := h.newServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }))
			ended := make(chan error, 1)
			go func() { ended <- server.Serve(l.over(tcp)) }()
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
				if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
					t.Fatal(err)
				}
				return &asked{c, bufio.NewReader(c)}
			}
			first := dial()
			if err := first.ask(); err != nil {
				t.Fatal(err)
			}
			refused := 0
			for range 50 {
				if dial().ask() != nil {
					refused++
				}
			}
			if got := testutil.ToFloat64(l.refused.WithLabelValues(bound.name)); refused != 48 || got != 48 {
				t.Errorf("%d of 50 connections were refused, %v counted; want 48", refused, got)
			}
			if err := first.ask(); err != nil {
				t.Errorf("the first connection no longer works: %v", err)
			}
			first.Close()
			for deadline := time.Now().Add(time.Minute); dial().ask() != nil; runtime.Gosched() {
				if time.Now().After(deadline) {
					t.Fatal("a connection that ended left no room")
				}
			}
		})
	}
}

func TestAnIPv6NetworkIsOneAddress(t *testing.T) {
	of := func(ip string) string { return originOf(&net.TCPAddr{IP: net.ParseIP(ip), Port: 1}).String() }
	if a, b := of("2001:db8::1"), of("2001:db8::ffff:1"); a != b || a != "2001:db8::/64" {
		t.Errorf("%s, %s", a, b)
	}
	if a, b := of("192.0.2.1"), of("192.0.2.2"); a == b || a != "192.0.2.1/32" {
		t.Errorf("%s, %s", a, b)
	}
}
