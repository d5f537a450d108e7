package traffic

import (
	"math"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

const (
	// counterRound is after how many messages the loss is judged.
	counterRound = 128
	// counterLoss is the share of a round that may be lost.
	counterLoss = 0.02
	// counterGap is how long nothing may come for the counter to tell how many
	// messages are missing: it goes round in 128.
	counterGap = 10 * time.Second
)

// counter follows the message counter of a kind.
type counter struct {
	known    bool
	last     uint8
	received time.Time
	contents contents
	// steps are the last ones; the most frequent is what one message counts, for a
	// unit that passes on every second message only has steps of two.
	steps      [16]uint8
	n          int
	step       uint8
	seen, lost int // of the round
}

// countable are the kinds whose messages have a counter of the unit. That of BSM
// is each vehicle's own.
func countable(k road.Kind) bool {
	return k == road.KindRSM || k == road.KindSPAT || k == road.KindMap || k == road.KindRSI
}

// progress follows the counter of a live message.
func (u *unit) progress(b *Board, a *Arrival, at time.Time) {
	m := a.Message
	if m.Count < 0 || m.Count > 127 || !countable(m.Kind) {
		return
	}
	part := partOf(m.Kind)
	c := u.counters[part]
	if c == nil {
		c = &counter{step: 1}
		u.counters[part] = c
	}
	step := (uint8(m.Count) - c.last) % 128
	quick := c.known && a.Received.Sub(c.received) <= counterGap
	changed := c.contents.changed(m)
	if quick && step > 96 { // it overtook the one before
		return
	}
	c.known, c.last, c.received = true, uint8(m.Count), a.Received
	switch {
	case !quick:
		return
	case step == 0 && changed:
		u.find(b, a, at, CheckCounter, 1, finding{kind: m.Kind, is: float64(m.Count)})
		return
	case step == 0:
		return
	}
	u.lose(b, a, at, part, c, c.missing(step))
}

// missing is how many messages a step leaves out. The first steps are looked at
// together, when what one message counts is known.
func (c *counter) missing(step uint8) (n int) {
	c.steps[c.n%len(c.steps)] = step
	c.n++
	switch {
	case c.n < len(c.steps):
		return 0
	case c.n == len(c.steps):
		c.step = c.usual()
		for _, s := range c.steps {
			n += c.leftOut(s)
		}
		c.seen += len(c.steps) - 1
		return n
	case step != c.step:
		c.step = c.usual()
	}
	return c.leftOut(step)
}

func (c *counter) leftOut(step uint8) int { return max(0, (int(step)+int(c.step)/2)/int(c.step)-1) }

// usual is the most frequent of the last steps.
func (c *counter) usual() (step uint8) {
	var times [128]uint8
	for _, s := range c.steps {
		if times[s]++; times[s] > times[step] || step == 0 {
			step = s
		}
	}
	return step
}

// lose counts messages that did not come, and judges a round that is over.
func (u *unit) lose(b *Board, a *Arrival, at time.Time, part uint8, c *counter, missing int) {
	if missing > 0 {
		u.add(at, Cell{Series: Lost, Part: part}, float64(missing))
	}
	if c.n < len(c.steps) {
		return
	}
	c.seen++
	c.lost += missing
	all := c.seen + c.lost
	if all < counterRound {
		return
	}
	if share := float64(c.lost) / float64(all); share > counterLoss {
		u.find(b, a, at, CheckLoss, int64(c.lost), finding{kind: a.Message.Kind, is: share, want: float64(c.lost)})
	}
	c.seen, c.lost = 0, 0
}

// contents are what the last messages of a kind said, by what they are about: a
// unit tells its nodes, or its events, in turn.
type contents struct {
	said [4]struct{ about, is uint64 }
	n    int
}

// changed reports whether a message says something else than the last one that
// was about the same.
func (c *contents) changed(m *road.Message) bool {
	about, is := contentOf(m)
	for i := range min(c.n, len(c.said)) {
		if s := &c.said[i]; s.about == about {
			changed := s.is != is
			s.is = is
			return changed
		}
	}
	c.said[c.n%len(c.said)] = struct{ about, is uint64 }{about, is}
	c.n++
	return false
}

// contentOf are numbers for what a message is about, and for what it says that a
// counter counts as new: lights, participants, lanes, or events; not the time
// left, nor the time of day.
func contentOf(m *road.Message) (about, is uint64) {
	is = 14695981039346656037
	mix := func(v uint64) { is = (is ^ v) * 1099511628211 }
	for i := range m.Signals {
		about = about<<1 ^ uint64(nodeCell(m.Signals[i].Node))
		mix(uint64(m.Signals[i].Status))
		for j := range m.Signals[i].Phases {
			p := &m.Signals[i].Phases[j]
			mix(uint64(p.ID)<<8 | uint64(p.Light))
		}
	}
	for i := range m.Participants {
		p := &m.Participants[i]
		mix(uint64(p.Track))
		mix(uint64(p.At.UnixMilli()))
		mix(math.Float64bits(p.Lat))
	}
	for i := range m.Nodes {
		about = about<<1 ^ uint64(nodeCell(m.Nodes[i].ID))
		mix(hashOf(&m.Nodes[i]))
	}
	for i := range m.Events {
		for _, c := range []byte(m.Events[i].ID) {
			about = about*31 + uint64(c)
		}
		mix(uint64(m.Events[i].Type))
		mix(uint64(m.Events[i].End.Unix()))
	}
	return about, is
}
