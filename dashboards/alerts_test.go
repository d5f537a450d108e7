package dashboards

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"testing"
)

// played are alerts that a demo raises on purpose: devices that go away, and roadside
// units each with a fault of its own.
var played = map[string]bool{
	"DeviceOffline": true, "RoadsideUnitsOffline": true, "RoadsideUnitClock": true, "RoadsideUnitModule": true, "IllegalLights": true, "ConflictingGreens": true,
	"CountdownWrong": true, "MessagesLost": true, "CounterStuck": true, "SignalsSilent": true, "EventPastItsEnd": true, "WrongWayVehicle": true,
	"IdsDoNotRotate": true, "DeviationsGrow": true,
}

// ofTheMachine are alerts about the machine that the test runs on, or its load.
var ofTheMachine = map[string]bool{"DiskFull": true, "DiskFills": true, "DiskSlow": true, "NodeDiskFull": true, "NodeMemoryFull": true, "RoadsideUnitsThrottled": true, "RulesBehind": true, "HubBusy": true, "LiveValuesStale": true}

// checkAlerts makes sure that the demo evaluates every shipped rule without an error,
// and that none fires but those that it plays.
func (d demo) checkAlerts(t *testing.T) {
	t.Helper()
	var rules struct {
		Data struct {
			Groups []struct {
				Name  string
				Rules []struct{ Name, Health, LastError string }
			}
		}
	}
	if err := d.get(t.Context(), "/prometheus/api/v1/rules", &rules); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, g := range rules.Data.Groups {
		for _, r := range g.Rules {
			seen++
			if r.Health == "err" || r.LastError != "" {
				t.Errorf("rule %s of group %s: %s", r.Name, g.Name, r.LastError)
			}
		}
	}
	if seen < 70 {
		t.Errorf("the demo evaluates %d rules only", seen)
	}
	var fires struct {
		Data struct {
			Alerts []struct {
				Labels labels
				State  string
			}
		}
	}
	if err := d.get(t.Context(), "/prometheus/api/v1/alerts", &fires); err != nil {
		t.Fatal(err)
	}
	for _, a := range fires.Data.Alerts {
		name := a.Labels["alertname"]
		if a.State == "firing" && !played[name] && !ofTheMachine[name] {
			t.Errorf("a healthy demo raises %v", a.Labels)
		}
	}
}

// get asks the demo for an answer in JSON.
func (d demo) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, d.url+path, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+d.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, resp.Status)
	}
	return json.NewDecoder(resp.Body).Decode(into)
}
