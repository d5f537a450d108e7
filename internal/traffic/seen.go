package traffic

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Views is what a board tells of a time. What it hands out is the caller's.
type Views interface {
	// Units are all units, by id.
	Units(now time.Time) []UnitView
	// Unit is one of them; false when the board knows of none.
	Unit(id string, now time.Time) (UnitView, bool)
	// Evidence is what is kept of the raw messages of a unit.
	Evidence(id string, now time.Time) []Evidence
	Intersections(now time.Time) []IntersectionView
	Links(now time.Time) []LinkView
	// Events are those that are active, and those that lately were.
	Events(now time.Time) []EventView
	// Changes are the lights of the last minutes of a node as a unit told them, by
	// phase and time.
	Changes(unit string, node road.NodeID, now time.Time) []LightChange
}

// LightChange is a light that a phase was seen to begin.
type LightChange struct {
	Phase uint8
	Light road.Light
	At    time.Time
}

// Seen is what somebody may see of a board: that of the units that sees lets
// through, as if there were no others.
func Seen(of Views, sees func(unit string) bool) Views { return seen{of, sees} }

type seen struct {
	Views
	sees func(unit string) bool
}

func kept[T any](all []T, unit func(*T) string, sees func(string) bool) []T {
	return slices.DeleteFunc(all, func(v T) bool { return !sees(unit(&v)) })
}

func (s seen) Units(now time.Time) []UnitView {
	return kept(s.Views.Units(now), func(u *UnitView) string { return u.Unit }, s.sees)
}

func (s seen) Unit(id string, now time.Time) (UnitView, bool) {
	if !s.sees(id) {
		return UnitView{}, false
	}
	return s.Views.Unit(id, now)
}

func (s seen) Evidence(id string, now time.Time) []Evidence {
	if !s.sees(id) {
		return nil
	}
	return s.Views.Evidence(id, now)
}

func (s seen) Intersections(now time.Time) []IntersectionView {
	return kept(s.Views.Intersections(now), func(i *IntersectionView) string { return i.Unit }, s.sees)
}

func (s seen) Links(now time.Time) []LinkView {
	return kept(s.Views.Links(now), func(l *LinkView) string { return l.Unit }, s.sees)
}

func (s seen) Changes(unit string, node road.NodeID, now time.Time) []LightChange {
	if !s.sees(unit) {
		return nil
	}
	return s.Views.Changes(unit, node, now)
}

// Events of a unit that is not seen are those of the first other one that tells
// the same and is.
func (s seen) Events(now time.Time) (out []EventView) {
	for _, e := range s.Views.Events(now) {
		also := kept(slices.Clone(e.AlsoBy), func(unit *string) string { return *unit }, s.sees)
		if !s.sees(e.Unit) {
			if len(also) == 0 {
				continue
			}
			e.Unit, also = also[0], also[1:]
			e.Key = e.Unit + "/" + e.Event.ID
		}
		e.AlsoBy = also
		out = append(out, e)
	}
	return out
}

// Places are where nodes lie, by the ends of the links at them.
func Places(links []LinkView) map[road.NodeID]road.Position {
	type sum struct {
		road.Position
		n float64
	}
	sums := map[road.NodeID]sum{}
	add := func(n road.NodeID, p road.Position) {
		s := sums[n]
		sums[n] = sum{road.Position{Lat: s.Lat + p.Lat, Lon: s.Lon + p.Lon}, s.n + 1}
	}
	for i := range links {
		if p := links[i].Points; len(p) > 0 {
			add(links[i].From, p[0])
			add(links[i].To, p[len(p)-1])
		}
	}
	out := make(map[road.NodeID]road.Position, len(sums))
	for n, s := range sums {
		out[n] = road.Position{Lat: s.Lat / s.n, Lon: s.Lon / s.n}
	}
	return out
}
