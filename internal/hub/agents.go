package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
)

// scheduler is who asks devices on behalf of leases, in the record of commands.
const scheduler = "schedule"

// orderTTL is how long an order to an agent may be on its way; who gave it asks
// again.
const orderTTL = 45 * time.Second

// order has a device do a command. When ctx ends it is taken back, so that it does
// not come late.
func (h *hub) order(ctx context.Context, device, name string, params json.RawMessage) (json.RawMessage, error) {
	if err := (checks{h}).Command(device, name, params); err != nil {
		return nil, fmt.Errorf("%w: %w", facility.ErrRefused, err)
	}
	c, err := h.commands.Issue(ctx, device, command.Request{Name: name, Params: params, TTL: orderTTL, Actor: scheduler})
	if errors.Is(err, command.ErrUnknown) || errors.Is(err, command.ErrInvalid) {
		return nil, fmt.Errorf("%w: %w", facility.ErrRefused, err)
	}
	if err != nil {
		return nil, err
	}
	if c, err = h.commands.Wait(ctx, c.ID); err != nil {
		return nil, err
	}
	switch {
	case c.State == command.Done:
		return c.Result, nil
	case !c.State.Ended():
		err := h.commands.Cancel(context.WithoutCancel(ctx), c.ID)
		return nil, errors.Join(fmt.Errorf("no answer to command %s came: %w", c.ID, context.Cause(ctx)), err)
	}
	return nil, fmt.Errorf("command %s is %s (%s): %.1000s", c.ID, c.State, c.Reason, c.Result)
}

func (h *hub) reported(ctx context.Context, device string) (json.RawMessage, error) {
	t, err := h.twins.Get(ctx, device)
	return t.Reported.Config, err
}

func (h *hub) online(device string) bool {
	switch h.presence.Of(device).State {
	case registry.Online, registry.Late:
		return true
	}
	return false
}

// nodes are those of the pools of a facility whose agents run the work.
func (h *hub) nodes(ctx context.Context, id string) (all []string, err error) {
	declared, err := h.scheduler.Declared(ctx)
	if err != nil {
		return nil, err
	}
	for _, p := range declared.Pools {
		if p.Facility != id || p.Engine != schedule.EngineAgent {
			continue
		}
		for _, n := range p.Nodes {
			all = append(all, n.ID)
		}
	}
	return all, nil
}
