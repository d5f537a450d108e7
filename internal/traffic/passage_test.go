package traffic

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// ptc is somebody whom sensors see, so many metres south of node 1 and heading
// for it.
func ptc(kind road.ParticipantType, at time.Time, track uint16, left, speed float64) road.Participant {
	return road.Participant{Type: kind, Track: track, HasTrack: true, Source: 3, At: at, Lat: 43.86 - left/metresPerDegree, Lon: 125.3, Speed: speed, Heading: 0, Length: 5}
}

func rsm(all ...road.Participant) *road.Message {
	return &road.Message{Kind: road.KindRSM, At: all[0].At, Participants: all}
}

func after(seconds float64) time.Time { return noon.Add(time.Duration(seconds * float64(time.Second))) }

func (b *told) want(at time.Time, all map[string]float64) {
	b.t.Helper()
	m := b.minute("r1", at)
	for k, want := range all {
		metric, tags := strings.Fields(k)[0], strings.Fields(k)[1:]
		if got := sampleOf(m, metric, tags...); math.Abs(got-want) > 1e-9 || math.IsNaN(got) != math.IsNaN(want) {
			b.t.Errorf("%s is %v, not %v", k, got, want)
		}
	}
}

// A car passes, a bicycle, and somebody on foot; one jumps to and fro over the
// detector, and one is not seen for too long.
func TestWhoPassesIsCounted(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	b.say("r1", rsm(ptc(road.Motor, after(10), 1, 35, 10), ptc(road.NonMotor, after(10), 2, 31, 4), ptc(road.Pedestrian, after(10), 3, 32, 1), ptc(road.UnknownType, after(10), 9, 32, 1), ptc(road.Unit, after(10), 10, 32, 0)))
	b.say("r1", rsm(ptc(road.Motor, after(11), 1, 25, 12), ptc(road.NonMotor, after(11), 2, 27, 4), ptc(road.Pedestrian, after(11), 3, 29, 1)))
	for i, left := range []float64{30.5, 29.5, 30.2, 29.8, 30.1, 29} {
		b.say("r1", rsm(ptc(road.Motor, after(20+float64(i)), 4, left, 1)))
	}
	b.say("r1", rsm(ptc(road.Motor, after(30), 5, 60, 10)))
	b.say("r1", rsm(ptc(road.Motor, after(36), 5, 10, 10)))
	lost := ptc(road.Motor, after(40), 6, 60, 10)
	lost.Lon += 0.01
	b.say("r1", rsm(lost, ptc(road.Motor, time.Time{}, 7, 60, 10)))
	b.want(noon, map[string]float64{
		"road_vehicles source=sensor type=motor":          2,
		"road_vehicles source=sensor type=non_motor":      1,
		"road_participants source=sensor type=motor":      3,
		"road_participants source=sensor type=non_motor":  1,
		"road_participants source=sensor type=pedestrian": 1,
		"road_participants source=sensor type=unknown":    1,
		"road_speed_mean source=sensor":                   6,
		"road_unmatched source=sensor":                    2,
		// The first is over it for half a second, until it is 5 m on: it is 10 m in a
		// second. The next has not left it.
		"road_occupancy from=2 to=1":   0.5 / 60,
		"road_vehicles source=vehicle": math.NaN(),
	})
	v := b.board.Links()[0]
	if v.Flow != 2 || v.MeanSpeed != 6 || v.NonMotor != 1 || v.Participants[road.Pedestrian] != 1 || v.Source != "sensor" || !v.At.Equal(noon.Add(time.Minute)) || v.Queue != 0 || math.Abs(v.P85-11.175) > 0.25 {
		t.Errorf("%+v", v)
	}
}

// What sensors say of a vehicle by its own id is what it says itself.
func TestNobodyIsCountedTwice(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	for i := range 6 {
		at, left := after(10+float64(i)), 55-10*float64(i)
		own := bsm(at, 4711, left)
		b.say("r1", own)
		relayed := ptc(road.Motor, at, 8, left, 10)
		relayed.ID, relayed.HasID, relayed.Source = own.Participants[0].ID, true, 2
		b.say("r1", rsm(relayed))
		b.say("r1", rsm(ptc(road.Motor, at, 8, left, 10)))
	}
	b.want(noon, map[string]float64{"road_vehicles source=vehicle": 1, "road_vehicles source=sensor": 1, "road_participants source=vehicle": 1})
}

