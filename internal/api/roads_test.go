package api

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
)

// roadViews stands for a board: what it tells is in its fields.
type roadViews struct {
	units         []traffic.UnitView
	evidence      map[string][]traffic.Evidence
	intersections []traffic.IntersectionView
	links         []traffic.LinkView
	events        []traffic.EventView
	changes       []traffic.LightChange
}

func (v *roadViews) Units() []traffic.UnitView { return slices.Clone(v.units) }

func (v *roadViews) Unit(id string) (traffic.UnitView, bool) {
	i := slices.IndexFunc(v.units, func(u traffic.UnitView) bool { return u.Unit == id })
	if i < 0 {
		return traffic.UnitView{}, false
	}
	return v.units[i], true
}

func (v *roadViews) Evidence(id string, c traffic.Check) []traffic.Evidence {
	return slices.DeleteFunc(slices.Clone(v.evidence[id]), func(e traffic.Evidence) bool { return e.Check != c })
}

func (v *roadViews) Intersections() []traffic.IntersectionView {
	return slices.Clone(v.intersections)
}
func (v *roadViews) Links() []traffic.LinkView { return slices.Clone(v.links) }
func (v *roadViews) Events() []traffic.EventView {
	all := slices.Clone(v.events)
	for i := range all {
		all[i].AlsoBy = slices.Clone(all[i].AlsoBy)
	}
	return all
}
func (v *roadViews) Changes(string, road.NodeID) []traffic.LightChange {
	return v.changes
}

// roadHub has two units in Jilin, one of them of a higher grade, and one in Beijing.
func roadHub(t *testing.T) *hub {
	h := start(t)
	at := time.Date(2026, 7, 1, 4, 0, 0, 0, time.UTC)
	for id, more := range map[string]string{"here": `"region": "220100", "site": "ring"`, "secret": `"region": "220100", "grade": "important"`, "there": `"region": "110000"`} {
		h.want(201, h.do("POST", "/api/v1/devices", fmt.Sprintf(`{"id": %q, "kind": "rsu", %s}`, id, more)))
		n := uint16(len(h.roads.units) + 1)
		a, b := road.NodeID{Region: 2201, ID: n}, road.NodeID{Region: 2201, ID: n + 10}
		h.roads.units = append(h.roads.units, traffic.UnitView{Unit: id, Heard: at, Beat: time.Minute, Offset: -250 * time.Millisecond, Rates: map[road.Kind]float64{road.KindSPAT: 10},
			Status: road.Status{Name: "unit " + id, Load: math.NaN(), Memory: road.Space{Total: 4, Used: math.NaN()}, At: road.Position{Lat: math.NaN(), Lon: math.NaN()}, Limits: map[string]float64{"bsm": -1}}, Nodes: []road.NodeID{a},
			Faults:     []traffic.Fault{{Check: traffic.CheckClock, ZH: "时钟偏差", EN: "clock is off", Count: 3, Since: at, Last: at, Evidence: true}},
			Deviations: []traffic.Deviation{{Kind: road.KindSPAT, Code: "field_case", Path: "Lon", ZH: "字段", EN: "field Lon should be lon", First: at, Last: at, Count: 7}}})
		h.roads.intersections = append(h.roads.intersections, traffic.IntersectionView{Node: a, Unit: id, At: at, Status: road.StatusManual | road.StatusPriority,
			Phases: []traffic.PhaseView{{ID: 1, Light: road.Red, Cycle: time.Minute, Greens: math.NaN()}}})
		h.roads.links = append(h.roads.links, traffic.LinkView{From: b, To: a, Unit: id, Points: []road.Position{{Lat: 43.86, Lon: 125.3}, {Lat: 43.87, Lon: 125.3}},
			At: at, Source: "sensor", Flow: 12, MeanSpeed: 9.5, P85: math.NaN(), Occupancy: math.NaN(), Queue: math.NaN(), Limit: 16.7, Participants: map[road.ParticipantType]float64{road.Motor: 12}})
	}
	sortByUnit := func(x, y traffic.UnitView) int { return strings.Compare(x.Unit, y.Unit) }
	slices.SortFunc(h.roads.units, sortByUnit)
	nowhere := road.Position{Lat: math.NaN(), Lon: math.NaN()}
	h.roads.events = []traffic.EventView{
		{Key: "there/e1", Unit: "there", AlsoBy: []string{"here"}, Place: nowhere, Name: traffic.EventText(401), Event: road.Event{ID: "e1", Type: 401, At: nowhere, Confidence: math.NaN(), Priority: -1}, First: at, Last: at, Active: true},
		{Key: "here/e2", Unit: "here", AlsoBy: []string{"there", "secret"}, Place: nowhere, Event: road.Event{ID: "e2", Type: 402, At: nowhere, Confidence: .5, Priority: 3}, First: at.Add(-time.Hour), Last: at},
		{Key: "secret/e3", Unit: "secret", Place: nowhere, Event: road.Event{ID: "e3", At: nowhere}, First: at, Active: true},
	}
	h.roads.changes = []traffic.LightChange{{Phase: 1, Light: road.Red, At: at}}
	h.roads.evidence = map[string][]traffic.Evidence{"here": {{Check: traffic.CheckClock, At: at, Kind: road.KindSPAT, Raw: []byte{0xbe, 0xef}}}, "there": {{Raw: []byte{1}}}}
	return h
}

