package access

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

// ErrRevoked is the cause for which the context of a request ends whose token
// was revoked, or whose session ended, while it was answered.
var ErrRevoked = errors.New("the token was revoked, or the session ended")

type callerKey struct{}

// CallerOf returns who asks; the zero Caller when nobody was found.
func CallerOf(ctx context.Context) Caller {
	c, _ := ctx.Value(callerKey{}).(Caller)
	return c
}

// WithCaller returns a context in which CallerOf finds c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Identify finds the caller of every request by its bearer token, the password
// of basic authentication (as Grafana sends it; the user name does not matter)
// or the session of the pages' cookie, and lets every request through: what a
// stranger may do is decided where it is done. A cookie counts only with a
// request that no other site made. The context of a request ends when its token
// is revoked or its session ends: what waits or reads for it stops.
func (s *Sessions) Identify(next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := Caller{Address: host(r.RemoteAddr)}
		secret, byCookie := s.shown(r)
		var life context.Context
		var err error
		switch {
		case secret == "":
		case byCookie && foreign.Check(r) != nil:
			c.Refused = "the cookie came with a request from another site"
		case byCookie:
			var k Session
			if k, err = s.Find(r.Context(), secret); err == nil {
				c.Name, c.Role, c.Region, c.Grade, c.Session, life = k.Name, k.Role, k.Region, k.Grade, k.ID, k.life
			}
		default:
			var k Token
			if k, err = s.tokens.Find(r.Context(), secret); err == nil {
				c.Name, c.Role, c.Region, c.Grade, life = k.Name, k.Role, k.Region, k.Grade, k.life
			}
		}
		if err != nil {
			c.Refused = err.Error()
		}
		ctx := WithCaller(r.Context(), c)
		if life != nil {
			bound, end := Bind(ctx, life, w)
			defer end()
			ctx = bound
		}
		next.ServeHTTP(w, r.WithContext(ctx))
	})
}

// lastWords is how long what a revoked token is being sent may still take: the
// refusal gets through, a long answer does not.
const lastWords = 500 * time.Millisecond

// Bind returns a context that ends with a life, by the life's cause where it has
// one and ErrRevoked else; what is being written to w by then ends soon after. end
// gives everything back, and must be called before the handler returns.
func Bind(of, life context.Context, w http.ResponseWriter) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(of)
	over := make(chan struct{})
	stop := context.AfterFunc(life, func() {
		defer close(over)
		cause := context.Cause(life)
		if errors.Is(cause, context.Canceled) {
			cause = ErrRevoked
		}
		cancel(cause)
		// Only recorders of tests know no deadlines.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(lastWords))
	})
	return ctx, func() {
		if !stop() {
			<-over // w is not to be touched once the handler has returned
		}
		cancel(nil)
	}
}

func (s *Sessions) shown(r *http.Request) (secret string, byCookie bool) {
	if scheme, rest, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest), false
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password, false
	}
	if c, err := r.Cookie(s.cfg.CookieName(r, Cookie)); err == nil {
		return c.Value, true
	}
	return "", false
}

func host(address string) string {
	h, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return h
}
