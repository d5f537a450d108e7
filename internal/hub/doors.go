package hub

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/ingest/coap"
	"github.com/songhua-io/hub/internal/ingest/mqtt"
	"github.com/songhua-io/hub/internal/quota"
)

// openDoors opens every listener. Doors are the last to start and the first to
// stop.
func (h *hub) openDoors(ctx context.Context) error {
	trust := h.authority.Server()
	server, err := mqtt.New(h.cfg.MQTT, mqtt.Deps{
		Ingest: h.pipeline.Ingest, Refuse: h.pipeline.Refuse, Gate: h.gate(), Presence: presence{h.presence}, Mail: h.mail(), Orders: h.orders, Units: h.traffic, Quotas: h.quotas,
		Log: h.log, Clock: h.clock, Metrics: h.metrics,
	})
	if err != nil {
		return err
	}
	h.mqtt = server
	h.stack.start("mqtt connections", server.Run)
	for _, open := range []func(context.Context, *tls.Config) error{h.openMQTT, h.openBroker, h.openCoAP, h.openHTTP} {
		if err := open(ctx, trust); err != nil {
			return err
		}
	}
	return nil
}

func (h *hub) openMQTT(ctx context.Context, trust *tls.Config) error {
	if h.cfg.Listen.MQTT != config.Off {
		l, err := listen(ctx, "mqtt", h.cfg.Listen.MQTT)
		if err != nil {
			return err
		}
		h.at.MQTT = l.Addr().String()
		h.stack.start("mqtt", func(ctx context.Context) error { return h.mqtt.Serve(ctx, l) })
	}
	if h.cfg.Listen.MQTTS != config.Off {
		l, err := listen(ctx, "mqtts", h.cfg.Listen.MQTTS)
		if err != nil {
			return err
		}
		h.at.MQTTS = l.Addr().String()
		h.stack.start("mqtts", func(ctx context.Context) error { return h.mqtt.Serve(ctx, tls.NewListener(l, trust)) })
	}
	return nil
}

func (h *hub) openBroker(context.Context, *tls.Config) error {
	if len(h.cfg.Broker.Brokers) == 0 {
		return nil
	}
	broker, err := h.mqtt.NewExternal(h.cfg.Broker)
	if err != nil {
		return err
	}
	h.stack.start("broker", broker.Run)
	return nil
}

func (h *hub) openCoAP(ctx context.Context, _ *tls.Config) error {
	door := coap.New(h.cfg.CoAP, coap.Deps{Pipeline: h.pipeline, Gate: h.gate(), Mail: h.mail(), Units: h.traffic, Quotas: h.quotas, Log: h.log, Clock: h.clock, Metrics: h.metrics})
	secured := func(ctx context.Context, conn *net.UDPConn) error {
		return door.ServeDTLS(ctx, conn, func() coap.Certificates {
			own, clients := h.authority.Doors()
			return coap.Certificates{Own: []tls.Certificate{own}, Clients: clients}
		})
	}
	for _, d := range []struct {
		key, address string
		at           *string
		serve        func(context.Context, *net.UDPConn) error
	}{
		{"coap", h.cfg.Listen.CoAP, &h.at.CoAP, door.Serve},
		{"coaps", h.cfg.Listen.CoAPS, &h.at.CoAPS, secured},
	} {
		if d.address == config.Off {
			continue
		}
		conn, err := listenUDP(ctx, d.key, d.address)
		if err != nil {
			return err
		}
		*d.at = conn.LocalAddr().String()
		h.stack.start(d.key, func(ctx context.Context) error { return d.serve(ctx, conn) })
	}
	return nil
}

// Time a stranger may take at the HTTP door: to send a header, to send a body,
// from the header until the answer is read, and between two requests. Answers
// to queries have a deadline of their own, by their size.
const (
	headerTimeout = 10 * time.Second
	bodyTimeout   = 60 * time.Second
	answerTimeout = 2 * time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 32 << 10
)

