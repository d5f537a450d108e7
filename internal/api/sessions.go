package api

import (
	"context"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

// SessionOut is somebody who is signed in to the pages: never the secret.
type SessionOut struct {
	ID      string    `json:"id"`
	Name    string    `json:"name" doc:"the token, or the person: a verified e-mail address, or subject@issuer"`
	Shown   string    `json:"shown" doc:"how the pages greet the person"`
	Via     string    `json:"via" doc:"token or oidc"`
	Subject string    `json:"subject,omitempty" doc:"the person's at the issuer"`
	Role    string    `json:"role"`
	Region  string    `json:"region"`
	Origin  string    `json:"origin" doc:"the address that signed in"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires" doc:"ends earlier when nobody uses it"`
	LastUse time.Time `json:"last_use"`
	Own     bool      `json:"own" doc:"whether it is the caller's"`
}

func showSession(ctx context.Context, s access.Session) SessionOut {
	return SessionOut{s.ID, s.Name, s.Shown, string(s.Via), s.Subject, string(s.Role), s.Region, s.Origin, s.Created, s.Expires, s.LastUse,
		s.ID == access.CallerOf(ctx).Session}
}

func (a *API) listSessions(ctx context.Context, in *Paging) (*pageOut[SessionOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.Sessions.List(region(ctx)), func(s access.Session) string { return s.ID }, after, in.Limit)
	out := newPage[SessionOut](len(part))
	for _, s := range part {
		out.Body.Items = append(out.Body.Items, showSession(ctx, s))
	}
	out.Body.Next = next
	return out, nil
}

type sessionID struct {
	ID string `path:"id"`
}

func (a *API) endSession(ctx context.Context, in *sessionID) (*nothing, error) {
	s, err := a.Sessions.Get(in.ID)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.EndSessions, s.Region); err != nil {
		return nil, err
	}
	// Whoever ends the own session is not interrupted by its end.
	ctx = context.WithoutCancel(a.noted(ctx, access.EndSessions, "session of "+s.Name, s.Region, showSession(ctx, s), nil))
	return nil, a.Sessions.End(ctx, s.ID)
}
