package simulate

import (
	"math"
	"testing"
	"time"
)

// TestThePastIsOneOfItsKind: every series once and on its steps, without gaps but
// where nothing passed; the same fleet has the same past.
func TestThePastIsOneOfItsKind(t *testing.T) {
	c := Config{Seed: 1, RSUs: 20}
	to := time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)
	read := func() map[string]Track {
		all := map[string]Track{}
		err := PastSeries(c, true, to.Add(-2*time.Hour), to, func(t Track) error {
			l := t.Labels
			all[l["__name__"]+l["facility"]+l["device"]+" "+l["from"]+l["to"]+l["node"]+" "+l["phase"]+l["light"]] = t
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	all, again := read(), read()
	if want := 3*len(pastFacilities) + 2*c.Links() + 20*2*5; len(all) != want {
		t.Errorf("%d series, want %d", len(all), want)
	}
	for name, s := range all {
		if n := int(2 * time.Hour / s.Step); len(s.Values) != n || !s.at(n).Equal(to) {
			t.Errorf("%s: %d values of %v until %v", name, len(s.Values), s.Step, s.at(len(s.Values)))
		}
		for i, v := range s.Values {
			if v < 0 || math.IsNaN(v) && s.Labels["__name__"] != "road_speed_mean" {
				t.Fatalf("%s: %v at %v", name, v, s.at(i))
			}
			if same := again[name].Values[i]; same != v && !(math.IsNaN(same) && math.IsNaN(v)) {
				t.Fatalf("%s: %v, and then %v", name, v, same)
			}
		}
	}
	if _, ok := all["signal_green_ratiorsu-001 2201.1 1"]; !ok {
		t.Error("no phase 1 of node 2201.1")
	}
}
