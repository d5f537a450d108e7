package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// liveDataset is a document of a dataset of one metric that is given out as it
// comes; terms are those of sharing and opening, source what differs in it.
func liveDataset(id, metric, terms string) string {
	return fmt.Sprintf(`{"id": %q, "title": {"zh": "水位", "en": "Level (%[1]s)"}, "abstract": {"zh": "水位"}, "region": "22", "path": ["1"],
	"provider": {"name": {"zh": "某局"}, "code": "91220101MA00000000"}, "contact": {"name": {"zh": "张三"}, "email": "a@example.org"},
	"items": [{"name": "device", "type": "string", "title": {"zh": "设备"}}, {"name": %[2]q, "title": {"zh": "水位"}, "unit": "m"}],
	"source": {"kind": "series", "selector": %[2]q, "bin": "1h", "by": ["device"], "live": true}, %[3]s, "licence": "https://creativecommons.org/licenses/by/4.0/", "cycle": {"kind": "continuous"}}`, id, metric, terms)
}

const (
	forAll      = `"share": {"class": "unconditional"}, "open": {"class": "unconditional", "basis": [{"title": {"zh": "条例"}, "article": "第三十三条"}]}`
	conditional = `"share": {"class": "unconditional"}, "open": {"class": "conditional", "condition": {"zh": "研究"}, "scope": {"zh": "省内"}, "purpose": {"zh": "研究"}, "basis": [{"title": {"zh": "条例"}, "article": "第三十三条"}]}`
	forNobody   = `"share": {"class": "unconditional"}, "open": {"class": "none", "basis": [{"title": {"zh": "条例"}, "article": "第三十三条"}]}`
)

// publish makes a dataset public, through the door.
func (h *hub) publish(t *testing.T, token, document string) {
	t.Helper()
	var d struct{ ID string }
	if err := json.Unmarshal([]byte(document), &d); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{{"PUT", "", document}, {"POST", "/submit", ""}, {"POST", "/sign", `{"by": "李四"}`}, {"POST", "/publish", ""}} {
		if code, text := h.ask(t, token, c[0], "/api/v1/datasets/"+d.ID+c[1], []byte(c[2])); code != 200 {
			t.Fatalf("%v: %d %s", c, code, text)
		}
	}
}

// granted gives a token a grant to a conditional dataset.
func (h *hub) granted(t *testing.T, admin, token, dataset, scope string) (id string) {
	t.Helper()
	code, text := h.ask(t, token, http.MethodPost, "/api/v1/grants", fmt.Appendf(nil, `{"dataset": %q, "way": "open", "body": {"name": {"zh": "某公司"}, "code": "91220101MA00000000"}, "purpose": "研究", "scope": %s}`, dataset, scope))
	var g struct{ ID string }
	if err := json.Unmarshal([]byte(text), &g); err != nil || code != 201 {
		t.Fatalf("%d %s", code, text)
	}
	for _, c := range [][2]string{{"check", `{"right": true}`}, {"decide", `{"grant": true, "reason": {"zh": "符合"}}`}} {
		if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/grants/"+g.ID+"/"+c[0], []byte(c[1])); code != 200 {
			t.Fatalf("%v: %d %s", c, code, text)
		}
	}
	return g.ID
}

