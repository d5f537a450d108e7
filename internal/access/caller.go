package access

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"time"
)

// Cookie is the name of the cookie in which the pages keep a token.
const Cookie = "songhua_token"

// ErrRevoked is the cause for which the context of a request ends whose token
// was revoked while it was answered.
var ErrRevoked = errors.New("the token was revoked")

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
// or the cookie of the pages, and lets every request through: what a stranger
// may do is decided where it is done. The context of a request ends when its
// token is revoked: what waits or reads for it stops.
func (t *Tokens) Identify(next http.Handler) http.Handler {
	foreign := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := Caller{Address: host(r.RemoteAddr)}
		secret, byCookie := shown(r)
		switch {
		case secret == "":
		case byCookie && foreign.Check(r) != nil:
			c.Refused = "the cookie came with a request from another site"
		default:
			token, err := t.Find(r.Context(), secret)
			if err != nil {
				c.Refused = err.Error()
				break
			}
			c.Name, c.Role, c.Region, c.Grade = token.Name, token.Role, token.Region, token.Grade
			ctx, end := token.bind(r.Context(), w)
			defer end()
			r = r.WithContext(ctx)
		}
		next.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), c)))
	})
}

// lastWords is how long what a revoked token is being sent may still take: the
// refusal gets through, a long answer does not.
const lastWords = 500 * time.Millisecond

// bind returns a context that ends when the token is revoked; what is being
// written to its holder by then ends soon after. end gives everything back.
func (k *Token) bind(of context.Context, w http.ResponseWriter) (ctx context.Context, end func()) {
	ctx, cancel := context.WithCancelCause(of)
	over := make(chan struct{})
	stop := context.AfterFunc(k.life, func() {
		defer close(over)
		cancel(ErrRevoked)
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

func shown(r *http.Request) (secret string, byCookie bool) {
	if scheme, rest, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(rest), false
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password, false
	}
	if c, err := r.Cookie(Cookie); err == nil {
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
