package traffic

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// The order of lights, as people can read it: a row is what shows, a column what
// follows; x may not.
func TestLightsFollowEachOther(t *testing.T) {
	const want = `
                  un dk fr rd fg pg Pg yl fy
unavailable       .  .  .  .  .  .  .  .  .
dark              .  .  .  .  .  .  .  .  .
flashing_red      .  .  .  .  x  x  x  x  .
red               .  .  .  .  x  .  .  x  .
flashing_green    .  .  .  x  .  x  x  .  .
permissive_green  .  .  .  x  .  .  .  .  .
protected_green   .  .  .  x  .  .  .  .  .
yellow            .  .  .  .  x  x  x  .  .
flashing_yellow   .  .  .  .  x  x  x  .  .
`
	got := "\n                  un dk fr rd fg pg Pg yl fy\n"
	for from := range road.FlashingYellow + 1 {
		row := fmt.Sprintf("%-18s", from)
		for to := range road.FlashingYellow + 1 {
			mark := "."
			if !legal(from, to, true) {
				mark = "x"
			}
			row += mark + "  "
		}
		got += strings.TrimRight(row, " ") + "\n"
	}
	if got != want {
		t.Errorf("%s", got)
	}
	if !legal(road.FlashingGreen, road.Red, false) {
		t.Error("a light of pedestrians needs yellow")
	}
}

// crossroads is a node whose roads come from the given bearings, and a movement
// for each "from>to:phase" of names n, e, s, w.
func crossroads(moves ...string) road.Node {
	const far = 100.0
	bearings := map[byte]float64{'n': 0, 'e': 90, 's': 180, 'w': 270}
	ids := map[byte]road.NodeID{'n': {ID: 1}, 'e': {ID: 2}, 's': {ID: 3}, 'w': {ID: 4}}
	n := road.Node{ID: road.NodeID{Region: 7, ID: 9}, At: road.Position{Lat: 43.86, Lon: 125.3}}
	links := map[byte]*road.Link{}
	for _, arm := range []byte("nesw") {
		rad := bearings[arm] * math.Pi / 180
		at := func(d float64) road.Position {
			return road.Position{Lat: n.At.Lat + d*math.Cos(rad)/metresPerDegree, Lon: n.At.Lon + d*math.Sin(rad)/metresPerDegree/math.Cos(n.At.Lat*math.Pi/180)}
		}
		links[arm] = &road.Link{From: ids[arm], Points: []road.Position{at(far), at(15)}}
	}
	for _, m := range moves {
		links[m[0]].Movements = append(links[m[0]].Movements, road.Movement{To: ids[m[2]], Phase: m[4] - '0', HasPhase: true})
	}
	for _, arm := range []byte("nesw") {
		n.Links = append(n.Links, *links[arm])
	}
	return n
}

