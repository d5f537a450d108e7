package traffic

import (
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// Views is what a board tells. What it hands out is the caller's.
type Views interface {
	// Units are all units, by id.
	Units() []UnitView
	// Unit is one of them; false where it never said anything.
	Unit(id string) (UnitView, bool)
	// Evidence is what is onlySeen of the raw messages of a unit that a check found fault
	// with.
	Evidence(unit string, c Check) []Evidence
	Intersections() []IntersectionView
	Links() []LinkView
	// Events are those that are active, and those that lately were.
	Events() []EventView
	// Changes are the lights of the last minutes of a node as a unit told them, by
	// time.
	Changes(unit string, node road.NodeID) []LightChange
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

func onlySeen[T any](all []T, unit func(*T) string, sees func(string) bool) []T {
	return slices.DeleteFunc(all, func(v T) bool { return !sees(unit(&v)) })
}

func (s seen) Units() []UnitView {
	return onlySeen(s.Views.Units(), func(u *UnitView) string { return u.Unit }, s.sees)
}

func (s seen) Unit(id string) (UnitView, bool) {
	if !s.sees(id) {
		return UnitView{}, false
	}
	return s.Views.Unit(id)
}

func (s seen) Evidence(unit string, c Check) []Evidence {
	if !s.sees(unit) {
		return nil
	}
	return s.Views.Evidence(unit, c)
}

func (s seen) Intersections() []IntersectionView {
	return onlySeen(s.Views.Intersections(), func(i *IntersectionView) string { return i.Unit }, s.sees)
}

func (s seen) Links() []LinkView {
	return onlySeen(s.Views.Links(), func(l *LinkView) string { return l.Unit }, s.sees)
}

func (s seen) Changes(unit string, node road.NodeID) []LightChange {
	if !s.sees(unit) {
		return nil
	}
	return s.Views.Changes(unit, node)
}

func (s seen) Events() []EventView {
	all := onlySeen(s.Views.Events(), func(e *EventView) string { return e.Unit }, s.sees)
	for i := range all {
		all[i].AlsoBy = onlySeen(all[i].AlsoBy, func(unit *string) string { return *unit }, s.sees)
	}
	return all
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
