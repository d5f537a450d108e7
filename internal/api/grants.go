package api

import (
	"context"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/register"
)

// ApplicationIn is what somebody asks for.
type ApplicationIn struct {
	Dataset string            `json:"dataset" minLength:"1" maxLength:"63"`
	Way     string            `json:"way" enum:"share,open" doc:"share: an authority needs it for its duties (Art. 29); open: anybody else (Art. 33)"`
	Body    register.Provider `json:"body" doc:"who will use the data, with the unified social credit code"`
	Purpose string            `json:"purpose" doc:"what for; no other use is allowed"`
	Ground  string            `json:"ground,omitempty" doc:"the duty that an authority needs them for"`
	Scope   scopeIO           `json:"scope,omitempty"`
	Until   *time.Time        `json:"until,omitempty" doc:"how long they are needed"`
}

type scopeIO struct {
	Items []string   `json:"items,omitempty" maxItems:"1000" doc:"all when absent"`
	Area  string     `json:"area,omitempty" doc:"prefix of the division code"`
	From  *time.Time `json:"from,omitempty"`
	To    *time.Time `json:"to,omitempty"`
	Rate  int        `json:"rate,omitempty" doc:"requests a minute; 0: no bound"`
}

type verdictOut struct {
	Reason register.Text  `json:"reason"`
	Law    []register.Law `json:"law,omitempty"`
	By     string         `json:"by"`
	At     time.Time      `json:"at"`
}

type grantOut struct {
	ID string `json:"id"`
	ApplicationIn
	Applicant string             `json:"applicant" doc:"name of the token"`
	State     string             `json:"state" doc:"applied, reviewing, granted, returned, refused, expired or revoked"`
	Applied   time.Time          `json:"applied"`
	Due       *time.Time         `json:"due,omitempty" doc:"when the next step must be done, in working days"`
	DueBy     string             `json:"due_by,omitempty" doc:"holidays: the table of holidays is complete up to then; weekends: it is not, and statutory days and weekends alone were counted"`
	Overdue   bool               `json:"overdue,omitempty"`
	Opinions  []register.Opinion `json:"opinions,omitempty" doc:"shown to stewards"`
	Decision  *verdictOut        `json:"decision,omitempty"`
	Expires   *time.Time         `json:"expires,omitempty"`
	Ended     *verdictOut        `json:"ended,omitempty" doc:"why it ended before its time, or that its time is over"`
	Version   int64              `json:"version"`
}

type oneGrant struct {
	ETag string `header:"ETag"`
	Body grantOut
}

// GrantID names a grant, and the version of it that a change is made to.
type GrantID struct {
	ID string `path:"id"`
	Conditional
}

func dueBy(due time.Time, sure bool) string {
	switch {
	case due.IsZero():
		return ""
	case sure:
		return "holidays"
	}
	return "weekends"
}

func showVerdict(d *register.Decision) *verdictOut {
	if d == nil {
		return nil
	}
	return &verdictOut{d.Reason, d.Law, d.By, d.At}
}

// decides reports whether the caller decides about applications.
func decides(ctx context.Context) bool {
	return access.May(access.CallerOf(ctx).Role, access.DecideGrants)
}

func (a *API) showGrant(ctx context.Context, g *register.Grant) grantOut {
	out := grantOut{
		ID: g.ID(), Applicant: g.Applicant, State: string(g.State), Applied: g.Applied, Due: moment(g.Due), DueBy: dueBy(g.Due, g.Sure), Overdue: g.Overdue(a.Now()),
		Decision: showVerdict(g.Decision), Expires: moment(g.Expires), Ended: showVerdict(g.Ended), Version: g.Version,
		ApplicationIn: ApplicationIn{Dataset: g.Dataset, Way: string(g.Way), Body: g.Body, Purpose: g.Purpose, Ground: g.Ground, Until: moment(g.Until),
			Scope: scopeIO{g.Scope.Items, g.Scope.Area, moment(g.Scope.From), moment(g.Scope.To), g.Scope.Rate}},
	}
	if decides(ctx) {
		out.Opinions = g.Opinions
	}
	return out
}

func (a *API) theGrant(ctx context.Context, g *register.Grant) *oneGrant {
	return &oneGrant{etag(g.Version), a.showGrant(ctx, g)}
}

type grantQuery struct {
	Paging
	Dataset string `query:"dataset"`
	State   string `query:"state" enum:"applied,reviewing,granted,returned,refused,expired,revoked"`
	Overdue bool   `query:"overdue" doc:"only those whose next step should have been done"`
}