// Which phases may not be green together follows from where their ways lead.
func TestConflictsOfTheMap(t *testing.T) {
	for _, c := range []struct{ name, moves, want string }{
		{"two roads that cross", "n>s:1 s>n:1 e>w:2 w>e:2", "1-2"},
		{"straight on in both directions", "n>s:1 s>n:2", ""},
		{"an arrow to the left, and who comes", "n>e:1 s>n:2", "1-2"},
		{"a left turn with the round light, and who comes", "n>e:1 n>s:1 s>n:2", ""},
		{"both arrows to the left", "n>e:1 s>w:2", ""},
		{"left turns of roads that cross", "n>e:1 e>s:2", "1-2"},
		{"a right turn merges", "e>n:1 s>n:2", ""},
		{"a right turn and a left turn into one road", "w>s:1 e>s:2", ""},
		{"four phases", "n>s:1 s>n:1 n>e:2 s>w:2 e>w:3 w>e:3 e>s:4 w>n:4", "1-2 1-3 1-4 2-3 2-4 3-4"},
		{"a road that the map does not show", "n>x:1 e>w:2", ""},
	} {
		n := crossroads(strings.Fields(c.moves)...)
		m := mapOf(&n)
		var got []string
		for a := range 10 {
			for b := range 10 {
				if _, clash := m.clashes[[2]uint8{uint8(a), uint8(b)}]; clash {
					got = append(got, fmt.Sprintf("%d-%d", a, b))
				}
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, not %s", c.name, got, c.want)
		}
	}
}

// stage is one unit whose messages a test makes.
type stage struct {
	t    *testing.T
	b    *Board
	hash uint64
	live bool
}

func newStage(t *testing.T) *stage { return &stage{t: t, b: newBoard(), live: true} }

// says takes a message of the unit that was received at a time.
func (s *stage) says(m road.Message, received time.Time) {
	s.t.Helper()
	s.hash++
	if _, err := s.b.Take(&Arrival{Unit: "r1", Message: &m, Raw: []byte{1, 2}, Hash: s.hash, Received: received, Live: s.live}, nil); err != nil {
		s.t.Fatal(err)
	}
}

var crossing = road.NodeID{Region: 7, ID: 9}

// shows sends the lights of phases 1, 2, …, with the end that they announce.
func (s *stage) shows(at time.Time, status uint16, end time.Time, lights ...road.Light) {
	s.t.Helper()
	x := road.Intersection{Node: crossing, At: at, Status: status}
	for i, l := range lights {
		x.Phases = append(x.Phases, road.Phase{ID: uint8(i + 1), Light: l, States: []road.PhaseState{{Light: l, End: end, Confidence: math.NaN()}}})
	}
	s.says(road.Message{Kind: road.KindSPAT, Count: -1, At: at, Signals: []road.Intersection{x}}, at)
}

// lasts sends the lights ten times a second, for a while from a time on; it returns
// the end.
func (s *stage) lasts(from time.Time, d time.Duration, status uint16, end time.Time, lights ...road.Light) time.Time {
	s.t.Helper()
	for at := from; at.Before(from.Add(d)); at = at.Add(100 * time.Millisecond) {
		s.shows(at, status, end, lights...)
	}
	return from.Add(d)
}

func (s *stage) samples() map[string]float64 {
	out := map[string]float64{}
	for _, m := range minutes(s.b, s.b.now().Add(time.Hour)) {
		for _, one := range m.Samples {
			out[fmt.Sprint(one.Metric, one.Tags)] += one.Value
		}
	}
	return out
}

func (s *stage) faults() (all []string) {
	v, _ := s.b.Unit("r1")
	for _, f := range v.Faults {
		all = append(all, fmt.Sprintf("%s ×%d: %s", f.Check, f.Count, f.EN))
	}
	return all
}

func (s *stage) wants(all ...string) {
	s.t.Helper()
	if got := strings.Join(s.faults(), "\n"); got != strings.Join(all, "\n") {
		s.t.Errorf("faults\n%s\nnot\n%s", got, strings.Join(all, "\n"))
	}
}

// Times in each light, and in modes, are those of the states; a gap is nobody's.
func TestSecondsOfLights(t *testing.T) {
	s := newStage(t)
	at := s.lasts(noon, 20*time.Second, road.StatusManual, time.Time{}, road.ProtectedGreen)
	at = s.lasts(at, 3*time.Second, 0, time.Time{}, road.Yellow)
	at = at.Add(10 * time.Second)
	at = s.lasts(at, 5*time.Second, road.StatusFailureFlash, time.Time{}, road.FlashingYellow)
	at = s.lasts(at, 2*time.Second, road.StatusOff, time.Time{}, road.Dark)
	s.shows(at, 0, time.Time{}, road.ProtectedGreen) // as it comes back
	s.shows(at.Add(time.Minute), 0, time.Time{}, road.Red)
	got := s.samples()
	for k, want := range map[string]float64{
		"signal_light_seconds[{node 7.9} {phase 1} {light protected_green}]": 20,
		"signal_light_seconds[{node 7.9} {phase 1} {light yellow}]":          2.9, // nobody knows what came after the last
		"signal_light_seconds[{node 7.9} {phase 1} {light flashing_yellow}]": 5,
		"signal_light_seconds[{node 7.9} {phase 1} {light dark}]":            2,
		"signal_mode_seconds[{node 7.9} {mode manual}]":                      20,
		"signal_mode_seconds[{node 7.9} {mode failure_flash}]":               5,
		"signal_mode_seconds[{node 7.9} {mode off}]":                         2,
		"signal_illegal_transitions[{node 7.9} {phase 1}]":                   0,
	} {
		if math.Abs(got[k]-want) > 1e-6 {
			t.Errorf("%s is %v, not %v", k, got[k], want)
		}
	}
	s.wants()
}

// What flashes, is off, or comes late is no illegal light; green to red is.
func TestOnlyTurnsThatAreSeenCount(t *testing.T) {
	s := newStage(t)
	at := s.lasts(noon, 2*time.Second, 0, time.Time{}, road.ProtectedGreen)
	s.shows(at.Add(2500*time.Millisecond), 0, time.Time{}, road.Red) // a yellow light fits in between
	at = s.lasts(at.Add(3*time.Second), 2*time.Second, 0, time.Time{}, road.ProtectedGreen)
	at = s.lasts(at, 2*time.Second, road.StatusFailureFlash, time.Time{}, road.FlashingYellow)
	at = s.lasts(at, 2*time.Second, 0, time.Time{}, road.Red)
	s.wants()
	s.live = false
	s.lasts(at.Add(-3*time.Second), time.Second, 0, time.Time{}, road.ProtectedGreen)
	s.lasts(at.Add(-2*time.Second), time.Second, 0, time.Time{}, road.Red)
	s.wants()
	s.live = true
	at = s.lasts(at, 2*time.Second, 0, time.Time{}, road.ProtectedGreen)
	s.lasts(at, 2*time.Second, 0, time.Time{}, road.Red)
	s.wants("transition ×1: node 7.9, phase 1 turned from protected green to red")
	// The clock of the unit is set back, and it goes on.
	s.lasts(at.Add(-30*time.Second), 2*time.Second, 0, time.Time{}, road.ProtectedGreen)
	s.wants("transition ×1: node 7.9, phase 1 turned from protected green to red")
	if x := s.b.Intersections()[0]; x.Phases[0].Light != road.ProtectedGreen {
		t.Errorf("after the clock was set back: %+v", x)
	}
	if got := s.samples()["signal_illegal_transitions[{node 7.9} {phase 1}]"]; got != 1 {
		t.Errorf("%v illegal turns", got)
	}
}

// Greens conflict by the map alone, once for each time, and permissive green with
// nothing.
func TestConflictingGreens(t *testing.T) {
	s := newStage(t)
	lanes := func(at time.Time) {
		s.says(road.Message{Kind: road.KindMap, Count: -1, Nodes: []road.Node{crossroads("n>s:1", "s>n:1", "e>w:2", "w>e:2")}}, at)
	}
	at := s.lasts(noon, time.Second, 0, time.Time{}, road.ProtectedGreen, road.ProtectedGreen)
	s.wants() // no map, no word
	lanes(at)
	at = s.lasts(at, time.Second, 0, time.Time{}, road.ProtectedGreen, road.Yellow)
	at = s.lasts(at, time.Second, 0, time.Time{}, road.ProtectedGreen, road.Red)
	at = s.lasts(at, time.Second, 0, time.Time{}, road.ProtectedGreen, road.PermissiveGreen)
	s.wants()
	at = s.lasts(at, 1500*time.Millisecond, 0, time.Time{}, road.ProtectedGreen, road.ProtectedGreen)
	s.shows(at, 0, time.Time{}, road.Yellow, road.ProtectedGreen)
	s.wants("conflict ×1: node 7.9: phases 1 and 2 are green together and their ways cross")
	if got := s.samples()["signal_conflict_seconds[{node 7.9}]"]; math.Abs(got-1.5) > 1e-6 {
		t.Errorf("%v s of conflict", got)
	}
}

// The countdown is compared with the change, unless that was foreseen.
func TestCountdown(t *testing.T) {
	s := newStage(t)
	end := noon.Add(20 * time.Second)
	at := s.lasts(noon, 15*time.Second, 0, end, road.ProtectedGreen) // five seconds early
	at = s.lasts(at, 3*time.Second, 0, at.Add(3*time.Second), road.Yellow)
	s.shows(at, 0, time.Time{}, road.Red)
	s.wants("countdown ×1: node 7.9, phase 1: the countdown is 5.0 s off on average, 3 s are allowed")
	got := s.samples()
	if mean, most := got["signal_countdown_error_seconds[{node 7.9} {phase 1}]"], got["signal_countdown_error_max_seconds[{node 7.9} {phase 1}]"]; math.Abs(mean-75.0/18) > 1e-6 || most != 5 {
		t.Errorf("mean %v, at most %v", mean, most)
	}
}

// Under actuated control a green may end at any time between the two that are told.
func TestCountdownThatIsForeseen(t *testing.T) {
	s := newStage(t)
	for i, light := range []road.Light{road.ProtectedGreen, road.ProtectedGreen, road.ProtectedGreen, road.Yellow} {
		at := noon.Add(time.Duration(i) * time.Second)
		p := road.Phase{ID: 1, Light: light, States: []road.PhaseState{{Light: light, End: noon.Add(30 * time.Second), MinEnd: noon.Add(2 * time.Second), MaxEnd: noon.Add(40 * time.Second)}}}
		s.says(road.Message{Kind: road.KindSPAT, Count: -1, At: at, Signals: []road.Intersection{{Node: crossing, At: at, Phases: []road.Phase{p}}}}, at)
	}
	s.wants()
	if got := s.samples()["signal_countdown_error_max_seconds[{node 7.9} {phase 1}]"]; got != 27 {
		t.Errorf("%v s", got)
	}
}

// History that a unit sends before anything newer counts in its minutes, and
// raises nothing now.
func TestFaultsOfThePast(t *testing.T) {
	s := newStage(t)
	s.live = false
	at := s.lasts(noon, time.Second, 0, time.Time{}, road.ProtectedGreen)
	s.lasts(at, time.Second, 0, time.Time{}, road.Red)
	s.wants()
	if got := s.samples(); got["signal_illegal_transitions[{node 7.9} {phase 1}]"] != 1 || got["rsu_check_faults[{check transition}]"] != 1 {
		t.Errorf("%v", got)
	}
}

// Phases and nodes that only one of map and signals has are told.
func TestMapAndSignalsAgree(t *testing.T) {
	s := newStage(t)
	other := crossroads("n>s:5", "s>n:5")
	other.ID.ID = 10
	s.says(road.Message{Kind: road.KindMap, Count: -1, Nodes: []road.Node{crossroads("n>s:1", "s>n:1", "e>w:3"), other}}, noon)
	s.lasts(noon, 61*time.Second, 0, time.Time{}, road.Red, road.Red)
	v, _ := s.b.Unit("r1")
	var got []string
	for _, f := range v.Faults {
		got = append(got, f.EN)
	}
	want := map[string]bool{"node 7.9: 1 phases are in SPAT only, 1 in MAP only": true, "node 7.10: 0 phases are in SPAT only, 1 in MAP only": true}
	if len(got) != 2 || !want[got[0]] || !want[got[1]] || got[0] == got[1] {
		t.Errorf("%q", got)
	}
	if x := s.b.Intersections(); len(x) != 1 || len(x[0].Faults) != 1 {
		t.Errorf("%+v", x)
	}
}
