package query

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/songhua-io/hub/internal/config/strict"
)

// noon is the hub's clock in these tests.
var noon = time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)

// hub is a served API over a store.
type hub struct {
	*httptest.Server
	t   testing.TB
	api *API
	reg *prometheus.Registry
	db  *teststorage.TestStorage
}

// serve serves a store to callers who may see the region that the header
// Region names; without the header they may see nothing.
func serve(t testing.TB, change func(*Config, *Source), routes ...Route) *hub {
	h := &hub{t: t, reg: prometheus.NewRegistry(), db: teststorage.New(t)}
	c := DefaultConfig()
	s := Source{
		Store:   h.db,
		Clock:   func() time.Time { return noon },
		Build:   BuildInfo{Version: "1.0.0"},
		Started: noon.Add(-time.Hour),
		Visible: func(r *http.Request) (Scope, bool) {
			v := r.Header.Values("Region")
			if len(v) == 0 {
				return Scope{}, false
			}
			return Scope{Region: v[0]}, true
		},
	}
	if change != nil {
		change(&c, &s)
	}
	api, err := New(c, s, slog.New(slog.DiscardHandler), h.reg)
	if err != nil {
		t.Fatal(err)
	}
	h.api = api
	h.Server = httptest.NewServer(api.Handler(routes...))
	t.Cleanup(h.Close)
	return h
}

// store adds a sample for each series, so long before noon.
func (h *hub) store(ago time.Duration, value float64, series ...labels.Labels) {
	h.t.Helper()
	app := h.db.Appender(h.t.Context())
	for _, ls := range series {
		if _, err := app.Append(0, ls, noon.Add(-ago).UnixMilli(), value); err != nil {
			h.t.Fatal(err)
		}
	}
	if err := app.Commit(); err != nil {
		h.t.Fatal(err)
	}
}

// as asks as somebody who may see a region; "none" sees nothing.
func (h *hub) as(region, method, path string, body io.Reader, header ...string) (int, string, http.Header) {
	h.t.Helper()
	req, err := http.NewRequestWithContext(h.t.Context(), method, h.URL+"/api/v1"+path, body)
	if err != nil {
		h.t.Fatal(err)
	}
	if region != "none" {
		req.Header.Set("Region", region)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		h.t.Error(err)
		return 0, "", nil
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		h.t.Error(err)
	}
	return resp.StatusCode, string(b), resp.Header
}

func (h *hub) get(path string) (int, string) {
	code, body, _ := h.as("", http.MethodGet, path, nil)
	return code, body
}

