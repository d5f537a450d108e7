// Package udp takes datagrams and hands each on to the hub as it is: the frames
// of roadside units that a gateway only relays. Datagrams have no
// acknowledgement, so what comes faster than the disk takes it is lost; the
// socket's buffer is made large against that, and what is lost all the same is
// counted, by the kernel or here.
package udp

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"regexp"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
)

// Config is one listener.
type Config struct {
	source.Common
	// Listen is the address and port to take datagrams on.
	Listen string `yaml:"listen"`
	// Topic is what follows devices/{id}/ in the topic of the hub.
	Topic string `yaml:"topic"`
	// From are the addresses or networks whose datagrams are taken; empty means all.
	From []string `yaml:"from"`
}

// SetDefaults takes V2X frames on loopback.
func (c *Config) SetDefaults() { c.Listen, c.Topic = "127.0.0.1:4040", "v2x/uper" }

var topicPattern = regexp.MustCompile(`^[a-z0-9_-]+(/[a-z0-9_-]+)*$`)

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	var errs []strict.Error
	if _, err := net.ResolveUDPAddr("udp", c.Listen); err != nil {
		errs = append(errs, strict.Fault(path, "listen", "%q is no address and port; write 127.0.0.1:4040", c.Listen))
	}
	if !topicPattern.MatchString(c.Topic) || len(c.Topic) > 100 {
		errs = append(errs, strict.Fault(path, "topic", "%q is no topic such as v2x/uper", c.Topic))
	}
	if len(c.Tags) > 0 {
		errs = append(errs, strict.Fault(path, "tags", "cannot be added to frames that are handed on as they are; remove them"))
	}
	if _, err := networks(c.From); err != nil {
		errs = append(errs, strict.Fault(path, "from", "%v", err))
	}
	return errs
}

func networks(list []string) ([]*net.IPNet, error) {
	var all []*net.IPNet
	for _, s := range list {
		if ip := net.ParseIP(s); ip != nil {
			bits := 8 * len(ip)
			all = append(all, &net.IPNet{IP: ip, Mask: net.CIDRMask(bits, bits)})
			continue
		}
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			return nil, fmt.Errorf("%q is no address or network such as 10.1.0.0/16", s)
		}
		all = append(all, n)
	}
	return all, nil
}

const (
	maxDatagram  = 64 << 10
	socketBuffer = 4 << 20
	queued       = 1024
	// lastRead is how long a source that ends takes what waits in the socket.
	lastRead = 50 * time.Millisecond
)

// New returns the source.
func New(cfg Config, log *slog.Logger) source.Source {
	l := &listener{topic: cfg.Topic, log: log}
	return source.Func(func(ctx context.Context, put source.Put) error {
		var err error
		if l.from, err = networks(cfg.From); err != nil {
			return err
		}
		conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", cfg.Listen)
		if err != nil {
			return err
		}
		return l.run(ctx, conn.(*net.UDPConn), socketBuffer, put)
	})
}

// listener hands on what comes to a socket.
type listener struct {
	topic string
	from  []*net.IPNet
	log   *slog.Logger
	// dropped counts the datagrams lost that no record has told of yet.
	dropped atomic.Uint64
}

// run ends with what was received by then on disk, or counted.
func (l *listener) run(ctx context.Context, conn *net.UDPConn, buffer int, put source.Put) error {
	defer conn.Close()
	_ = conn.SetReadBuffer(buffer) // the kernel may allow less
	if err := countOverflow(conn); err != nil {
		return err
	}
	if err := put(ctx, source.Record{}); err != nil {
		return err
	}
	frames, ended := make(chan source.Raw, queued), make(chan struct{})
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		<-ctx.Done()
		return conn.SetReadDeadline(time.Now().Add(lastRead))
	})
	g.Go(func() error {
		defer close(frames)
		return l.receive(ctx, conn, frames, ended)
	})
	g.Go(func() error {
		defer close(ended)
		return l.forward(context.WithoutCancel(ctx), frames, put)
	})
	err := g.Wait()
	for range frames {
		l.dropped.Add(1)
	}
	if n := l.dropped.Load(); n > 0 && err != nil {
		l.log.Error("datagrams_lost", "datagrams", n, "error", err)
	}
	return err
}

// receive ends after the context did, with the deadline of the last read.
func (l *listener) receive(ctx context.Context, conn *net.UDPConn, frames chan<- source.Raw, ended <-chan struct{}) error {
	buf, oob := make([]byte, maxDatagram), make([]byte, 128)
	overflow := uint32(0)
	for {
		n, oobn, _, peer, err := conn.ReadMsgUDP(buf, oob)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if total, ok := overflowed(oob[:oobn]); ok {
			l.dropped.Add(uint64(total - overflow)) // the kernel's count may wrap
			overflow = total
		}
		if n == 0 || !allowed(peer, l.from) {
			continue
		}
		select {
		case frames <- source.Raw{Suffix: l.topic, Payload: bytes.Clone(buf[:n])}:
		case <-ended:
			l.dropped.Add(1)
		}
	}
}

func allowed(peer *net.UDPAddr, from []*net.IPNet) bool {
	return len(from) == 0 || slices.ContainsFunc(from, func(n *net.IPNet) bool { return n.Contains(peer.IP) })
}

// forward puts the frames, those that are there together, until there are no
// more.
func (l *listener) forward(ctx context.Context, frames <-chan source.Raw, put source.Put) error {
	for first := range frames {
		group := []source.Raw{first}
		for len(group) < queued && len(frames) > 0 {
			group = append(group, <-frames)
		}
		dropped := l.dropped.Swap(0)
		if err := put(ctx, source.Record{Raws: group, Dropped: dropped}); err != nil {
			l.dropped.Add(dropped + uint64(len(group)))
			return err
		}
	}
	return nil
}

// countOverflow makes the kernel say with each datagram how many it dropped
// because the buffer was full.
func countOverflow(conn *net.UDPConn) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) })
	return errors.Join(err, set)
}

// overflowed reads the count of the datagrams dropped since the socket was made.
func overflowed(oob []byte) (uint32, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_RXQ_OVFL && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data), true
		}
	}
	return 0, false
}
