package traffic

import (
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// showing is what a unit tells of a node.
func showing(unit string, at time.Time, hash uint64, light road.Light) *Arrival {
	return &Arrival{Unit: unit, Hash: hash, Received: at, Live: true, Message: &road.Message{Kind: road.KindSPAT, Count: -1, At: at,
		Signals: []road.Intersection{{Node: road.NodeID{ID: 7}, At: at, Phases: []road.Phase{{ID: 1, Light: light}}}}}}
}

// Lights of the last minutes are told by time, a silence among them, and no more
// than there is room for.
func TestChangesOfLightsAreKept(t *testing.T) {
	b := newBoard()
	at, n := noon, uint64(0)
	show := func(light road.Light, pause time.Duration) {
		t.Helper()
		at, n = at.Add(pause), n+1
		take(t, b, showing("r1", at, n, light), nil)
	}
	show(road.Red, 0)
	show(road.Red, time.Second)
	show(road.ProtectedGreen, time.Second)
	show(road.ProtectedGreen, time.Minute)
	want := []LightChange{{1, road.Red, noon}, {1, road.ProtectedGreen, noon.Add(2 * time.Second)}, {1, road.LightUnavailable, noon.Add(2 * time.Second)}, {1, road.ProtectedGreen, noon.Add(62 * time.Second)}}
	if got := b.Changes("r1", road.NodeID{ID: 7}); !slices.Equal(got, want) {
		t.Errorf("changes are %v", got)
	}
	for i := range 2 * maxChanges {
		show([]road.Light{road.Yellow, road.Red}[i%2], time.Second)
	}
	got := b.Changes("r1", road.NodeID{ID: 7})
	if len(got) != maxChanges || !got[maxChanges-1].At.Equal(at) || !slices.IsSortedFunc(got, func(a, b LightChange) int { return a.At.Compare(b.At) }) {
		t.Errorf("%d changes, the last at %v", len(got), got[len(got)-1].At)
	}
	if b.Changes("r2", road.NodeID{ID: 7}) != nil || b.Changes("r1", road.NodeID{ID: 8}) != nil {
		t.Error("who told nothing has changes")
	}
}

// What somebody may not see is as if it were not there.
func TestSeenIsOfSomeUnitsOnly(t *testing.T) {
	b := newBoard()
	for i, unit := range []string{"r1", "r2"} {
		take(t, b, showing(unit, noon, uint64(i), road.Red), nil)
	}
	v := Seen(b, func(unit string) bool { return unit == "r2" })
	if units := v.Units(); len(units) != 1 || units[0].Unit != "r2" {
		t.Errorf("units are %v", units)
	}
	if nodes := v.Intersections(); len(nodes) != 1 || nodes[0].Unit != "r2" {
		t.Errorf("intersections are %v", nodes)
	}
	if _, there := v.Unit("r1"); there || v.Changes("r1", road.NodeID{ID: 7}) != nil || v.Evidence("r1", CheckClock) != nil {
		t.Error("a unit of others is there")
	}
	if _, there := v.Unit("r2"); !there || len(v.Changes("r2", road.NodeID{ID: 7})) != 1 {
		t.Error("the own unit is not there")
	}
}

func TestNodesLieWhereTheirLinksEnd(t *testing.T) {
	a, b := road.NodeID{ID: 1}, road.NodeID{ID: 2}
	places := Places([]LinkView{{From: a, To: b, Points: []road.Position{{Lat: 1, Lon: 1}, {Lat: 3, Lon: 3}}}, {From: b, To: a, Points: []road.Position{{Lat: 3, Lon: 5}, {Lat: 1, Lon: 3}}}, {From: a, To: b}})
	if places[a] != (road.Position{Lat: 1, Lon: 2}) || places[b] != (road.Position{Lat: 3, Lon: 4}) || len(places) != 2 {
		t.Errorf("places are %v", places)
	}
}
