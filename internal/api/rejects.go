package api

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Desk keeps what was not stored.
type Desk interface {
	// List returns one page, the newest first.
	List(ctx context.Context, q RejectQuery) (RejectPage, error)
	// Replay sends what the filter lets through on its way again and returns
	// how many messages are stored now; those leave the desk. With an error the
	// count is that of what was done before it, *Later when the rest may be tried
	// again.
	Replay(ctx context.Context, f RejectFilter) (stored int, err error)
	// Drop forgets what the filter lets through and returns how many that were,
	// before an error too.
	Drop(ctx context.Context, f RejectFilter) (dropped int, err error)
}

// ErrNoReject is what List returns for an id or a cursor that cannot be one.
var ErrNoReject = errors.New("no such reject")

// Later says that the hub does not take something at this moment.
type Later struct {
	Err     error
	After   time.Duration // when to try again
	Closing bool          // the hub stops, or the time is over (503); else it is busy (429)
}

func (e *Later) Error() string { return e.Err.Error() }
func (e *Later) Unwrap() error { return e.Err }

// RejectFilter narrows what the desk holds; zero fields let everything through.
type RejectFilter struct {
	ID, Device, Stage, Reason string
	Since, Until              time.Time
	// Sees reports whether the caller may see rejects of a device (or of a
	// sender that is no device); nil when it may see all.
	Sees func(device string) bool
}

// RejectQuery asks for a page.
type RejectQuery struct {
	RejectFilter
	Cursor string // of the desk's own making; empty for the first page
	Limit  int
	// Payloads asks for the payloads; the page ends early when they grow large.
	Payloads bool
}

// RejectPage is a part of what the desk holds.
type RejectPage struct {
	Entries []RejectEntry
	Next    string // cursor of the next page; empty on the last
}

// RejectEntry is one message of which something was not stored.
type RejectEntry struct {
	ID             string
	At             time.Time
	Device         string
	Format         string
	Stage          string
	Reason, Detail string // of the first reject of the message
	Index          int    // of the record in its message; -1 for the whole message
	Count          int    // rejects of the message
	Size           int    // bytes of the message
	// Payload is the message as it came, cut at the desk's bound; nil unless asked for.
	Payload []byte
}

type rejectOut struct {
	ID      string    `json:"id"`
	At      time.Time `json:"at"`
	Device  string    `json:"device"`
	Format  string    `json:"format,omitempty"`
	Stage   string    `json:"stage"`
	Reason  string    `json:"reason"`
	Detail  string    `json:"detail"`
	Index   int       `json:"index" doc:"of the record in its message; -1 for the whole message"`
	Count   int       `json:"count" doc:"rejects of the message; stage, reason, detail and index are the first one's"`
	Size    int       `json:"size" doc:"bytes of the message; 0 when it was refused unread"`
	Payload string    `json:"payload,omitempty" doc:"the first 64 KiB of the message as it came, base64; in lists only with payload=true"`
}

func showReject(e RejectEntry) rejectOut {
	return rejectOut{e.ID, e.At.UTC(), e.Device, e.Format, e.Stage, e.Reason, e.Detail, e.Index, e.Count, e.Size, base64.StdEncoding.EncodeToString(e.Payload)}
}

// RejectWhich is a filter of rejects as callers write it; empty fields match all.
type RejectWhich struct {
	Device string    `query:"device" json:"device,omitempty"`
	Stage  string    `query:"stage" json:"stage,omitempty"`
	Reason string    `query:"reason" json:"reason,omitempty"`
	Since  time.Time `query:"since" json:"since,omitzero" required:"false"`
	Until  time.Time `query:"until" json:"until,omitzero" required:"false"`
}

func (a *API) filter(ctx context.Context, in RejectWhich) RejectFilter {
	return a.confine(ctx, RejectFilter{Device: in.Device, Stage: in.Stage, Reason: in.Reason, Since: in.Since, Until: in.Until})
}

// confine leaves what the caller may see.
func (a *API) confine(ctx context.Context, f RejectFilter) RejectFilter {
	c := access.CallerOf(ctx)
	if c.Region == "" && c.Grade == telemetry.Core {
		return f
	}
	f.Sees = func(device string) bool {
		if d := a.Registry.Device(device); d != nil {
			return c.Sees(d) && seesAllOf(ctx, d)
		}
		return c.Region == "" && a.Registry.Departed(device) <= c.Grade
	}
	return f
}

