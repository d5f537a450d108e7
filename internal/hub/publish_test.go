package hub

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

const dayDataset = `{"id": "%s", "title": {"zh": "水位", "en": "Level (%s)"}, "abstract": {"zh": "水位"}, "region": "2201", "path": ["1"],
	"provider": {"name": {"zh": "某局"}, "code": "91220101MA00000000"}, "contact": {"name": {"zh": "张三"}, "email": "a@example.org"},
	"items": %s, "source": %s,
	"share": {"class": "unconditional"}, "open": {"class": "unconditional"}, "licence": "https://creativecommons.org/licenses/by/4.0/", "cycle": {"kind": "periodic", "period": "24h"}}`

func (h *hub) publishDay(t *testing.T, id, items, source string) {
	t.Helper()
	for _, c := range [][3]string{{"PUT", "", fmt.Sprintf(dayDataset, id, id, items, source)}, {"POST", "/submit", ""}, {"POST", "/sign", `{"by": "李四"}`}, {"POST", "/publish", ""}} {
		if code, text := h.ask(t, h.admin(t), c[0], "/api/v1/datasets/"+id+c[1], []byte(c[2])); code != 200 {
			t.Fatalf("%v: %d %s", c, code, text)
		}
	}
}

// TestADayFromSamplesToReleasesAndBack releases yesterday of what a device and a
// roadside unit told, makes it again, and asks where a row comes from.
func TestADayFromSamplesToReleasesAndBack(t *testing.T) {
	yesterday := source.Day(time.Now().Add(-24 * time.Hour))
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Releases.Publish.Delay = 0 })
	secret := h.register(t, registry.Spec{ID: "gauge", Region: "220102"})
	h.register(t, registry.Spec{ID: "rsu-1", Kind: "rsu", Region: "220102"})
	var lines []string
	for i := range 24 {
		lines = append(lines, fmt.Sprintf(`{"ts": %d, "level": %d, "firmware": "2.1"}`, yesterday.From.Add(time.Duration(i)*time.Hour).UnixMilli(), i))
	}
	for _, l := range lines {
		if answer := h.post(t, "gauge", secret, l); !strings.Contains(answer, `"rejected":[]`) {
			t.Fatal(answer)
		}
	}
	h.publishDay(t, "levels", `[{"name": "device", "title": {"zh": "设备"}, "type": "string"}, {"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "level", "title": {"zh": "水位"}, "unit": "m"}]`,
		`{"kind": "series", "selector": "level", "bin": "6h", "by": ["device"]}`)
	h.publishDay(t, "flow", `[{"name": "link", "title": {"zh": "路段"}, "type": "string"}, {"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "vehicles", "title": {"zh": "车辆"}, "type": "integer"}]`,
		`{"kind": "roads", "bin": "1h"}`)
	var minutes []publish.Minute
	for m := range 24 * 60 {
		minutes = append(minutes, publish.Minute{Unit: "rsu-1", Start: yesterday.From.Add(time.Duration(m) * time.Minute), Passages: map[string]source.Passages{"1>2": {Vehicles: 12, SpeedSum: 120_000}, "2>1": {Vehicles: 1, SpeedSum: 9_000}, "3>2": {Vehicles: 14, SpeedSum: 1}}})
	}
	if err := h.passages.Keep(t.Context(), minutes); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"levels", "flow"} {
		m, err := h.makeRelease(t.Context(), api.ReleaseOrder{Dataset: id, Period: yesterday})
		if err != nil {
			t.Fatal(err)
		}
		if r, err := h.releases.Verify(t.Context(), id, m.Version, h.rebuild); err != nil || !r.OK() {
			t.Errorf("%s is not made again: %+v, %v", id, r, err)
		}
	}
	table, err := h.releases.Table("levels", 1)
	if err != nil || table.Rows != 4 || table.Columns[2].Numbers[1] != 8.5 {
		t.Errorf("%+v, %v", table, err)
	}
	began := time.Now()
	code, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/datasets/levels/lineage?version=1&row=1", nil)
	t.Logf("the lineage of a row took %v", time.Since(began))
	for _, want := range []string{`"row":1`, `songhua-series/1`, `"firmware":"2.1"`, `level{device=\"gauge\"`, `"samples":24`, yesterday.From.Add(6 * time.Hour).Format(time.RFC3339)} {
		if code != 200 || !strings.Contains(text, want) {
			t.Errorf("no %s in %d %s", want, code, text)
		}
	}
	far := h.token(t, access.Token{Name: "far", Role: access.Reader, Region: "2202"})
	if code, text := h.ask(t, far, http.MethodGet, "/api/v1/datasets/levels/lineage?version=1", nil); code == 200 && strings.Contains(text, "gauge") {
		t.Errorf("another region is told: %s", text)
	}
	if code, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/datasets/levels/lineage?version=1&row=4", nil); code != 404 {
		t.Errorf("%d %s", code, text)
	}
	if code, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/audit?object=release%20flow", nil); code != 200 || !strings.Contains(text, "flow") {
		t.Errorf("it is not on record: %d %s", code, text)
	}

	// A grade that is raised takes what is made of it out of reach.
	if code, text := h.ask(t, h.admin(t), http.MethodPatch, "/api/v1/devices/gauge", []byte(`{"grade": "important"}`)); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	soon(t, "the dataset is suspended", func() bool { return h.catalog.Open("levels", "") != nil })
	if h.catalog.Open("flow", "") != nil {
		t.Error("what is not made of it is suspended")
	}
}
