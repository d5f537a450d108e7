package hub

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// TestAlertsOfRoads plays two minutes and a half of units of which each has a fault
// of its own: its alert is there, and no other unit has it.
func TestAlertsOfRoads(t *testing.T) {
	h := whole(t, t.TempDir())
	exprs := shippedExprs(t)
	wrong := []struct {
		fault roads.Fault
		alert string
	}{{roads.NoYellow, "IllegalLights"}, {roads.BothGreen, "ConflictingGreens"}, {roads.StuckCounter, "CounterStuck"}, {roads.Lossy, "MessagesLost"}, {roads.Sound, ""}, {roads.WrongWay, "WrongWayVehicle"}}
	media := map[roads.Speech]string{roads.Frames: "application/vnd.songhua.v2x.uper", roads.Framed: "application/vnd.songhua.v2x.framed"}
	speech := map[int]roads.Speech{5: roads.Framed} // it tells when its participants were
	faulty, secrets := map[int]roads.Fault{}, map[string]string{}
	for i, w := range wrong {
		faulty[i] = w.fault
		id := fmt.Sprintf("R%06d", i+1)
		// What is older than two and a half periods is no news, and no fault: a machine
		// may take longer for what is played than it lasts.
		secrets[id] = h.register(t, registry.Spec{ID: id, Kind: "rsu", Region: "220100", Period: time.Hour})
	}
	const played = 150 * time.Second
	start := time.Now().Add(-played)
	over := start.Add(played + time.Minute) // whenever the hub has taken all of it
	w := roads.New(roads.Config{Seed: 3, Units: len(wrong), Vehicles: 4, Start: start, Faulty: faulty, Speech: speech})
	post := func(u roads.Uplink) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.at.HTTP+"/api/v1/devices/"+u.Unit+"/v2x", bytes.NewReader(u.Payload))
		if err != nil {
			t.Error(err)
			return
		}
		req.Header.Set("Authorization", "Bearer "+secrets[u.Unit])
		req.Header.Set("Content-Type", media[speech[number(t, u.Unit)]])
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s of %s: %s", u.Message, u.Unit, resp.Status)
		}
	}
	for range int(played / (100 * time.Millisecond)) {
		said := map[string][]roads.Uplink{} // units speak at once, each in its order
		w.Step(func(u roads.Uplink) {
			if sensor := u.Message == "RSM" && faulty[number(t, u.Unit)] == roads.WrongWay; u.Message == "SPAT" || u.Message == "MAP" || sensor {
				u.Payload = bytes.Clone(u.Payload)
				said[u.Unit] = append(said[u.Unit], u)
			}
		})
		var units sync.WaitGroup
		for _, all := range said {
			units.Go(func() {
				for _, u := range all {
					post(u)
				}
			})
		}
		if units.Wait(); t.Failed() {
			t.FailNow()
		}
	}
	_, events := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/roads/events", nil)
	if !strings.Contains(events, `"source":"derived"`) || !strings.Contains(events, `"type":904`) || strings.Contains(events, `"type":903`) {
		t.Errorf("the events are %s", events)
	}
	for i, one := range wrong {
		if one.alert == "" {
			continue
		}
		soon(t, one.alert+" is there", func() bool { return h.firesAt(t, over, exprs[one.alert], fmt.Sprintf(`"device":"R%06d"`, i+1)) })
		for j := range wrong {
			if other := fmt.Sprintf(`"device":"R%06d"`, j+1); j != i && wrong[j].fault != roads.BothGreen && h.firesAt(t, over, exprs[one.alert], other) {
				t.Errorf("%s is told of %s, which is %q", one.alert, other, wrong[j].fault)
			}
		}
	}
	for _, expr := range exprs {
		if strings.Contains(expr, "rsu_") || strings.Contains(expr, "signal_") || strings.Contains(expr, "road_") {
			h.firesAt(t, over, expr, "") // it is PromQL that the hub answers
		}
	}
}

// number is the index of a unit by its serial number.
func number(t *testing.T, unit string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(unit, "R%06d", &n); err != nil {
		t.Fatal(err)
	}
	return n - 1
}
