package api

import (
	"context"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/telemetry"
)

type tokenIn struct {
	Name    string    `json:"name" doc:"A-Z a-z 0-9 . _ - up to 64"`
	Role    string    `json:"role" doc:"admin, operator, scheduler, steward, reader, gateway or public (outside bodies, for what is granted to them)"`
	Region  string    `json:"region,omitempty" doc:"beginning of a division code that the token is narrowed to"`
	Grade   string    `json:"grade,omitempty" enum:"general,important,core" doc:"the highest grade of data that it may see; core for admin, general for all others when absent"`
	Expires time.Time `json:"expires,omitzero" required:"false"`
}

// TokenOut is a token as callers see it: never the secret.
type TokenOut struct {
	Name    string     `json:"name"`
	Role    string     `json:"role"`
	Region  string     `json:"region"`
	Grade   string     `json:"grade" doc:"the highest grade of data that it may see"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires"`
	LastUse *time.Time `json:"last_use" doc:"rounded to the hour"`
}

func showToken(k access.Token) TokenOut {
	return TokenOut{k.Name, string(k.Role), k.Region, k.Grade.String(), k.Created, moment(k.Expires), moment(k.LastUse)}
}

func (a *API) listTokens(ctx context.Context, in *Paging) (*pageOut[TokenOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.Tokens.List(region(ctx)), func(k access.Token) string { return k.Name }, after, in.Limit)
	out := newPage[TokenOut](len(part))
	for _, k := range part {
		out.Body.Items = append(out.Body.Items, showToken(k))
	}
	out.Body.Next = next
	return out, nil
}

type madeToken struct {
	Body struct {
		TokenOut
		Token string `json:"token" doc:"shown this once"`
	}
}

func (a *API) createToken(ctx context.Context, in *struct{ Body tokenIn }) (_ *madeToken, err error) {
	if err := may(ctx, access.WriteTokens, in.Body.Region); err != nil {
		return nil, err
	}
	k := access.Token{Name: in.Body.Name, Role: access.Role(in.Body.Role), Region: in.Body.Region, Expires: in.Body.Expires}
	if in.Body.Grade == "" {
		k.Grade = access.Ordinary(k.Role)
	} else if k.Grade, err = telemetry.ParseGrade(in.Body.Grade); err != nil {
		return nil, fault("body.grade", in.Body.Grade, err.Error())
	}
	if err := mayGrade(ctx, k.Grade); err != nil {
		return nil, err
	}
	ctx = a.noted(ctx, access.WriteTokens, "token "+in.Body.Name, in.Body.Region, nil, in.Body)
	k, secret, err := a.Tokens.Create(ctx, k)
	if err != nil {
		return nil, err
	}
	out := &madeToken{}
	out.Body.TokenOut, out.Body.Token = showToken(k), secret
	return out, nil
}

type tokenName struct {
	Name string `path:"name"`
}

func (a *API) revokeToken(ctx context.Context, in *tokenName) (*nothing, error) {
	k, err := a.Tokens.Get(in.Name)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteTokens, k.Region); err != nil {
		return nil, err
	}
	if err := mayGrade(ctx, k.Grade); err != nil {
		return nil, err
	}
	return nil, a.Tokens.Revoke(a.noted(ctx, access.WriteTokens, "token "+k.Name, k.Region, showToken(k), nil), k.Name)
}