// Hazards count once a minute for each vehicle; police, fire and ambulances count
// in totals only.
func TestHazardsAreCounted(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	for i := range 80 {
		for id := range uint64(3) {
			m := bsm(after(float64(i)), 100+id, 200-float64(i))
			p := &m.Participants[0]
			p.Flags = road.FlagHardBraking | road.FlagStopLine
			switch id {
			case 1:
				p.Flags |= road.FlagABS
			case 2:
				p.Class = 66 // police
			}
			b.say("r1", m)
		}
	}
	for _, at := range []time.Time{noon, noon.Add(time.Minute)} {
		b.want(at, map[string]float64{"road_hazards hazard=hard_braking": 2, "road_hazards hazard=abs": 1, "road_hazards hazard=hazard_lights": math.NaN(),
			"road_participants source=vehicle type=motor": 3})
	}
	if v := b.board.Links()[0]; v.Source != "" {
		t.Errorf("%+v: nobody has passed", v)
	}
}

// A queue begins at the stop line and ends where there is room for another; one
// over the detector when the minute ends is in both minutes.
func TestQueuesAndOccupancy(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	stand := func(seconds float64, left ...float64) {
		var all []road.Participant
		for _, l := range left {
			all = append(all, ptc(road.Motor, after(seconds), uint16(100+2*l), l, 0))
		}
		b.say("r1", rsm(all...))
	}
	b.say("r1", rsm(ptc(road.Motor, after(40), 30, 31, 2)))
	b.say("r1", rsm(ptc(road.Motor, after(41), 30, 29, 2))) // passes at 40.5
	for i := range 40 {
		p := ptc(road.Motor, after(42+float64(i)), 30, 28, 0)
		b.say("r1", rsm(p))
	}
	b.say("r1", rsm(ptc(road.Motor, after(82), 30, 24, 4))) // is away at 81.75
	stand(50.1, 2, 9.5, 17, 60)
	stand(50.9, 2, 9.5, 17, 24.5, 60)
	stand(51.5, 2, 9.5, 17, 24.5, 32, 60) // not at the instant
	stand(55.2, 70)
	b.want(noon, map[string]float64{"road_queue_length_max": 33, "road_occupancy": (60 - 40.5) / 60, "road_vehicles type=motor source=sensor": 1,
		// 45 s: the one that stands at 28 is too far from the stop line. 50 s: 33.
		"road_queue_length_mean": 33.0 / 12})
	b.want(noon.Add(time.Minute), map[string]float64{"road_occupancy": 21.75 / 60, "road_queue_length_max": 0})
}

// A map that changes lets those go on who are on a link that stays.
func TestTracksGoOnWhenTheMapChanges(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	b.say("r1", rsm(ptc(road.Motor, after(10), 1, 35, 10)))
	b.say("r1", rsm(ptc(road.Motor, after(10.1), 9, 4, 0)))
	m := northward(after(10.5))
	m.Nodes[0].Links = append(m.Nodes[0].Links, road.Link{From: road.NodeID{ID: 5}, Width: 7, Limit: math.NaN(), Points: []road.Position{from(-300, 0), from(-10, 0)}})
	m.Nodes[0].Links[0].Limit = 10
	b.say("r1", m)
	b.say("r1", rsm(ptc(road.Motor, after(10.6), 9, 4, 0)))
	b.say("r1", rsm(ptc(road.Motor, after(11), 1, 25, 10)))
	b.want(noon, map[string]float64{"road_vehicles from=2 source=sensor type=motor": 1, "road_queue_length_mean from=2": 9. / 12,
		"road_vehicles from=5 source=sensor type=motor": math.NaN()}) // where the sensors have seen nobody yet
	eastward := ptc(road.Motor, after(61), 7, 0, 10)
	eastward.Lat, eastward.Lon, eastward.Heading = 43.86, from(-200, 0).Lon, 90
	b.say("r1", rsm(eastward))
	b.want(after(61), map[string]float64{"road_vehicles from=2 source=sensor type=motor": 0, "road_vehicles from=5 source=sensor type=motor": 0, "road_occupancy from=5": 0})
	m.At = after(130)
	m.Nodes[0].Links = m.Nodes[0].Links[1:]
	b.say("r1", m)
	b.say("r1", rsm(ptc(road.Motor, after(131), 2, 25, 10)))
	b.want(after(130), map[string]float64{"road_unmatched source=sensor": 1})
}

