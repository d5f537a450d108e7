package traffic

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// street plays a world whose sensors are not exact: places are off by half a metre,
// beside each link a car is parked, and on it a bus is at its stop for 80 s of three
// minutes.
type street struct {
	*player
	rng   *rand.Rand
	w     *roads.World
	found map[string]EventView // derived, by key
	first map[string]time.Time // when each was there
	stops map[string]road.Participant
}

func playStreet(t *testing.T, length time.Duration, faulty map[int]roads.Fault) *street {
	s := &street{player: newPlayer(t), rng: rand.New(rand.NewPCG(5, 6)), found: map[string]EventView{}, first: map[string]time.Time{}, stops: map[string]road.Participant{}}
	s.w = roads.New(roads.Config{Seed: 17, Units: 9, Vehicles: 10, Connected: 0.1, Start: noon.Add(-2 * time.Minute), Faulty: faulty})
	hash := uint64(0)
	var record []byte
	for end := s.w.Now().Add(length); s.w.Now().Before(end); {
		s.w.Step(func(u roads.Uplink) {
			if u.Message != "RSM" && u.Message != "MAP" && u.Message != "SPAT" && u.Message != "RSI" {
				return
			}
			now := s.w.Now()
			m, err := s.frames.Read(u.Payload, now)
			if err != nil {
				t.Fatal(err)
			}
			s.disturb(u.Unit, m, now)
			hash++
			if record, err = s.board.Take(&Arrival{Unit: u.Unit, Message: m, Hash: hash, Received: now, Live: true}, record[:0]); err != nil {
				t.Fatal(err)
			}
		})
		if now := s.w.Now(); now.Nanosecond() == 0 {
			s.board.Close(now, func(m Minute) { s.board.Written(m, nil) })
			s.look(now)
		}
	}
	return s
}

// disturb makes places inexact, and adds who stands at the places where one was
// first seen to drive: beside the lane for good, and on it for a while.
func (s *street) disturb(unit string, m *road.Message, now time.Time) {
	for i := range m.Participants {
		p := &m.Participants[i]
		k := fmt.Sprint(unit, p.Heading)
		if _, there := s.stops[k]; !there && p.Speed > 8 {
			s.stops[k] = *p
		}
	}
	n := uint16(0)
	for _, k := range slices.Sorted(maps.Keys(s.stops)) {
		if m.Kind != road.KindRSM || !strings.HasPrefix(k, unit) {
			continue
		}
		n++
		p := s.stops[k]
		p.At, p.Speed, p.Track = m.At, 0, 60_000+n
		sin, cos := math.Sincos((p.Heading + 90) * math.Pi / 180)
		parked := p
		parked.Lat += 2.9 * cos / metresPerDegree
		parked.Lon += 2.9 * sin / metresPerDegree / math.Cos(p.Lat*math.Pi/180)
		m.Participants = append(m.Participants, parked)
		if round := now.Unix() / 180; now.Unix()%180 < 80 { // a bus at its stop
			p.Track = 50_000 + 10*uint16(round%100) + n
			m.Participants = append(m.Participants, p)
		}
	}
	for i := range m.Participants {
		p := &m.Participants[i]
		p.Lat += 0.5 * s.rng.NormFloat64() / metresPerDegree
		p.Lon += 0.5 * s.rng.NormFloat64() / metresPerDegree / math.Cos(p.Lat*math.Pi/180)
	}
}

// look notes the derived events that are there.
func (s *street) look(now time.Time) {
	for _, v := range s.board.Events() {
		if v.Event.Source != Derived {
			continue
		}
		if _, there := s.first[v.Key]; !there {
			s.first[v.Key] = now
		}
		s.found[v.Key] = v
	}
}

