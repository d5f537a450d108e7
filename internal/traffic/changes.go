package traffic

import (
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// maxChanges is how many changes of light are kept of a node: those of five
// minutes, where eight phases have cycles of 40 s.
const maxChanges = 192

// changes are the last changes of light of a node, in a ring.
type changes struct {
	ring []change
	next int
}

type change struct {
	at    int64 // ns since 1970
	phase uint8
	light road.Light
}

func (c *changes) note(phase uint8, light road.Light, at time.Time) {
	one := change{at.UnixNano(), phase, light}
	if len(c.ring) < maxChanges {
		c.ring = append(c.ring, one)
		return
	}
	c.ring[c.next] = one
	c.next = (c.next + 1) % maxChanges
}

// Changes are the lights of the last minutes of a node as a unit told them, by
// time; unavailable stands for a while in which it told none.
func (b *Board) Changes(unit string, node road.NodeID) []LightChange {
	u := b.known(unit)
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	s := u.signals[node]
	if s == nil {
		return nil
	}
	all := make([]LightChange, 0, len(s.past.ring))
	for i := range s.past.ring {
		c := s.past.ring[(s.past.next+i)%len(s.past.ring)]
		all = append(all, LightChange{c.phase, c.light, time.Unix(0, c.at).UTC()})
	}
	return all
}
