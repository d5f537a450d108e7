// Package roads plays a small road net: signals that follow their cycles,
// vehicles that drive, stop and turn, and roadside units that report them in
// frames of LTE-V2X, with the faults that such units have. The same seed and
// start give the same messages. What truly happened is told beside, so that what
// a hub makes of the messages can be compared. Art. 15(2)
package roads

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"
)

// Config says what is played.
type Config struct {
	Seed  uint64
	Units int // intersections, each with a unit
	// Vehicles are those of each unit, on average.
	Vehicles int
	// Connected is the share of vehicles that send BSM.
	Connected float64
	Start     time.Time
	// Faulty has the fault of each unit by its index; all others are sound.
	Faulty map[int]Fault
	// Speech has how each unit speaks by its index; all others send frames.
	Speech map[int]Speech
	// Device is the id of the device that a unit is registered as; nil: its serial
	// number.
	Device func(unit int) string
}

// Fault is what is wrong with a unit.
type Fault string

// The faults.
const (
	Sound        Fault = ""
	ClockSkew    Fault = "clock_skew"    // its time is 90 s behind
	Lossy        Fault = "lossy"         // one message in ten is lost
	NoYellow     Fault = "no_yellow"     // green turns to red
	BothGreen    Fault = "both_green"    // conflicting phases are green together
	FixedID      Fault = "fixed_id"      // ids of vehicles never change
	ZeroID       Fault = "zero_id"       // ids of vehicles are zero
	Misspelled   Fault = "misspelled"    // its JSON has other names
	SlowBeat     Fault = "slow_beat"     // a heartbeat each 180 s
	StaleEvent   Fault = "stale_event"   // an event that has ended is still told
	StuckCounter Fault = "stuck_counter" // its message counter stands still
	// Of the road, and not of the unit.
	BrokenDown Fault = "broken_down" // now and then a vehicle breaks down before its node
	WrongWay   Fault = "wrong_way"   // now and then one drives away from its node on the wrong side
)

// Faults are all faults of units, sound ones left out, and what happens on the road.
var Faults = []Fault{ClockSkew, Lossy, NoYellow, BothGreen, FixedID, ZeroID, Misspelled, SlowBeat, StaleEvent, StuckCounter}

// Tick is how often vehicles move and units report: 10 times a second.
const Tick = 100 * time.Millisecond

// World is the net at a time. It is not safe for concurrent use.
type World struct {
	cfg   Config
	rng   *rand.Rand
	now   time.Time
	ticks int
	nodes []*node
	links []*link
	units []*unit
	truth Truth

	before []float64 // places of the vehicles of a link in the tick before
}

// New makes a world at its start.
func New(c Config) *World {
	w := &World{cfg: c, rng: rand.New(rand.NewPCG(c.Seed, 0x70ad)), now: c.Start.UTC().Truncate(Tick), truth: Truth{Flows: map[FlowKey]*Flow{}, Units: map[string]*TrueUnit{}}}
	w.nodes = newNet(c.Units, func() time.Duration { return time.Duration(w.rng.IntN(int(cycle/time.Second))) * time.Second })
	for i, n := range w.nodes {
		for _, l := range n.in {
			if l != nil {
				w.links = append(w.links, l)
			}
		}
		w.units = append(w.units, newUnit(w, n, i))
	}
	for number := range c.Units * c.Vehicles {
		if len(w.links) == 0 {
			break
		}
		w.populate(number)
	}
	return w
}

// populate puts a vehicle where there is room for it.
func (w *World) populate(number int) {
	for range 20 {
		l := w.links[w.rng.IntN(len(w.links))]
		s := w.rng.Float64() * (l.length - 2*Detector)
		near := slices.ContainsFunc(l.cars, func(c *vehicle) bool { return abs(c.s-s) < 12 })
		if near {
			continue
		}
		c := &vehicle{number: number, connected: w.rng.Float64() < w.cfg.Connected, length: 4 + w.rng.Float64()*2, wish: 9 + w.rng.Float64()*6, s: s}
		c.track = w.unitOf(l).track()
		l.cars = append(l.cars, c)
		slices.SortFunc(l.cars, func(a, b *vehicle) int {
			if a.s > b.s {
				return -1
			}
			return 1
		})
		return
	}
}

func abs(x float64) float64 { return max(x, -x) }

func (w *World) unitOf(l *link) *unit { return w.units[l.to.id-1] }

// Now is the time of the world.
func (w *World) Now() time.Time { return w.now }

// Unit is a roadside unit of the world.
type Unit struct {
	Name     string // its serial number
	Device   string // what it is registered as
	Lat, Lon float64
}

// Units are all units, by index.
func (w *World) Units() []Unit {
	all := make([]Unit, len(w.units))
	for i, u := range w.units {
		lat, lon := degrees(u.node.x, u.node.y)
		all[i] = Unit{u.name, u.device, lat, lon}
	}
	return all
}

// Link is a road of the world, as a hub names it.
type Link struct {
	From, To string
	// Device is what the unit that reports it is registered as.
	Device string
}

// Links are all links, by the unit that they lead to.
func (w *World) Links() (all []Link) {
	name := func(n *node) string { return fmt.Sprintf("%d.%d", Region, n.id) }
	for _, u := range w.units {
		for _, l := range u.node.in {
			if l != nil {
				all = append(all, Link{name(l.from), name(l.to), u.device})
			}
		}
	}
	return all
}

// Step moves the world on by one tick and hands over what units send in it. The
// memory of a message is used again after send returns.
func (w *World) Step(send func(Uplink)) {
	w.now = w.now.Add(Tick)
	w.ticks++
	dt := Tick.Seconds()
	for _, u := range w.units {
		u.incidents(w)
	}
	for _, l := range w.links {
		is, _ := l.to.light(phaseOf(l.way), w.now)
		before := w.before[:0]
		for _, c := range l.cars {
			before = append(before, c.s)
		}
		w.before = before
		l.drive(dt, is != green)
		for i, c := range l.cars {
			w.truth.moved(w.now, l, c, before[i])
			if c.a < -hardFrom && w.now.Sub(c.braked) > time.Second {
				c.braked = w.now
			}
		}
		w.truth.queues(w.now, l)
	}
	for _, l := range w.links {
		if len(l.cars) == 0 || l.cars[0].s < l.length {
			continue
		}
		next := l.next(w.rng)
		if next == nil || !next.room() {
			l.cars[0].s, l.cars[0].v = l.length, 0
			continue
		}
		c := l.leave()
		next.enter(c, 0)
		c.track = w.unitOf(next).track()
	}
	for _, u := range w.units {
		u.report(w, send)
	}
}

// Names are the serial numbers of the units.
func (w *World) Names() []string {
	all := make([]string, len(w.units))
	for i, u := range w.units {
		all[i] = u.name
	}
	return all
}

// Truth is what truly happened until now.
func (w *World) Truth() *Truth { return &w.truth }

// Forget drops the truth until now, of a play without end.
func (w *World) Forget() {
	clear(w.truth.Flows)
	w.truth.Events, w.truth.Incidents = nil, nil
	for _, u := range w.units {
		*u.truth = TrueUnit{Sent: u.truth.Sent, Lost: u.truth.Lost}
	}
}

func serial(n *node) string { return fmt.Sprintf("R%06d", n.id) }
