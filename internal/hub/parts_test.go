package hub

import (
	"encoding/csv"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/catalog/publish"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// rowsOf downloads a CSV file of the first release of a dataset.
func (h *hub) rowsOf(t *testing.T, token, dataset string) [][]string {
	t.Helper()
	code, text := h.ask(t, token, http.MethodGet, "/catalog/dataset/"+dataset+"/release/1/data.csv", nil)
	rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
	if code != 200 || err != nil {
		t.Fatalf("%d %s %v", code, text, err)
	}
	return rows
}

// TestPartsOfADayByWhereItWasMeasured: what devices of two districts and roadside
// units told becomes releases, of grade important too; a grant of a district has
// what was measured there, and what the privacy gate withheld is withheld in parts.
func TestPartsOfADayByWhereItWasMeasured(t *testing.T) {
	key := filepath.Join(t.TempDir(), "releases.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("cd", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	yesterday := source.Day(time.Now().Add(-24 * time.Hour))
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Releases.Publish.Delay, c.Releases.KeyFile = 0, key })
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin, Grade: telemetry.Core})
	for _, d := range []struct{ id, region string }{{"east", "220102"}, {"west", "220103"}} {
		secret := h.register(t, registry.Spec{ID: d.id, Region: d.region})
		for i := range 4 {
			if answer := h.post(t, d.id, secret, fmt.Sprintf(`{"ts": %d, "level": %d, "flow": 5}`, yesterday.From.Add(time.Duration(i)*6*time.Hour).UnixMilli(), i)); !strings.Contains(answer, `"rejected":[]`) {
				t.Fatal(answer)
			}
		}
		h.register(t, registry.Spec{ID: "rsu-" + d.id, Kind: "rsu", Region: d.region})
	}
	var minutes []publish.Minute
	for m := range 24 * 60 {
		for unit, passages := range map[string]map[string]source.Passages{
			"rsu-east": {"1>2": {Vehicles: 12, SpeedSum: 120_000}, "2>1": {Vehicles: 1, SpeedSum: 9_000}}, "rsu-west": {"3>4": {Vehicles: 14, SpeedSum: 140_000}},
		} {
			minutes = append(minutes, publish.Minute{Unit: unit, Start: yesterday.From.Add(time.Duration(m) * time.Minute), Passages: passages})
		}
	}
	if err := h.passages.Keep(t.Context(), minutes); err != nil {
		t.Fatal(err)
	}
	byGrant := strings.NewReplacer(`"open": {"class": "unconditional"}`, strings.TrimPrefix(conditional, `"share": {"class": "unconditional"}, `)).Replace(dayDataset)
	for id, of := range map[string][2]string{
		"levels": {`[{"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "device", "title": {"zh": "设备"}, "type": "string"}, {"name": "level", "title": {"zh": "水位"}}, {"name": "flow", "title": {"zh": "流量"}}]`, `{"kind": "series", "selector": "{__name__=~\"level|flow\"}", "bin": "6h", "by": ["device"]}`},
		"city":   {`[{"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "city", "title": {"zh": "市"}, "type": "string"}, {"name": "level", "title": {"zh": "水位"}}]`, `{"kind": "series", "selector": "level", "bin": "24h", "by": ["city"]}`},
		"roads":  {`[{"name": "link", "title": {"zh": "路段"}, "type": "string"}, {"name": "district", "title": {"zh": "区县"}, "type": "string"}, {"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "vehicles", "title": {"zh": "车辆"}, "type": "integer"}, {"name": "speed", "title": {"zh": "车速"}}]`, `{"kind": "roads", "bin": "1h"}`},
	} {
		document := fmt.Sprintf(byGrant, id, id, of[0], of[1])
		if id == "levels" {
			document = strings.Replace(document, `"cycle"`, `"grade": "important", "cycle"`, 1)
		}
		h.publish(t, admin, document)
		if _, err := h.makeRelease(t.Context(), api.ReleaseOrder{Dataset: id, Period: yesterday}); err != nil {
			t.Fatal(id, err)
		}
	}
	firm := h.token(t, access.Token{Name: "firm", Role: access.Public, Grade: telemetry.Important})

	// Of grade important: encrypted on disk, as whole and as part.
	h.granted(t, admin, firm, "levels", fmt.Sprintf(`{"items": ["device", "time", "level"], "area": "220102", "to": %q}`, yesterday.From.Add(13*time.Hour).Format(time.RFC3339)))
	want := [][]string{{"time", "device", "level"}, {yesterday.From.Format(time.RFC3339), "east", "0"}, {yesterday.From.Add(6 * time.Hour).Format(time.RFC3339), "east", "1"}}
	if got := h.rowsOf(t, firm, "levels"); !slices.EqualFunc(got, want, slices.Equal) {
		t.Errorf("%v, want %v", got, want)
	}
	low := h.token(t, access.Token{Name: "low", Role: access.Public})
	h.granted(t, admin, low, "levels", `{"items": ["level"]}`)
	if code, text := h.ask(t, low, http.MethodGet, "/catalog/dataset/levels/release/1/data.csv", nil); code != 403 || !strings.Contains(text, "--grade important") {
		t.Errorf("%d %s", code, text)
	}
	cuts, err := filepath.Glob(filepath.Join(h.at.Data, cutsDir, "*", "*"))
	if err != nil || len(cuts) == 0 || slices.ContainsFunc(cuts, func(p string) bool { return !strings.HasSuffix(p, ".sealed") }) {
		t.Errorf("%v %v", cuts, err)
	}

	// A row of a city is made of both districts, and lies in neither.
	h.granted(t, admin, firm, "city", `{"area": "220102"}`)
	if got := h.rowsOf(t, firm, "city"); len(got) != 1 {
		t.Errorf("%v", got)
	}

	whole := h.rowsOf(t, admin, "roads")
	h.granted(t, admin, firm, "roads", `{"items": ["link", "district", "time", "vehicles"], "area": "220102"}`)
	part := h.rowsOf(t, firm, "roads")
	var expected [][]string
	withheld := 0
	for _, row := range whole {
		if row[1] == "220102" || row[0] == "link" {
			if row[3] == "" && row[4] == "" {
				withheld++
			}
			expected = append(expected, row[:4])
		}
	}
	if withheld == 0 || len(expected) < 24 || !slices.EqualFunc(part, expected, slices.Equal) {
		t.Errorf("%d rows, %d withheld: %v, want %v", len(part), withheld, part, expected)
	}
	for _, row := range part {
		if strings.HasPrefix(row[0], "3>") || row[1] == "220103" {
			t.Errorf("another district's row: %v", row)
		}
	}
}
