package traffic

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

func bounds(all []Bound) string {
	var b []string
	for _, x := range all {
		s := fmt.Sprintf("%s %s %g", x.Unit, x.Kind, x.Limit)
		if x.Lifted {
			s += " lifted"
		}
		b = append(b, s)
	}
	return strings.Join(b, ", ")
}

// TestRelief goes through looks at the load, one after the other.
func TestRelief(t *testing.T) {
	const heavy, light, fair = 1.0, 0.1, 0.45
	three := []Stream{{"a", road.KindBSM, 100, Unlimited}, {"b", road.KindRSM, 40, 50}, {"c", road.KindSPAT, 10, 10}, {"a", road.KindMap, 1, Unlimited}}
	heeded := []Stream{{"a", road.KindBSM, 50, 50}, {"b", road.KindRSM, 20, 20}, {"c", road.KindSPAT, 10, 10}}
	type look struct {
		load    Load
		streams []Stream
		want    string
	}
	at := func(share float64, s []Stream, want string) look { return look{Load{Share: share}, s, want} }
	for name, looks := range map[string][]look{
		"the noisiest first, until it is enough": {at(heavy, three, "a bsm 50, b rsm 20, c spat 5")},
		"a little too much":                      {at(0.55, three, "a bsm 50")},
		"a wait alone":                           {{Load{CommitWait: 3 * time.Second}, three, "a bsm 50, b rsm 20"}},
		"units have time to do it": {
			at(heavy, three, "a bsm 50, b rsm 20, c spat 5"), at(heavy, three, ""), at(heavy, three, ""),
			at(heavy, heeded, "a bsm 25, b rsm 10"),
		},
		"who does not heed it is not asked again": {
			at(0.55, three, "a bsm 50"), at(heavy, three, ""), at(heavy, three, ""), at(heavy, three, "b rsm 20, c spat 5"),
		},
		"none below the floor":        {at(heavy, []Stream{{"a", road.KindBSM, 1, 1}, {"b", road.KindBSM, 1.5, 2}, {"c", road.KindBSM, 3, 3}}, "c bsm 1, b bsm 1")},
		"neither too much nor little": {at(fair, three, ""), at(fair, three, ""), at(fair, three, ""), at(fair, three, "")},
		"step by step back": {
			at(0.55, []Stream{{"b", road.KindRSM, 40, 50}}, "b rsm 20"), at(light, nil, ""), at(light, nil, ""),
			at(light, nil, ""), at(light, nil, ""), at(light, []Stream{{"b", road.KindRSM, 20, 20}}, "b rsm 40"), at(light, nil, ""), at(light, nil, ""),
			at(light, nil, ""), at(fair, nil, ""), // not calm for long enough
			at(light, nil, ""), at(light, nil, ""), at(light, []Stream{{"b", road.KindRSM, 40, 40}}, "b rsm 50 lifted"), at(light, nil, ""),
			at(light, nil, ""), at(light, nil, ""), at(light, nil, ""), at(light, nil, ""), at(light, nil, ""),
		},
		"who had no limit has none again": {
			at(0.55, []Stream{{"a", road.KindBSM, 100, Unlimited}}, "a bsm 50"), at(light, nil, ""), at(light, nil, ""),
			at(light, nil, ""), at(light, nil, ""), at(light, []Stream{{"a", road.KindBSM, 50, 50}}, "a bsm 100"), at(light, nil, ""), at(light, nil, ""),
			at(light, nil, ""), at(light, nil, ""), at(light, []Stream{{"a", road.KindBSM, 30, 100}}, "a bsm -1 lifted"),
		},
	} {
		r := NewRelief(DefaultReliefConfig())
		for i, l := range looks {
			if got := bounds(r.Step(l.load, l.streams)); got != l.want {
				t.Errorf("%s, look %d: %q, not %q", name, i, got, l.want)
			}
		}
	}
}

// However many units there are, and in whatever order they come, the same load
// leads to the same bounds, so many at a time.
func TestReliefIsDeterministicAndBounded(t *testing.T) {
	var all []Stream
	for i := range 500 {
		all = append(all, Stream{fmt.Sprintf("u%03d", i), road.KindBSM, float64(10 + i%7), 20})
	}
	first := NewRelief(DefaultReliefConfig()).Step(Load{Share: 1}, all)
	slices.Reverse(all)
	r := NewRelief(DefaultReliefConfig())
	if second := r.Step(Load{Share: 1}, all); !slices.Equal(first, second) || len(first) != maxLowered || r.Len() != maxLowered {
		t.Errorf("%d and %d bounds", len(first), len(second))
	}
	if b := r.Bounds("u006"); b[road.KindBSM] != 8 || len(b) != 1 {
		t.Errorf("%v", b)
	}
	for range restLooks + calmLooks - 1 {
		r.Step(Load{}, all)
	}
	if out := r.Step(Load{}, all); len(out) != maxRestored {
		t.Errorf("%d at once", len(out))
	}
	r.Forget(first[maxLowered-1].Unit)
	if r.Bounds(first[maxLowered-1].Unit) != nil {
		t.Error("a unit that is gone is bounded")
	}
	off := DefaultReliefConfig()
	off.Share = 0
	if out := NewRelief(off).Step(Load{Share: 1, CommitWait: time.Hour}, all); out != nil {
		t.Errorf("%v", out)
	}
	for _, c := range []ReliefConfig{{Interval: -1}, {Interval: time.Second, Share: -0.1, CommitWait: time.Second, Floor: 1}, {Interval: time.Second, Share: 2, CommitWait: time.Second, Floor: 1}} {
		if len(c.Check("relief")) == 0 {
			t.Errorf("%+v", c)
		}
	}
}
