package traffic

import (
	"bytes"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/songhua-io/hub/internal/road"
)

// from is a place so many metres east and north of node 1.
func from(x, y float64) road.Position {
	return road.Position{Lat: 43.86 + y/metresPerDegree, Lon: 125.3 + x/(metresPerDegree*math.Cos(43.86*math.Pi/180))}
}

// threeRoads is a map of node 1: a bend with lanes from the south, a road with lanes
// only from the west, and one of which only the ends are known from the north,
// where node 4 is.
func threeRoads(at time.Time) *road.Message {
	no := math.NaN()
	one := road.Node{ID: road.NodeID{Region: 2201, ID: 1}, Name: "人民大街", At: from(0, 0), Links: []road.Link{
		{Name: "bend", From: road.NodeID{Region: 2201, ID: 2}, Width: 7, Limit: 13.9, Points: []road.Position{from(-200, -200), from(-20, -200), from(0, -180), from(0, -20)},
			Movements: []road.Movement{{To: road.NodeID{Region: 2201, ID: 4}, Phase: 1, HasPhase: true}, {To: road.NodeID{Region: 2201, ID: 3}}},
			Lanes: []road.Lane{
				{ID: 1, Width: 3.5, Limit: no, Points: []road.Position{from(-1.75, -180), from(-1.75, -20)}, Maneuvers: 1 << 11},
				{ID: 2, Width: no, Limit: 8.3, Points: []road.Position{from(1.75, -180), from(1.75, -20)}, To: []road.Movement{{To: road.NodeID{ID: 3}, Phase: 2, HasPhase: true}}},
			}},
		{From: road.NodeID{Region: 2201, ID: 3}, Width: no, Limit: no, Lanes: []road.Lane{{ID: 7, Width: 3, Limit: no, Points: []road.Position{from(-300, -50), from(-20, -5)}}}},
		{From: road.NodeID{Region: 2201, ID: 4}, Width: 4, Limit: no, Points: []road.Position{{Lat: no, Lon: no}}},
		{From: road.NodeID{Region: 2201, ID: 9}, Width: 4, Limit: no}, // nobody knows where
	}}
	four := road.Node{ID: road.NodeID{Region: 2201, ID: 4}, At: from(0, 400), Links: []road.Link{{From: road.NodeID{Region: 2201, ID: 1}, Width: no, Limit: no}}}
	return &road.Message{Kind: road.KindMap, At: at, Nodes: []road.Node{one, four}}
}

