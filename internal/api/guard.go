package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/quota"
)

// counted finds the caller and counts the call: of a token, or of an address that
// shows none. One that shows a wrong token has erred.
func (a *API) counted(next http.Handler) http.Handler {
	return a.Sessions.Identify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, door := access.CallerOf(r.Context()), quota.HTTP
		if r.TLS != nil {
			door = quota.HTTPS
		}
		over := a.Quotas.Begin(c.Name, door)
		if over != nil {
			Refuse(w, over)
			return
		}
		defer a.Quotas.Done(c.Name)
		left, over := a.call(r, c, door)
		if over == nil && c.Refused != "" {
			over = a.Quotas.Failed(addressOf(r), "", door, a.Now())
		}
		if over != nil {
			Refuse(w, over)
			return
		}
		left.Set(w.Header())
		next.ServeHTTP(w, r)
	}))
}

// call counts one against the quota that it is of.
func (a *API) call(r *http.Request, c access.Caller, door quota.Door) (quota.Standing, *quota.Exceeded) {
	path := r.URL.Path
	if c.Role == access.Scheduler && r.Method == http.MethodPost && (strings.HasPrefix(path, "/api/v1/workloads") || strings.HasPrefix(path, "/api/v1/reservations")) {
		return a.Quotas.Place(c.Name, door, a.Now())
	}
	return a.Quotas.Call(c.Name, addressOf(r), door, a.Now())
}

// identify finds the caller.
func (a *API) identify(ctx huma.Context, next func(huma.Context)) {
	r, w := humago.Unwrap(ctx)
	a.counted(http.HandlerFunc(func(_ http.ResponseWriter, found *http.Request) {
		next(huma.WithContext(ctx, found.Context()))
	})).ServeHTTP(w, r)
}

// admit lets in whom the table of rights allows the action, somewhere.
func (a *API) admit(action access.Action) func(huma.Context, func(huma.Context)) {
	return func(ctx huma.Context, next func(huma.Context)) {
		c := access.CallerOf(ctx.Context())
		if d := access.Allow(c, action, access.Anywhere); !d.Allowed {
			_, w := humago.Unwrap(ctx)
			denied(c, d).write(w)
			return
		}
		next(ctx)
	}
}

// only is admit for handlers of other packages. OPTIONS passes: browsers ask it
// without a token before they send one.
func (a *API) only(action access.Action, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := access.CallerOf(r.Context())
		if d := access.Allow(c, action, access.Anywhere); !d.Allowed && r.Method != http.MethodOptions {
			denied(c, d).write(w)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// may decides about one object by its region.
func may(ctx context.Context, action access.Action, region string) error {
	c := access.CallerOf(ctx)
	if d := access.Allow(c, action, region); !d.Allowed {
		return denied(c, d)
	}
	return nil
}

// region is the prefix that the caller is narrowed to.
func region(ctx context.Context) string { return access.CallerOf(ctx).Region }

// noted returns a context whose next transaction also writes the record of a
// change. Before and after must not hold secrets; nil stands for nothing.
func (a *API) noted(ctx context.Context, action access.Action, object, region string, before, after any) context.Context {
	return audit.With(ctx, a.entry(ctx, action, object, region, before, after))
}

func (a *API) entry(ctx context.Context, action access.Action, object, region string, before, after any) audit.Entry {
	c := access.CallerOf(ctx)
	return audit.Entry{
		At: a.Now(), Actor: c.Name, Role: c.Role, Origin: c.Address, Action: action,
		Object: object, Region: region, Before: asJSON(before), After: asJSON(after),
	}
}

func asJSON(v any) string {
	if v == nil {
		return ""
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // wire structs always have a JSON form
	}
	return string(b)
}