func (a *API) listGrants(ctx context.Context, in *grantQuery) (*pageOut[grantOut], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	q := register.GrantQuery{Region: region(ctx), Dataset: in.Dataset, State: register.GrantState(in.State), Overdue: in.Overdue, Below: before, Limit: in.Limit}
	if !decides(ctx) {
		q.Applicant = access.CallerOf(ctx).Name
	}
	all, err := a.Catalog.Grants(ctx, q)
	if err != nil {
		return nil, err
	}
	out := newPage[grantOut](len(all))
	for _, g := range all {
		out.Body.Items = append(out.Body.Items, a.showGrant(ctx, g))
	}
	if n := len(all); n == in.Limit && all[n-1].Number > 1 {
		out.Body.Next = cursor(strconv.FormatInt(all[n-1].Number, 10))
	}
	return out, nil
}

// grant returns one that the caller may see: the own, or any of the region for
// those who decide.
func (a *API) grant(ctx context.Context, id string) (*register.Grant, error) {
	g, err := a.Catalog.Grant(ctx, id)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.ApplyGrants, g.Region); err != nil || !decides(ctx) && g.Applicant != access.CallerOf(ctx).Name {
		return a.Catalog.Grant(ctx, "") // as if it were not there
	}
	return g, nil
}

func (a *API) getGrant(ctx context.Context, in *GrantID) (*oneGrant, error) {
	g, err := a.grant(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return a.theGrant(ctx, g), nil
}

type applyIn struct{ Body ApplicationIn }

func (a *API) applyGrant(ctx context.Context, in *applyIn) (*oneGrant, error) {
	b := in.Body
	if _, err := a.dataset(ctx, b.Dataset); err != nil {
		return nil, err
	}
	g, err := a.Catalog.Apply(ctx, register.Application{
		Dataset: b.Dataset, Way: register.Way(b.Way), Body: b.Body, Purpose: b.Purpose, Ground: b.Ground, Until: timeOf(b.Until),
		Scope: register.Scope{Items: b.Scope.Items, Area: b.Scope.Area, From: timeOf(b.Scope.From), To: timeOf(b.Scope.To), Rate: b.Scope.Rate},
	})
	if err != nil {
		return nil, err
	}
	return a.theGrant(ctx, g), nil
}

// onGrant takes a step of a grant by somebody who may.
func (a *API) onGrant(ctx context.Context, in *GrantID, step func(version int64) (*register.Grant, error)) (*oneGrant, error) {
	g, err := a.grant(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.DecideGrants, g.Region); err != nil {
		return nil, err
	}
	version, err := in.version()
	if err != nil {
		return nil, err
	}
	if g, err = step(version); err != nil {
		return nil, err
	}
	return a.theGrant(ctx, g), nil
}

type checkIn struct {
	GrantID
	Body struct {
		Right   bool          `json:"right" doc:"its form is right, and it goes to review; otherwise it is returned"`
		Missing register.Text `json:"missing,omitempty" doc:"what is missing, when it is returned"`
	}
}

func (a *API) checkGrant(ctx context.Context, in *checkIn) (*oneGrant, error) {
	return a.onGrant(ctx, &in.GrantID, func(version int64) (*register.Grant, error) {
		return a.Catalog.Checked(ctx, in.ID, version, in.Body.Right, in.Body.Missing)
	})
}

type reviewIn struct {
	GrantID
	Body struct {
		Opinion string `json:"opinion"`
	}
}

func (a *API) reviewGrant(ctx context.Context, in *reviewIn) (*oneGrant, error) {
	return a.onGrant(ctx, &in.GrantID, func(version int64) (*register.Grant, error) {
		return a.Catalog.Review(ctx, in.ID, version, in.Body.Opinion)
	})
}

type decideIn struct {
	GrantID
	Body struct {
		Grant  bool           `json:"grant"`
		Reason register.Text  `json:"reason"`
		Law    []register.Law `json:"law,omitempty" doc:"mandatory for a refusal: title.zh and article"`
		Items  []string       `json:"items,omitempty" doc:"a narrower scope than was asked for"`
		Until  *time.Time     `json:"until,omitempty" doc:"an earlier end than was asked for"`
	}
}

func (a *API) decideGrant(ctx context.Context, in *decideIn) (*oneGrant, error) {
	return a.onGrant(ctx, &in.GrantID, func(version int64) (*register.Grant, error) {
		b := in.Body
		return a.Catalog.Decide(ctx, in.ID, version, register.Verdict{Grant: b.Grant, Reason: b.Reason, Law: b.Law, Items: b.Items, Until: timeOf(b.Until)})
	})
}

type revokeIn struct {
	GrantID
	Body struct {
		Reason register.Text  `json:"reason"`
		Law    []register.Law `json:"law,omitempty"`
	}
}

func (a *API) revokeGrant(ctx context.Context, in *revokeIn) (*oneGrant, error) {
	return a.onGrant(ctx, &in.GrantID, func(version int64) (*register.Grant, error) {
		return a.Catalog.Revoke(ctx, in.ID, version, in.Body.Reason, in.Body.Law)
	})
}
