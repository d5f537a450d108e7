package access

import (
	"context"
	"net"
	"net/http"
	"strings"
)

// Cookie is the name of the cookie in which the pages keep a token.
const Cookie = "songhua_token"

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
// may do is decided where it is done.
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
			c = t.caller(r.Context(), secret, c)
		}
		next.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), c)))
	})
}

func (t *Tokens) caller(ctx context.Context, secret string, c Caller) Caller {
	token, err := t.Find(ctx, secret)
	if err != nil {
		c.Refused = err.Error()
		return c
	}
	c.Name, c.Role, c.Region, c.Grade = token.Name, token.Role, token.Region, token.Grade
	return c
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
