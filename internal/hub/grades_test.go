package hub

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/prompb"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// graded builds a hub that takes data of every grade.
func graded(t *testing.T) *hub {
	return whole(t, t.TempDir(), gradedIn(filepath.Join(t.TempDir(), "volume")), encryptedBy("dm-crypt", nil))
}

// token makes a token of the API.
func (h *hub) token(t *testing.T, k access.Token) string {
	t.Helper()
	_, secret, err := h.tokens.Create(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

// ask sends a request with a token and returns the answer.
func (h *hub) ask(t *testing.T, token, method, path string, body []byte) (code int, text string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, h.at.HTTP+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
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

// readings are requests that between them touch all that shows devices or what
// they report.
var readings = []string{
	"/prometheus/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D", "/prometheus/api/v1/query?query=%7B__name__%3D~%22.%2B%22%7D%5B1h%5D",
	"/prometheus/api/v1/query?query=count%20by%20(device%2Cspy)(%7Bdevice!%3D%22%22%7D)", "/prometheus/api/v1/query?query=max_over_time(%7Bspy!%3D%22%22%7D%5B1h%3A1m%5D)",
	"/prometheus/api/v1/query_range?query=%7Bdevice!%3D%22%22%7D&start=$FROM&end=$TO&step=60", "/prometheus/api/v1/query_exemplars?query=secret&start=$FROM&end=$TO",
	"/prometheus/api/v1/series?match%5B%5D=%7B__name__%3D~%22.%2B%22%7D", "/prometheus/api/v1/series?match%5B%5D=level&match%5B%5D=secret&limit=3",
	"/prometheus/api/v1/labels", "/prometheus/api/v1/label/device/values", "/prometheus/api/v1/label/spy/values", "/prometheus/api/v1/label/__name__/values",
	"/prometheus/api/v1/label/spy/values?match%5B%5D=secret", "/prometheus/api/v1/label/device/values?match%5B%5D=level&match%5B%5D=secret",
	"/prometheus/api/v1/search/metric_names?include_metadata=true&limit=1000", "/prometheus/api/v1/search/label_values?label=spy&limit=1000", "/prometheus/api/v1/search/label_values?label=device&limit=1000",
	"/prometheus/api/v1/metadata", "/prometheus/api/v1/status/tsdb?limit=1000", "/prometheus/api/v1/status/config", "/prometheus/federate?match%5B%5D=level",
	"/sensorthings/v1.1/Things?$top=1000&$expand=Datastreams($expand=Observations,Sensor,ObservedProperty),Locations", "/sensorthings/v1.1/Datastreams?$top=1000&$count=true", "/sensorthings/v1.1/Observations?$top=1000&$expand=Datastream/Thing",
	"/sensorthings/v1.1/ObservedProperties?$top=1000&$expand=Datastreams", "/sensorthings/v1.1/Sensors?$top=1000&$expand=Datastreams($expand=Observations)", "/sensorthings/v1.1/FeaturesOfInterest?$top=1000&$expand=Observations", "/sensorthings/v1.1/Locations?$expand=Things",
	"/sensorthings/v1.1/Datastreams?$filter=properties/tags/spy%20ne%20null&$orderby=name%20desc", "/sensorthings/v1.1/ObservedProperties('secret')/Datastreams",
	"/api/v1/devices?limit=1000", "/api/v1/devices?q=dq", "/api/v1/rejects?limit=1000&payload=true", "/api/v1/twins", "/api/v1/commands?limit=1000", "/api/v1/models", "/api/v1/stats", "/api/v1/regions",
}

// thing is a device of the property test: the texts that belong to it alone, and
// who may see them.
type thing struct {
	id, secret string
	device     *telemetry.Device
}

// texts are what gives a device away, with the grade that it takes to see each.
func (d thing) texts() map[string]telemetry.Grade {
	return map[string]telemetry.Grade{
		d.id + "q":   d.device.EffectiveGrade(), // its id
		d.id + "own": d.device.EffectiveGrade(), // a metric that it alone reports
		d.id + "tag": d.device.EffectiveGrade(), // a label's value
		d.id + "spy": max(d.device.EffectiveGrade(), telemetry.Grade(d.device.Model.Highest())),
		d.id + "bad": d.device.HighestGrade(), // a message that was rejected
	}
}

// TestNoPathRevealsASeriesAboveTheCaller is the property: whatever devices there
// are and whoever asks, no answer holds anything of a device of another region
// or a higher grade; and what may be seen is seen.
func TestNoPathRevealsASeriesAboveTheCaller(t *testing.T) {
	h := graded(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 1))
	names := []string{"ungraded", "general", "important", "core"}
	regions := []string{"220100", "220200", "110000", ""}
	pick := func(of []string) string { return of[random.IntN(len(of))] }
	for i := range 6 {
		h.give(t, fmt.Sprintf("id: m%d\nnames: {en: M}\ngrade: %s\nmetrics: [{name: secret, grade: %s, unit: Cel}, {name: level}]", i, pick(names), pick(names)))
	}
	var all []thing
	for i := range 24 {
		d := thing{id: fmt.Sprintf("d%c%c", 'a'+i/5, 'a'+i%5)}
		d.secret = h.register(t, registry.Spec{ID: d.id + "q", Grade: pick(names), Region: pick(regions), Model: fmt.Sprintf("m%d", random.IntN(6)), Period: time.Hour})
		d.device = h.registry.Device(d.id + "q")
		all = append(all, d)
		h.post(t, d.id+"q", d.secret, fmt.Sprintf(`{"tags": {"spy": "%stag"}, "level": 1, "%sown": 2}`, d.id, d.id))
		h.post(t, d.id+"q", d.secret, fmt.Sprintf(`{"tags": {"spy": "%sspy"}, "secret": 3}`, d.id))
		h.post(t, d.id+"q", d.secret, fmt.Sprintf(`{"%sbad": `, d.id))
	}
	now := time.Now()
	times := strings.NewReplacer("$FROM", fmt.Sprint(now.Add(-time.Hour).Unix()), "$TO", fmt.Sprint(now.Add(time.Minute).Unix()))
	for _, role := range []access.Role{access.Admin, access.Operator, access.Reader} {
		for g := telemetry.General; g <= telemetry.Core; g++ {
			for _, region := range []string{"", "22", "220100"} {
				token := h.token(t, access.Token{Name: fmt.Sprint(role, g, region), Role: role, Region: region, Grade: g})
				seen := ""
				for _, path := range readings {
					_, text := h.ask(t, token, http.MethodGet, times.Replace(path), nil)
					seen += path + " " + text + "\n"
				}
				seen += h.remoteRead(t, token)
				for _, d := range all {
					path := "/api/v1/devices/" + d.id + "q"
					code, text := h.ask(t, token, http.MethodGet, path, nil)
					if visible := strings.HasPrefix(d.device.Region, region) && d.device.EffectiveGrade() <= g; visible != (code == 200) {
						t.Errorf("%s %s of region %q asks %s, and gets %d", role, g, region, path, code)
					}
					seen += strings.ReplaceAll(text, d.id+"q", "") // it was named
				}
				h.hold(t, all, seen, fmt.Sprintf("%s of grade %s and region %q", role, g, region), role, g, region)
			}
		}
	}
}

// hold compares what was seen with what may be.
func (h *hub) hold(t *testing.T, all []thing, seen, who string, role access.Role, g telemetry.Grade, region string) {
	t.Helper()
	for _, d := range all {
		for text, grade := range d.texts() {
			may := strings.HasPrefix(d.device.Region, region) && grade <= g
			is := strings.Contains(seen, text)
			if is && !may {
				for line := range strings.SplitSeq(seen, "\n") {
					if strings.Contains(line, text) {
						t.Errorf("%s reads %q of grade %s in %.300q", who, text, grade, line)
					}
				}
			}
			if !is && may && !strings.HasSuffix(text, "bad") {
				t.Errorf("%s does not see %q of grade %s", who, text, grade)
			}
		}
	}
}

func (h *hub) remoteRead(t *testing.T, token string) string {
	t.Helper()
	b, err := (&prompb.ReadRequest{Queries: []*prompb.Query{{EndTimestampMs: time.Now().Add(time.Hour).UnixMilli(),
		Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_RE, Name: "__name__", Value: ".+"}}}}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	code, body := h.ask(t, token, http.MethodPost, "/prometheus/api/v1/read", snappy.Encode(nil, b))
	plain, err := snappy.Decode(nil, []byte(body))
	if code != 200 || err != nil {
		t.Fatalf("remote read: %d %v %s", code, err, body)
	}
	return "read " + string(plain)
}

// count is what a query for one number says; -1 when it finds nothing.
func (h *hub) count(t *testing.T, token, promql string) int {
	t.Helper()
	code, text := h.ask(t, token, http.MethodGet, "/prometheus/api/v1/query?query="+strings.NewReplacer(" ", "%20", "{", "%7B", "}", "%7D", `"`, "%22", "=", "%3D", "~", "%7E", "+", "%2B").Replace(promql), nil)
	var answer struct {
		Data struct {
			Result []struct{ Value [2]any }
		}
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || code != 200 {
		t.Fatalf("%s: %d %v %s", promql, code, err, text)
	}
	if len(answer.Data.Result) == 0 {
		return -1
	}
	var n int
	fmt.Sscan(answer.Data.Result[0].Value[1].(string), &n)
	return n
}

// TestAChangedGradeCountsForTheNextQuestion: raised, lowered, by the device and
// by its model, and after the device was removed.
func TestAChangedGradeCountsForTheNextQuestion(t *testing.T) {
	h := graded(t)
	h.give(t, "id: probe\nnames: {en: Probe}\nmetrics: [{name: level}]")
	secret := h.register(t, registry.Spec{ID: "p1", Model: "probe", Period: time.Hour})
	h.post(t, "p1", secret, `{"level": 1, "note": "zq-text"}`)
	h.post(t, "p1", secret, `{"level": "zq-bad`)
	operator := h.token(t, access.Token{Name: "op", Role: access.Operator})
	chief := h.token(t, access.Token{Name: "chief", Role: access.Operator, Grade: telemetry.Core})
	wants := func(when string, visible bool) {
		t.Helper()
		n := h.count(t, operator, `count({device="p1"})`)
		code, device := h.ask(t, operator, http.MethodGet, "/api/v1/devices/p1", nil)
		_, rejects := h.ask(t, operator, http.MethodGet, "/api/v1/rejects?payload=true", nil)
		if (n > 0) != visible || (code == 200) != visible || strings.Contains(device, "zq-text") != visible || strings.Contains(rejects, `"p1"`) != visible {
			t.Errorf("%s: %d series, %d %s, %s", when, n, code, device, rejects)
		}
		if n := h.count(t, chief, `count({device="p1"})`); n <= 0 {
			t.Errorf("%s: who may see all sees %d series", when, n)
		}
	}
	do := func(token string, want int, method, path, body string) {
		t.Helper()
		if code, text := h.ask(t, token, method, path, []byte(body)); code != want {
			t.Fatalf("%s %s %s: %d, want %d: %s", method, path, body, code, want, text)
		}
	}
	wants("ungraded", true)
	do(operator, 403, http.MethodPatch, "/api/v1/devices/p1", `{"grade": "core"}`)
	do(chief, 200, http.MethodPatch, "/api/v1/devices/p1", `{"grade": "important"}`)
	wants("raised", false)
	do(operator, 404, http.MethodPatch, "/api/v1/devices/p1", `{"grade": "general"}`)
	do(chief, 200, http.MethodPatch, "/api/v1/devices/p1", `{"grade": "general"}`)
	wants("lowered", true)
	do(chief, 200, http.MethodPut, "/api/v1/models/probe", `{"id": "probe", "names": {"en": "P"}, "metrics": [{"name": "level", "grade": "important"}]}`)
	_, device := h.ask(t, operator, http.MethodGet, "/api/v1/devices/p1", nil)
	_, rejects := h.ask(t, operator, http.MethodGet, "/api/v1/rejects?payload=true", nil)
	if !strings.Contains(device, `"p1"`) || strings.Contains(device, "zq-text") || strings.Contains(rejects, `"p1"`) {
		t.Errorf("one metric raised: texts and rejected messages may hold it: %s, %s", device, rejects)
	}
	do(chief, 200, http.MethodPut, "/api/v1/models/probe", `{"id": "probe", "names": {"en": "P"}, "metrics": [{"name": "level"}]}`)
	wants("its metric lowered", true)
	do(operator, 403, http.MethodPut, "/api/v1/models/probe", `{"id": "probe", "names": {"en": "P"}, "grade": "core", "metrics": [{"name": "level"}]}`)
	do(chief, 200, http.MethodPut, "/api/v1/models/probe", `{"id": "probe", "names": {"en": "P"}, "grade": "core", "metrics": [{"name": "level"}]}`)
	wants("raised by its model", false)
	do(operator, 403, http.MethodPut, "/api/v1/models/probe", `{"id": "probe", "names": {"en": "P"}, "metrics": [{"name": "level"}]}`)

	do(chief, 204, http.MethodDelete, "/api/v1/devices/p1", "")
	if n := h.count(t, operator, `count(last_over_time({device="p1"}[1h]))`); n != -1 {
		t.Errorf("removed, and %d series are seen", n)
	}
	if _, text := h.ask(t, operator, http.MethodGet, "/prometheus/api/v1/label/device/values", nil); strings.Contains(text, "p1") {
		t.Errorf("removed, and named: %s", text)
	}
	do(operator, 403, http.MethodPost, "/api/v1/devices", `{"id": "p1"}`)
	do(operator, 403, http.MethodPost, "/api/v1/devices:batch", `{"devices": [{"id": "x"}, {"id": "p1"}]}`)
	do(chief, 201, http.MethodPost, "/api/v1/devices", `{"id": "p1", "grade": "general"}`)
	if g := h.registry.Device("p1").Grade; g != telemetry.Core {
		t.Errorf("the device that came in the place of a core one is %s", g)
	}
	do(chief, 200, http.MethodPatch, "/api/v1/devices/p1", `{"grade": "general"}`)
	if n := h.count(t, operator, `count(last_over_time({device="p1"}[1h]))`); n <= 0 {
		t.Error("decided to be general, and not seen")
	}
}

// TestSingleMetricsOfAVisibleDeviceAreHidden: nor are they counted.
func TestSingleMetricsOfAVisibleDeviceAreHidden(t *testing.T) {
	h := graded(t)
	h.give(t, "id: camera\nnames: {en: Camera}\nmetrics: [{name: track, grade: important, min: 0, max: 10}, {name: exposure}]")
	secret := h.register(t, registry.Spec{ID: "c1", Model: "camera", Grade: "general"})
	h.post(t, "c1", secret, `{"track": 50, "exposure": 1}`)
	soon(t, "it is online", func() bool { return h.presence.Of("c1").State == registry.Online && h.presence.Of("c1").Series == 3 })
	reader := h.token(t, access.Token{Name: "r", Role: access.Reader})
	chief := h.token(t, access.Token{Name: "chief", Role: access.Reader, Grade: telemetry.Important})
	var names struct{ Data []string }
	_, text := h.ask(t, reader, http.MethodGet, "/prometheus/api/v1/label/__name__/values?match%5B%5D=%7Bdevice%3D%22c1%22%2Cjob%3D%22%22%7D", nil)
	if err := json.Unmarshal([]byte(text), &names); err != nil || !slices.Equal(names.Data, []string{"exposure"}) {
		t.Errorf("%v %s", err, text)
	}
	for token, want := range map[string]string{reader: `"series":0`, chief: `"series":3`} {
		if _, text := h.ask(t, token, http.MethodGet, "/api/v1/devices/c1", nil); !strings.Contains(text, want) {
			t.Errorf("no %s in %s", want, text)
		}
	}
	if n := h.count(t, chief, `count({device="c1", job=""})`); n != 3 {
		t.Errorf("who may see important data sees %d series, want 3", n)
	}
}

func TestAnAdminOfALowerGradeGivesNoHigherOne(t *testing.T) {
	h := graded(t)
	low := h.token(t, access.Token{Name: "low", Role: access.Admin, Grade: telemetry.General})
	for body, want := range map[string]int{
		`{"name": "a", "role": "reader", "grade": "core"}`: 403, `{"name": "b", "role": "admin"}`: 403,
		`{"name": "c", "role": "reader"}`: 201, `{"name": "d", "role": "admin", "grade": "general"}`: 201, `{"name": "e", "role": "reader", "grade": "ungraded"}`: 422,
	} {
		if code, text := h.ask(t, low, http.MethodPost, "/api/v1/tokens", []byte(body)); code != want {
			t.Errorf("%s: %d, want %d: %s", body, code, want, text)
		}
	}
	if code, _ := h.ask(t, low, http.MethodDelete, "/api/v1/tokens/admin", nil); code != 403 {
		t.Errorf("it revokes a higher one: %d", code)
	}
}
