package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// CommandIn is what a device is asked to do.
type CommandIn struct {
	Name      string          `json:"name" doc:"what is to be done, such as reboot"`
	Params    json.RawMessage `json:"params,omitempty" doc:"any JSON, up to 16 KiB"`
	Delivery  string          `json:"delivery,omitempty" enum:"at_least_once,at_most_once" doc:"at_least_once when absent: delivered again until the device confirms it"`
	ExpiresIn string          `json:"expires_in,omitempty" doc:"such as 90s; 5m when absent"`
}

func (in CommandIn) request(ctx context.Context) (command.Request, error) {
	r := command.Request{Name: in.Name, Params: in.Params, Once: in.Delivery == command.AtMostOnce, Actor: access.CallerOf(ctx).Name}
	if in.ExpiresIn == "" {
		return r, nil
	}
	d, err := time.ParseDuration(in.ExpiresIn)
	if err != nil || d <= 0 {
		return r, fault("body.expires_in", in.ExpiresIn, fmt.Sprintf("expires_in %q is no duration; write it like 90s or 1h30m", in.ExpiresIn))
	}
	r.TTL = d
	return r, nil
}

// recorded is what the record of changes holds of it: parameters may be
// secrets, and stand with the command itself.
func (in CommandIn) recorded() CommandIn {
	in.Params = nil
	return in
}

// CommandOut is a command as the hub shows it.
type CommandOut struct {
	ID       string          `json:"id"`
	Device   string          `json:"device"`
	Rollout  string          `json:"rollout,omitempty"`
	Name     string          `json:"name"`
	Params   json.RawMessage `json:"params,omitempty"`
	Delivery string          `json:"delivery"`
	State    string          `json:"state" enum:"queued,sent,received,done,failed,expired"`
	Reason   string          `json:"reason,omitempty" doc:"why it ended without being done: device, canceled, expired, rollout_stopped"`
	Result   json.RawMessage `json:"result,omitempty" doc:"what the device answered"`
	Actor    string          `json:"actor" doc:"the token that asked"`
	Attempts int             `json:"attempts" doc:"how often it was sent"`
	Created  time.Time       `json:"created"`
	Expires  *time.Time      `json:"expires" doc:"null until its rollout releases it"`
	Sent     *time.Time      `json:"sent"`
	Received *time.Time      `json:"received"`
	Ended    *time.Time      `json:"ended"`
}

func showCommand(c command.Command) CommandOut {
	return CommandOut{
		ID: c.ID, Device: c.Device, Rollout: c.Rollout, Name: c.Name, Params: c.Params, Delivery: c.Delivery(), State: string(c.State),
		Reason: string(c.Reason), Result: c.Result, Actor: c.Actor, Attempts: c.Attempts, Created: c.Created,
		Expires: moment(c.Expires), Sent: moment(c.Sent), Received: moment(c.Received), Ended: moment(c.Ended),
	}
}

type oneCommand struct{ Body CommandOut }