type rejectQuery struct {
	RejectWhich
	Paging
	Payload bool `query:"payload" doc:"show the messages too; a page then ends at 1 MiB of them"`
}

func (a *API) listRejects(ctx context.Context, in *rejectQuery) (*pageOut[rejectOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, err := a.Desk.List(ctx, RejectQuery{a.filter(ctx, in.RejectWhich), after, in.Limit, in.Payload})
	if errors.Is(err, ErrNoReject) {
		return nil, fault("query.cursor", in.Cursor, badCursor)
	}
	if err != nil {
		return nil, err
	}
	out := newPage[rejectOut](len(found.Entries))
	for _, e := range found.Entries {
		out.Body.Items = append(out.Body.Items, showReject(e))
	}
	if found.Next != "" {
		out.Body.Next = cursor(found.Next)
	}
	return out, nil
}

type rejectOne struct {
	ID string `path:"id"`
}

func (a *API) getReject(ctx context.Context, in *rejectOne) (*struct{ Body rejectOut }, error) {
	found, err := a.Desk.List(ctx, RejectQuery{RejectFilter: a.confine(ctx, RejectFilter{ID: in.ID}), Limit: 1, Payloads: true})
	if err == nil && len(found.Entries) == 0 {
		err = ErrNoReject
	}
	if errors.Is(err, ErrNoReject) {
		return nil, newProblem(http.StatusNotFound, fmt.Sprintf("reject %q is not at the desk; `hub rejects` lists what is", in.ID))
	}
	if err != nil {
		return nil, err
	}
	return &struct{ Body rejectOut }{showReject(found.Entries[0])}, nil
}

type rejectAct struct {
	Body struct {
		RejectWhich
		All bool `json:"all,omitempty" doc:"must be true when no other field narrows what is meant"`
	}
}

// actTime is how long one request may replay or drop: those who ask wait for
// two minutes.
const actTime = 90 * time.Second

type countOut struct {
	Body struct {
		Count int `json:"count" doc:"how many messages were stored or dropped"`
	}
}

func (a *API) replayRejects(ctx context.Context, in *rejectAct) (*countOut, error) {
	return a.act(ctx, in, "replay", a.Desk.Replay)
}

func (a *API) dropRejects(ctx context.Context, in *rejectAct) (*countOut, error) {
	return a.act(ctx, in, "drop", a.Desk.Drop)
}

func (a *API) act(ctx context.Context, in *rejectAct, verb string, do func(context.Context, RejectFilter) (int, error)) (*countOut, error) {
	if in.Body.RejectWhich == (RejectWhich{}) && !in.Body.All {
		return nil, newProblem(http.StatusUnprocessableEntity, `nothing says which rejects to `+verb+`; name device, stage, reason, since or until, or send {"all": true}`)
	}
	if err := a.Audit.Add(ctx, a.entry(ctx, access.WriteRejects, "rejects: "+verb, region(ctx), nil, in.Body)); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeout(ctx, actTime)
	defer cancel()
	n, err := do(limited, a.filter(ctx, in.Body.RejectWhich))
	if err != nil {
		return nil, a.stopped(err, verb, n)
	}
	out := &countOut{}
	out.Body.Count = n
	return out, nil
}

// stopped tells of what was done before an error.
func (a *API) stopped(err error, verb string, n int) error {
	p := newProblem(http.StatusInternalServerError, fmt.Sprintf("%s stopped after %d messages: the hub's log says why; what was done stays done", verb, n))
	p.Count = &n
	var later *Later
	if errors.Is(err, context.DeadlineExceeded) {
		later = &Later{Err: fmt.Errorf("there is more than can be done in %v", actTime), Closing: true}
	} else if !errors.As(err, &later) {
		a.Log.Error("request failed", "error", fmt.Errorf("%s rejects: %w", verb, err))
		return p
	}
	p.Status = http.StatusTooManyRequests
	if later.Closing {
		p.Status = http.StatusServiceUnavailable
	}
	seconds := max(1, int(math.Ceil(later.After.Seconds())))
	p.Title = http.StatusText(p.Status)
	p.Detail = fmt.Sprintf("%s stopped after %d messages: %v; what was done stays done, go on in %d s", verb, n, later, seconds)
	return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {strconv.Itoa(seconds)}})
}
