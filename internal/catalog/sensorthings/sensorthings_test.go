package sensorthings

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// farm is a world with a model, two places, five devices and some series.
func farm(t testing.TB, change func(*Config)) *world {
	w := newWorld(t, change)
	lat, lon := 43.88, 125.32
	_, err := w.devices.PutSite(t.Context(), registry.Site{ID: "plant-a", ZH: "甲厂", EN: "Plant A", Region: "220100", Lat: &lat, Lon: &lon}, 0)
	w.ok(err)
	w.ok(w.devices.PutUnits(t.Context(), map[string]string{"temperature": "degC"}))
	w.register(
		registry.Spec{ID: "t1", Site: "plant-a", Region: "220100", Period: time.Minute, Tags: map[string]string{"floor": "2"}},
		registry.Spec{ID: "t2", Site: "plant-a", Region: "220100"},
		registry.Spec{ID: "t3", Region: "110000", Lat: &lat, Lon: &lon, Kind: "meter"},
		registry.Spec{ID: "t4"},
	)
	w.put(w.series("t1", "temperature"), w.now.Add(-5*time.Hour), time.Minute, 300)
	w.put(w.series("t1", "temperature", telemetry.Label{Name: "room", Value: "a b"}), w.now.Add(-time.Hour), time.Minute, 60)
	w.put(w.series("t2", "humidity/x"), w.now.Add(-time.Hour), time.Minute, 60)
	w.put(w.series("t3", "power"), w.now.Add(-time.Hour), time.Minute, 60)
	return w
}

func none(*Config) {}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	w := farm(t, none)
	seen := map[string]bool{}
	var queue []string
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v[:min(2, len(v))] {
				walk(e)
			}
		case map[string]any:
			for name, e := range v {
				link, is := e.(string)
				if !is || !strings.HasSuffix(name, "Link") && name != "url" {
					walk(e)
					continue
				}
				path := strings.TrimPrefix(link, "http://hub"+Root)
				if !seen[path] && len(seen) < 500 {
					seen[path] = true
					queue = append(queue, path)
				}
			}
		}
	}
	walk(w.get(""))
	for len(queue) > 0 {
		path := queue[0]
		queue = queue[1:]
		walk(w.get(path))
	}
	for _, part := range []string{"Things('t1')/Datastreams", "Locations('site:plant-a')/Things", "Datastreams('t1~temperature')/ObservedProperty", "Datastreams('t2~humidity=2Fx')", "Sensors('kind:sensor')/Datastreams",
		"FeaturesOfInterest('t1')/Observations", "ObservedProperties('temperature')/Datastreams", "Observations('"} {
		if !slices.ContainsFunc(slices.Collect(keys(seen)), func(p string) bool { return strings.HasPrefix(p, part) }) {
			t.Errorf("no link led to %s", part)
		}
	}
	if len(seen) < 50 {
		t.Errorf("only %d links", len(seen))
	}
}

func keys(m map[string]bool) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// TestNextLinksGiveEveryObservationOnce follows pages of chance lengths while new
// observations arrive: what was there comes exactly once, and nothing twice.
func TestNextLinksGiveEveryObservationOnce(t *testing.T) {
	w := farm(t, none)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	fresh := 0
	arrive := func() {
		id := w.series([]string{"t1", "t2"}[random.IntN(2)], "temperature")
		w.put(id, w.now.Add(time.Duration(fresh)*time.Second), time.Second, 1)
		fresh++
	}
	for _, path := range []string{
		"Observations?$top=%d", "Datastreams('t1~temperature')/Observations?$top=%d", "Datastreams('t1~temperature')/Observations?$top=%d&$orderby=phenomenonTime desc",
		"FeaturesOfInterest('t1')/Observations?$top=%d", "Things('t1')/Datastreams?$top=%d", "Datastreams?$top=%d", "Things?$top=%d", "Observations?$top=%d&$filter=result gt 20",
		"Datastreams('t1~temperature')/Observations?$top=%d&$orderby=result desc&$filter=phenomenonTime lt 2026-11-26T08:00:00Z", "Datastreams?$top=%d&$orderby=name desc", "Locations?$top=%d", "ObservedProperties?$top=%d", "Sensors?$top=%d", "FeaturesOfInterest?$top=%d",
	} {
		there, _ := w.pages(fmt.Sprintf(path, 1000), nil)
		for _, top := range []int{1, 7, 50 + random.IntN(100)} {
			if top == 1 && len(there) > 100 {
				top = 3
			}
			found, n := w.pages(fmt.Sprintf(path, top), arrive)
			once := map[string]int{}
			for _, id := range ids(found) {
				if once[id]++; once[id] > 1 {
					t.Errorf("%s, pages of %d: %s comes twice", path, top, id)
				}
			}
			for _, id := range ids(there) {
				if once[id] != 1 {
					t.Errorf("%s, pages of %d: %s comes %d times", path, top, id, once[id])
				}
			}
			if n < len(there)/top {
				t.Errorf("%s: %d pages of %d for %d", path, n, top, len(there))
			}
		}
	}
}

