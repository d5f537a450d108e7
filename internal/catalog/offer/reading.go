package offer

import (
	"context"
	"errors"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

const minTime, maxTime = math.MinInt64, math.MaxInt64

// DatasetOption narrows a request to what it reads of one dataset.
const DatasetOption = "dataset"

// Reading is one request: what it may read, and what it has read. It is used by
// one goroutine.
type Reading struct {
	access *Access
	caller access.Caller
	offers *offers
	only   string // dataset; empty: all
	end    context.CancelCauseFunc

	used    map[use]bool
	placed  map[string]bool           // devices whose place may be seen
	charged map[int64]*quota.Exceeded // grants that were counted; nil: there was room
	give    []func()
}

// use is what a request reads of a dataset.
type use struct {
	dataset, item string
	grant         int64
}

type readingKey struct{}

// ReadingOf returns what a request may read; false: its caller reads by an own
// right.
func ReadingOf(ctx context.Context) (*Reading, bool) {
	r, ok := ctx.Value(readingKey{}).(*Reading)
	return r, ok
}

var errShown = errors.New("no valid token was shown; leave it out for what is open to everybody, or apply for a grant (POST /api/v1/grants)")

// Serve lets everybody in, each to what may be read: staff as they are, others by
// a Reading in the context. The context of a request ends as soon as something
// that it has read may not be given out any more, and what is being sent soon
// after. Who shows what is no token is told so, by fail.
func (a *Access) Serve(next http.Handler, fail func(http.ResponseWriter, int, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := access.CallerOf(r.Context())
		only := r.URL.Query().Get(DatasetOption)
		staff := access.Staff(c.Role)
		switch {
		case c.Refused != "":
			w.Header().Set("WWW-Authenticate", `Bearer realm="songhua"`)
			fail(w, http.StatusUnauthorized, errShown)
			return
		case staff && only == "":
			next.ServeHTTP(w, r)
			return
		}
		life, end := context.WithCancelCause(context.Background())
		defer end(nil)
		ctx, unbind := access.Bind(r.Context(), life, w)
		defer unbind()
		reading := &Reading{access: a, caller: c, only: only, end: end, offers: a.current().of(c, staff), used: map[use]bool{}, placed: map[string]bool{}, charged: map[int64]*quota.Exceeded{}}
		defer reading.close()
		next.ServeHTTP(w, r.WithContext(context.WithValue(ctx, readingKey{}, reading)))
	})
}

// of is what is offered to a caller.
func (r *reach) of(c access.Caller, staff bool) *offers {
	if staff {
		return r.all
	}
	if o := r.granted[c.Name]; o != nil && c.Name != "" {
		return o
	}
	return r.public
}

// grade is the highest that the caller may see.
func (r *Reading) grade() telemetry.Grade { return max(r.caller.Grade, telemetry.General) }

// close gives back what was held. The request has been answered by then.
func (r *Reading) close() {
	for _, give := range r.give {
		give()
	}
}

// use notes that an item is read by an offer, for the first time or again; an
// error is why it may not be.
func (r *Reading) use(o *offer, item string) error {
	u := use{o.dataset.ID, item, o.grant}
	if r.used[u] {
		return nil
	}
	if o.rate > 0 {
		if err := r.charge(o); err != nil {
			return err
		}
	}
	held, release, err := r.access.deps.Register.Hold(context.Background(), u.dataset, []string{u.item}, u.grant)
	if err != nil {
		return err
	}
	var once sync.Once
	stop := context.AfterFunc(held, func() {
		once.Do(r.access.ended.Inc)
		r.end(context.Cause(held))
	})
	r.used[u] = true
	r.give = append(r.give, func() { stop(); release() })
	return nil
}

// charge counts the request for a grant, once.
func (r *Reading) charge(o *offer) error {
	over, counted := r.charged[o.grant]
	if !counted {
		if over = r.access.deps.Register.Charge(o.grant, o.rate); over != nil {
			r.access.refused.Inc()
		}
		r.charged[o.grant] = over
	}
	if over != nil {
		return over
	}
	return nil
}

// Places reports whether where a device is may be seen, by those of its series that
// were selected so far: a grant of single items gives it where the place is one of
// them.
func (r *Reading) Places(device string) bool { return r.placed[device] }

// Sees reports whether something of a device may be among what is read, by what
// the registry says of it alone.
func (r *Reading) Sees(d *telemetry.Device) bool {
	if !strings.HasPrefix(d.Region, r.caller.Region) {
		return false
	}
	label := func(name string) string {
		switch name {
		case deviceLabel:
			return d.ID
		case "kind":
			return string(d.Kind)
		case "site":
			return d.Site
		}
		return d.Region
	}
	is := func(o *offer) bool {
		return (r.only == "" || r.only == o.dataset.ID) && strings.HasPrefix(d.Region, o.area) && o.device(label)
	}
	if slices.ContainsFunc(r.offers.others, is) {
		return true
	}
	for _, all := range r.offers.byMetric {
		if slices.ContainsFunc(all, is) {
			return true
		}
	}
	return false
}
