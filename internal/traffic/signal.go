package traffic

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Bounds of signals.
const (
	// together is how far two states may be apart for what is between them to be
	// known: a yellow light, the shortest of all, is there for 3 s (GB 14886).
	together = 2 * time.Second
	// offline is a gap that is no loss of messages any more.
	offline = time.Minute
	// toldEach is how much of a state is told in minutes at once.
	toldEach = time.Second
	// setBack is how far the time of a live state must go back to say that the
	// unit's clock was set, and not that messages overtook each other.
	setBack = 5 * time.Second
	// strange is how far the time of an intersection may be from that of its
	// message.
	strange   = time.Minute
	maxPhases = 32 // of a node
)

// signal is the state of the signals of a node.
type signal struct {
	node    road.NodeID
	begun   time.Time // of the first state, by event time
	at      time.Time // of the newest
	minute  int64
	status  uint16
	phases  []*phase
	told    time.Time     // up to which its modes are told
	gap     time.Duration // the longest between states, not told yet
	period  period
	seen    int // messages, and those that were to come, not told yet
	due     int
	clash   bool // conflicting phases are green
	clashed time.Time
	past    changes
}

// phase is one group of signals.
type phase struct {
	id    uint8
	at    time.Time // of the newest state
	light road.Light
	since time.Time // when the light began; zero: not seen
	told  time.Time // up to which its time is told

	green   time.Time     // when the last green began, all known since; zero: not seen
	greens  time.Duration // of light that was green since
	shows   time.Time     // since when it is green; zero: it is not
	cycle   time.Duration // the last one
	split   float64       // share of green in it
	outlook outlook
}

// period learns how long it is from one message to the next.
type period struct {
	gaps [16]time.Duration
	n    int
	is   time.Duration // the median; 0 until enough came
}

func (p *period) add(d time.Duration) {
	p.gaps[p.n%len(p.gaps)] = d
	if p.n++; p.n%len(p.gaps) == 0 {
		sorted := p.gaps
		slices.Sort(sorted[:])
		p.is = sorted[len(sorted)/2]
	}
}

// signalsOf takes the states of a message.
func (u *unit) signalsOf(b *Board, a *Arrival, at time.Time) {
	for i := range a.Message.Signals {
		x := &a.Message.Signals[i]
		now := x.At
		if now.IsZero() || now.Sub(at).Abs() > strange {
			now = at
		}
		s := u.signals[x.Node]
		if s == nil {
			if len(u.signals) >= b.cfg.MaxNodes {
				continue
			}
			if u.signals == nil {
				u.signals = map[road.NodeID]*signal{}
			}
			s = &signal{node: x.Node, begun: now}
			u.signals[x.Node] = s
		}
		u.state(b, a, s, x, now)
	}
}

// state takes the state of a node. One that is older than the newest is history,
// and changes nothing.
func (u *unit) state(b *Board, a *Arrival, s *signal, x *road.Intersection, now time.Time) {
	gap := now.Sub(s.at)
	if s.at.IsZero() {
		gap = offline + 1
	} else if gap < 0 {
		if !a.Live || gap > -setBack {
			return
		}
		*s = signal{node: s.node, begun: now}
		gap = offline + 1
	}
	if m := minuteOf(now); m != s.minute {
		u.tellSignal(s, now, gap)
		s.minute = m
		s.phases = slices.DeleteFunc(s.phases, func(p *phase) bool { return s.at.Sub(p.at) > offline }) // of another plan
		u.add(now, Cell{Series: SignalConflicts, A: nodeCell(s.node)}, 0)
		for _, p := range s.phases {
			u.add(now, Cell{SignalIllegal, 0, nodeCell(s.node), uint32(p.id)}, 0)
		}
	}
	s.arrived(gap)
	if s.status != x.Status || gap > together || now.Sub(s.told) >= toldEach {
		u.tellSignal(s, now, gap)
	}
	suspended := (s.status|x.Status)&failing != 0
	if gap > together {
		for _, p := range s.phases {
			s.past.note(p.id, road.LightUnavailable, p.at)
		}
	}
	s.at, s.status = now, x.Status
	changed := false
	for i := range x.Phases {
		if u.phase(b, a, s, &x.Phases[i], now, suspended) {
			changed = true
			s.past.note(x.Phases[i].ID, x.Phases[i].Light, now)
		}
	}
	if changed || gap > together {
		u.conflict(b, a, s, now)
	}
}

// arrived counts a message, and those that were to come since the last one.
func (s *signal) arrived(gap time.Duration) {
	if gap <= 0 || gap > offline {
		return
	}
	s.gap = max(s.gap, gap)
	if p := s.period.is; p > 0 {
		s.seen++
		s.due += max(1, int((gap+p/2)/p))
	}
	if gap <= together {
		s.period.add(gap)
	}
}

