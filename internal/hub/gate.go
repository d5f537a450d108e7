package hub

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// gate is who the doors ask: devices by their own secrets, and programs of
// role gateway by their tokens.
type gate struct {
	registry  *registry.Registry
	tokens    *access.Tokens
	authority *authority.Authority
	quotas    *quota.Quotas
	clock     func() time.Time
	knock     func(device, door string, from netip.Addr)
}

// tokenPrefix marks peers that are programs. No device id contains a slash.
const tokenPrefix = "token/"

// Authenticate implements ingest.Gate.
func (g gate) Authenticate(ctx context.Context, c ingest.Credentials) (*ingest.Peer, error) {
	device, door := cmp.Or(c.ID, c.About), quota.DoorOf(c.Door)
	if over := g.quotas.Attempt(c.Address, device, door, g.clock()); over != nil {
		return nil, over
	}
	peer, err := g.device(ctx, c)
	if errors.Is(err, registry.ErrUnauthorized) {
		if program := g.program(ctx, c); program != nil {
			return program, nil
		}
		if over := g.quotas.Failed(c.Address, device, door, g.clock()); over != nil {
			return nil, over
		}
		if errors.Is(err, registry.ErrUnknown) {
			g.knock(cmp.Or(c.ID, c.About), c.Door, c.Address)
		}
		return nil, fmt.Errorf("%w: %v", ingest.ErrUnauthorized, err)
	}
	if err != nil {
		return nil, err
	}
	return &ingest.Peer{Device: peer.Device, Gateway: peer.Gateway, Done: peer.Done}, nil
}

func (g gate) device(ctx context.Context, c ingest.Credentials) (*registry.Peer, error) {
	switch {
	case c.Proven:
		return g.registry.AuthenticateProven(c.ID)
	case c.Certificate != nil:
		return g.registry.AuthenticateCertificate(c.Certificate, g.authority.Issued(c.Certificate))
	case c.ID == "":
		return g.registry.AuthenticateBearer(ctx, c.Secret, c.About)
	}
	return g.registry.Authenticate(ctx, c.ID, c.Secret)
}

// program returns the peer of a token that may send for the devices of its
// region; nil when the credentials are none.
func (g gate) program(ctx context.Context, c ingest.Credentials) *ingest.Peer {
	if c.ID != "" || len(c.Secret) == 0 {
		return nil
	}
	token, err := g.tokens.Find(ctx, string(c.Secret))
	if err != nil || !access.May(token.Role, access.SendTelemetry) {
		return nil
	}
	return &ingest.Peer{
		Token:   token.Name,
		Device:  &telemetry.Device{ID: tokenPrefix + token.Name, Kind: telemetry.KindGateway, Region: token.Region},
		Gateway: true,
		Done:    token.Done(),
	}
}

// PSK implements ingest.Gate.
func (g gate) PSK(id string, from netip.Addr) ([]byte, error) {
	key, err := g.registry.PSK(id)
	if errors.Is(err, registry.ErrUnknown) {
		g.knock(id, "coaps", from)
	}
	if errors.Is(err, registry.ErrUnauthorized) {
		return nil, fmt.Errorf("%w: %v", ingest.ErrUnauthorized, err)
	}
	return key, err
}

// MaySpeak implements ingest.Gate.
func (g gate) MaySpeak(p *ingest.Peer, device string) bool {
	if strings.HasPrefix(p.Device.ID, tokenPrefix) {
		d := g.registry.Device(device)
		return d != nil && strings.HasPrefix(d.Region, p.Device.Region)
	}
	return g.registry.MaySpeak(&registry.Peer{Device: p.Device, Gateway: p.Gateway, Done: p.Done}, device)
}

// MayHear implements ingest.Gate.
func (g gate) MayHear(p *ingest.Peer, device string) bool {
	d := g.registry.Device(device)
	return d != nil && !d.Disabled && g.MaySpeak(p, device)
}

// notes is the registry as ingest's keeper of what is no number.
type notes struct{ *registry.Registry }

// PutStates implements ingest.Notes.
func (n notes) PutStates(ctx context.Context, changes []ingest.StateChange) (map[int]telemetry.Reject, error) {
	own := make([]registry.StateChange, len(changes))
	for i, c := range changes {
		own[i] = registry.StateChange{Device: c.Device, Name: c.Name, Value: c.Value, Time: time.UnixMilli(c.Time)}
	}
	return n.Registry.PutStates(ctx, own)
}

// presence is the registry's presence as the doors tell it.
type presence struct{ *registry.Presence }

// Connected implements ingest.Presence.
func (p presence) Connected(device, _ string) { p.Presence.Connected(device) }

// Left implements ingest.Presence.
func (p presence) Left(device, _ string, how ingest.Leaving) {
	p.Presence.Left(device, reasonOf(how))
}

// reasonOf is how presence names the end of a connection: by the same words.
func reasonOf(how ingest.Leaving) registry.Reason { return registry.Reason(how) }

// activity is the write path as presence watches it.
type activity struct{ *ingest.Pipeline }

// Activity implements registry.Activity.
func (a activity) Activity(yield func(device string, seen registry.Seen) bool) {
	a.Pipeline.Activity(func(device string, s ingest.Seen) bool {
		if s.LastReceived.UnixMilli() == 0 {
			s.LastReceived = time.Time{} // history alone is no sign of life
		}
		return yield(device, registry.Seen{
			LastReceived: s.LastReceived, LastEvent: s.LastEvent, Died: s.Died, Samples: s.Samples, Series: s.Series, Period: s.Period,
		})
	})
}

// periods tells queries how often devices report: as declared, else as
// learned. Series of devices that nobody declared and that have not reported
// since the start hold as PromQL has it.
type periods struct {
	registry *registry.Registry
	presence *registry.Presence

	mu       sync.Mutex
	made     bool
	changes  uint64        // of the registry, that the others are from
	shifts   uint64        // of learned periods, likewise
	declared time.Duration // the longest, also by models
	long     []string      // devices with a period beyond query.LongPeriod
}

// Period implements query.Periods. A metric that its model says comes more seldom
// than the device reports holds for its own time.
func (p *periods) Period(device, metric string) (time.Duration, bool) {
	d := p.registry.Device(device)
	if d == nil {
		return 0, false
	}
	period := d.Period
	if period == 0 {
		period = p.presence.Of(device).Period
	}
	period = max(period, d.Model.Period([]byte(metric)))
	return period, period > 0
}

// MaxPeriod implements query.Periods.
func (p *periods) MaxPeriod() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	return max(p.declared, p.presence.Longest())
}

// LongPeriods implements query.Periods.
func (p *periods) LongPeriods() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refresh()
	return p.long
}

// refresh looks at every device, which costs milliseconds with 100,000 of them, when
// that can come to something else than it did. p.mu is held.
func (p *periods) refresh() {
	changes, shifts := p.registry.Changes(), p.presence.Shifts() // before what they tell of is read
	if p.made && changes == p.changes && shifts == p.shifts {
		return
	}
	p.made, p.changes, p.shifts, p.declared = true, changes, shifts, 0
	p.registry.Notable(0)
	var long []string
	after, more := "", true
	for more {
		var page []*registry.Device
		page, more = p.registry.List(registry.Filter{}, after, 1000)
		for _, d := range page {
			after, p.declared = d.ID, max(p.declared, d.Period, d.Model.Period(nil))
			if period, _ := p.Period(d.ID, ""); period > query.LongPeriod {
				long = append(long, d.ID)
			}
		}
	}
	p.registry.Notable(min(p.declared, query.LongPeriod))
	if !slices.Equal(long, p.long) {
		p.long = long
	}
}