func (h *hub) form(path string, v url.Values) (int, string) {
	code, body, _ := h.as("", http.MethodPost, path, strings.NewReader(v.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	return code, body
}

func (h *hub) wants(want string, code int, body string) {
	h.t.Helper()
	if code != http.StatusOK || body != want {
		h.t.Errorf("%d %s\nwant 200 %s", code, body, want)
	}
}

func series(name, device, region string) labels.Labels {
	return labels.FromStrings("__name__", name, "device", device, "region", region)
}

func TestGrafanasRequestsAreAnswered(t *testing.T) {
	h := serve(t, func(_ *Config, s *Source) {
		s.Metadata = func() map[string][]Metadata {
			return map[string][]Metadata{"temperature": {{Type: "gauge", Unit: "Cel", Help: "Air temperature."}}}
		}
	})
	h.store(time.Minute, 21.5, series("temperature", "t1", "220100"))
	unix := func(ago time.Duration) string { return fmt.Sprint(noon.Add(-ago).Unix()) }

	check := func(want string) func(int, string) {
		return func(code int, body string) { t.Helper(); h.wants(want, code, body) }
	}
	// the health check
	check(`{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}`)(h.get("/query?query=1%2B1&time=4"))
	check(`{"status":"success","data":{"resultType":"scalar","result":[4,"2"]}}`)(h.form("/query", url.Values{"query": {"1+1"}, "time": {"4"}}))
	// panels
	check(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"__name__":"temperature","device":"t1","region":"220100"},"value":[` + unix(0) + `,"21.5"]}]}}`)(h.form("/query", url.Values{"query": {"temperature"}}))
	check(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[` + unix(time.Minute) + `,"21.5"],[` + unix(30*time.Second) + `,"21.5"]]}]}}`)(
		h.form("/query_range", url.Values{"query": {"sum(temperature)"}, "start": {unix(2 * time.Minute)}, "end": {unix(30 * time.Second)}, "step": {"30"}}))
	// variables and the query builder
	check(`{"status":"success","data":["__name__","device","region"]}`)(h.form("/labels", url.Values{"match[]": {"temperature"}, "start": {unix(time.Hour)}, "end": {unix(0)}, "limit": {"40000"}}))
	check(`{"status":"success","data":["t1"]}`)(h.get("/label/device/values?match%5B%5D=temperature&limit=40000"))
	check(`{"status":"success","data":["temperature"]}`)(h.get("/label/U______name____/values"))
	check(`{"status":"success","data":[{"__name__":"temperature","device":"t1","region":"220100"}]}`)(h.form("/series", url.Values{"match[]": {"temperature"}}))
	check(`{"status":"success","data":{"temperature":[{"type":"gauge","unit":"Cel","help":"Air temperature."}]}}`)(h.get("/metadata?limit=10"))
	// Explore's probe for exemplars: milliseconds
	check(`{"status":"success","data":[]}`)(h.form("/query_exemplars", url.Values{"query": {"test"}, "start": {unix(time.Hour) + "000"}, "end": {unix(0) + "000"}}))
	check(`{"status":"success","data":{"groups":[]}}`)(h.get("/rules"))
	check(`{"status":"success","data":{"alerts":[]}}`)(h.get("/alerts"))
	check(`{"results":[{"name":"temperature","type":"gauge","help":"Air temperature.","unit":"Cel"}]}` + "\n" + `{"status":"success","has_more":false}` + "\n")(
		h.get("/search/metric_names?search%5B%5D=temp&include_metadata=true"))

	if code, body := h.get("/status/buildinfo"); code != 200 || strings.Contains(body, "features") || !strings.Contains(body, `"version":"1.0.0"`) {
		t.Errorf("buildinfo, which must have no features: %d %s", code, body)
	}
	code, body := h.form("/query_range", url.Values{"query": {"temperature"}, "start": {"0"}, "end": {"11001"}, "step": {"1"}})
	if code != 400 || !strings.Contains(body, "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)") {
		t.Errorf("11,001 points: %d %s", code, body)
	}
}

func TestAnswersAreGzippedForWhoAsks(t *testing.T) {
	h := serve(t, nil)
	_, body, header := h.as("", http.MethodGet, "/query?query=1&time=1", nil, "Accept-Encoding", "gzip")
	if got := header.Get("Content-Encoding"); got != "gzip" {
		t.Fatalf("Content-Encoding is %q", got)
	}
	z, err := gzip.NewReader(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	plain, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(`{"status":"success","data":{"resultType":"scalar","result":[1,"1"]}}`, string(plain)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"Accept-Encoding", "Origin"}, header.Values("Vary")); diff != "" {
		t.Error(diff)
	}
	for accept, want := range map[string]bool{"": false, "br": false, "gzip;q=0": false, "gzip;q=0.5": true, "deflate, gzip": true, "identity": false} {
		_, _, header := h.as("", http.MethodGet, "/query?query=1&time=1", nil, "Accept-Encoding", accept)
		if got := header.Get("Content-Encoding") == "gzip"; got != want {
			t.Errorf("Accept-Encoding %q: gzip %t, want %t", accept, got, want)
		}
	}
	// an answer without a body stays without one
	code, body, header := h.as("", http.MethodGet, "/query_exemplars?query=1", nil, "Accept-Encoding", "gzip")
	if code != http.StatusNoContent || body != "" || header.Get("Content-Encoding") != "" {
		t.Errorf("no content: %d %q %v", code, body, header)
	}
}

