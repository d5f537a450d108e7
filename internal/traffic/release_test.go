package traffic

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/road"
)

// What may be released of a minute has special vehicles apart, whenever it is
// said that they are, and every link of the map, and is in no series.
func TestPassagesForReleases(t *testing.T) {
	b := newTold(t, nil)
	b.say("r1", northward(noon))
	passes := func(seconds float64, track uint16, before, behind uint8) {
		near, far := ptc(road.Motor, after(seconds+1), track, 25, 10), ptc(road.Motor, after(seconds), track, 35, 10)
		far.Class, near.Class = before, behind
		b.say("r1", rsm(far))
		b.say("r1", rsm(near))
	}
	passes(10, 1, 10, 10)
	passes(12, 2, 10, 10)
	passes(14, 3, 66, 66) // police
	passes(16, 4, 10, 62) // said behind the detector only
	late := ptc(road.Motor, after(18), 5, 35, 10)
	b.say("r1", rsm(late))
	late = ptc(road.Motor, after(19), 5, 25, 10)
	b.say("r1", rsm(late))
	late = ptc(road.Motor, after(20), 5, 15, 10) // once it was counted
	late.Class = 60
	b.say("r1", rsm(late))
	b.want(noon, map[string]float64{"road_vehicles source=sensor type=motor": 5})
	m := b.minute("r1", noon)
	want := []Passages{{From: road.NodeID{ID: 2}, To: road.NodeID{ID: 1}, Vehicles: 2, SpeedSum: 20_000, Special: 3}}
	for i := range m.Passages {
		m.Passages[i].From.Region, m.Passages[i].To.Region = 0, 0
	}
	if diff := cmp.Diff(want, m.Passages); diff != "" {
		t.Error(diff)
	}
	for _, s := range m.Samples {
		for _, tag := range s.Tags {
			if tag.Value == "special" {
				t.Errorf("%+v tells of special vehicles", s)
			}
		}
	}
}