// tellSignal adds to the minutes what is known since the last time: up to now, or
// up to the last state where too much lies between.
func (u *unit) tellSignal(s *signal, now time.Time, gap time.Duration) {
	node, until := nodeCell(s.node), now
	if gap > together {
		until = s.at
	}
	for bit, mode := range modeBits {
		if s.status&mode != 0 {
			u.spend(s.told, until, Cell{SignalMode, uint8(bit), node, 0})
		}
	}
	if s.clash {
		u.spend(later(s.told, s.clashed), until, Cell{Series: SignalConflictTime, A: node})
	}
	for _, p := range s.phases {
		u.tellPhase(s, p, now)
	}
	s.told = now
	at := s.at
	if at.IsZero() {
		return
	}
	if s.gap > 0 {
		u.add(at, Cell{Series: SignalGap, A: node}, s.gap.Seconds())
	}
	if s.due > 0 {
		u.add(at, Cell{SignalContinuity, 0, node, 0}, float64(s.seen))
		u.add(at, Cell{SignalContinuity, 1, node, 0}, float64(s.due))
	}
	s.gap, s.seen, s.due = 0, 0, 0
}

func (u *unit) tellPhase(s *signal, p *phase, now time.Time) {
	until := now
	if now.Sub(p.at) > together {
		until = p.at
	}
	u.spend(p.told, until, Cell{SignalTime, uint8(p.light), nodeCell(s.node), uint32(p.id)})
	p.told = now
}

// spend adds seconds to the minutes that they lie in.
func (u *unit) spend(from, until time.Time, c Cell) {
	for from.Before(until) {
		end := from.Truncate(time.Minute).Add(time.Minute)
		if end.After(until) {
			end = until
		}
		u.add(from, c, end.Sub(from).Seconds())
		from = end
	}
}

// phase takes the state of a phase, and reports whether its light is another one.
func (u *unit) phase(b *Board, a *Arrival, s *signal, x *road.Phase, now time.Time, suspended bool) bool {
	i := slices.IndexFunc(s.phases, func(p *phase) bool { return p.id == x.ID })
	if i < 0 {
		if len(s.phases) < maxPhases {
			s.phases = append(s.phases, begin(x, now))
			u.add(now, Cell{SignalIllegal, 0, nodeCell(s.node), uint32(x.ID)}, 0)
		}
		return true
	}
	p := s.phases[i]
	if now.Sub(p.at) > together {
		u.tellPhase(s, p, now)
		cycle, split := p.cycle, p.split
		*p = *begin(x, now)
		p.cycle, p.split = cycle, split
		return true
	}
	changed := p.light != x.Light
	if changed {
		u.tellPhase(s, p, now)
		u.turned(b, a, s, p, x.Light, now, suspended)
	}
	p.at = now
	p.outlook.see(x, now)
	return changed
}

// begin is a phase that nothing is known of but what it shows.
func begin(x *road.Phase, now time.Time) *phase {
	p := &phase{id: x.ID, at: now, light: x.Light, told: now, split: math.NaN()}
	if green.has(x.Light) {
		p.shows = now
	}
	p.outlook.see(x, now)
	return p
}

// turned notes that a light follows another.
func (u *unit) turned(b *Board, a *Arrival, s *signal, p *phase, to road.Light, now time.Time, suspended bool) {
	from := p.light
	node, cell := nodeCell(s.node), Cell{A: nodeCell(s.node), B: uint32(p.id)}
	if m := u.maps[s.node]; !suspended && !legal(from, to, m != nil && m.has(p.id)) {
		cell.Series = SignalIllegal
		u.add(now, cell, 1)
		u.find(b, a, now, CheckTransition, 1, finding{node: s.node, phase: p.id, from: from, to: to})
	}
	u.countdown(b, a, s, p, now)
	switch was, is := green.has(from), green.has(to); {
	case is && !was:
		if !p.green.IsZero() {
			p.cycle = now.Sub(p.green)
			p.split = p.greens.Seconds() / p.cycle.Seconds()
			u.add(now, Cell{SignalCycle, 0, node, uint32(p.id)}, p.cycle.Seconds())
			u.add(now, Cell{SignalCycle, 1, node, uint32(p.id)}, 1)
			u.add(now, Cell{SignalSplit, 0, node, uint32(p.id)}, p.split)
			u.add(now, Cell{SignalSplit, 1, node, uint32(p.id)}, 1)
		}
		p.green, p.greens, p.shows = now, 0, now
	case was && !is:
		p.greens += now.Sub(p.shows)
		p.shows = time.Time{}
	}
	p.light, p.since = to, now
}

// conflict looks whether phases whose ways cross on the map are green together.
// Permissive green gives way, and conflicts with nothing. Where there is no map,
// nothing is said: that two phases were never green together proves nothing.
func (u *unit) conflict(b *Board, a *Arrival, s *signal, now time.Time) {
	m := u.maps[s.node]
	if m == nil {
		return
	}
	one, other, found := uint8(0), uint8(0), false
	for i, p := range s.phases {
		for _, q := range s.phases[:i] {
			if goes(p, now) && goes(q, now) {
				if _, clash := m.clashes[[2]uint8{min(p.id, q.id), max(p.id, q.id)}]; clash {
					one, other, found = min(p.id, q.id), max(p.id, q.id), true
				}
			}
		}
	}
	switch {
	case found && !s.clash:
		u.add(now, Cell{Series: SignalConflicts, A: nodeCell(s.node)}, 1)
		u.find(b, a, now, CheckConflict, 1, finding{node: s.node, phase: one, other: other})
		s.clashed = now
	case !found && s.clash:
		u.spend(later(s.told, s.clashed), now, Cell{Series: SignalConflictTime, A: nodeCell(s.node)})
	}
	s.clash = found
}

