package api

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

// Desk keeps what was not stored.
type Desk interface {
	// List returns one page, the newest first.
	List(ctx context.Context, q RejectQuery) (RejectPage, error)
	// Replay sends what the filter lets through on its way again and returns
	// how many messages are stored now; those leave the desk.
	Replay(ctx context.Context, f RejectFilter) (stored int, err error)
	// Drop forgets what the filter lets through and returns how many that were.
	Drop(ctx context.Context, f RejectFilter) (dropped int, err error)
}

// RejectFilter narrows what the desk holds; zero fields let everything through.
type RejectFilter struct {
	Device, Stage, Reason string
	Since, Until          time.Time
	// Sees reports whether the caller may see rejects of a device (or of a
	// sender that is no device); nil when it may see all.
	Sees func(device string) bool
}

// RejectQuery asks for a page.
type RejectQuery struct {
	RejectFilter
	Cursor string // of the desk's own making; empty for the first page
	Limit  int
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
	// Payload is the message as it came, cut at the desk's bound.
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
	Payload string    `json:"payload,omitempty" doc:"the message as it came, base64"`
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
	f := RejectFilter{Device: in.Device, Stage: in.Stage, Reason: in.Reason, Since: in.Since, Until: in.Until}
	if region(ctx) != "" {
		f.Sees = func(device string) bool { _, err := a.device(ctx, device); return err == nil }
	}
	return f
}

type rejectQuery struct {
	RejectWhich
	Paging
}

func (a *API) listRejects(ctx context.Context, in *rejectQuery) (*pageOut[rejectOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	found, err := a.Desk.List(ctx, RejectQuery{a.filter(ctx, in.RejectWhich), after, in.Limit})
	if err != nil {
		return nil, err
	}
	out := newPage[rejectOut](len(found.Entries))
	for _, e := range found.Entries {
		out.Body.Items = append(out.Body.Items, rejectOut{e.ID, e.At.UTC(), e.Device, e.Format, e.Stage, e.Reason, e.Detail, e.Index, e.Count,
			base64.StdEncoding.EncodeToString(e.Payload)})
	}
	if found.Next != "" {
		out.Body.Next = cursor(found.Next)
	}
	return out, nil
}

type rejectAct struct {
	Body struct {
		RejectWhich
		All bool `json:"all,omitempty" doc:"must be true when no other field narrows what is meant"`
	}
}

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
	n, err := do(ctx, a.filter(ctx, in.Body.RejectWhich))
	if err != nil {
		return nil, fmt.Errorf("%s rejects: %w", verb, err)
	}
	out := &countOut{}
	out.Body.Count = n
	return out, nil
}