func TestExpandedListsGoOnBehindTheirLinks(t *testing.T) {
	w := farm(t, none)
	v := w.get("Things('t1')?$expand=Datastreams($top=1;$count=true;$expand=Observations($top=2;$orderby=phenomenonTime desc;$select=result)),Locations")
	stream := v["Datastreams"].([]any)[0].(map[string]any)
	if v["Datastreams@iot.count"] != 2.0 || len(stream["Observations"].([]any)) != 2 {
		t.Fatalf("%v", v)
	}
	if o := stream["Observations"].([]any)[0].(map[string]any); len(o) != 1 || o["result"] != 299.0 {
		t.Errorf("the newest is %v", o)
	}
	rest, _ := w.pages(strings.TrimPrefix(stream["Observations@iot.nextLink"].(string), "http://hub"+Root), nil)
	if len(rest) != 298 || rest[0]["result"] != 297.0 {
		t.Errorf("%d follow, the first is %v", len(rest), rest[0])
	}
	rest, _ = w.pages(strings.TrimPrefix(v["Datastreams@iot.nextLink"].(string), "http://hub"+Root), nil)
	if len(rest) != 1 || !strings.HasPrefix(ids(rest)[0], "t1~temperature~") || len(rest[0]["Observations"].([]any)) != 2 {
		t.Errorf("%v", rest)
	}
	if at := v["Locations"].([]any)[0].(map[string]any); at["@iot.id"] != "site:plant-a" {
		t.Errorf("%v", at)
	}
}

// TestADatastreamKeepsItsIDWhenItsDeviceMoves joins the series before and after.
func TestADatastreamKeepsItsIDWhenItsDeviceMoves(t *testing.T) {
	w := farm(t, none)
	site := "elsewhere"
	d, err := w.devices.Get("t1")
	w.ok(err)
	moved := telemetry.Device{ID: d.ID, Kind: d.Kind, Site: site, Region: "220200"}
	all := append([]telemetry.Label{{Name: "__name__", Value: "temperature"}}, moved.Labels()...)
	w.put(w.store.Series(all), w.now, time.Minute, 5)
	found, _ := w.pages("Datastreams('t1~temperature')/Observations?$top=100", nil)
	if len(found) != 305 {
		t.Errorf("%d observations", len(found))
	}
	if n, _ := w.pages("Things('t1')/Datastreams", nil); len(n) != 2 {
		t.Errorf("%v", ids(n))
	}
	w.caller.Region = "2201" // and the part of the other region is not seen
	if found, _ = w.pages("Datastreams('t1~temperature')/Observations?$top=100", nil); len(found) != 300 {
		t.Errorf("%d observations of the own region", len(found))
	}
}

func TestFilters(t *testing.T) {
	w := farm(t, none)
	for path, want := range map[string]int{
		"Things?$filter=properties/kind eq 'meter'":                                                                                 1,
		"Things?$filter=properties/tags/floor eq '2' or startswith(name,'t4')":                                                      2,
		"Things?$filter=not (properties/kind eq 'meter') and properties/site ne null":                                               2,
		"Datastreams?$filter=unitOfMeasurement/symbol eq 'Cel'":                                                                     2,
		"Datastreams?$filter=Thing/properties/region eq '220100' and ObservedProperty/name eq 'temperature'":                        2,
		"Datastreams?$filter=Thing/@iot.id eq 't3'":                                                                                 1,
		"Datastreams?$filter=properties/tags/room eq 'a b'":                                                                         1,
		"Observations?$top=1000&$filter=result ge 290":                                                                              10,
		"Observations?$top=1000&$filter=phenomenonTime ge 2026-11-26T07:58:00Z and Datastream/Thing/name eq 't3'":                   2,
		"Observations?$top=1000&$filter=2026-11-26T03:01:00Z gt phenomenonTime":                                                     1,
		"Datastreams('t1~temperature')/Observations?$top=1000&$filter=minute(phenomenonTime) eq 30":                                 5,
		"Datastreams('t1~temperature')/Observations?$top=1000&$filter=phenomenonTime eq 2026-11-26T07:00:00%2B00:00 or result lt 3": 4,
		"ObservedProperties?$filter=length(name) gt 8 and substringof('temp',tolower(name))":                                        1,
		"Sensors?$filter=id eq 'kind:rsu'":                                                                                          1,
	} {
		if found, _ := w.pages(path, nil); len(found) != want {
			t.Errorf("%s finds %d, want %d: %v", path, len(found), want, ids(found))
		}
	}
	if v := w.get("Observations?$filter=result ge 290&$count=true&$top=3"); v["@iot.count"] != 10.0 || len(v["value"].([]any)) != 3 {
		t.Errorf("%v", v)
	}
}

