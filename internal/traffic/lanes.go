package traffic

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

const (
	// maxPoints of a link or lane.
	maxPoints = 256
	// nodeLife is how long a node stays that the unit's maps do not have any more.
	nodeLife = 10 * time.Minute
	// usualLane is how wide a lane is when the map does not say.
	usualLane = 3.5
)

const kindMap = 'm' // of documents, by node

// charted is a node of the unit's map.
type charted struct {
	road.Node

	print uint64    // of what the unit said
	told  time.Time // when it last said so
}

// chart takes a map that the unit tells. What is as before costs no more than a
// look.
func (u *unit) chart(cfg *Config, nodes []road.Node, at time.Time) error {
	changed := false
	for i := range nodes {
		n := &nodes[i]
		said := printOf(n)
		m := u.node(n.ID)
		switch {
		case m != nil && at.Before(m.told): // history
			continue
		case m != nil && m.print == said:
			m.told = at
			continue
		case m == nil && len(u.nodes) >= cfg.MaxNodes:
			u.limit(at, limitNodes)
			continue
		}
		told, err := json.Marshal(toWire(n))
		if err != nil {
			return fmt.Errorf("map of node %s: %w", NodeName(n.ID), err)
		}
		if m, err = u.setNode(told); err != nil {
			return err
		}
		m.print, m.told = said, at
		u.tell(kindMap, NodeName(n.ID), told)
		changed = true
	}
	for i := len(u.nodes) - 1; i >= 0; i-- {
		m := &u.nodes[i]
		if m.told.IsZero() { // of before a restart
			m.told = at
		}
		if at.Sub(m.told) > nodeLife {
			u.tell(kindMap, NodeName(m.ID), nil)
			delete(u.maps, m.ID)
			u.nodes = slices.Delete(u.nodes, i, i+1)
			changed = true
		}
	}
	if changed && u.build(cfg) {
		u.limit(at, limitLinks)
	}
	return nil
}

func (u *unit) node(id road.NodeID) *charted {
	for i := range u.nodes {
		if u.nodes[i].ID == id {
			return &u.nodes[i]
		}
	}
	return nil
}

// setNode takes a node from its document, in memory of its own.
func (u *unit) setNode(told []byte) (*charted, error) {
	var w wireNode
	if err := json.Unmarshal(told, &w); err != nil {
		return nil, fmt.Errorf("%.64q is no node: %w: %w", told, ErrRecord, err)
	}
	n := w.node()
	m := u.node(n.ID)
	if m == nil {
		u.nodes = append(u.nodes, charted{})
		m = &u.nodes[len(u.nodes)-1]
	}
	m.Node = n
	return m, nil
}

// applyMap takes a node again.
func applyMap(b *Board, u *unit, key string, told []byte) error {
	if len(told) == 0 {
		maps.DeleteFunc(u.maps, func(id road.NodeID, _ *mapped) bool { return NodeName(id) == key })
		u.nodes = slices.DeleteFunc(u.nodes, func(m charted) bool { return NodeName(m.ID) == key })
	} else if len(u.nodes) < b.cfg.MaxNodes { // the bound may be another one than when it was told
		m, err := u.setNode(told)
		if err != nil {
			return err
		}
		m.print = printOf(&m.Node)
		u.learn(b, []road.Node{m.Node}, time.Time{}) // long ago: it is settled
	}
	u.build(&b.cfg)
	return nil
}

// build makes the links of the nodes, and reports whether there are more than it
// may hold. What is known of a link that stays goes on.
func (u *unit) build(cfg *Config) (more bool) {
	old := u.net
	u.net = &net{}
	for i := range u.nodes {
		n := &u.nodes[i]
		if math.IsNaN(n.At.Lat) || math.IsNaN(n.At.Lon) {
			continue
		}
		u.net.origin(n.At)
		for j := range n.Links {
			if len(u.net.links) >= cfg.MaxLinks {
				more = true
				break
			}
			u.net.join(n, &n.Links[j], u.line(n, &n.Links[j]), old)
		}
	}
	u.net.index()
	return more
}

// line are the points of a link: its own, those of its middle lane, or where it
// comes from and leads to.
func (u *unit) line(n *charted, l *road.Link) []road.Position {
	if len(l.Points) > 1 {
		return l.Points
	}
	if lanes := slices.DeleteFunc(slices.Clone(l.Lanes), func(l road.Lane) bool { return len(l.Points) < 2 }); len(lanes) > 0 {
		return lanes[len(lanes)/2].Points
	}
	if from := u.node(l.From); from != nil {
		return []road.Position{from.At, n.At}
	}
	return nil
}

// printOf is a number that is another one when a node is.
func printOf(n *road.Node) uint64 {
	h := digest(0x9e3779b97f4a7c15)
	h.id(n.ID)
	h.text(n.Name)
	h.points([]road.Position{n.At})
	for i := range n.Links {
		l := &n.Links[i]
		h.id(l.From)
		h.text(l.Name)
		h.float(l.Width)
		h.float(l.Limit)
		h.points(l.Points)
		h.movements(l.Movements)
		for j := range l.Lanes {
			lane := &l.Lanes[j]
			h.add(uint64(lane.ID)<<16 | uint64(lane.Maneuvers))
			if lane.NoMotor {
				h.add(1)
			}
			h.float(lane.Width)
			h.float(lane.Limit)
			h.points(lane.Points)
			h.movements(lane.To)
		}
	}
	return uint64(h)
}

type digest uint64

func (h *digest) add(v uint64) {
	x := (uint64(*h) ^ v) * 0xbf58476d1ce4e5b9
	*h = digest(x ^ x>>29)
}

func (h *digest) id(n road.NodeID) { h.add(uint64(n.Region)<<16 | uint64(n.ID)) }

func (h *digest) float(v float64) { h.add(math.Float64bits(v)) }

func (h *digest) text(s string) {
	for i := range len(s) {
		h.add(uint64(s[i]))
	}
	h.add(uint64(len(s)))
}

func (h *digest) points(all []road.Position) {
	for _, p := range all {
		h.float(p.Lat)
		h.float(p.Lon)
	}
	h.add(uint64(len(all)))
}

func (h *digest) movements(all []road.Movement) {
	for _, m := range all {
		h.id(m.To)
		h.add(uint64(m.Phase))
		if m.HasPhase {
			h.add(1)
		}
	}
	h.add(uint64(len(all)))
}