func (s *street) String() string {
	var lines []string
	for key, v := range s.found {
		lines = append(lines, fmt.Sprintf("%s from %s until %s, first seen %s", key, v.Event.Start.Format(time.TimeOnly), v.Last.Format(time.TimeOnly), s.first[key].Format(time.TimeOnly)))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// TestSoundRoadsHaveNoIncidents plays nine units for an hour.
func TestSoundRoadsHaveNoIncidents(t *testing.T) {
	if testing.Short() {
		t.Skip("an hour of nine units; make test")
	}
	if s := playStreet(t, 61*time.Minute, nil); len(s.found) > 0 || len(s.w.Truth().Incidents) > 0 {
		t.Errorf("nothing happened, and there is\n%s", s)
	}
}

// TestIncidentsAreFound plays vehicles that break down and that drive on the wrong
// side: each is found in time, where it was, by its unit, and ends; there is no
// other.
func TestIncidentsAreFound(t *testing.T) {
	if testing.Short() {
		t.Skip("an hour of nine units; make test")
	}
	s := playStreet(t, 61*time.Minute, map[int]roads.Fault{1: roads.BrokenDown, 3: roads.WrongWay, 4: roads.BrokenDown, 8: roads.WrongWay})
	within := map[int]time.Duration{eventStopped: stoppedFor + 75*time.Second, eventWrongWay: 10 * time.Second}
	worst, kinds, used := map[int]time.Duration{}, map[int]int{}, map[string]bool{}
	for _, i := range s.w.Truth().Incidents {
		if s.w.Now().Sub(i.Start) < within[i.Type] {
			continue
		}
		kinds[i.Type]++
		at := road.Position{Lat: i.Lat, Lon: i.Lon}
		key := ""
		for k, v := range s.found {
			if v.Event.Type == i.Type && v.Unit == i.Unit && v.Event.Start.Sub(i.Start).Abs() < 15*time.Second && metres(v.Place, at) < 300 {
				key = k
			}
		}
		if key == "" {
			t.Errorf("%+v is not found", *i)
			continue
		}
		used[key] = true
		took := s.first[key].Sub(i.Start)
		worst[i.Type] = max(worst[i.Type], took)
		v := s.found[key]
		if took > within[i.Type] || i.Type == eventStopped && metres(v.Place, at) > 10 || len(v.Event.Links) != 1 || v.Event.Links[0].From.ID != i.From || v.Event.Links[0].To.ID != i.To {
			t.Errorf("%+v is found after %s as %+v", *i, took, v)
		}
		if over := s.w.Now().Sub(i.End); !i.End.IsZero() && over > 2*time.Minute && (v.Active || v.Last.Sub(i.End).Abs() > 10*time.Second || !v.Event.End.Equal(v.Last)) {
			t.Errorf("%+v is over, and there is %+v", *i, v)
		}
	}
	t.Logf("%v incidents, found after %v at worst", kinds, worst)
	if kinds[eventStopped] < 2 || kinds[eventWrongWay] < 2 || len(used) != len(s.found) {
		t.Errorf("%v incidents, and there is\n%s", kinds, s)
	}
}

// avenue is a link to node 1 from the south, of a lane to turn left and one to go
// straight on, with their phases 1 and 2, and parking to the right of them. Where it
// is twofold, the map has the link to the south beside it, too.
func avenue(at time.Time, twofold bool) *road.Message {
	lane := func(id uint8, x float64, phase uint8) road.Lane {
		return road.Lane{ID: id, Width: 3.5, Limit: math.NaN(), Points: []road.Position{from(x, -300), from(x, 0)}, To: []road.Movement{{To: road.NodeID{ID: 3}, Phase: phase, HasPhase: true}}}
	}
	park := lane(3, 4.75, 2)
	park.NoMotor, park.Width = true, 2.5
	m := northward(at)
	m.Nodes[0].Links[0].Lanes = []road.Lane{lane(1, -1.75, 1), lane(2, 1.75, 2), park}
	if twofold {
		line := []road.Position{from(-5.25, 0), from(-5.25, -300)}
		m.Nodes = append(m.Nodes, road.Node{ID: road.NodeID{ID: 2}, At: line[1], Links: []road.Link{{From: road.NodeID{ID: 1}, Width: 3.5, Limit: math.NaN(), Points: line,
			Lanes: []road.Lane{{ID: 1, Width: 3.5, Limit: math.NaN(), Points: line}}}}})
	}
	return m
}

// car is one on the avenue, so many metres to the right of its middle and before
// the stop line.
func car(at time.Time, track uint16, x, left, speed float64) road.Participant {
	p := ptc(road.Motor, at, track, left, speed)
	p.Lon = from(x, 0).Lon
	return p
}

// scene is what happens on the avenue.
type scene struct {
	name    string
	seconds float64
	every   float64 // second
	lights  func(seconds float64) (left, straight road.Light)
	sees    func(seconds float64, at time.Time) []road.Participant
	twofold bool
	event   *road.Event // that the unit tells of
	want    string      // derived events, by type
}

func (s *scene) play(b *told, units ...string) {
	for seconds := 0.0; seconds < s.seconds; seconds += s.every {
		for _, unit := range units {
			at := after(seconds)
			if math.Mod(seconds, 10) < s.every {
				b.say(unit, avenue(at, s.twofold))
			}
			if s.lights != nil {
				left, straight := s.lights(seconds)
				b.say(unit, &road.Message{Kind: road.KindSPAT, At: at, Signals: []road.Intersection{{Node: road.NodeID{ID: 1}, At: at,
					Phases: []road.Phase{{ID: 1, Light: left}, {ID: 2, Light: straight}}}}})
			}
			if s.event != nil {
				b.say(unit, &road.Message{Kind: road.KindRSI, At: at, Events: []road.Event{*s.event}})
			}
			if all := s.sees(seconds, at); len(all) > 0 {
				b.say(unit, rsm(all...))
			}
		}
	}
}

func derivedOf(b *Board) string {
	kinds := map[int]int{}
	for _, v := range b.Events() {
		if v.Event.Source == Derived {
			kinds[v.Event.Type]++
		}
	}
	return fmt.Sprint(kinds)[3:]
}

func always(left, straight road.Light) func(float64) (road.Light, road.Light) {
	return func(float64) (road.Light, road.Light) { return left, straight }
}

// TestWhoStandsForAReason is no event, and who stands for none is one.
func TestWhoStandsForAReason(t *testing.T) {
	red, goes := road.Red, road.ProtectedGreen
	standing := func(x float64, lefts ...float64) func(float64, time.Time) []road.Participant {
		return func(_ float64, at time.Time) (all []road.Participant) {
			for i, left := range lefts {
				all = append(all, car(at, uint16(i+1), x, left, 0))
			}
			return all
		}
	}
	// passing adds one in the left lane each ten seconds.
	passing := func(sees func(float64, time.Time) []road.Participant) func(float64, time.Time) []road.Participant {
		return func(s float64, at time.Time) []road.Participant {
			return append(sees(s, at), car(at, 100+uint16(s/10), -1.75, 80-10*math.Mod(s, 10), 10))
		}
	}
	queue := func(first float64, n int) (all []float64) {
		for i := range n {
			all = append(all, first+7.5*float64(i))
		}
		return all
	}
	for _, c := range []scene{
		{name: "alone", seconds: 125, sees: standing(1.75, 150), want: "[903:1]"},
		{name: "alone, not yet", seconds: 119, sees: standing(1.75, 150), want: "[]"},
		{name: "two behind one", seconds: 200, sees: standing(1.75, 150, 157.5, 165), want: "[903:1]"},
		{name: "two far apart", seconds: 200, sees: standing(1.75, 100, 200), want: "[903:2]"},
		{name: "a queue at a long red light", seconds: 300, lights: always(red, red), sees: standing(1.75, queue(2, 25)...), want: "[]"},
		{name: "a queue, and no lights known", seconds: 300, sees: standing(1.75, queue(2, 25)...), want: "[]"},
		{name: "a queue whose first are not seen", seconds: 300, lights: always(red, red), sees: standing(1.75, queue(40, 10)...), want: "[]"},
		{name: "a queue with a bus in it that is not seen", seconds: 300, lights: always(red, red), sees: standing(1.75, append(queue(2, 11), queue(99, 5)...)...), want: "[]"},
		{name: "the first at a green light while others pass", seconds: 150, lights: always(goes, goes), sees: passing(standing(1.75, 2)), want: "[903:1]"},
		{name: "the first at a red light while others pass", seconds: 300, lights: always(goes, red), sees: passing(standing(1.75, 2)), want: "[]"},
		{name: "the first at a green light of an intersection that is blocked", seconds: 300, lights: always(goes, goes), sees: standing(1.75, 2), want: "[]"},
		{name: "in the intersection", seconds: 300, lights: always(goes, goes), sees: passing(standing(1.75, -5)), want: "[]"},
		{name: "beside the lanes", seconds: 600, sees: func(s float64, at time.Time) []road.Participant {
			return []road.Participant{car(at, 1, 5.5-1.2*math.Mod(s, 3), 150, 0)} // one sight in three is within
		}, want: "[]"},
		{name: "where one may park", seconds: 600, sees: standing(4.75, 150), want: "[]"},
		{name: "a bus at its stop", seconds: 300, sees: func(s float64, at time.Time) []road.Participant {
			return []road.Participant{car(at, 1, 1.75, 150-max(0, s-100)*8, map[bool]float64{true: 8}[s > 100])}
		}, want: "[]"},
		{name: "a jam that creeps", seconds: 300, sees: func(s float64, at time.Time) []road.Participant {
			return []road.Participant{car(at, 1, 1.75, 200-s/4, 0.25)}
		}, want: "[]"},
		{name: "police", seconds: 300, sees: func(_ float64, at time.Time) []road.Participant {
			p := car(at, 1, 1.75, 150, 0)
			p.Class = 66
			return []road.Participant{p}
		}, want: "[]"},
		{name: "a bicycle", seconds: 300, sees: func(_ float64, at time.Time) []road.Participant {
			p := car(at, 1, 1.75, 150, 0)
			p.Type = road.NonMotor
			return []road.Participant{p}
		}, want: "[]"},
		{name: "one that gets another number", seconds: 400, sees: func(s float64, at time.Time) []road.Participant {
			if s >= 200 && s < 240 {
				return nil
			}
			return []road.Participant{car(at, 1+uint16(s/220), 1.75, 150, 0)}
		}, want: "[903:1]"},
		{name: "one that the unit tells of itself", seconds: 300, sees: standing(1.75, 150),
			event: &road.Event{ID: "1", Type: 903, Source: "detection", At: from(1, -160), Radius: math.NaN(), Confidence: math.NaN()}, want: "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTold(t, nil)
			c.every = 1
			c.play(b, "r1")
			if got := derivedOf(b.board); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestWhoDrivesAgainstTheLane is an event, and nothing that only looks like it.
func TestWhoDrivesAgainstTheLane(t *testing.T) {
	drives := func(x func(i int) float64, change func(*road.Participant)) func(float64, time.Time) []road.Participant {
		return func(s float64, at time.Time) []road.Participant {
			p := car(at, 1, x(int(math.Round(5*s))), 10*s, 10)
			if p.Heading = 180; change != nil {
				change(&p)
			}
			return []road.Participant{p}
		}
	}
	at := func(x float64) func(int) float64 { return func(int) float64 { return x } }
	for _, c := range []scene{
		{name: "in the right lane", sees: drives(at(1.75), nil), want: "[904:1]"},
		{name: "in the left lane", sees: drives(at(-1.75), nil), want: "[904:1]"},
		{name: "weaving", sees: drives(func(i int) float64 { return 2.5 * math.Sin(float64(i)/5) }, nil), want: "[904:1]"},
		{name: "beside the traffic of the other direction", twofold: true, sees: drives(at(-1.75), nil), want: "[904:1]"},
		{name: "the traffic of the other direction", sees: drives(at(-5.25), nil), want: "[]"},
		{name: "that traffic on the map", twofold: true, sees: drives(at(-5.25), nil), want: "[]"},
		{name: "that traffic, seen two metres off", sees: drives(at(-3.25), nil), want: "[]"},
		{name: "that traffic, seen here and there", sees: drives(func(i int) float64 { return []float64{-5, -2.5, -4}[i%3] }, nil), want: "[]"},
		{name: "a bicycle", sees: drives(at(1.75), func(p *road.Participant) { p.Type = road.NonMotor }), want: "[]"},
		{name: "an ambulance", sees: drives(at(1.75), func(p *road.Participant) { p.Class = 62 }), want: "[]"},
		{name: "one that rolls back", sees: drives(at(1.75), func(p *road.Participant) { p.Speed = 1.5 }), want: "[]"},
		{name: "one whose heading is wrong", sees: drives(at(1.75), func(p *road.Participant) { p.Lat = 2*from(0, -100).Lat - p.Lat }), want: "[]"},
		{name: "one who has passed for a moment", seconds: 2.9, sees: drives(at(1.75), nil), want: "[]"},
		{name: "one in the intersection", sees: drives(at(1.75), func(p *road.Participant) { p.Lat += 250 / metresPerDegree }), want: "[]"},
		{name: "a number that is given to many", sees: drives(at(1.75), func(p *road.Participant) {
			s := p.At.Sub(noon).Seconds()
			p.Lat = from(0, -10*math.Mod(s, 2)-100*math.Mod(math.Floor(s/2), 2)).Lat
		}), want: "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newTold(t, nil)
			if c.every = 0.2; c.seconds == 0 {
				c.seconds = 25
			}
			c.play(b, "r1")
			if got := derivedOf(b.board); got != c.want {
				t.Errorf("%s, want %s", got, c.want)
			}
		})
	}
}

// TestDerivedEventsAreEvents of the table: two units that see one know it, it goes
// on after a restart, ends, and has series; nothing of it is of one vehicle.
func TestDerivedEventsAreEvents(t *testing.T) {
	c := scene{seconds: 150, every: 1, sees: func(_ float64, at time.Time) []road.Participant {
		return []road.Participant{car(at, 4711, 1.75, 150, 0)}
	}}
	b := newTold(t, nil)
	c.play(b, "r1", "r2")
	all := b.board.Events()
	if len(all) != 2 || fmt.Sprint(all[0].AlsoBy, all[1].AlsoBy) != "[r1] [r2]" && fmt.Sprint(all[0].AlsoBy, all[1].AlsoBy) != "[r2] [r1]" {
		t.Fatalf("%+v", all)
	}
	v := all[0]
	if v.Name.EN != "stopped vehicle" || !v.Active || !v.Event.Start.Equal(noon) || !v.Event.End.IsZero() || metres(v.Place, from(0, -150)) > 2 || v.Event.Links[0].From.ID != 2 || strings.Contains(fmt.Sprintf("%+v", v), "4711") {
		t.Errorf("%+v", v)
	}
	other := newTold(t, nil)
	if err := other.board.Apply(b.log); err != nil {
		t.Fatal(err)
	}
	other.board.Restored(after(c.seconds))
	other.n = b.n
	was := c
	c.sees = func(s float64, at time.Time) []road.Participant {
		if s < was.seconds {
			return nil
		}
		return was.sees(s, at)
	}
	c.seconds = 200
	c.play(other, "r1")
	if got := other.board.Events(); derivedOf(other.board) != "[903:2]" || !got[1].Active || got[1].Last.Before(after(195)) && got[0].Last.Before(after(195)) {
		t.Errorf("after a restart %+v", got)
	}
	other.say("r1", avenue(after(300), false))
	for _, v := range other.board.Events() {
		if v.Active || !v.Event.End.Equal(v.Last) {
			t.Errorf("it is over, and %+v", v)
		}
	}
	var active []float64
	for _, m := range minutes(b.board, noon.Add(time.Hour)) {
		if m.Unit == "r1" {
			active = append(active, sampleOf(m, "road_event_active", "type=903"))
		}
	}
	if len(active) != 3 || active[2] != 1 {
		t.Errorf("road_event_active is %v", active)
	}
}
