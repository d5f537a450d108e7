package api

import (
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// TestWhoMayCompareReleases: who may read both, and of the parts of a grant what is in
// them; it is on record, and the rest of the releases does not show.
func TestWhoMayCompareReleases(t *testing.T) {
	h := start(t)
	h.farms()
	h.changedFarms()
	const path = "/api/v1/releases/soil/2/diff?against=1"
	met := h.as(h.roleToken("met", access.Public, ""))
	if r := h.want(403, met.do("GET", path, "")); !strings.Contains(r.text, "hub grant apply") {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("GET", path, "")); !strings.Contains(r.text, `"keyed":true,"diff":{"added":0,"removed":0,"changed":2,"same":46`) || strings.Contains(r.text, `"grant"`) {
		t.Errorf("a steward sees %s", r.text)
	}
	g := h.granted(met, `{"area": "220102", "items": ["device", "time", "moisture"]}`)
	r := h.want(200, met.do("GET", path, ""))
	if !strings.Contains(r.text, `"changed":1,"same":23`) || !strings.Contains(r.text, `"moisture":0.25`) || strings.Contains(r.text, "acid") || strings.Contains(r.text, "probe-1") || !strings.Contains(r.text, `"grant":"`+g+`"`) {
		t.Errorf("by the grant: %s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/audit?action="+string(access.ReadReleases), "")); !strings.Contains(r.text, "against") || !strings.Contains(r.text, "220102") {
		t.Errorf("it is not on record: %s", r.text)
	}
	bare := h.as(h.roleToken("bare", access.Public, ""))
	h.granted(bare, `{"items": ["acid"]}`)
	if r := h.want(200, bare.do("GET", path, "")); !strings.Contains(r.text, `"keyed":false,"diff":{"added":1,"removed":1,"changed":0,"same":47`) || strings.Contains(r.text, "probe") || strings.Contains(r.text, "moisture") {
		t.Errorf("without the key: %s", r.text)
	}
	h.want(403, bare.do("GET", path+"&grant="+g, "")) // another's
	for query, want := range map[string]string{"": "replaces none", "?against=2": "is the same version", "?against=9": "is not known"} {
		version := "/api/v1/releases/soil/1/diff"
		if query != "" {
			version = "/api/v1/releases/soil/2/diff"
		}
		if r := h.do("GET", version+query, ""); r.status < 400 || !strings.Contains(r.text, want) {
			t.Errorf("%s%s: %d %s", version, query, r.status, r.text)
		}
	}
	h.want(200, h.do("POST", soilPath+"/suspend", `{"reason": "数据有误"}`))
	h.want(403, met.do("GET", path, ""))
}

// changedFarms releases the day of the farms again, with a value of another item of
// each probe changed.
func (h *hub) changedFarms() {
	h.Helper()
	t, err := h.releases.Table("soil", 1)
	if err != nil {
		h.Fatal(err)
	}
	t.Column("moisture").Numbers[3], t.Column("acid").Integers[30] = 0.25, 77
	rec, err := h.api.Catalog.Get("soil")
	if err != nil {
		h.Fatal(err)
	}
	m, err := h.releases.Get("soil", 1)
	if err != nil {
		h.Fatal(err)
	}
	if _, err := h.releases.Put(h.Context(), release.Draft{Dataset: rec.Dataset(), Table: t, Key: m.Key, Period: catalog.Period(m.Period), Replaces: 1, Reason: catalog.Text{ZH: "更正", EN: "corrected"}, Recipe: m.Recipe, Privacy: []byte("{}")}); err != nil {
		h.Fatal(err)
	}
}
