package hub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

const stationModel = "id: station\nnames: {en: Station}\nmetrics: [{name: level, unit: m, min: 0, max: 100, period: 60s}]"

// TestQualityOfWhatCameThroughTheDoor: what is repeated, contradicted, late, out of
// order and out of range on its way through the hub is measured as it was sent.
func TestQualityOfWhatCameThroughTheDoor(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.give(t, stationModel)
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin})
	secret := h.register(t, registry.Spec{ID: "w1", Model: "station", Region: "220100", Grade: "general"})
	h.publish(t, admin, liveDataset("level", "level", forAll))
	// A minute ago, so that nothing is from the future; all of today or yesterday.
	now := time.Now().UTC().Truncate(time.Second).Add(-time.Minute)
	day := quality.DayOf(now.Add(-time.Second))
	send := func(at time.Time, level float64) {
		t.Helper()
		h.post(t, "w1", secret, fmt.Sprintf(`{"ts": %d, "level": %v}`, at.UnixMilli(), level))
	}
	send(now, 10)
	send(now, 10)                   // repeated
	send(now, 11)                   // contradicted
	send(now.Add(-time.Second), 12) // behind
	send(now.Add(time.Second), 500) // out of range
	send(now.Add(100*time.Hour), 1) // refused
	if err := h.quality.Count(t.Context()); err != nil {
		t.Fatal(err)
	}
	soon(t, "its page is there", func() bool {
		code, _ := h.ask(t, "", http.MethodGet, "/catalog/dataset/level", nil)
		return code == http.StatusOK
	})
	if err := h.quality.Measure(t.Context(), day); err != nil {
		t.Fatal(err)
	}
	if day != quality.DayOf(time.Now()) || day != quality.DayOf(now.Add(time.Second)) {
		t.Skip("midnight came in between")
	}
	code, text := h.ask(t, admin, http.MethodGet, "/api/v1/datasets/level/quality", nil)
	var q struct {
		Findings []quality.Finding
		Items    []quality.Measured
	}
	if err := json.Unmarshal([]byte(text), &q); err != nil || code != 200 || len(q.Items) != 1 {
		t.Fatalf("%v %d %s", err, code, text)
	}
	m := q.Items[0]
	if a := m.Arrived; a.Samples != 5 || a.Repeated != 1 || a.Conflicts != 1 || a.Behind != 1 || a.Refused != 1 || a.P50 < 50 || a.P50 > 120 {
		t.Errorf("%+v", a)
	}
	// What was measured before it was published counts for nothing.
	if m.Samples != 0 || len(m.Probes) != 3 || !m.Probes[0].Good() {
		t.Errorf("%s", text)
	}
	if !strings.Contains(text, `"kind":"inconsistent"`) || !strings.Contains(text, `"consistency":0.333`) || strings.Contains(text, `"kind":"incomplete"`) {
		t.Errorf("%s", text)
	}
	if code, text := h.ask(t, admin, http.MethodGet, "/metrics", nil); code != 200 || !strings.Contains(text, `hub_catalog_findings{kind="inconsistent"} 1`) || !strings.Contains(text, `hub_catalog_quality_ratio{dataset="level",dimension="accessibility"} 1`) {
		t.Errorf("%d", code)
	}
	if rule := shippedExprs(t)["DatasetFinding"]; !strings.Contains(rule, "hub_catalog_findings") {
		t.Errorf("no alert tells of findings: %q", rule)
	}
}

// TestADeviceThatCollectsAgainIsRefused with the dataset that shares it already,
// however it comes, unless it says why.
func TestADeviceThatCollectsAgainIsRefused(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.give(t, stationModel)
	h.give(t, "id: bare\nnames: {en: Bare}\nmetrics: [{name: depth, unit: m}]")
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin})
	lat, lon := 43.88, 125.32
	secret := h.register(t, registry.Spec{ID: "w1", Model: "station", Region: "220100", Site: "plant-a", Lat: &lat, Lon: &lon, Grade: "general"})
	if answer := h.post(t, "w1", secret, `{"level": 1}`); !strings.Contains(answer, `"accepted":1`) {
		t.Fatal(answer)
	}
	add := func(id, more string) (int, string) {
		return h.ask(t, admin, http.MethodPost, "/api/v1/devices", fmt.Appendf(nil, `{"id": %q, "region": "220100"%s}`, id, more))
	}
	if code, text := add("before", `, "model": "station", "site": "plant-a"`); code != 201 {
		t.Fatalf("nothing is shared yet: %d %s", code, text)
	}
	h.publish(t, admin, liveDataset("level", "level", forAll))
	for what, more := range map[string]string{
		"same site":        `, "model": "station", "site": "plant-a"`,
		"near":             `, "model": "station", "lat": 43.8803, "lon": 125.3204`,
		"another provider": `, "model": "station", "site": "plant-a", "tags": {"provider": "91220101MA0000001X"}`,
	} {
		code, text := add("again", more)
		if code != 409 || !strings.Contains(text, `"dataset":{"id":"level"`) || !strings.Contains(text, "一数一源") || strings.Contains(text, "%!") {
			t.Errorf("%s: %d %s", what, code, text)
		}
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/devices:batch", []byte(`{"devices": [{"id": "b1"}, {"id": "b2", "region": "220100", "model": "station", "site": "plant-a"}]}`)); code != 409 {
		t.Errorf("in a batch: %d %s", code, text)
	}
	for id, more := range map[string]string{
		"far":    `, "model": "station", "lat": 43.95, "lon": 125.32`,
		"theirs": `, "model": "station", "site": "plant-a", "tags": {"provider": "91220101MA00000000"}`,
		"other":  `, "model": "bare", "site": "plant-a"`,
		"why":    `, "model": "station", "site": "plant-a", "again": "flood gauge of our own"`,
	} {
		if code, text := add(id, more); code != 201 {
			t.Errorf("%s: %d %s", id, code, text)
		}
	}
	if _, text := h.ask(t, admin, http.MethodGet, "/api/v1/audit?object=device%20why", nil); !strings.Contains(text, "flood gauge of our own") {
		t.Errorf("the reason is not on record: %s", text)
	}
	if code, text := h.ask(t, admin, http.MethodPatch, "/api/v1/devices/far", []byte(`{"site": "plant-a"}`)); code != 409 {
		t.Errorf("moved: %d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodPatch, "/api/v1/devices/far", []byte(`{"site": "plant-a", "again": "moved for the works"}`)); code != 200 {
		t.Errorf("moved, with a reason: %d %s", code, text)
	}
	model := []byte(`{"id": "bare", "names": {"en": "Bare"}, "metrics": [{"name": "depth"}, {"name": "level"}]}`)
	if code, text := h.ask(t, admin, http.MethodPut, "/api/v1/models/bare", model); code != 409 {
		t.Errorf("a model that lists more: %d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodPut, "/api/v1/models/bare?again=test", model); code != 200 && code != 201 {
		t.Errorf("with a reason: %d %s", code, text)
	}
}