func TestRoadsAreOfTheOwnRegionAndGrade(t *testing.T) {
	h := roadHub(t)
	jilin := h.as(h.roleToken("jl", access.Reader, "22"))
	for path, want := range map[string]string{
		"/api/v1/roads/units": "here", "/api/v1/roads/intersections": "here", "/api/v1/roads/links": "here", "/api/v1/roads/events": "here",
		"/api/v1/roads/events?active=true": "", "/api/v1/roads/events?active=false": "here",
	} {
		r := jilin.want(200, jilin.do("GET", path, ""))
		var units []string
		for _, item := range r.body["items"].([]any) {
			o := item.(map[string]any)
			if id, ok := o["id"].(string); ok && strings.HasSuffix(path, "units") {
				units = append(units, id)
			} else {
				units = append(units, o["unit"].(string))
			}
		}
		if got := strings.Join(units, " "); got != want || strings.Contains(r.text, "there") || strings.Contains(r.text, "secret") {
			t.Errorf("%s: %s", path, r.text)
		}
	}
	for _, path := range []string{"units/there", "units/there/conformance", "units/secret", "units/nobody", "intersections/2201.9", "intersections/x"} {
		if r := jilin.want(404, jilin.do("GET", "/api/v1/roads/"+path, "")); !strings.Contains(r.text, "`hub r") {
			t.Errorf("%s: no way out: %s", path, r.text)
		}
	}
	if all := h.want(200, h.do("GET", "/api/v1/roads/units", "")); !strings.Contains(all.text, "secret") || !strings.Contains(all.text, "there") {
		t.Errorf("an admin of everything does not see %s", all.text)
	}
}

