package api

import (
	"context"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

type enrolmentIn struct {
	Name    string    `json:"name" doc:"A-Z a-z 0-9 . _ - up to 64"`
	Kind    string    `json:"kind,omitempty" doc:"of the devices that may enrol; empty for any"`
	Site    string    `json:"site,omitempty" doc:"where they stand; empty for any"`
	Region  string    `json:"region,omitempty" doc:"beginning of their division code; empty for any"`
	Prefix  string    `json:"prefix,omitempty" doc:"beginning of their ids; empty for any"`
	Uses    int       `json:"uses,omitempty" doc:"how many devices may enrol; 1 when absent"`
	Expires time.Time `json:"expires,omitzero" required:"false" doc:"a day from now when absent"`
}

// EnrolmentOut is a token without its secret.
type EnrolmentOut struct {
	enrolmentIn
	Used    int       `json:"used" doc:"how many devices have enrolled"`
	Created time.Time `json:"created"`
}

func showEnrolment(t enrolment.Token) EnrolmentOut {
	return EnrolmentOut{enrolmentIn{t.Name, t.Kind, t.Site, t.Region, t.Prefix, t.Uses, t.Expires}, t.Used, t.Created}
}

func (a *API) listEnrolments(ctx context.Context, in *Paging) (*pageOut[EnrolmentOut], error) {
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.Enrolment.List(region(ctx)), func(t enrolment.Token) string { return t.Name }, after, in.Limit)
	out := newPage[EnrolmentOut](len(part))
	for _, t := range part {
		out.Body.Items = append(out.Body.Items, showEnrolment(t))
	}
	out.Body.Next = next
	return out, nil
}

type madeEnrolment struct {
	Body struct {
		EnrolmentOut
		Token string `json:"token" doc:"shown this once; what follows the dot is the fingerprint of the hub's root"`
	}
}

func (a *API) createEnrolment(ctx context.Context, in *struct{ Body enrolmentIn }) (*madeEnrolment, error) {
	b := in.Body
	if err := may(ctx, access.WriteDevices, b.Region); err != nil {
		return nil, err
	}
	if b.Uses == 0 {
		b.Uses = 1
	}
	ctx = a.noted(ctx, access.WriteDevices, "enrolment "+b.Name, b.Region, nil, b)
	t, secret, err := a.Enrolment.Create(ctx, enrolment.Token{Name: b.Name, Kind: b.Kind, Site: b.Site, Region: b.Region, Prefix: b.Prefix, Uses: b.Uses, Expires: b.Expires})
	if err != nil {
		return nil, err
	}
	out := &madeEnrolment{}
	out.Body.EnrolmentOut, out.Body.Token = showEnrolment(t), secret
	return out, nil
}

func (a *API) revokeEnrolment(ctx context.Context, in *tokenName) (*nothing, error) {
	t, err := a.Enrolment.Get(in.Name)
	if err != nil {
		return nil, err
	}
	if err := may(ctx, access.WriteDevices, t.Region); err != nil {
		return nil, err
	}
	return nil, a.Enrolment.Revoke(a.noted(ctx, access.WriteDevices, "enrolment "+t.Name, t.Region, showEnrolment(t), nil), t.Name)
}

type knockOut struct {
	Device  string    `json:"device"`
	Door    string    `json:"door" enum:"mqtt,mqtts,mqtt-websocket,http,coap,coaps"`
	Address string    `json:"address" doc:"the last one"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Count   int       `json:"count"`
	Kind    string    `json:"kind,omitempty" enum:"rsu" doc:"of a roadside unit behind a gateway; the device is then its serial number (ESN)"`
	Gateway string    `json:"gateway,omitempty" doc:"the device that speaks for it"`
	Name    string    `json:"name,omitempty" doc:"what it calls itself"`
	Lat     *float64  `json:"lat,omitempty"`
	Lon     *float64  `json:"lon,omitempty"`
}

func showKnock(k enrolment.Knock) knockOut {
	out := knockOut{Device: k.Device, Door: k.Door, Address: k.Address.String(), First: k.First.UTC(), Last: k.Last.UTC(), Count: k.Count}
	if u := k.Unit; u != nil {
		out.Kind, out.Gateway, out.Name, out.Lat, out.Lon = string(telemetry.KindRSU), u.Gateway, u.Name, u.Lat, u.Lon
	}
	return out
}

// listKnocks shows the unknown devices to callers who may register a device of
// any region: nobody knows where these stand.
func (a *API) listKnocks(ctx context.Context, in *Paging) (*pageOut[knockOut], error) {
	if err := may(ctx, access.WriteDevices, ""); err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	part, next := cut(a.Enrolment.Knocks(), func(k enrolment.Knock) string { return k.Device }, after, in.Limit)
	out := newPage[knockOut](len(part))
	for _, k := range part {
		out.Body.Items = append(out.Body.Items, showKnock(k))
	}
	out.Body.Next = next
	return out, nil
}

type replaceIn struct {
	DeviceID
	Body struct {
		Serial string `json:"serial,omitempty" doc:"of the new hardware; becomes the tag serial"`
		Model  string `json:"model,omitempty" doc:"of the new hardware; becomes the tag model"`
		Secret bool   `json:"secret,omitempty" doc:"show a new secret; else the device is awaited and enrols with a token"`
	}
}

func (a *API) replaceDevice(ctx context.Context, in *replaceIn) (*madeDevice, error) {
	tags := map[string]string{}
	for name, value := range map[string]string{"serial": in.Body.Serial, "model": in.Body.Model} {
		if value != "" {
			tags[name] = value
		}
	}
	was := func(d *registry.Device) any {
		return map[string]any{"hardware": "in use", "tags": d.Tags, "awaited": d.Awaited}
	}
	ctx, version, err := a.asked(ctx, &in.DeviceID, was, map[string]any{"hardware": "replaced", "tags": tags, "awaited": !in.Body.Secret})
	if err != nil {
		return nil, err
	}
	c, err := a.Registry.Replace(ctx, in.ID, version, tags, !in.Body.Secret)
	if err != nil {
		return nil, err
	}
	return a.made(ctx, c), nil
}