func TestForeignOriginsReadWhatTheConfigAllows(t *testing.T) {
	origins := func(h *hub, method string) string {
		_, _, header := h.as("", method, "/query?query=1", nil, "Origin", "https://grafana.example")
		return header.Get("Access-Control-Allow-Origin")
	}
	every := serve(t, nil)
	some := serve(t, func(c *Config, _ *Source) { c.CORSOrigin = `https://[a-z]+\.example` })
	none := serve(t, func(c *Config, _ *Source) { c.CORSOrigin = "" })
	for _, method := range []string{http.MethodGet, http.MethodOptions} {
		if got := origins(every, method); got != "*" {
			t.Errorf("%s, every origin: %q", method, got)
		}
		if got := origins(some, method); got != "https://grafana.example" {
			t.Errorf("%s, some origins: %q", method, got)
		}
		if got := origins(none, method); got != "" {
			t.Errorf("%s, no origin: %q", method, got)
		}
	}
}

func TestHeldValuesOverTheAPI(t *testing.T) {
	h := serve(t, func(_ *Config, s *Source) { s.Periods = declared{"probe": time.Hour, "air": 10 * time.Second} })
	h.store(2*time.Hour, 1, series("v", "probe", "220100"))
	h.store(time.Minute, 2, series("v", "air", "220100"))
	code, body := h.get("/query?query=count(v)")
	h.wants(fmt.Sprintf(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,"1"]}]}}`, noon.Unix()), code, body)
	if !strings.Contains(body, "vector") {
		t.Fatal(body)
	}
	// who brings a lookback_delta gets Prometheus' rule with it
	code, body = h.get("/query?query=count(v)&lookback_delta=3h")
	h.wants(fmt.Sprintf(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[%d,"2"]}]}}`, noon.Unix()), code, body)
}

// everywhere are requests that between them touch all that reads the store.
var everywhere = []string{
	"/query?query=%7B__name__%3D~%22.%2B%22%7D", "/query?query=v%5B2h%5D", "/query?query=v%20or%20secret", "/query?query=count_over_time(secret%5B1h%5D)", "/query?query=v&lookback_delta=1h", "/query?query=max_over_time(secret%5B1h%3A1m%5D)",
	"/query_range?query=%7Bregion%3D%22310000%22%7D&start=1795489200&end=1795492800&step=60", "/query?query=%7Bregion!%3D%22%22%7D", "/query?query=secret%20%40%201795492740",
	"/series?match%5B%5D=%7B__name__%3D~%22.%2B%22%7D", "/series?match%5B%5D=v&match%5B%5D=secret", "/series?match%5B%5D=%7Bdevice%3D%22shanghai%22%7D",
	"/labels", "/labels?match%5B%5D=secret", "/labels?match%5B%5D=v&match%5B%5D=secret",
	"/label/region/values", "/label/device/values", "/label/__name__/values", "/label/spy/values", "/label/device/values?match%5B%5D=secret", "/label/device/values?match%5B%5D=secret&match%5B%5D=v",
	"/search/metric_names", "/search/metric_names?include_metadata=true", "/search/label_names", "/search/label_values?label=device", "/search/label_values?label=region&search%5B%5D=31", "/search/metric_names?match%5B%5D=secret",
	"/metadata", "/metadata?metric=secret", "/status/tsdb?limit=1000", "/status/config", "/status/flags", "/targets", "/rules", "/alerts", "/query_exemplars?query=secret", "/status/runtimeinfo", "/status/buildinfo",
}

func visibleHub(t *testing.T) *hub {
	h := serve(t, func(_ *Config, s *Source) {
		s.Metadata = func() map[string][]Metadata {
			return map[string][]Metadata{"v": {{Type: "gauge"}}, "secret": {{Type: "gauge", Help: "shanghai"}}}
		}
		s.Settings = func() string { return "peer: shanghai" }
		s.Flags = map[string]string{"peer": "shanghai"}
		s.Head = func() Head { return Head{Chunks: 310000} }
		s.Periods = declared{"shanghai": time.Hour, "changchun": time.Hour}
	})
	h.store(time.Minute, 310000, series("v", "shanghai", "310000"), labels.FromStrings("__name__", "secret", "device", "shanghai", "region", "310000", "spy", "s"),
		labels.FromStrings("__name__", "secret", "device", "shanghai"))
	h.store(time.Minute, 1, series("v", "changchun", "220100"))
	return h
}