func (h *hub) newServer(surface http.Handler) *http.Server {
	return &http.Server{
		Handler: tellOver(surface), ConnContext: withOver, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout, WriteTimeout: answerTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeader, ErrorLog: quiet(h.log),
	}
}

func (h *hub) openHTTP(ctx context.Context, trust *tls.Config) error {
	surface, err := h.surface(ctx)
	if err != nil {
		return err
	}
	l, err := listen(ctx, "http", h.cfg.Listen.HTTP)
	if err != nil {
		return err
	}
	limit := newLimit(h.cfg.HTTP.MaxConnections, h.quotas, h.clock, h.metrics)
	door := quota.HTTP
	if h.authority.Outside() {
		door = quota.HTTPS
	}
	l = limit.over(l, door)
	h.at.HTTP = "http://" + l.Addr().String()
	if door == quota.HTTPS {
		h.at.HTTP = "https://" + l.Addr().String()
		l = tls.NewListener(l, trust)
	}
	doors := []net.Listener{l}
	if h.cfg.Listen.HTTPS != config.Off {
		l, err := listen(ctx, "https", h.cfg.Listen.HTTPS)
		if err != nil {
			return errors.Join(err, doors[0].Close())
		}
		h.at.HTTPS = "https://" + l.Addr().String()
		doors = append(doors, tls.NewListener(limit.over(l, quota.HTTPS), trust))
	}
	server := h.newServer(surface)
	server.RegisterOnShutdown(h.hurry)
	h.stack.start("http", func(ctx context.Context) error {
		failed := make(chan error, len(doors))
		for _, l := range doors {
			go func() { failed <- server.Serve(l) }()
		}
		select {
		case err := <-failed:
			return errors.Join(err, server.Close())
		case <-ctx.Done():
		}
		// What was received is answered; who only listens (WebSocket, event
		// streams) is sent away by its own door.
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(stop); err != nil {
			return server.Close()
		}
		return nil
	})
	return nil
}

func listen(ctx context.Context, key, address string) (net.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listen.%s: %w; choose another address with --%s, or port 0 for any free one", key, err, key)
	}
	return l, nil
}

func listenUDP(ctx context.Context, key, address string) (*net.UDPConn, error) {
	c, err := new(net.ListenConfig).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, fmt.Errorf("listen.%s: %w; choose another address with --%s, or port 0 for any free one", key, err, key)
	}
	return c.(*net.UDPConn), nil
}

// loopbackOnly reports whether an address is reached from this machine alone.
func loopbackOnly(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// announce writes where the hub is reached into the data directory, for the
// commands that talk to it, and calls Ready.
func (h *hub) announce(context.Context) error {
	data, err := json.MarshalIndent(h.at, "", "  ")
	if err != nil {
		return err
	}
	path := filepath.Join(h.at.Data, addressFile)
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the hub's addresses: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write the hub's addresses: %w", err)
	}
	h.stack.onStop("addresses", func() error {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	})
	h.log.Info("hub_ready", "data", h.at.Data, "http", h.at.HTTP, "mqtt", h.at.MQTT, "coap", h.at.CoAP, "seconds", time.Since(h.started).Seconds())
	if h.options.Ready != nil {
		h.stack.start("ready", func(ctx context.Context) error {
			h.options.Ready(ctx, h.at)
			<-ctx.Done()
			return nil
		})
	}
	return nil
}

// ReadAddresses returns where the hub that runs in a data directory is reached.
func ReadAddresses(dir string) (Addresses, error) {
	var at Addresses
	data, err := os.ReadFile(filepath.Join(dir, addressFile))
	if errors.Is(err, os.ErrNotExist) {
		return at, fmt.Errorf("no hub runs in %s: it has no %s; start one with `hub serve --data %s`", dir, addressFile, dir)
	}
	if err != nil {
		return at, err
	}
	if err := json.Unmarshal(data, &at); err != nil {
		return at, fmt.Errorf("%s: %w", filepath.Join(dir, addressFile), err)
	}
	return at, nil
}
