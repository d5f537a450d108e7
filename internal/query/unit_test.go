package query

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
)

// measured serves a probe and a well in Cel by model, a gauge in degF by its
// label, the hub's own presence without a unit, and a wind in m/s.
func measured(t *testing.T) *hub {
	h := serve(t, func(_ *Config, s *Source) {
		s.Unit = func(device, metric string) string {
			switch {
			case metric == "temperature" && (device == "probe" || device == "well"):
				return "Cel"
			case metric == "wind" && device == "":
				return "m/s"
			}
			return ""
		}
	})
	series := func(metric, device string, more ...string) labels.Labels {
		return labels.FromStrings(append([]string{"__name__", metric, "device", device, "region", "220100"}, more...)...)
	}
	h.store(2*time.Minute, 10, series("temperature", "probe"), series("temperature", "well"))
	h.store(time.Minute, 20, series("temperature", "probe"), series("temperature_out_of_range", "probe"))
	h.store(time.Minute, 104, series("temperature", "gauge", "unit", "degF"))
	h.store(30*time.Second, 86, series("temperature", "well", "unit", "degF"))
	h.store(time.Minute, 5, series("wind", "mast"))
	h.store(time.Minute, 1, series("device_presence", "probe"))
	return h
}

func TestValuesAreConvertedBeforeAnythingIsMadeOfThem(t *testing.T) {
	h := measured(t)
	for _, c := range []struct{ query, unit, want string }{
		{`temperature{device="probe"}`, "degF", `{"__name__":"temperature","device":"probe","region":"220100","unit":"degF"},"value":[1795492800,"68"]`},
		{`temperature{device="gauge"}`, "Cel", `"40"`},
		{`avg(temperature)`, "Cel", `"30"`}, // 20, 40 and, of the well, 30
		{`count(temperature > 300)`, "K", `"2"`},
		{`max(temperature)`, "K", `"313.15"`},
		{`max_over_time(temperature{device="probe"}[5m])`, "degF", `"68"`},
		{`temperature{device="probe"} unless temperature_out_of_range == 20`, "degF", `"result":[]`},
		{`wind`, "km/h", `"18"`},
		{`scalar(vector(7))`, "degF", `"7"`},
	} {
		code, body := h.form("/query", url.Values{"query": {c.query}, "unit": {c.unit}, "time": {noon.Format(time.RFC3339)}})
		if code != http.StatusOK || !strings.Contains(body, c.want) {
			t.Errorf("%s in %s: %d %s, want %s", c.query, c.unit, code, body, c.want)
		}
	}
}

func TestWhatADeviceSentInTwoUnitsIsOneSeries(t *testing.T) {
	h := measured(t)
	code, body := h.form("/query_range", url.Values{
		"query": {`temperature{device="well"}`}, "unit": {"Cel"}, "step": {"60"},
		"start": {noon.Add(-2 * time.Minute).Format(time.RFC3339)}, "end": {noon.Format(time.RFC3339)},
	})
	if code != http.StatusOK || strings.Count(body, `"metric"`) != 1 || !strings.Contains(body, `"10"],`) || !strings.Contains(body, `"30"]]`) {
		t.Errorf("%d %s", code, body)
	}
}

func TestUnitsThatCannotBe(t *testing.T) {
	h := measured(t)
	for _, c := range []struct{ query, unit, want string }{
		{`temperature{device="gauge"}`, "W", `invalid parameter \"unit\": temperature of device \"gauge\" is in degF, which is no W; ask for a unit of the same quantity`},
		{`temperature / on () group_left wind`, "degF", `wind of device \"mast\" is in m/s, which is no degF`},
		{`device_presence`, "degF", `the unit of device_presence of device \"probe\" is not known; give the device a model that says it`},
		{`temperature`, strings.Repeat("K", 70), `more than 64 bytes`},
	} {
		code, body := h.form("/query", url.Values{"query": {c.query}, "unit": {c.unit}})
		if code != http.StatusBadRequest || !strings.Contains(body, c.want) {
			t.Errorf("%s in %s: %d %s, want %s", c.query, c.unit, code, body, c.want)
		}
	}
	if _, body := h.get("/query?query=temperature&unit="); strings.Count(body, `"metric"`) != 4 || strings.Count(body, `"unit"`) != 2 {
		t.Errorf("without a unit: %s", body)
	}
}

func TestAUnitSeesNoOtherRegion(t *testing.T) {
	h := measured(t)
	h.store(time.Minute, 1, labels.FromStrings("__name__", "temperature", "device", "far", "region", "320100"))
	if code, body, _ := h.as("22", http.MethodGet, "/query?query=temperature&unit=degF", nil); code != http.StatusOK || strings.Contains(body, "far") {
		t.Errorf("%d %s", code, body)
	}
}
