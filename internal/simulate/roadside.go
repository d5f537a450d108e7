package simulate

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/simulate/roads"
)

// roadside plays a road net in real time: what its units send leaves through a
// connection of MQTT for each.
type roadside struct {
	cfg     roads.Config
	world   *roads.World
	devices []*Device
	radios  []*radio
	of      map[string]*radio // by serial number
	start   time.Time
}

// radio is the link of one roadside unit.
type radio struct {
	station
	index  int
	due    []Message // of this tick
	queue  chan []Message
	silent bool // it is away
}

const (
	// patienceTicks is how many ticks of a unit wait for its link; then they are
	// lost, as on a road.
	patienceTicks = 50
	// behind is how far the play may fall back, as on a machine that sleeps, before
	// what was due is left out.
	behind = 2 * time.Second
	beat   = 60 * time.Second
)

// newRoadside makes the units: every second one has a fault, each of them once,
// and the others speak in all ways; at two of these vehicles break down, or drive on
// the wrong side.
func newRoadside(c Config, doors Doors, secret func(string) string, log *slog.Logger) *roadside {
	id := func(i int) string { return fmt.Sprintf("rsu-%03d", i+1) }
	cfg := roads.Config{Seed: c.Seed, Units: c.RSUs, Vehicles: 8, Connected: 0.3, Start: c.Start, Device: id, Faulty: map[int]roads.Fault{}, Speech: map[int]roads.Speech{}}
	for i, f := range roads.Faults {
		cfg.Faulty[2*i+1] = f
	}
	cfg.Faulty[0], cfg.Faulty[10] = roads.BrokenDown, roads.WrongWay
	for i := range c.RSUs {
		if n := i / 2 % (len(roads.Speeches) + 1); i%2 == 0 && n > 0 {
			cfg.Speech[i] = roads.Speeches[n-1]
		}
	}
	r := &roadside{cfg: cfg, of: map[string]*radio{}, start: c.Start}
	rng := rand.New(rand.NewPCG(c.Seed, 0x70ad))
	for i, u := range roads.New(cfg).Units() {
		d := newDevice(c, rng, "road", i)
		d.ID, d.Kind, d.Door, d.Period, d.Lat, d.Lon = u.Device, "rsu", MQTT, beat, u.Lat, u.Lon
		d.Tags["esn"] = u.Name
		one := &radio{station: station{dev: d, doors: doors, secret: secret(d.ID), log: log.With("device", d.ID)}, index: i, queue: make(chan []Message, patienceTicks)}
		r.devices, r.radios, r.of[u.Name] = append(r.devices, d), append(r.radios, one), one
	}
	return r
}

// run plays from now until ctx ends: what units say when they start is heard.
func (r *roadside) run(ctx context.Context) error {
	if len(r.radios) == 0 {
		return nil
	}
	r.cfg.Start = time.Now()
	r.world = roads.New(r.cfg)
	g, ctx := errgroup.WithContext(ctx)
	for _, one := range r.radios {
		g.Go(func() error { one.run(ctx); return nil })
	}
	g.Go(func() error { r.play(ctx); return nil })
	return g.Wait()
}

// play moves the world on with the clock.
func (r *roadside) play(ctx context.Context) {
	tick := time.NewTicker(roads.Tick)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for now := time.Now(); !r.world.Now().Add(roads.Tick).After(now); {
			r.step(now.Sub(r.world.Now()) < behind)
		}
	}
}

// step plays a tick, and hands what is sent to the links.
func (r *roadside) step(sends bool) {
	r.world.Step(func(u roads.Uplink) {
		if one := r.of[u.Unit]; sends {
			one.due = append(one.due, Message{Topic: u.Topic, Payload: bytes.Clone(u.Payload)})
		}
	})
	for _, one := range r.radios {
		if len(one.due) == 0 && !one.changes(r.start, r.world.Now()) {
			continue
		}
		if one.silent = away(one.index, r.start, r.world.Now()); one.silent {
			one.due = nil
		}
		select {
		case one.queue <- one.due: // nil ends the connection
		default:
		}
		one.due = nil
	}
	r.world.Forget()
}

// away says that a unit has no link: for three minutes of an hour, each at a time
// of its own, and none before StartGrace is over.
func away(index int, start, now time.Time) bool {
	since := now.Sub(start)
	return since >= StartGrace && (since/time.Minute+time.Duration(9*index))%60 < 3
}

func (one *radio) changes(start, now time.Time) bool {
	return away(one.index, start, now) != one.silent
}

// run sends what comes.
func (one *radio) run(ctx context.Context) {
	defer one.hangUp()
	for {
		select {
		case due := <-one.queue:
			if due == nil {
				one.vanish()
				continue
			}
			_, err := one.publish(ctx, due)
			if one.note(ctx, err); err != nil {
				rest(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// rest is a second between two tries.
func rest(ctx context.Context) {
	select {
	case <-time.After(time.Second):
	case <-ctx.Done():
	}
}
