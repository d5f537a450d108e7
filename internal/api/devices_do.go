package api

import (
	"context"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
)

// asked returns the version that a change of a device is conditional on, and a
// context that notes the change; before makes what the record holds of the
// device as it was.
func (a *API) asked(ctx context.Context, in *DeviceID, before func(*registry.Device) any, after any) (context.Context, int64, error) {
	version, err := in.version()
	if err != nil {
		return nil, 0, err
	}
	d, err := a.device(ctx, in.ID)
	if err != nil {
		return nil, 0, err
	}
	return a.noted(ctx, access.WriteDevices, "device "+d.ID, d.Region, before(d), after), version, nil
}

func (a *API) removeDevice(ctx context.Context, in *DeviceID) (*nothing, error) {
	ctx, version, err := a.asked(ctx, in, func(d *registry.Device) any { return describeDevice(d) }, nil)
	if err != nil {
		return nil, err
	}
	return nil, a.Registry.Remove(ctx, in.ID, version)
}

func (a *API) disableDevice(ctx context.Context, in *DeviceID) (*oneDevice, error) {
	return a.setDisabled(ctx, in, true, a.Registry.Disable)
}

func (a *API) enableDevice(ctx context.Context, in *DeviceID) (*oneDevice, error) {
	return a.setDisabled(ctx, in, false, a.Registry.Enable)
}

func (a *API) setDisabled(ctx context.Context, in *DeviceID, to bool, set func(context.Context, string, int64) (*registry.Device, error)) (*oneDevice, error) {
	ctx, version, err := a.asked(ctx, in, func(d *registry.Device) any { return map[string]bool{"disabled": d.Disabled} }, map[string]bool{"disabled": to})
	if err != nil {
		return nil, err
	}
	d, err := set(ctx, in.ID, version)
	if err != nil {
		return nil, err
	}
	return a.one(ctx, d), nil
}

func (a *API) rotateDevice(ctx context.Context, in *DeviceID) (*madeDevice, error) {
	ctx, version, err := a.asked(ctx, in, func(*registry.Device) any { return map[string]string{"secret": "in use"} }, map[string]string{"secret": "rotated"})
	if err != nil {
		return nil, err
	}
	c, err := a.Registry.Rotate(ctx, in.ID, version)
	if err != nil {
		return nil, err
	}
	return a.made(ctx, c), nil
}

type historyQuery struct {
	ID string `path:"id"`
	Paging
}

type presenceChange struct {
	State  string    `json:"state"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

func (a *API) devicePresence(ctx context.Context, in *historyQuery) (*pageOut[presenceChange], error) {
	before, err := in.before()
	if err != nil {
		return nil, err
	}
	if _, err := a.device(ctx, in.ID); err != nil {
		return nil, err
	}
	found, err := a.Presence.History(ctx, in.ID, before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[presenceChange](len(found))
	for _, c := range found {
		out.Body.Items = append(out.Body.Items, presenceChange{string(c.State), string(c.Reason), c.At})
	}
	if len(found) == in.Limit && found[len(found)-1].N > 1 {
		out.Body.Next = cursor(strconv.FormatInt(found[len(found)-1].N, 10))
	}
	return out, nil
}