func TestShapesOfRoads(t *testing.T) {
	h := roadHub(t)
	unit := h.want(200, h.do("GET", "/api/v1/roads/units/here", ""))
	for _, want := range []string{`"name":"unit here"`, `"heartbeat_seconds":60`, `"clock_offset_seconds":-0.25`, `"rates":{"spat":10}`, `"load":null`, `"memory":{"total":4,"used":null}`, `"limits":{"bsm":-1}`,
		`"lat":null`, `"deviations":1`, `"site":"ring"`, `"state":"never"`, `"check":"clock","name":{"zh":"时钟偏差","en":"clock offset"},"text":{"zh":"时钟偏差","en":"clock is off"},"fix":`, `"evidence":true`} {
		if !strings.Contains(unit.text, want) {
			t.Errorf("a unit lacks %s: %s", want, unit.text)
		}
	}
	tag := unit.header.Get("ETag")
	if tag == "" {
		t.Fatal("no ETag")
	}
	if r := h.want(304, h.do("GET", "/api/v1/roads/units/here", "", "If-None-Match: "+tag)); r.text != "" || r.header.Get("ETag") != tag {
		t.Errorf("unchanged: %q %v", r.text, r.header)
	}
	h.want(200, h.do("GET", "/api/v1/roads/units/here", "", `If-None-Match: "other"`))
	if r := h.want(200, h.do("GET", "/api/v1/roads/units/here/conformance", "")); r.body["conforms"] != false || !strings.Contains(r.text, "field Lon should be lon") {
		t.Errorf("conformance: %s", r.text)
	}
	node := h.roads.intersections[slices.IndexFunc(h.roads.intersections, func(v traffic.IntersectionView) bool { return v.Unit == "here" })].Node
	if r := h.want(200, h.do("GET", "/api/v1/roads/intersections/"+traffic.NodeName(node), "")); !strings.Contains(r.text, `"status":["manual","priority"]`) ||
		!strings.Contains(r.text, `"light":"red","since":null,"end":null,"cycle_seconds":60,"green_share":null`) || !strings.Contains(r.text, `"lat":43.87`) || !strings.Contains(r.text, `"changes":[{"phase":1`) {
		t.Errorf("an intersection: %s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/roads/links?limit=1", "")); !strings.Contains(r.text, `"p85_speed":null`) || !strings.Contains(r.text, `"participants":{"motor":12}`) || !strings.Contains(r.text, `"next_cursor"`) {
		t.Errorf("links: %s", r.text)
	}
	for _, r := range []reply{h.do("GET", "/api/v1/roads/links?format=geojson", ""), h.do("GET", "/api/v1/roads/links", "", "Accept: application/geo+json")} {
		if h.want(200, r); r.header.Get("Content-Type") != geoJSON || r.body["type"] != "FeatureCollection" || !strings.Contains(r.text, `"coordinates":[[125.3,43.86],[125.3,43.87]]`) {
			t.Errorf("GeoJSON: %v %s", r.header, r.text)
		}
	}
	if r := h.want(200, h.do("GET", "/api/v1/roads/events", "")); !strings.Contains(r.text, `"lat":null`) || !strings.Contains(r.text, `"priority":null,"confidence":null`) || !strings.Contains(r.text, `"also_by":["here"]`) {
		t.Errorf("events: %s", r.text)
	}
	h.want(422, h.do("GET", "/api/v1/roads/events?active=perhaps", ""))
}

// Raw messages name vehicles: few may read them, and who did is on record.
func TestEvidenceIsReadOnRecord(t *testing.T) {
	h := roadHub(t)
	ops := h.as(h.roleToken("ops", access.Operator, "22"))
	if r := ops.want(200, ops.do("GET", "/api/v1/roads/units/here/evidence", "")); !strings.Contains(r.text, `"hex":"beef"`) {
		t.Errorf("evidence: %s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/audit?action=evidence.read", "")); !strings.Contains(r.text, `"evidence of here"`) || !strings.Contains(r.text, `"ops"`) || strings.Contains(r.text, "beef") {
		t.Errorf("the record: %s", r.text)
	}
	if r := ops.want(200, ops.do("GET", "/api/v1/roads/units/here/evidence?check=rate", "")); strings.Contains(r.text, "beef") {
		t.Errorf("evidence of another check: %s", r.text)
	}
	ops.want(404, ops.do("GET", "/api/v1/roads/units/there/evidence", ""))
	eye := h.as(h.roleToken("eye", access.Reader, "22"))
	eye.want(403, eye.do("GET", "/api/v1/roads/units/here/evidence", ""))
}