func TestParticipantsAreMatchedToLinks(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", threeRoads(noon))
	n := b.board.all()[0].net
	if len(n.links) != 4 {
		t.Fatalf("%d links", len(n.links))
	}
	for _, c := range []struct {
		name          string
		x, y, heading float64
		kind          road.ParticipantType
		want          string
	}{
		{"on the bend", -100, -201, 90, road.Motor, "2201.2 100 -"},
		{"outside of its first corner", -17, -203, 70, road.Motor, "2201.2 180 -"},
		{"inside of it", -21, -195, 60, road.Motor, "2201.2 183 -"},
		{"after it, left", -1, -100, 2, road.Motor, "2201.2 288 1"},
		{"right", 2, -100, 355, road.Motor, "2201.2 288 2"},
		{"the other way", 1, -100, 180, road.Motor, ""},
		{"a pedestrian, any way", 1, -100, 180, road.Pedestrian, "2201.2 288 2"},
		{"heading not known", 1, -100, math.NaN(), road.Motor, ""},
		{"beyond its width", 20, -100, 0, road.Motor, ""},
		{"behind the stop line", 0, -12, 0, road.Motor, "2201.2 376 1"},
		{"in the middle of the node", 0, -5, 0, road.Motor, "2201.1 -5 -"}, // on the way out
		{"on lanes only", -160, -27.5, 80, road.Motor, "2201.3 142 7"},
		{"between the ends", 1, 300, 185, road.Motor, "2201.4 100 -"},
		{"to the other node", 1, 300, 10, road.Motor, "2201.1 300 -"},
		{"elsewhere", 5000, 300, 10, road.Motor, ""},
		{"nowhere", math.NaN(), 300, 10, road.Motor, ""},
	} {
		p := from(c.x, c.y)
		got := ""
		var at place
		n.match(&road.Participant{Type: c.kind, Lat: p.Lat, Lon: p.Lon, Heading: c.heading}, &at)
		l, along := at.link, at.along
		if l != nil {
			lane := "-"
			if id, ok := l.laneAt(at.x, at.y); ok {
				lane = fmt.Sprint(id)
			}
			got = fmt.Sprintf("%s %.0f %s", cellNode(l.from), along, lane)
		}
		if got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
	// The grid finds what a look at all segments finds.
	for x := -320.0; x < 20; x += 7 {
		for y := -220.0; y < 420; y += 11 {
			p := from(x, y)
			var at place
			n.match(&road.Participant{Type: road.Pedestrian, Lat: p.Lat, Lon: p.Lon}, &at)
			l, along := at.link, at.along
			mx, my := n.metres(p.Lat, p.Lon)
			best, want, wantAlong := math.Inf(1), (*link)(nil), 0.0
			for i := range n.segments {
				if d, m, ok := n.segments[i].off(mx, my); ok && d < best {
					best, want, wantAlong = d, &n.links[n.segments[i].link], m
				}
			}
			if l != want || along != wantAlong {
				t.Fatalf("at %v, %v: %v, not %v", x, y, l, want)
			}
		}
	}
}

// A map is kept once as long as it is the same, comes back with the records, and
// goes when the unit does not have it any more.
func TestTheMapComesBack(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", threeRoads(noon))
	size := len(b.log)
	for i := range 50 {
		b.say("r1", threeRoads(noon.Add(time.Duration(i)*time.Second)))
	}
	if grown := (len(b.log) - size) / 50; grown > 100 {
		t.Errorf("a map that is the same costs %d octets", grown)
	}
	same := func(name string, other *Board) {
		want, got := b.board.Links(), other.Links()
		if diff := cmp.Diff(want, got, cmpopts.EquateNaNs()); diff != "" || len(got) == 0 {
			t.Errorf("%s: %s", name, diff)
		}
		if diff := cmp.Diff(nodesOf(b.board), nodesOf(other), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		was, _ := b.board.Unit("r1")
		is, _ := other.Unit("r1")
		if diff := cmp.Diff(was.Nodes, is.Nodes); diff != "" || len(is.Nodes) == 0 {
			t.Errorf("%s: nodes that are told of the unit: %s", name, diff)
		}
		if m := other.all()[0].maps[road.NodeID{Region: 2201, ID: 1}]; m == nil || !m.has(1) {
			t.Errorf("%s: signals cannot be held to the map: %+v", name, m)
		}
	}
	replayed, copied := newBoard(), newBoard()
	if err := replayed.Apply(b.log); err != nil {
		t.Fatal(err)
	}
	if err := b.board.Snapshot(copied.Apply); err != nil {
		t.Fatal(err)
	}
	same("log", replayed)
	same("snapshot", copied)

	one := threeRoads(noon.Add(time.Hour))
	one.Nodes = one.Nodes[:1]
	take(t, copied, &Arrival{Unit: "r1", Message: one, Hash: 1 << 40, Received: one.At}, nil)
	if n := len(copied.Links()); n != 4 {
		t.Errorf("%d links: what came back is gone before it could be told again", n)
	}

	changed := threeRoads(noon.Add(5 * time.Minute))
	changed.Nodes = changed.Nodes[:1]
	changed.Nodes[0].Links = changed.Nodes[0].Links[:2]
	b.say("r1", changed)
	if n := len(b.board.Links()); n != 3 { // node 4 is known still
		t.Errorf("%d links of the other map", n)
	}
	changed.At = noon.Add(12 * time.Minute)
	b.say("r1", changed)
	if n := len(b.board.Links()); n != 2 {
		t.Errorf("%d links when node 4 is gone", n)
	}
	old := threeRoads(noon.Add(4 * time.Minute)) // of history
	old.Nodes = old.Nodes[:1]
	b.say("r1", old)
	if n := len(nodesOf(b.board)[0].Links); n != 2 {
		t.Errorf("%d links: history has replaced the map", n)
	}
	if err := replayed.Apply(b.log[size:]); err != nil {
		t.Fatal(err)
	}
	same("rest of the log", replayed)
}

func nodesOf(b *Board) (all []road.Node) {
	for _, u := range b.all() {
		for _, n := range u.nodes {
			all = append(all, n.Node)
		}
	}
	return all
}

func TestMapsAreBounded(t *testing.T) {
	b := newTold(t, func(c *Config) { c.MaxNodes, c.MaxLinks = 1, 2 })
	m := threeRoads(noon)
	for i := range 1000 {
		m.Nodes[0].Links[0].Points = append(m.Nodes[0].Links[0].Points, from(0, -20+float64(i)/100))
	}
	b.say("r1", m)
	u := b.board.all()[0]
	if len(u.nodes) != 1 || len(u.net.links) != 2 || len(u.nodes[0].Links[0].Points) != maxPoints {
		t.Errorf("%d nodes, %d links, %d points", len(u.nodes), len(u.net.links), len(u.nodes[0].Links[0].Points))
	}
	got := b.minute("r1", noon)
	if nodes, links := sampleOf(got, "rsu_limit_hits", "limit=nodes"), sampleOf(got, "rsu_limit_hits", "limit=links"); nodes != 1 || links != 1 {
		t.Errorf("%v nodes and %v links were left out", nodes, links)
	}
}

// A map of the worst kind has a grid that is small.
func TestTheGridIsBounded(t *testing.T) {
	var n net
	n.origin(from(0, 0))
	to := &charted{Node: road.Node{ID: road.NodeID{ID: 1}}}
	for i := range 100 {
		var line []road.Position
		for j := range maxPoints {
			line = append(line, from(float64(j%2)*3000, float64(j%2)*3000+float64(i)))
		}
		n.join(to, &road.Link{From: road.NodeID{ID: uint16(i)}, Width: 10}, line, nil)
	}
	n.index()
	if len(n.near) > maxNear || len(n.first) > (maxGrid+1)*(maxGrid+1)+1 || len(n.links) != 100 {
		t.Errorf("%d places, %d cells", len(n.near), len(n.first))
	}
}

// Records hold what was told, byte by byte the same whoever tells it.
func TestAMapIsToldOnce(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", threeRoads(noon))
	var one bytes.Buffer
	if err := b.board.Snapshot(func(r []byte) error { one.Write(r); return nil }); err != nil {
		t.Fatal(err)
	}
	if n := bytes.Count(one.Bytes(), []byte(`"lanes"`)); n != 2 {
		t.Errorf("%d links with lanes are told: %q", n, one.Bytes())
	}
}