// TestOtherRegionsAreNotThere asks everything as somebody of Jilin: nothing of
// the series of Shanghai, nor of those without a region, may be in any answer.
func TestOtherRegionsAreNotThere(t *testing.T) {
	h := visibleHub(t)
	for _, region := range []string{"22", "220100", "2201"} {
		for _, path := range everywhere {
			_, body, _ := h.as(region, http.MethodGet, path, nil)
			for _, leak := range []string{"shanghai", "310000", "secret", "spy"} {
				if strings.Contains(body, leak) {
					t.Errorf("region %s reads %q in %s: %s", region, leak, path, body)
				}
			}
		}
	}
	_, body, _ := h.as("22", http.MethodGet, "/query?query=v", nil)
	if !strings.Contains(body, "changchun") {
		t.Errorf("Jilin does not see its own: %s", body)
	}
	_, body, _ = h.as("23", http.MethodGet, "/series?match%5B%5D=v", nil)
	if body != `{"status":"success","data":[]}` {
		t.Errorf("Heilongjiang has no series: %s", body)
	}
	code, all := h.get("/series?match%5B%5D=%7B__name__%3D~%22.%2B%22%7D")
	if n := strings.Count(all, "__name__"); code != 200 || n != 4 {
		t.Errorf("who may see everything sees %d of 4 series: %s", n, all)
	}
}

