package hub

import (
	"net"
	"net/netip"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// limit lets a bounded number of connections in through several listeners, in
// total and from one address; more are closed before anything is read or kept
// of them.
type limit struct {
	total, perAddress int
	refused           *prometheus.CounterVec

	mu   sync.Mutex
	open int
	from map[netip.Prefix]int
}

func newLimit(total, perAddress int, reg prometheus.Registerer) *limit {
	n := &limit{total: total, perAddress: perAddress, from: map[netip.Prefix]int{}}
	n.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_http_connections_refused_total", Help: "HTTP connections closed at once because too many were open, in total or from their address.",
	}, []string{"bound"})
	for _, bound := range []string{boundTotal, boundAddress} {
		n.refused.WithLabelValues(bound)
	}
	reg.MustRegister(n.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_http_connections", Help: "HTTP connections that are open, MQTT over WebSocket among them; bounded by http.max_connections.",
	}, func() float64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		return float64(n.open)
	}))
	return n
}

const (
	boundTotal   = "total"
	boundAddress = "address"
)

// over returns a listener whose connections count towards the limit.
func (l *limit) over(to net.Listener) net.Listener { return &limitedListener{to, l} }

type limitedListener struct {
	net.Listener
	limit *limit
}

// Accept implements net.Listener.
func (o *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		origin := originOf(c.RemoteAddr())
		if bound := o.limit.enter(origin); bound != "" {
			o.limit.refused.WithLabelValues(bound).Inc()
			_ = c.Close() // nobody waits for it
			continue
		}
		return &limited{Conn: c, leave: sync.OnceFunc(func() { o.limit.leave(origin) })}, nil
	}
}

// enter counts a connection, or names the bound that it would break.
func (l *limit) enter(origin netip.Prefix) (bound string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.open >= l.total:
		return boundTotal
	case l.from[origin] >= l.perAddress:
		return boundAddress
	}
	l.open++
	l.from[origin]++
	return ""
}

func (l *limit) leave(origin netip.Prefix) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
	if l.from[origin]--; l.from[origin] == 0 {
		delete(l.from, origin)
	}
}

// limited is a connection that counts until it is closed.
type limited struct {
	net.Conn
	leave func()
}

func (c *limited) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// originOf is what counts as one address: an IPv4 address, or the /64 network
// that a single IPv6 subscriber has.
func originOf(a net.Addr) netip.Prefix {
	at, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.Prefix{}
	}
	bits, ip := 32, at.Addr().Unmap().WithZone("")
	if ip.Is6() {
		bits = 64
	}
	return netip.PrefixFrom(ip, bits).Masked()
}
