package hub

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
)

// Versions of firmware are words of the units: they do not make series without
// bound, and a check counts a unit once.
func TestMetricsOfUnitsAreBounded(t *testing.T) {
	m := newRoadMetrics(func() (all []traffic.UnitView) {
		for i := range 3 * maxFirmwares {
			all = append(all, traffic.UnitView{Unit: fmt.Sprint(i), Status: road.Status{Firmware: fmt.Sprintf("v%d", i)}})
		}
		twice := traffic.Fault{Check: traffic.CheckClock}
		return append(all, traffic.UnitView{Status: road.Status{Version: "v0"}, Faults: []traffic.Fault{twice, twice}}, traffic.UnitView{})
	})
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(m)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		text := f.String()
		switch n := len(f.GetMetric()); f.GetName() {
		case "hub_roads_units":
			if n != maxFirmwares+1 || !strings.Contains(text, `"other"`) || !strings.Contains(text, `value:"v0"} gauge:{value:2}`) && !strings.Contains(strings.ReplaceAll(text, "  ", " "), `"v0"} gauge:{value:2}`) {
				t.Errorf("%d versions: %.300s", n, text)
			}
		case "hub_roads_faulty_units":
			if n != len(traffic.Checks) || !strings.Contains(strings.ReplaceAll(text, "  ", " "), `"clock"} gauge:{value:1}`) {
				t.Errorf("findings: %s", text)
			}
		}
	}
}