func TestWrongRequestsAreToldWhatIsRight(t *testing.T) {
	w := farm(t, none)
	for path, want := range map[string]string{
		"Things?$filter=colour eq 'red'":                "400 Things have no property \"colour\"; there are @iot.id, name, description, properties, Locations",
		"Things?$select=colour":                         "400 Things have no property",
		"Things?$orderby=colour":                        "400 Things have no property",
		"Things?$expand=Wheels":                         "400 Things have no link \"Wheels\"; there are Locations, HistoricalLocations, Datastreams",
		"Datastreams?$filter=Thing/colour eq 'red'":     "400 Things have no property",
		"Things?$filter=Datastreams/name eq 'x'":        "400 Datastreams leads to many",
		"Things?$filter=name eq 3":                      "400 eq cannot compare a text with a number",
		"Observations?$filter=phenomenonTime gt '2026'": "400 gt cannot compare a time with a text",
		"Things?$filter=name":                           "400 $filter is a text and no condition",
		"Things?$filter=name eq 'x":                     "400 $filter: the text at byte 8 has no closing",
		"Things?$filter=geo.distance(name) lt 3":        "400 $filter: there is no function geo.distance; there are substringof",
		"Things?$filter=(name eq 'x'":                   "400 $filter: \"the end\" at byte 12, where ) is wanted",
		"Things?$top=-1":                                "400 $top=\"-1\" is no whole number",
		"Things?$skip=10001":                            "400 $skip=10001 is more than 10000; follow @iot.nextLink",
		"Things?$skiptoken=!":                           "400 $skiptoken is none that this hub gave",
		"Things?$search=x":                              "400 there is no option \"$search\"; there are $select",
		"Things?$top=1&$top=2":                          "400 $top is given twice",
		"Things?$resultFormat=dataArray":                "400 $resultFormat=\"dataArray\" is not known",
		"Things(1)":                                     "400 \"Things(1)\": an id stands in quotes",
		"Things('none')":                                "404 there is no Things('none')",
		"Things('t1')/colour":                           "400 Things have no property",
		"Wheels":                                        "404 Wheels is not served",
		"Observations('t1~temperature@1')":              "404 there is no Observations",
		"Things('t2')/Datastreams('t1~temperature')":    "404 there is no Datastreams",
		"Things?$expand=Datastreams($expand=Observations($expand=Datastream($expand=Thing($expand=Locations))))": "400 $expand is nested more than 4 deep",
		"Things?$expand=Datastreams(": "400 the parentheses or quotes of",
	} {
		code, text := w.ask(path)
		status, detail, _ := strings.Cut(want, " ")
		if fmt.Sprint(code) != status || !strings.Contains(strings.ReplaceAll(text, `\"`, `"`), detail) || !strings.Contains(text, `"zh":"`) {
			t.Errorf("%s: %d %s, want %s", path, code, text, want)
		}
	}
}