// A number that is given again is somebody else, and so is who comes round again.
func TestNumbersAreGivenAgain(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	for i := range 3 {
		at := float64(i) * 20
		b.say("r1", rsm(ptc(road.Motor, after(at+1), 1, 55, 10)))
		b.say("r1", rsm(ptc(road.Motor, after(at+4), 1, 25, 10)))
	}
	b.want(noon, map[string]float64{"road_vehicles source=sensor type=motor": 3})
}

// A sight that comes late moves a passage to the minute where it was, as long as
// that is open, and is late afterwards.
func TestLateSightsMoveAPassage(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	b.say("r1", rsm(ptc(road.Motor, after(58), 1, 50, 10)))
	b.say("r1", rsm(ptc(road.Motor, after(61), 1, 29, 1)))
	b.say("r1", rsm(ptc(road.Motor, after(59.5), 1, 29.5, 1)))
	for _, sight := range []struct{ at, left float64 }{{58, 50}, {61, 10}, {60.5, 31}} { // from before the minute into it
		b.say("r1", bsm(after(sight.at), 5, sight.left))
	}
	b.want(noon, map[string]float64{"road_vehicles source=sensor type=motor": 1, "road_vehicles source=vehicle": math.NaN()})
	b.want(after(60), map[string]float64{"road_vehicles source=vehicle": 1})
	for _, m := range minutes(b.board, noon.Add(time.Hour)) {
		b.board.Written(m, nil)
	}
	b.n++
	if _, err := b.board.Take(&Arrival{Unit: "r1", Message: rsm(ptc(road.Motor, after(59), 1, 29.8, 1)), Hash: b.n, Received: after(100)}, nil); err == nil {
		t.Error("a minute that is written takes a sight")
	}
	b.say("r1", rsm(ptc(road.Motor, after(148), 2, 45, 10)))
	b.say("r1", rsm(ptc(road.Motor, after(149), 2, 35, 10), ptc(road.Motor, after(119.9), 3, 35, 10), ptc(road.Motor, after(118), 4, 35, 10)))
	b.want(after(150), map[string]float64{"rsu_late_observations": 1, "road_vehicles source=sensor type=motor": 0,
		"road_unmatched source=sensor": 1}) // of another time than its message
}

// TestRecordsBringRoadsBack plays a world, and has the minutes from its records.
func TestRecordsBringRoadsBack(t *testing.T) {
	p := newPlayer(t)
	p.logs = true
	play(roads.Config{Seed: 2, Units: 4, Vehicles: 8, Connected: 0.5, Start: noon.Add(-3 * time.Minute)}, 3*time.Minute,
		func(at time.Time, u roads.Uplink) { p.take(at, u.Unit, u.Payload) }, p.close)
	other := newPlayer(t)
	if err := other.board.Apply(p.log); err != nil {
		t.Fatal(err)
	}
	other.board.Restored(noon)
	p.close(noon.Add(time.Hour))
	other.close(noon.Add(time.Hour))
	n := 0
	for k, m := range other.minutes {
		n += len(m.Samples)
		if diff := cmp.Diff(p.minutes[k], m, cmp.AllowUnexported(Minute{})); diff != "" {
			t.Errorf("%s tells something else: %s", k, diff)
		}
	}
	if n < 100 {
		t.Errorf("%d samples", n)
	}
}