func (a *API) issueCommand(ctx context.Context, in *struct {
	ID   string `path:"id"`
	Body CommandIn
}) (*oneCommand, error) {
	d, err := a.device(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	r, err := in.Body.request(ctx)
	if err != nil {
		return nil, err
	}
	c, err := a.Commands.Issue(a.noted(ctx, access.SendCommands, "device "+d.ID, d.Region, nil, in.Body.recorded()), d.ID, r)
	if err != nil {
		return nil, err
	}
	return &oneCommand{showCommand(c)}, nil
}

type commandQuery struct {
	Paging
	Device  string `query:"device"`
	Rollout string `query:"rollout"`
	State   string `query:"state" enum:"queued,sent,received,done,failed,expired"`
}

func (a *API) listCommands(ctx context.Context, in *commandQuery) (*pageOut[CommandOut], error) {
	before, err := in.after()
	if err != nil {
		return nil, err
	}
	found, err := a.Commands.List(ctx, command.Filter{Device: in.Device, Rollout: in.Rollout, State: command.State(in.State), Region: region(ctx)}, before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[CommandOut](len(found))
	for _, c := range found {
		if _, err := a.device(ctx, c.Device); err == nil {
			out.Body.Items = append(out.Body.Items, showCommand(c))
		}
	}
	if len(found) == in.Limit {
		out.Body.Next = cursor(found[len(found)-1].ID)
	}
	return out, nil
}

// longestWait bounds how long a request may wait for a command's end.
const longestWait = time.Minute

type commandID struct {
	ID   string `path:"id"`
	Wait string `query:"wait" doc:"wait so long for its end, such as 10s; at most 1m"`
}

// command returns a command whose device the caller may see.
func (a *API) command(ctx context.Context, id string) (command.Command, error) {
	c, err := a.Commands.Get(ctx, id)
	if err != nil {
		return c, err
	}
	if _, err := a.device(ctx, c.Device); err != nil {
		return c, fmt.Errorf("command %q %w; see `hub command list`", id, command.ErrUnknown)
	}
	return c, nil
}

func (a *API) getCommand(ctx context.Context, in *commandID) (*oneCommand, error) {
	c, err := a.command(ctx, in.ID)
	if err != nil || in.Wait == "" {
		return &oneCommand{showCommand(c)}, err
	}
	d, err := time.ParseDuration(in.Wait)
	if err != nil || d < 0 || d > longestWait {
		return nil, fault("query.wait", in.Wait, fmt.Sprintf("wait %q is no duration up to %s; write it like 10s", in.Wait, longestWait))
	}
	wait, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	_, err = a.Commands.Wait(wait, in.ID)
	if cause := context.Cause(ctx); errors.Is(cause, access.ErrRevoked) {
		return nil, cause
	}
	if err != nil {
		return nil, err
	}
	c, err = a.command(ctx, in.ID) // it may be the caller's to see no longer
	return &oneCommand{showCommand(c)}, err
}

func (a *API) cancelCommand(ctx context.Context, in *struct {
	ID string `path:"id"`
}) (*oneCommand, error) {
	c, err := a.command(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if c.State.Ended() {
		return nil, fmt.Errorf("command %q %w: it is %s", c.ID, command.ErrEnded, c.State)
	}
	d, err := a.device(ctx, c.Device)
	if err != nil {
		return nil, err
	}
	if err := a.Audit.Add(ctx, a.entry(ctx, access.SendCommands, "command "+c.ID, d.Region, nil, map[string]string{"state": "canceled"})); err != nil {
		return nil, err
	}
	if err := a.Commands.Cancel(ctx, in.ID); err != nil {
		return nil, err
	}
	c, err = a.Commands.Get(ctx, in.ID)
	return &oneCommand{showCommand(c)}, err
}

// RolloutIn is one command for a group of devices.
type RolloutIn struct {
	CommandIn
	Devices  []string `json:"devices,omitempty" doc:"their ids; or choose them by kind, site, region and q"`
	Kind     string   `json:"kind,omitempty" enum:"sensor,rsu,node,gateway,meter"`
	Site     string   `json:"site,omitempty"`
	Region   string   `json:"region,omitempty" doc:"beginning of a division code"`
	Q        string   `json:"q,omitempty" doc:"part of the id or of a tag's value"`
	Rate     float64  `json:"rate,omitempty" minimum:"0" doc:"commands a second; no bound when absent"`
	Canary   int      `json:"canary,omitempty" minimum:"0" doc:"how many devices go first; the others wait until these have ended"`
	Failures int      `json:"failures,omitempty" minimum:"0" doc:"how many may fail or expire; one more stops the rollout"`
}

func (in RolloutIn) recorded() RolloutIn {
	in.Params = nil
	return in
}

// RolloutOut is a rollout as the hub shows it.
type RolloutOut struct {
	ID       string         `json:"id"`
	Name     string         `json:"name"`
	State    string         `json:"state" enum:"running,paused,complete,stopped"`
	Reason   string         `json:"reason,omitempty" doc:"why it was stopped: failures or canceled"`
	Rate     float64        `json:"rate"`
	Canary   int            `json:"canary"`
	Failures int            `json:"failures"`
	Devices  int            `json:"devices"`
	Commands map[string]int `json:"commands" doc:"how many are in each state"`
	Actor    string         `json:"actor"`
	Created  time.Time      `json:"created"`
	Ended    *time.Time     `json:"ended"`
}

type oneRollout struct{ Body RolloutOut }

func (a *API) showRollout(ctx context.Context, r command.Rollout) (RolloutOut, error) {
	n, err := a.Commands.Counts(ctx, r.ID)
	out := RolloutOut{
		ID: r.ID, Name: r.Name, State: string(r.State), Reason: string(r.Reason), Rate: r.Rate, Canary: r.Canary, Failures: r.Failures,
		Devices: r.Devices, Commands: map[string]int{}, Actor: r.Actor, Created: r.Created, Ended: moment(r.Ended),
	}
	for s, count := range n {
		out.Commands[string(s)] = count
	}
	return out, err
}

// chosen returns the devices that a rollout means, and what their regions have
// in common.
func (a *API) chosen(ctx context.Context, in *RolloutIn) (ids []string, common string, err error) {
	var all []*registry.Device
	if len(in.Devices) > 0 {
		if in.Kind != "" || in.Site != "" || in.Region != "" || in.Q != "" {
			return nil, "", fault("body.devices", len(in.Devices), "devices are named and chosen at once; leave out devices, or kind, site, region and q")
		}
		for _, id := range in.Devices {
			d, err := a.device(ctx, id)
			if err != nil {
				return nil, "", err
			}
			all = append(all, d)
		}
	} else {
		f := registry.Filter{Kind: telemetry.Kind(in.Kind), Site: in.Site, Region: in.Region, Query: in.Q}
		f.Match = func(id string) bool {
			d, err := a.device(ctx, id)
			return err == nil && !d.Disabled
		}
		var more bool
		if all, more = a.Registry.List(f, "", command.MaxRollout); more {
			return nil, "", newProblem(http.StatusUnprocessableEntity, fmt.Sprintf("more than %d devices are chosen; narrow them by kind, site, region or q", command.MaxRollout))
		}
	}
	if len(all) == 0 {
		return nil, "", newProblem(http.StatusUnprocessableEntity, "no device is chosen; see `hub device list` with the same kind, site, region and q")
	}
	common = all[0].Region
	for _, d := range all {
		ids, common = append(ids, d.ID), shared(common, d.Region)
	}
	return ids, common, nil
}

// shared returns the beginning that two codes have in common.
func shared(a, b string) string {
	n := 0
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return a[:n]
}

func (a *API) startRollout(ctx context.Context, in *struct{ Body RolloutIn }) (*oneRollout, error) {
	r, err := in.Body.request(ctx)
	if err != nil {
		return nil, err
	}
	ids, common, err := a.chosen(ctx, &in.Body)
	if err != nil {
		return nil, err
	}
	ctx = a.noted(ctx, access.SendCommands, fmt.Sprintf("%d devices", len(ids)), common, nil, in.Body.recorded())
	made, err := a.Commands.Roll(ctx, ids, r, command.Plan{Region: common, Rate: in.Body.Rate, Canary: in.Body.Canary, Failures: in.Body.Failures})
	if err != nil {
		return nil, err
	}
	out, err := a.showRollout(ctx, made)
	return &oneRollout{out}, err
}

func (a *API) listRollouts(ctx context.Context, in *Paging) (*pageOut[RolloutOut], error) {
	before, err := in.after()
	if err != nil {
		return nil, err
	}
	found, err := a.Commands.Rollouts(ctx, region(ctx), before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := newPage[RolloutOut](len(found))
	for _, r := range found {
		shown, err := a.showRollout(ctx, r)
		if err != nil {
			return nil, err
		}
		out.Body.Items = append(out.Body.Items, shown)
	}
	if len(found) == in.Limit {
		out.Body.Next = cursor(found[len(found)-1].ID)
	}
	return out, nil
}

type rolloutID struct {
	ID string `path:"id"`
}

// rollout returns a rollout all of whose devices lie in the caller's region.
func (a *API) rollout(ctx context.Context, id string) (command.Rollout, error) {
	r, err := a.Commands.Rollout(ctx, id)
	if err == nil && len(shared(r.Region, region(ctx))) < len(region(ctx)) {
		err = fmt.Errorf("rollout %q %w; see `hub rollout list`", id, command.ErrUnknown)
	}
	return r, err
}

func (a *API) getRollout(ctx context.Context, in *rolloutID) (*oneRollout, error) {
	r, err := a.rollout(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	out, err := a.showRollout(ctx, r)
	return &oneRollout{out}, err
}

func (a *API) pauseRollout(ctx context.Context, in *rolloutID) (*oneRollout, error) {
	return a.steerRollout(ctx, in, "paused", a.Commands.Pause)
}

func (a *API) resumeRollout(ctx context.Context, in *rolloutID) (*oneRollout, error) {
	return a.steerRollout(ctx, in, "running", a.Commands.Resume)
}

func (a *API) stopRollout(ctx context.Context, in *rolloutID) (*oneRollout, error) {
	return a.steerRollout(ctx, in, "stopped", a.Commands.Stop)
}

func (a *API) steerRollout(ctx context.Context, in *rolloutID, to string, steer func(context.Context, string) error) (*oneRollout, error) {
	r, err := a.rollout(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if !r.Ended.IsZero() {
		return nil, fmt.Errorf("rollout %q %w: it is %s", r.ID, command.ErrEnded, r.State)
	}
	if err := a.Audit.Add(ctx, a.entry(ctx, access.SendCommands, "rollout "+r.ID, r.Region, map[string]string{"state": string(r.State)}, map[string]string{"state": to})); err != nil {
		return nil, err
	}
	if err := steer(ctx, in.ID); err != nil {
		return nil, err
	}
	return a.getRollout(ctx, in)
}
