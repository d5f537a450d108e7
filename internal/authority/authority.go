// Package authority is the hub's own certificate authority, and what the
// encrypted doors show and whom they believe: certificates of devices are short
// and issued here, those of an outside authority are taken too, and files that
// change are read again while the doors stay open. Private keys lie in files of
// mode 0600 beside the records, never in them.
package authority

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/time/rate"
)

// Options are what an authority works with. All are required but Names and
// Files.
type Options struct {
	Dir    string
	Config Config
	Files  Files
	// Names are the hosts of the hub's doors.
	Names   []string
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Authority issues certificates. All methods may be called from any goroutine.
type Authority struct {
	o       Options
	metrics *metrics
	pace    *rate.Limiter // of handshakes

	reading sync.Mutex // held while the files are read and written
	current atomic.Pointer[holding]
}

// Open reads the authority's directory; the root is made at first use.
func Open(o Options) (*Authority, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	if err := ensureRoot(o.Dir, o.Clock()); err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	o.Names = slices.Concat(o.Names, o.Config.Names, []string{"localhost", "127.0.0.1", "::1"})
	slices.Sort(o.Names)
	o.Names = slices.Compact(o.Names)
	a := &Authority{o: o, pace: newPace()}
	h, err := load(o.Dir, o.Files, o.Names, o.Clock())
	if err != nil {
		return nil, fmt.Errorf("authority: %w", err)
	}
	a.current.Store(h)
	a.metrics = newMetrics(o.Metrics, a)
	return a, nil
}

// reloadInterval is how soon a changed file is noticed.
const reloadInterval = 2 * time.Second

// Run reads files that changed and renews the hub's own certificate, until ctx
// ends.
func (a *Authority) Run(ctx context.Context) error {
	tick := time.NewTicker(reloadInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.reload()
		}
	}
}

// reload takes what the files hold now, when that is good. What is not is told
// once for each reason, and what was before stays in use.
func (a *Authority) reload() {
	a.reading.Lock()
	defer a.reading.Unlock()
	h := a.current.Load()
	now := a.o.Clock()
	due := !h.outside && !fits(h.own.Leaf, h.root, a.o.Names, now)
	if h.same() && !due {
		a.metrics.last = ""
		return
	}
	next, err := load(a.o.Dir, a.o.Files, a.o.Names, now)
	if err != nil {
		a.metrics.failed(a.o.Log, err)
		return
	}
	a.current.Store(next)
	a.metrics.reloaded(a.o.Log, next.listed)
}

// Handshakes cost half a millisecond of a processor each, whoever comes. So many
// a second may begin for each processor, and as many at once; others wait for
// their turn, and are sent away when it would not come in time. A flood of them
// leaves the larger part of the machine to those who are in.
const (
	handshakesPerProcessor = 125
	handshakeTurn          = 5 * time.Second
)

func newPace() *rate.Limiter {
	n := handshakesPerProcessor * runtime.GOMAXPROCS(0)
	return rate.NewLimiter(rate.Limit(n), n)
}

// turn waits until a handshake may begin.
func (a *Authority) turn(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, handshakeTurn)
	defer cancel()
	if err := a.pace.Wait(ctx); err != nil {
		a.metrics.refused.Inc()
		return fmt.Errorf("handshake refused: more than %v a second: %w", a.pace.Limit(), err)
	}
	return nil
}

// Server is the TLS of doors. Every handshake takes what the files held last.
func (a *Authority) Server() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if err := a.turn(hello.Context()); err != nil {
				return nil, err
			}
			return a.current.Load().server, nil
		},
	}
}

// Doors returns what a door shows and whose client certificates it takes, at
// this moment.
func (a *Authority) Doors() (own tls.Certificate, clients *x509.CertPool) {
	h := a.current.Load()
	return h.own, h.clients
}

// List describes every certificate that the hub holds, the root first.
func (a *Authority) List() []Certificate { return a.current.Load().listed }

// Root returns the certificates of the root and of those before it as PEM.
func (a *Authority) Root() []byte {
	var text []byte
	for _, c := range a.current.Load().roots {
		text = append(text, encode("CERTIFICATE", c.Raw)...)
	}
	return text
}

// Outside reports whether the hub's own certificate is of an outside authority,
// so that the root says nothing about the hub.
func (a *Authority) Outside() bool { return a.current.Load().outside }

// Issued reports whether a verified certificate is of this authority, and not
// of an outside one.
func (a *Authority) Issued(c *x509.Certificate) bool {
	return slices.ContainsFunc(a.current.Load().roots, func(r *x509.Certificate) bool { return bytes.Equal(r.SubjectKeyId, c.AuthorityKeyId) })
}

// Issued is a certificate of a device.
type Issued struct {
	PEM                 []byte
	NotBefore, NotAfter time.Time
}

// maxHold bounds how long a certificate that is not valid yet is held back.
const maxHold = 3 * time.Second

// Issue makes a device's certificate, whose common name is the id. It begins
// at since or later: what began before since is refused at the doors. When
// that lies a second ahead, because credentials changed this very moment, the
// certificate is held back until it is valid.
func (a *Authority) Issue(ctx context.Context, id string, r *Request, since time.Time) (Issued, error) {
	life, now := a.o.Config.DeviceLifetime, a.o.Clock()
	from := whole(now.Add(-min(deviceBackdate, life/10)))
	if since = whole(since); since.After(from) {
		from = since
	}
	cert, err := a.current.Load().root.device(id, r.public, from, whole(now.Add(life)))
	if err != nil {
		return Issued{}, err
	}
	if hold := from.Sub(now); hold > 0 {
		select {
		case <-time.After(min(hold, maxHold)):
		case <-ctx.Done():
			return Issued{}, ctx.Err()
		}
	}
	a.metrics.issued.Inc()
	return Issued{encode("CERTIFICATE", cert.Raw), cert.NotBefore, cert.NotAfter}, nil
}
