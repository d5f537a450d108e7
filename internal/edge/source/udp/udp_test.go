package udp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/songhua-io/hub/internal/edge/source"
)

// socket is a listener's socket and a sender to it.
func socket(t *testing.T) (*net.UDPConn, net.Conn) {
	t.Helper()
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	sender, err := net.Dial("udp", conn.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sender.Close() })
	return conn, sender
}

func send(t *testing.T, sender net.Conn, n, size int) {
	t.Helper()
	for range n {
		if _, err := sender.Write(make([]byte, size)); err != nil {
			t.Fatal(err)
		}
	}
}

// waiting is the size of the next datagram in the socket.
func waiting(t *testing.T, conn *net.UDPConn) (n int) {
	t.Helper()
	raw, err := conn.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var failed error
	if err := errors.Join(raw.Control(func(fd uintptr) { n, failed = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }), failed); err != nil {
		t.Fatal(err)
	}
	return n
}

func newListener() *listener { return &listener{topic: "v2x/uper", log: slog.New(slog.DiscardHandler)} }

// run runs the listener until the returned function is called.
func run(t *testing.T, l *listener, conn *net.UDPConn, buffer int, put source.Put) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.run(ctx, conn, buffer, put) }()
	return func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(2 * time.Minute):
			return errors.New("the listener does not end")
		}
	}
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !ok(); <-time.After(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}

func TestWhatWasReceivedIsKeptWhenTheSourceEnds(t *testing.T) {
	conn, sender := socket(t)
	var kept atomic.Int64
	busy, release := make(chan struct{}, 1), make(chan struct{})
	stop := run(t, newListener(), conn, socketBuffer, func(ctx context.Context, r source.Record) error {
		if len(r.Raws) > 0 {
			select {
			case busy <- struct{}{}: // the first: a slow disk
				<-release
			default:
			}
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		kept.Add(int64(len(r.Raws)))
		return nil
	})
	const n = 100 // a small machine's socket holds them
	send(t, sender, n, 100)
	<-busy
	until(t, "the socket is empty", func() bool { return waiting(t, conn) == 0 })
	time.AfterFunc(100*time.Millisecond, func() { close(release) }) // while the source ends
	if err := stop(); err != nil {
		t.Error(err)
	}
	if kept.Load() != n {
		t.Errorf("%d of %d are kept", kept.Load(), n)
	}
}

func TestWhatTheDiskDoesNotTakeIsCountedLater(t *testing.T) {
	l := newListener()
	conn, sender := socket(t)
	full := errors.New("no space left")
	const n = 100
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	send(t, sender, n, 100)
	err := l.run(ctx, conn, socketBuffer, func(_ context.Context, r source.Record) error {
		if len(r.Raws) > 0 {
			return full
		}
		return nil
	})
	if !errors.Is(err, full) || l.dropped.Load() != n {
		t.Errorf("%v, %d of %d counted", err, l.dropped.Load(), n)
	}
	// As the supervisor does.
	conn, sender = socket(t)
	var told atomic.Uint64
	stop := run(t, l, conn, socketBuffer, func(_ context.Context, r source.Record) error { told.Add(r.Dropped); return nil })
	until(t, "the loss is told", func() bool {
		send(t, sender, 1, 100)
		return told.Load() == n
	})
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestWhatTheKernelDropsIsCounted(t *testing.T) {
	l := newListener()
	conn, sender := socket(t)
	const n, buffer = 500, 8 << 10
	if err := errors.Join(conn.SetReadBuffer(buffer), countOverflow(conn)); err != nil {
		t.Fatal(err)
	}
	send(t, sender, n, 1000) // more than the buffer holds, and nobody reads yet
	var kept, told atomic.Uint64
	stop := run(t, l, conn, buffer, func(_ context.Context, r source.Record) error {
		kept.Add(uint64(len(r.Raws)))
		told.Add(r.Dropped)
		return nil
	})
	sent := uint64(n)
	until(t, "what was dropped is told", func() bool {
		send(t, sender, 1, 10)
		sent++
		return told.Load() > 0
	})
	until(t, "all that was sent is kept or counted", func() bool { return kept.Load()+told.Load() == sent })
	if err := stop(); err != nil {
		t.Error(err)
	}
}

func TestOnlyTheSendersThatAreNamedAreTaken(t *testing.T) {
	for from, want := range map[string]bool{"": true, "127.0.0.1": true, "127.0.0.0/8": true, "10.0.0.0/8": false, "::1": false} {
		var list []string
		if from != "" {
			list = []string{from}
		}
		nets, err := networks(list)
		if err != nil {
			t.Fatal(err)
		}
		if got := allowed(&net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, nets); got != want {
			t.Errorf("%q: %v", from, got)
		}
	}
	if _, err := networks([]string{"10.0.0.0/40"}); err == nil {
		t.Error("a network that is none is taken")
	}
}

func TestFaultsOfTheConfig(t *testing.T) {
	c := Config{Listen: "x", Topic: "/v2x", From: []string{"y"}}
	c.Tags = map[string]string{"a": "b"}
	var got []string
	for _, e := range c.Check("udp") {
		got = append(got, e.Path)
	}
	if fmt.Sprint(got) != "[udp.listen udp.topic udp.tags udp.from]" {
		t.Error(got)
	}
}
