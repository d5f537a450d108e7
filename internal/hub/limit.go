package hub

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/quota"
)

// limit lets a bounded number of connections in through several listeners, in
// total and by the quota of their address; more are closed before anything is
// read or kept of them.
type limit struct {
	total   int
	quotas  *quota.Quotas
	clock   func() time.Time
	refused prometheus.Counter

	mu   sync.Mutex
	open int
}

func newLimit(total int, quotas *quota.Quotas, clock func() time.Time, reg prometheus.Registerer) *limit {
	n := &limit{total: total, quotas: quotas, clock: clock}
	n.refused = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "hub_http_connections_refused_total", Help: "HTTP connections closed at once because too many were open; hub_quota_refused_total has those of single addresses.",
	})
	reg.MustRegister(n.refused, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "hub_http_connections", Help: "HTTP connections that are open, MQTT over WebSocket among them; bounded by http.max_connections.",
	}, func() float64 {
		n.mu.Lock()
		defer n.mu.Unlock()
		return float64(n.open)
	}))
	return n
}

// over returns a listener whose connections count towards the limit.
func (l *limit) over(to net.Listener, door quota.Door) net.Listener {
	return &limitedListener{to, door, l}
}

type limitedListener struct {
	net.Listener
	door  quota.Door
	limit *limit
}

// Accept implements net.Listener.
func (o *limitedListener) Accept() (net.Conn, error) {
	for {
		c, err := o.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if entry := o.limit.enter(c.RemoteAddr(), o.door); entry != nil {
			return &limited{c, entry.Over, sync.OnceFunc(func() { o.limit.leave(entry) })}, nil
		}
		_ = c.Close() // nobody waits for it
	}
}

// enter counts a connection; nil when it is to be closed.
func (l *limit) enter(from net.Addr, door quota.Door) *quota.Entry {
	at, _ := netip.ParseAddrPort(from.String())
	entry := l.quotas.Enter(at.Addr().Unmap(), door, l.clock())
	if entry == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.total {
		l.refused.Inc()
		entry.Leave()
		return nil
	}
	l.open++
	return entry
}

func (l *limit) leave(entry *quota.Entry) {
	entry.Leave()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open--
}

// limited is a connection that counts until it is closed.
type limited struct {
	net.Conn
	over  *quota.Exceeded // it is one too many
	leave func()
}

func (c *limited) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

type overKey struct{}

// withOver tells the requests of a connection that it is one too many. None is
// encrypted: those are closed.
func withOver(ctx context.Context, c net.Conn) context.Context {
	if l, ok := c.(*limited); ok && l.over != nil {
		_ = c.SetReadDeadline(time.Now().Add(toldWithin)) // an error ends the connection at its first read
		return context.WithValue(ctx, overKey{}, l.over)
	}
	return ctx
}

// toldWithin is how long a connection may take to be told that it is one too many.
const toldWithin = 2 * time.Second

// tellOver answers the requests of connections that are too many.
func tellOver(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if over, ok := r.Context().Value(overKey{}).(*quota.Exceeded); ok {
			w.Header().Set("Connection", "close")
			api.Refuse(w, over)
			return
		}
		next.ServeHTTP(w, r)
	})
}
