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
	length := 61 * time.Minute
	if testing.Short() {
		length = 8 * time.Minute
	}
	if s := playStreet(t, length, nil); len(s.found) > 0 || len(s.w.Truth().Incidents) > 0 {
		t.Errorf("nothing happened, and there is\n%s", s)
	}
}

// TestIncidentsAreFound plays vehicles that break down and that drive on the wrong
// side: each is found in time, where it was, by its unit, and ends; there is no
// other.
func TestIncidentsAreFound(t *testing.T) {
	length := 61 * time.Minute
	if testing.Short() {
		length = 14 * time.Minute
	}
	s := playStreet(t, length, map[int]roads.Fault{1: roads.BrokenDown, 3: roads.WrongWay, 4: roads.BrokenDown, 8: roads.WrongWay})
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