// anybody asks without a token.
func (h *hub) anybody(t *testing.T, path string) (int, string) {
	t.Helper()
	resp, err := http.Get(h.at.HTTP + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// idsIn are the ids of the entities of an answer, sorted.
func idsIn(t *testing.T, text string) (ids []string) {
	t.Helper()
	var page struct {
		Value []struct {
			ID string `json:"@iot.id"`
		}
	}
	if err := json.Unmarshal([]byte(text), &page); err != nil {
		t.Fatalf("%v: %.300s", err, text)
	}
	for _, e := range page.Value {
		ids = append(ids, e.ID)
	}
	slices.Sort(ids)
	return ids
}

// waterworks is a hub with two devices of two regions that report four metrics.
func waterworks(t *testing.T, change func(*config.Config)) (h *hub, admin string, begin time.Time) {
	t.Helper()
	h = everyDoor(t, t.TempDir(), change)
	admin = h.token(t, access.Token{Name: "all", Role: access.Admin})
	begin = time.Now().UTC().Truncate(time.Hour).Add(-2 * time.Hour)
	for _, d := range []struct{ id, region, grade string }{{"wa", "220100", "general"}, {"wb", "220200", "general"}, {"wc", "220100", "ungraded"}} {
		secret := h.register(t, registry.Spec{ID: d.id, Region: d.region, Grade: d.grade, Site: "s-" + d.id, Tags: map[string]string{"key": "of-" + d.id}, Period: time.Minute})
		for i := range 10 {
			at := begin.Add(time.Duration(i) * time.Minute).UnixMilli()
			if answer := h.post(t, d.id, secret, fmt.Sprintf(`{"ts": %d, "level": %d, "flow": 1, "depth": 1, "secret": 7}`, at, i)); !strings.Contains(answer, `"accepted":4`) {
				t.Fatal(answer)
			}
		}
		if answer := h.post(t, d.id, secret, fmt.Sprintf(`{"ts": %d, "tags": {"well": "x"}, "level": 77}`, begin.UnixMilli())); !strings.Contains(answer, `"accepted":1`) {
			t.Fatal(answer)
		}
	}
	h.publish(t, admin, liveDataset("level", "level", forAll))
	h.publish(t, admin, liveDataset("flow", "flow", conditional))
	h.publish(t, admin, liveDataset("depth", "depth", forNobody))
	return h, admin, begin
}

const sta = "/sensorthings/v1.1/"

// TestAnybodySeesWhatIsOpenAlone: without a token, the data streams of published
// live datasets that are open without condition, and nothing that leads elsewhere.
func TestAnybodySeesWhatIsOpenAlone(t *testing.T) {
	h, admin, begin := waterworks(t, func(*config.Config) {})
	for path, want := range map[string][]string{
		"Things": {"wa", "wb"}, "Datastreams": {"wa~level", "wb~level"}, "ObservedProperties": {"level"}, "Sensors": {"kind:sensor"}, "Locations": nil, "FeaturesOfInterest": {"wa", "wb"},
		"Things('wa')/Datastreams": {"wa~level"}, "ObservedProperties('level')/Datastreams": {"wa~level", "wb~level"}, "Datastreams?dataset=level": {"wa~level", "wb~level"}, "Datastreams?dataset=flow": nil,
		"Datastreams?$filter=properties/metric%20ne%20'level'": nil, "Observations?$filter=result%20eq%207%20and%20Datastream/id%20ne%20'wa~level'": {fmt.Sprintf("wb~level@%d", begin.Add(7*time.Minute).UnixMilli())},
	} {
		code, text := h.anybody(t, sta+path)
		if code != 200 {
			t.Errorf("%s: %d %s", path, code, text)
			continue
		}
		if got := idsIn(t, text); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", path, got, want)
		}
		for _, hidden := range []string{"secret", "of-w", "flow", "depth", "well"} {
			if strings.Contains(strings.ReplaceAll(text, path, ""), hidden) {
				t.Errorf("%s tells of %q: %s", path, hidden, text)
			}
		}
	}
	for _, path := range []string{"Datastreams('wa~flow')", "Datastreams('wa~flow')/Observations", "Datastreams('wa~secret')", "Things('wc')", "Datastreams('wc~level')", "ObservedProperties('secret')", "Sensors('kind:rsu')",
		fmt.Sprintf("Observations('wa~flow@%d')", begin.UnixMilli())} {
		if code, text := h.anybody(t, sta+path); code != 404 {
			t.Errorf("%s: %d %s", path, code, text)
		}
	}
	if code, text := h.ask(t, "sh_wrong", http.MethodGet, sta+"Things", nil); code != 401 {
		t.Errorf("a wrong token: %d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodGet, sta+"Datastreams", nil); code != 200 || !strings.Contains(text, "wc~secret") {
		t.Errorf("staff: %d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodGet, sta+"Datastreams?dataset=flow", nil); code != 200 || !slices.Equal(idsIn(t, text), []string{"wa~flow", "wb~flow"}) {
		t.Errorf("staff, of a dataset: %d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/datasets/level/suspend", []byte(`{"reason": "x"}`)); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := h.anybody(t, sta+"Datastreams"); code != 200 || len(idsIn(t, text)) != 0 {
		t.Errorf("suspended: %d %s", code, text)
	}
}

// TestAGrantOpensItsScope: items, area, time and rate, and no longer than it is in
// force.
func TestAGrantOpensItsScope(t *testing.T) {
	h, admin, begin := waterworks(t, func(*config.Config) {})
	token := h.token(t, access.Token{Name: "firm", Role: access.Public})
	other := h.token(t, access.Token{Name: "other", Role: access.Public})
	from, to := begin.Add(3*time.Minute), begin.Add(5*time.Minute)
	asked := time.Now()
	id := h.granted(t, admin, token, "flow", fmt.Sprintf(`{"items": ["flow"], "area": "2201", "from": %q, "to": %q, "rate": 3}`, from.Format(time.RFC3339), to.Format(time.RFC3339)))
	if code, text := h.ask(t, token, http.MethodGet, sta+"Datastreams", nil); code != 200 || !slices.Equal(idsIn(t, text), []string{"wa~flow", "wa~level", "wb~level"}) {
		t.Errorf("%d %s", code, text)
	}
	code, text := h.ask(t, token, http.MethodGet, sta+"Datastreams('wa~flow')/Observations", nil)
	var want []string
	for at := from; at.Before(to); at = at.Add(time.Minute) { // the end is not in it
		want = append(want, fmt.Sprintf("wa~flow@%d", at.UnixMilli()))
	}
	if code != 200 || !slices.Equal(idsIn(t, text), want) {
		t.Errorf("%d %s, want %v", code, text, want)
	}
	if code, text := h.ask(t, other, http.MethodGet, sta+"Datastreams", nil); code != 200 || !slices.Equal(idsIn(t, text), []string{"wa~level", "wb~level"}) {
		t.Errorf("another's token: %d %s", code, text)
	}
	h.ask(t, token, http.MethodGet, sta+"Datastreams", nil)
	var resp *http.Response
	var body []byte
	// The third was the last of these, but for one every twenty seconds since the first.
	for allowed := 0; resp == nil || resp.StatusCode == 200; allowed++ {
		if most := int(time.Since(asked) / (20 * time.Second)); allowed > most {
			t.Fatalf("%d more than its rate are answered after %s", allowed, time.Since(asked))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.at.HTTP+sta+"Datastreams('wa~flow')/Observations", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		if resp, err = http.DefaultClient.Do(req); err != nil {
			t.Fatal(err)
		}
		body, err = io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || !strings.Contains(resp.Header.Get("RateLimit-Policy"), `"grant-requests";q=3;w=60`) || !strings.Contains(string(body), "授权 "+id) {
		t.Errorf("beyond its rate: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	if code, text := h.ask(t, token, http.MethodGet, sta+"Datastreams('wa~level')/Observations", nil); code != 200 {
		t.Errorf("what is open to everybody takes no grant: %d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/grants/"+id+"/revoke", []byte(`{"reason": {"zh": "用于他途"}}`)); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := h.ask(t, token, http.MethodGet, sta+"Datastreams('wa~flow')", nil); code != 404 {
		t.Errorf("revoked: %d %s", code, text)
	}
	for _, path := range []string{"/prometheus/api/v1/query?query=flow", "/api/v1/devices", "/api/v1/datasets/level/lineage"} {
		if code, text := h.ask(t, other, http.MethodGet, path, nil); code != 403 {
			t.Errorf("a token of role public asks %s: %d %s", path, code, text)
		}
	}
}

// TestAGrantOfItemsShowsPlacesWhereTheyAreOne: who was granted a metric alone is not
// told where its devices stand.
func TestAGrantOfItemsShowsPlacesWhereTheyAreOne(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin})
	lat, lon := 43.88149, 125.32349
	secret := h.register(t, registry.Spec{ID: "well", Region: "220100", Grade: "general", Lat: &lat, Lon: &lon})
	if answer := h.post(t, "well", secret, `{"flow": 1, "head": 2}`); !strings.Contains(answer, `"accepted":2`) {
		t.Fatal(answer)
	}
	for _, metric := range []string{"flow", "head"} {
		h.publish(t, admin, strings.Replace(liveDataset(metric, metric, conditional), `"items": [`, `"items": [{"name": "place", "type": "geometry", "title": {"zh": "位置"}}, `, 1))
	}
	token := h.token(t, access.Token{Name: "firm", Role: access.Public})
	places := func(want ...string) {
		t.Helper()
		for path, want := range map[string][]string{"Things": {"well"}, "Locations": want, "Things('well')/Locations": want} {
			if code, text := h.ask(t, token, http.MethodGet, sta+path, nil); code != 200 || !slices.Equal(idsIn(t, text), want) {
				t.Errorf("%s: %d %s, want %v", path, code, text, want)
			}
		}
		code, text := h.ask(t, token, http.MethodGet, sta+"FeaturesOfInterest('well')", nil)
		if code != 200 || strings.Contains(text, "[125.323,43.881]") != (len(want) > 0) {
			t.Errorf("the feature: %d %s", code, text)
		}
		if code, text := h.ask(t, token, http.MethodGet, sta+"Locations('device:well')", nil); code == 200 != (len(want) > 0) || strings.Contains(text, "[125.323,43.881]") != (len(want) > 0) {
			t.Errorf("the location: %d %s", code, text)
		}
	}
	h.granted(t, admin, token, "flow", `{"items": ["flow"]}`)
	places()
	h.granted(t, admin, token, "head", `{"items": ["head", "place"]}`)
	places("device:well")
}

// TestALongAnswerEndsWithTheRightToIt: a reader that does not get on is cut off when
// the dataset is suspended, its grade raised, or the grant revoked.
func TestALongAnswerEndsWithTheRightToIt(t *testing.T) {
	h, admin, _ := waterworks(t, func(c *config.Config) {
		c.SensorThings.MaxEntities, c.SensorThings.Timeout, c.Query.Timeout = 1_000_000, time.Minute, time.Minute
	})
	token := h.token(t, access.Token{Name: "firm", Role: access.Public})
	secret := h.register(t, registry.Spec{ID: "long", Region: "220100", Grade: "general", Period: time.Second})
	begin := time.Now().Add(-time.Hour).Truncate(time.Second)
	var records []string
	for i := range 2000 {
		records = append(records, fmt.Sprintf(`{"n": "level", "t": %[1]d, "v": %[2]d}, {"n": "flow", "t": %[1]d, "v": 1}`, begin.Unix()+int64(i), i))
	}
	if answer := h.post(t, "long", secret, "["+strings.Join(records, ",")+"]"); !strings.Contains(answer, `"accepted":4000`) {
		t.Fatalf("%.300s", answer)
	}
	grant := h.granted(t, admin, token, "flow", `{}`)
	// Every observation brings all that its thing has.
	long := func(metric string) string {
		return sta + "Datastreams('long~" + metric + "')/Observations?$top=1000&$expand=Datastream($expand=Observations($top=100))"
	}
	for _, c := range []struct{ what, metric, token, path, body string }{
		{"the grant is revoked", "flow", token, "/api/v1/grants/" + grant + "/revoke", `{"reason": {"zh": "用于他途"}}`},
		{"the dataset is suspended", "level", "", "/api/v1/datasets/level/suspend", `{"reason": "x"}`},
		{"its grade is raised", "level", "", "/api/v1/datasets/level/sign", `{"by": "王五", "items": {"level": "important"}}`},
	} {
		if c.what == "its grade is raised" {
			if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/datasets/level/publish", nil); code != 200 {
				t.Fatalf("%d %s", code, text)
			}
		}
		conn, err := net.Dial("tcp", strings.TrimPrefix(h.at.HTTP, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		auth := ""
		if c.token != "" {
			auth = "Authorization: Bearer " + c.token + "\r\n"
		}
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: hub\r\n%s\r\n", long(c.metric), auth)
		head := make([]byte, 4<<10)
		if n, err := conn.Read(head); err != nil || !strings.HasPrefix(string(head[:n]), "HTTP/1.1 200") {
			t.Fatalf("%s: %v %s", c.what, err, head[:n])
		}
		before := h.unsent(t)
		if code, text := h.ask(t, admin, http.MethodPost, c.path, []byte(c.body)); code != 200 {
			t.Fatalf("%s: %d %s", c.what, code, text)
		}
		began := time.Now()
		for h.unsent(t) == before {
			if time.Since(began) > patience {
				t.Fatalf("%s: it is still being sent", c.what)
			}
			time.Sleep(5 * time.Millisecond)
		}
		t.Logf("%s: the hub sent nothing more %v after the change had returned", c.what, time.Since(began))
		// What the kernels had taken by then still comes, and no more.
		_ = conn.SetReadDeadline(time.Now().Add(patience))
		rest, err := io.ReadAll(conn)
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() {
			t.Errorf("%s: the connection stays open", c.what)
		}
		if strings.HasSuffix(string(rest), "\r\n0\r\n\r\n") || len(rest) > 24<<20 {
			t.Errorf("%s: %d bytes of it got through", c.what, len(rest))
		}
	}
}

// unsent is how many answers were cut off.
func (h *hub) unsent(t *testing.T) float64 {
	t.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "hub_query_unsent_total" {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	return 0
}

// TestTheFeedLeadsToTheInterface: what the catalogue lists of a live dataset
// answers, with what is of it alone.
func TestTheFeedLeadsToTheInterface(t *testing.T) {
	h, _, _ := waterworks(t, func(*config.Config) {})
	rec, err := h.catalog.Get("level")
	if err != nil {
		t.Fatal(err)
	}
	all := interfaces(catalog.Base("https://data.example"), rec.Dataset())
	if len(all) != 1 || all[0].Service != thingsService("https://data.example").ID {
		t.Fatalf("%+v", all)
	}
	code, text := h.anybody(t, strings.TrimPrefix(all[0].URL, "https://data.example"))
	if code != 200 || !slices.Equal(idsIn(t, text), []string{"wa~level", "wb~level"}) {
		t.Errorf("%s: %d %s", all[0].URL, code, text)
	}
	e := catalog.Entry{Dataset: rec.Dataset(), Live: all}
	if bad := e.Check(); len(bad) > 0 {
		t.Error(bad)
	}
	roads := *rec.Dataset()
	roads.Source.Kind = catalog.SourceRoads
	if interfaces("https://data.example", &roads) != nil {
		t.Error("roads are given out as they come")
	}
}