func TestBudgets(t *testing.T) {
	w := farm(t, none)
	for limit, c := range map[string]struct {
		change func(*Config)
		path   string
		code   int
	}{
		limitSamples:  {func(c *Config) { c.MaxSamples = 100 }, "Observations?$count=true", 400},
		limitSeries:   {func(c *Config) { c.MaxSeries = 2 }, "Datastreams", 400},
		limitEntities: {func(c *Config) { c.MaxEntities = 100 }, "Things?$expand=Datastreams($expand=Observations)", 400},
		limitTime:     {func(*Config) {}, "Things('t1')/Datastreams", 503},
	} {
		w.reads, w.metrics = w.store, newRegistry()
		w.serve = w.api(none)
		if code, text := w.ask(c.path); code != 200 {
			t.Errorf("%s is %d without the budget: %s", c.path, code, text)
		}
		w.metrics = newRegistry()
		cfg := DefaultConfig()
		c.change(&cfg)
		w.serve = w.api(func(c *Config) { *c = cfg })
		if limit == limitTime { // the store answers when the time is over
			w.reads, w.metrics = late{w.store}, newRegistry()
			w.serve = w.api(func(c *Config) { c.Timeout = time.Millisecond })
		}
		code, text := w.ask(c.path)
		if code != c.code || !strings.Contains(text, "more than") && !strings.Contains(text, "longer than") {
			t.Errorf("%s: %s is %d %s", limit, c.path, code, text)
		}
		if n := counted(t, w.metrics, limit); n != 1 {
			t.Errorf("%s is counted %v times", limit, n)
		}
	}
}

// TestARareMatchCostsNoMoreThanAPage: a page ends where it has looked at enough,
// and its link goes on from there.
func TestARareMatchCostsNoMoreThanAPage(t *testing.T) {
	w := newWorld(t, none)
	w.register(registry.Spec{ID: "fast"})
	w.put(w.series("fast", "level"), w.now.Add(-400*time.Hour), time.Second, 3*stride/2)
	found, n := w.pages("Datastreams('fast~level')/Observations?$filter=result eq 700000", nil)
	if len(found) != 1 || n != 2 {
		t.Errorf("%d found on %d pages", len(found), n)
	}
}

func TestRightsFollowRegionAndGrade(t *testing.T) {
	w := farm(t, none)
	w.register(registry.Spec{ID: "secret", Region: "220100", Grade: "important"})
	w.put(w.series("secret", "hidden_metric"), w.now, time.Minute, 3)
	for _, c := range []struct {
		region string
		grade  telemetry.Grade
		things []string
	}{
		{"", telemetry.General, []string{"t1", "t2", "t3", "t4"}}, {"22", telemetry.General, []string{"t1", "t2"}}, {"110000", telemetry.General, []string{"t3"}},
		{"2201", telemetry.Important, []string{"secret", "t1", "t2"}}, {"31", telemetry.Core, nil},
	} {
		w.caller = access.Caller{Name: "x", Role: access.Reader, Region: c.region, Grade: c.grade}
		found, _ := w.pages("Things", nil)
		if !slices.Equal(ids(found), c.things) {
			t.Errorf("%+v sees %v", c, ids(found))
		}
		for _, id := range []string{"t1", "t3", "secret"} {
			for _, path := range []string{"Things('" + id + "')", "FeaturesOfInterest('" + id + "')", "Things('" + id + "')/Datastreams"} {
				if code, text := w.ask(path); (code == 200) != slices.Contains(c.things, id) {
					t.Errorf("%+v: %s is %d %s", c, path, code, text)
				}
			}
		}
		for _, path := range []string{"Datastreams", "Observations?$top=1000&$expand=Datastream", "ObservedProperties", "Locations", "FeaturesOfInterest", "ObservedProperties('hidden_metric')"} {
			_, text := w.ask(path)
			for id, mark := range map[string]string{"t1": "temperature", "t3": "power", "secret": "hidden_metric"} {
				if strings.Contains(strings.ReplaceAll(text, "ObservedProperties('hidden_metric')", ""), mark) && !slices.Contains(c.things, id) {
					t.Errorf("%+v: %s tells of %s: %.200s", c, path, id, text)
				}
			}
		}
	}
}

func TestAnAnswerThatStillHoldsIsNotSentAgain(t *testing.T) {
	w := farm(t, none)
	send := func(method, tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequestWithContext(access.WithCaller(t.Context(), w.caller), method, "http://hub"+Root+"Things('t1')", nil)
		r.Header.Set("If-None-Match", tag)
		to := httptest.NewRecorder()
		w.serve.ServeHTTP(to, r)
		return to
	}
	first := send(http.MethodGet, "")
	tag := first.Header().Get("ETag")
	if first.Code != 200 || tag == "" || first.Header().Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", first.Code, first.Header())
	}
	if again := send(http.MethodGet, tag); again.Code != 304 || again.Body.Len() != 0 {
		t.Errorf("%d %s", again.Code, again.Body)
	}
	if head := send(http.MethodHead, ""); head.Code != 200 || head.Header().Get("ETag") != tag {
		t.Errorf("%d %v", head.Code, head.Header())
	}
}