func readRequest(t *testing.T, types ...prompb.ReadRequest_ResponseType) io.Reader {
	q := &prompb.Query{StartTimestampMs: noon.Add(-time.Hour).UnixMilli(), EndTimestampMs: noon.UnixMilli(),
		Matchers: []*prompb.LabelMatcher{{Type: prompb.LabelMatcher_RE, Name: "__name__", Value: ".+"}}}
	b, err := (&prompb.ReadRequest{Queries: []*prompb.Query{q}, AcceptedResponseTypes: types}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.NewReader(snappy.Encode(nil, b))
}

func readResponse(t *testing.T, body string) []string {
	plain, err := snappy.Decode(nil, []byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	var resp prompb.ReadResponse
	if err := resp.Unmarshal(plain); err != nil {
		t.Fatal(err)
	}
	found := []string{}
	for _, ts := range resp.Results[0].Timeseries {
		found = append(found, fmt.Sprint(ts.Labels, len(ts.Samples)))
	}
	return found
}

func TestRemoteReadIsConfinedToo(t *testing.T) {
	h := visibleHub(t)
	code, body, _ := h.as("22", http.MethodPost, "/read", readRequest(t))
	if got := readResponse(t, body); code != 200 || len(got) != 1 || !strings.Contains(got[0], "changchun") {
		t.Errorf("Jilin reads %d %q", code, got)
	}
	code, body, _ = h.as("", http.MethodPost, "/read", readRequest(t))
	if got := readResponse(t, body); code != 200 || len(got) != 4 {
		t.Errorf("who may read everything reads %d %q", code, got)
	}
	if code, _, _ := h.as("none", http.MethodPost, "/read", readRequest(t)); code != http.StatusForbidden {
		t.Errorf("a stranger reads: %d", code)
	}
	if code, body, _ := h.as("", http.MethodPost, "/read", readRequest(t, prompb.ReadRequest_STREAMED_XOR_CHUNKS)); code != http.StatusBadRequest {
		t.Errorf("chunks only: %d %s", code, body)
	}
	if code, body, _ := h.as("", http.MethodPost, "/read", readRequest(t, prompb.ReadRequest_STREAMED_XOR_CHUNKS, prompb.ReadRequest_SAMPLES)); code != http.StatusOK {
		t.Errorf("chunks or samples: %d %s", code, body)
	}
	for _, junk := range []string{"", "junk", "\xff\xff\xff\xff\x0f"} {
		if code, _, _ := h.as("", http.MethodPost, "/read", strings.NewReader(junk)); code != http.StatusBadRequest {
			t.Errorf("junk %q: %d", junk, code)
		}
	}
}

func TestStrangersSeeNothing(t *testing.T) {
	h := visibleHub(t)
	for _, path := range everywhere {
		code, body, _ := h.as("none", http.MethodGet, path, nil)
		if code != http.StatusForbidden || !strings.Contains(body, `"errorType":"forbidden"`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	// and a read that forgot to say who asks finds nothing either
	q, err := h.api.store.Querier(0, noon.UnixMilli())
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	if set := q.Select(t.Context(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "v")); set.Next() || set.Err() == nil {
		t.Error("Select without a scope finds series")
	}
	if v, _, err := q.LabelValues(t.Context(), "device", nil); err == nil {
		t.Errorf("LabelValues without a scope: %q", v)
	}
	if v, _, err := q.LabelNames(t.Context(), nil); err == nil {
		t.Errorf("LabelNames without a scope: %q", v)
	}
}

func TestLimitsTruncateWithAWarning(t *testing.T) {
	h := serve(t, nil)
	h.store(time.Minute, 1, series("v", "a", "1"), series("v", "b", "1"), series("v", "c", "1"))
	for _, path := range []string{"/query?query=v&limit=2", "/series?match%5B%5D=v&limit=2", "/label/device/values?limit=2", "/labels?limit=2"} {
		code, body := h.get(path)
		if code != 200 || !strings.HasSuffix(body, `"warnings":["results truncated due to limit"]}`) {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	if _, body := h.get("/search/label_values?label=device&limit=2"); !strings.Contains(body, `"has_more":true`) {
		t.Error(body)
	}
}

func TestOtherRoutesStandBesideTheAPI(t *testing.T) {
	took := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	h := serve(t, nil, Route{http.MethodPost, "/write", took}, Route{http.MethodPost, "/otlp/v1/metrics", took})
	for _, path := range []string{"/write", "/otlp/v1/metrics"} {
		// they know their own senders: no scope is asked for
		if code, _, _ := h.as("none", http.MethodPost, path, nil); code != http.StatusNoContent {
			t.Errorf("%s: %d", path, code)
		}
	}
}

func TestBoundsOnSizeAreToldAndCounted(t *testing.T) {
	h := serve(t, func(c *Config, _ *Source) { c.MaxSamples, c.MaxSeries, c.MaxRequestBytes = 10, 3, 200 })
	for _, d := range []string{"a", "b", "c", "d"} {
		h.store(time.Minute, 1, series("v", d, "1"))
	}
	one := url.Values{"query": {`v{device="a"}`}, "start": {fmt.Sprint(noon.Unix() - 60)}, "end": {fmt.Sprint(noon.Unix())}, "step": {"1"}}
	for _, c := range []struct {
		limit, kind string
		code        int
		ask         func() (int, string)
	}{
		{limitSamples, "execution", 422, func() (int, string) { return h.form("/query_range", one) }},
		{limitSeries, "cost_limit", 422, func() (int, string) { return h.get("/query?query=v") }},
		{limitSeries, "cost_limit", 422, func() (int, string) { return h.get("/series?match%5B%5D=v") }},
		{limitSeries, "cost_limit", 422, func() (int, string) { return h.get("/status/tsdb") }},
		{limitPoints, "bad_data", 400, func() (int, string) { return h.get("/query_range?query=v&start=0&end=99999&step=1") }},
		{limitBody, "bad_data", 413, func() (int, string) { return h.form("/query", url.Values{"query": {strings.Repeat("1+", 200) + "1"}}) }},
	} {
		before := testutil.ToFloat64(h.api.metrics.limited.WithLabelValues(c.limit))
		code, body := c.ask()
		var e struct{ ErrorType string }
		if err := json.Unmarshal([]byte(body), &e); err != nil || code != c.code || e.ErrorType != c.kind {
			t.Errorf("%s: %d %s", c.limit, code, body)
		}
		if n := testutil.ToFloat64(h.api.metrics.limited.WithLabelValues(c.limit)) - before; n != 1 {
			t.Errorf("%s: counted %v times", c.limit, n)
		}
	}
	if code, body, _ := h.as("", http.MethodPost, "/read", readRequest(t)); code != 422 {
		t.Errorf("remote read of too many series: %d %s", code, body)
	}
}

// The parser takes a minute of a processor for a megabyte of these, and no
// deadline reaches into it.
func TestExpressionsThatOnlyTheParserFeelsAreRefused(t *testing.T) {
	h := serve(t, nil)
	for _, c := range []struct {
		what, query string
		code        int
	}{
		{"parentheses", strings.Repeat("(", 100_000) + "1" + strings.Repeat(")", 100_000), 400},
		{"operators", "1" + strings.Repeat("+1", 100_000), 400},
		{"operators between strings", `"a"` + strings.Repeat(`=="\"a"`, 20_000), 400},
		{"operators behind a comment", "# \"\n1" + strings.Repeat("+1", 100_000), 400},
		{"sets", "v" + strings.Repeat(" or v", 50_000), 400},
		{"functions", strings.Repeat("sum(", 100_000) + "v" + strings.Repeat(")", 100_000), 400},
		{"a long regular expression", `count(v{device=~"` + strings.Repeat("device-1|", 30_000) + `x"}) or vector(0)`, 200},
	} {
		for _, path := range []string{"/query", "/format_query", "/parse_query"} {
			code, body := h.form(path, url.Values{"query": {c.query}})
			if code != c.code || code == 400 && !strings.Contains(body, "ask several questions") {
				t.Errorf("%s of %s: %d %.200s", path, c.what, code, body)
			}
		}
	}
}

// slowStore answers when it is told to.
type slowStore struct {
	storage.Queryable
	asked, go_ chan struct{}
}

func (s slowStore) Querier(mint, maxt int64) (storage.Querier, error) {
	s.asked <- struct{}{}
	<-s.go_
	return s.Queryable.Querier(mint, maxt)
}

func TestTheQueueIsBounded(t *testing.T) {
	slow := slowStore{asked: make(chan struct{}, 8), go_: make(chan struct{})}
	h := serve(t, func(c *Config, s *Source) {
		c.MaxConcurrency, c.MaxQueue = 1, 1
		slow.Queryable = s.Store
		s.Store = slow
	})
	codes := make(chan int, 2)
	ask := func() {
		code, _ := h.get("/labels")
		codes <- code
	}
	go ask()
	<-slow.asked // it has its turn
	go ask()     // it waits
	until(t, "the second question waits", func() bool { return h.api.gate.waiting.Load() > 0 })
	code, body, header := h.as("", http.MethodGet, "/labels", nil)
	if code != http.StatusTooManyRequests || header.Get("Retry-After") != "1" || !strings.Contains(body, `"errorType":"unavailable"`) {
		t.Errorf("the third question: %d %s", code, body)
	}
	// what reads no store needs no turn
	if code, _ := h.get("/status/buildinfo"); code != 200 {
		t.Errorf("buildinfo while the store is busy: %d", code)
	}
	close(slow.go_)
	if a, b := <-codes, <-codes; a != 200 || b != 200 {
		t.Errorf("the first two questions: %d, %d", a, b)
	}
	if n := testutil.ToFloat64(h.api.metrics.limited.WithLabelValues(limitQueue)); n != 1 {
		t.Errorf("counted %v times", n)
	}
}

func TestTimeIsBounded(t *testing.T) {
	h := serve(t, func(c *Config, _ *Source) { c.Timeout = time.Millisecond })
	h.store(time.Minute, 1, series("v", "a", "1"))
	deep := "v" + strings.Repeat(" + sum_over_time(sum(v)[1h:1ms])", 20)
	code, body := h.form("/query", url.Values{"query": {deep}})
	if code != http.StatusServiceUnavailable || !strings.Contains(body, `"errorType":"timeout"`) {
		t.Errorf("%d %s", code, body)
	}
	patient := serve(t, nil)
	patient.store(time.Minute, 1, series("v", "a", "1"))
	code, body = patient.form("/query", url.Values{"query": {deep}, "timeout": {"1ms"}})
	if code != http.StatusServiceUnavailable || !strings.Contains(body, `"errorType":"timeout"`) {
		t.Errorf("own timeout: %d %s", code, body)
	}
}

func TestConfigErrorsNameTheirKeys(t *testing.T) {
	err := strict.Join(Config{CORSOrigin: "("}.Check("query"))
	for _, key := range []string{"timeout", "max_samples", "max_series", "max_points", "max_concurrency", "max_queue", "max_request_bytes", "cors_origin"} {
		if err == nil || !strings.Contains(err.Error(), "query."+key) {
			t.Errorf("%v does not name %s", err, key)
		}
	}
	if errs := DefaultConfig().Check("query"); len(errs) > 0 {
		t.Error(errs)
	}
}
