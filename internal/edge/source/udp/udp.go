// Package udp takes datagrams and hands each on to the hub as it is: the frames
// of roadside units that a gateway only relays. Datagrams have no
// acknowledgement, so what the kernel drops while the disk is slow is lost
// before the agent sees it; the socket's buffer is made large for that.
package udp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"

	"golang.org/x/sync/errgroup"

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
)

// New returns the source.
func New(cfg Config) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		from, err := networks(cfg.From)
		if err != nil {
			return err
		}
		conn, err := new(net.ListenConfig).ListenPacket(ctx, "udp", cfg.Listen)
		if err != nil {
			return err
		}
		_ = conn.(*net.UDPConn).SetReadBuffer(socketBuffer) // the kernel may allow less
		if err := put(ctx, source.Record{}); err != nil {
			return errors.Join(err, conn.Close())
		}
		frames := make(chan source.Raw, queued)
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			<-ctx.Done()
			return conn.Close()
		})
		g.Go(func() error { return receive(ctx, conn, from, cfg.Topic, frames) })
		g.Go(func() error { return forward(ctx, frames, put) })
		return g.Wait()
	})
}

func receive(ctx context.Context, conn net.PacketConn, from []*net.IPNet, topic string, frames chan<- source.Raw) error {
	buf := make([]byte, maxDatagram)
	for {
		n, peer, err := conn.ReadFrom(buf)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		if n == 0 || !allowed(peer, from) {
			continue
		}
		select {
		case frames <- source.Raw{Suffix: topic, Payload: bytes.Clone(buf[:n])}:
		case <-ctx.Done():
			return nil
		}
	}
}

func allowed(peer net.Addr, from []*net.IPNet) bool {
	u, ok := peer.(*net.UDPAddr)
	if !ok || len(from) == 0 {
		return ok
	}
	for _, n := range from {
		if n.Contains(u.IP) {
			return true
		}
	}
	return false
}

func forward(ctx context.Context, frames <-chan source.Raw, put source.Put) error {
	for {
		group, ok := source.Gather(ctx, frames, nil, queued)
		if !ok {
			return nil
		}
		if err := put(ctx, source.Record{Raws: group}); err != nil {
			return err
		}
	}
}