// goes reports whether a phase lets its ways go without giving way.
func goes(p *phase, now time.Time) bool {
	return (p.light == road.ProtectedGreen || p.light == road.FlashingGreen) && now.Sub(p.at) <= together
}

// learn takes what a map says of signals.
func (u *unit) learn(b *Board, nodes []road.Node, at time.Time) {
	for i := range nodes {
		n := &nodes[i]
		old, hash := u.maps[n.ID], hashOf(n)
		if old != nil && old.hash == hash || old == nil && len(u.maps) >= b.cfg.MaxNodes {
			continue
		}
		if u.maps == nil {
			u.maps = map[road.NodeID]*mapped{}
		}
		m := mapOf(n)
		m.hash, m.since = hash, at
		u.maps[n.ID] = m
	}
}

// settled is how long map and signals must be known before they are compared.
const settled = 30 * time.Second

// align compares the nodes and phases of the signals with those of the map, where
// the unit has sent both for a while. A map without any phase for a node, and a
// node without region, are not held against it.
func (u *unit) align(b *Board, a *Arrival, at time.Time) {
	if len(u.maps) == 0 || len(u.signals) == 0 {
		return
	}
	for node, s := range u.signals {
		if s.at.Sub(s.begun) < settled || at.Sub(s.at) > settled {
			continue
		}
		m := u.mapFor(node)
		if m != nil && (!m.any || at.Sub(m.since) < settled) {
			continue
		}
		spat, lanes := 0, 0
		for _, p := range s.phases {
			if m == nil || !m.has(p.id) {
				spat++
			}
		}
		for id := range 256 {
			if m != nil && m.has(uint8(id)) && !slices.ContainsFunc(s.phases, func(p *phase) bool { return p.id == uint8(id) }) {
				lanes++
			}
		}
		u.aligned(b, a, at, node, spat, lanes)
	}
	for node, m := range u.maps {
		if m.any && at.Sub(m.since) >= settled && !u.signalled(node) {
			u.aligned(b, a, at, node, 0, m.count())
		}
	}
}

func (u *unit) aligned(b *Board, a *Arrival, at time.Time, node road.NodeID, spat, lanes int) {
	u.add(at, Cell{SignalMisaligned, 0, nodeCell(node), 0}, float64(spat))
	u.add(at, Cell{SignalMisaligned, 1, nodeCell(node), 0}, float64(lanes))
	if spat+lanes == 0 {
		u.sound(CheckAlignment, node)
		return
	}
	u.find(b, a, at, CheckAlignment, 1, finding{node: node, is: float64(spat), want: float64(lanes)})
}

func (m *mapped) count() (n int) {
	for id := range 256 {
		if m.has(uint8(id)) {
			n++
		}
	}
	return n
}

func (u *unit) mapFor(node road.NodeID) *mapped {
	if m := u.maps[node]; m != nil {
		return m
	}
	for id, m := range u.maps {
		if id.ID == node.ID && (id.Region == 0 || node.Region == 0) {
			return m
		}
	}
	return nil
}

func (u *unit) signalled(node road.NodeID) bool {
	if u.signals[node] != nil {
		return true
	}
	for id := range u.signals {
		if id.ID == node.ID && (id.Region == 0 || node.Region == 0) {
			return true
		}
	}
	return false
}

// Intersections are the signals of all units, by node and unit.
func (b *Board) Intersections() (all []IntersectionView) {
	now := b.now()
	for _, u := range b.all() {
		u.mu.Lock()
		for _, s := range u.signals {
			all = append(all, u.intersection(s, now))
		}
		u.mu.Unlock()
	}
	slices.SortFunc(all, func(x, y IntersectionView) int {
		return cmp.Or(cmp.Compare(nodeCell(x.Node), nodeCell(y.Node)), cmp.Compare(x.Unit, y.Unit))
	})
	return all
}

func (u *unit) intersection(s *signal, now time.Time) IntersectionView {
	v := IntersectionView{Node: s.node, Unit: u.id, At: s.at, Status: s.status, Period: s.period.is, Faults: u.faultsOf(now, &s.node)}
	for _, p := range s.phases {
		v.Phases = append(v.Phases, PhaseView{ID: p.id, Light: p.light, Since: p.since, End: p.outlook.end, Cycle: p.cycle, Greens: p.split})
	}
	slices.SortFunc(v.Phases, func(x, y PhaseView) int { return cmp.Compare(x.ID, y.ID) })
	return v
}
