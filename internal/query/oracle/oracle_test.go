// Package oracle holds query's answers against those of Prometheus itself: the
// same data, both APIs, equal bytes. It is a module of its own because
// Prometheus' web packages bring dependencies that the hub does not want.
package oracle

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gregexp "github.com/grafana/regexp"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/common/route"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/tsdbutil"
	"github.com/prometheus/prometheus/util/notifications"
	v1 "github.com/prometheus/prometheus/web/api/v1"

	"github.com/songhua-io/hub/internal/query"
)

// epoch is when the data begins: 2026-01-01.
const epoch = 1767225600

func openStore(t testing.TB) *tsdb.DB {
	o := tsdb.DefaultOptions()
	o.OutOfOrderTimeWindow = 24 * time.Hour.Milliseconds()
	o.EnableExemplarStorage, o.MaxExemplars = true, 10
	db, err := tsdb.Open(t.TempDir(), promslog.NewNopLogger(), nil, o, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// fill stores two hours of data with everything that is hard to write down:
// odd names and values, gaps, stale marks, NaN, infinities, histograms.
func fill(t testing.TB, db *tsdb.DB) {
	app := db.Appender(context.Background())
	add := func(ls labels.Labels, sec int, v float64) {
		if _, err := app.Append(0, ls, (epoch+int64(sec))*1000, v); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 12 {
		ls := labels.FromStrings("__name__", "temperature", "device", "t"+strconv.Itoa(i), "region", strconv.Itoa(220100+100*(i%3)), "site", string(rune('a'+i%4)))
		cs := labels.FromStrings("__name__", "requests_total", "device", "t"+strconv.Itoa(i), "region", "220100")
		for s := 0; s < 7200; s += 15 {
			add(ls, s, 20+10*math.Sin(float64(s)/900)+float64(i))
			add(cs, s, float64((s*(i+1))%50000))
		}
	}
	for i, v := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 1e-7, 1.5e21, 123456789.125, 5e-324, math.MaxFloat64, 1e20, -1e-6} {
		add(labels.FromStrings("__name__", "odd", "n", strconv.Itoa(i)), 60, v)
	}
	for i, v := range []string{`<b>&"quoted"\back`, "line\nbreak\ttab\rreturn", "長春\u2028市", "bell\a\b\f\x7f", "\x00null"} {
		add(labels.FromStrings("__name__", "odd_labels", "i", strconv.Itoa(i), "text", v), 60, float64(i))
	}
	add(labels.FromStrings("__name__", "utf8.metric/温度", "utf8.label-名", "x"), 60, 1)
	add(labels.FromStrings("__name__", "ended", "device", "t1"), 60, 1)
	add(labels.FromStrings("__name__", "ended", "device", "t1"), 120, math.Float64frombits(value.StaleNaN))
	for _, le := range []string{"0.1", "1", "10", "+Inf"} {
		f, _ := strconv.ParseFloat(le, 64)
		for s := 0; s < 600; s += 15 {
			add(labels.FromStrings("__name__", "latency_bucket", "le", le), s, math.Min(f, 20)*float64(s))
		}
	}
	for i, h := range tsdbutil.GenerateTestHistograms(5) {
		if _, err := app.AppendHistogram(0, labels.FromStrings("__name__", "native"), (epoch+int64(60*i))*1000, h, nil); err != nil {
			t.Fatal(err)
		}
	}
	custom := &histogram.FloatHistogram{Schema: histogram.CustomBucketsSchema, Count: 6, Sum: 20, CustomValues: []float64{1, 2, 5},
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []float64{1, 2, 3}}
	if _, err := app.AppendHistogram(0, labels.FromStrings("__name__", "native_custom"), (epoch+60)*1000, nil, custom); err != nil {
		t.Fatal(err)
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
}

type nobody struct{}

func (nobody) TargetsActive() map[string][]*scrape.Target             { return nil }
func (nobody) TargetsDropped() map[string][]*scrape.Target            { return nil }
func (nobody) TargetsDroppedCounts() map[string]int                   { return map[string]int{} }
func (nobody) ScrapePoolConfig(string) (*config.ScrapeConfig, error)  { return nil, nil }
func (nobody) ScrapePools() []string                                  { return []string{} }
func (nobody) Alertmanagers() []*url.URL                              { return nil }
func (nobody) DroppedAlertmanagers() []*url.URL                       { return nil }
func (nobody) Get() []notifications.Notification                      { return nil }
func (nobody) Sub() (<-chan notifications.Notification, func(), bool) { return nil, func() {}, false }

// ruled are the rules of the oracle.
type ruled []*rules.Group

func (r ruled) RuleGroups() []*rules.Group { return r }

func (r ruled) AlertingRules() (all []*rules.AlertingRule) {
	for _, g := range r {
		all = append(all, g.AlertingRules()...)
	}
	return all
}

// prometheusAPI is the oracle.
func prometheusAPI(db *tsdb.DB, groups ...*rules.Group) http.Handler {
	p := parser.NewParser(parser.Options{})
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: query.DefaultConfig().MaxSamples, Timeout: query.DefaultConfig().Timeout, Parser: p,
		NoStepSubqueryIntervalFn: func(int64) int64 { return 60_000 }, EnableAtModifier: true, EnableNegativeOffset: true,
	})
	api := v1.NewAPI(engine, db, nil, db,
		func(context.Context) v1.ScrapePoolsRetriever { return nobody{} },
		func(context.Context) v1.TargetRetriever { return nobody{} },
		func(context.Context) v1.AlertmanagerRetriever { return nobody{} },
		func() config.Config { return config.Config{} }, map[string]string{"http": "127.0.0.1:8080"}, v1.GlobalURLOptions{},
		func(h http.HandlerFunc) http.HandlerFunc { return h }, admin{db}, "", false, true, 10_000, promslog.NewNopLogger(),
		func(context.Context) v1.RulesRetriever { return ruled(groups) },
		query.DefaultConfig().MaxSamples, 10, 1<<20, false, gregexp.MustCompile("^(?:.*)$"),
		func() (v1.RuntimeInfo, error) { return v1.RuntimeInfo{}, nil },
		&v1.PrometheusVersion{Version: "3.16.0", GoVersion: "go1.26.7"}, nobody{}.Get, nobody{}.Sub,
		prometheus.NewRegistry(), prometheus.NewRegistry(), nil, false, nil, false, false, false, 5*time.Minute, false, false,
		nil, nil, v1.OpenAPIOptions{}, p, false, 2*time.Minute)
	r := route.New()
	api.Register(r.WithPrefix("/api/v1"))
	return r
}

// admin is the part of the TSDB's statistics that /status/tsdb reads.
type admin struct{ *tsdb.DB }

func (a admin) Stats(label string, limit int) (*tsdb.Stats, error) {
	return a.Head().Stats(label, limit), nil
}
func (admin) WALReplayStatus() (tsdb.WALReplayStatus, error) { return tsdb.WALReplayStatus{}, nil }
func (admin) BlockMetas() ([]tsdb.BlockMeta, error)          { return nil, nil }

func hubAPI(t testing.TB, db *tsdb.DB, groups ...query.RuleGroup) http.Handler {
	c := query.DefaultConfig()
	a, err := query.New(c, query.Source{
		Store:    db,
		Visible:  func(*http.Request) (query.Scope, bool) { return query.Scope{}, true },
		Rules:    func(*http.Request) []query.RuleGroup { return groups },
		Settings: func() string { return (&config.Config{}).String() },
		Flags:    map[string]string{"http": "127.0.0.1:8080"},
		Build:    query.BuildInfo{Version: "3.16.0", GoVersion: "go1.26.7"},
		Clock:    func() time.Time { return time.Unix(epoch+7200, 0) },
		Head: func() query.Head {
			h := db.Head()
			return query.Head{MinTime: h.MinTime(), MaxTime: h.MaxTime(), Chunks: int64(math.NaN())}
		},
	}, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return a.Handler()
}

// ask is one request of the corpus.
type ask struct {
	method, path string
	form         url.Values
}

func (a ask) String() string { return a.method + " " + a.path + "?" + a.form.Encode() }

func (a ask) send(h http.Handler) *http.Response {
	var r *http.Request
	if a.method == http.MethodPost {
		r = httptest.NewRequest(a.method, "/api/v1"+a.path, strings.NewReader(a.form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	} else {
		r = httptest.NewRequest(a.method, "/api/v1"+a.path+"?"+a.form.Encode(), nil)
	}
	r.Header.Set("Origin", "http://grafana.example")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result()
}

// timings differ from run to run.
var timings = regexp.MustCompile(`"timings":\{[^}]*\}`)

func TestAnswersEqualPrometheusByteForByte(t *testing.T) {
	db := openStore(t)
	fill(t, db)
	theirs, ours := prometheusAPI(db), hubAPI(t, db)
	asks := corpus()
	if len(asks) < 150 {
		t.Errorf("the corpus has %d requests; it shall have 150", len(asks))
	}
	codes := map[int]int{}
	for _, a := range asks {
		want, got := a.send(theirs), a.send(ours)
		wantBody, gotBody := body(t, want), body(t, got)
		codes[want.StatusCode]++
		if want.StatusCode != got.StatusCode || !bytes.Equal(wantBody, gotBody) {
			t.Errorf("%s\nPrometheus %d %s\nhub        %d %s", a, want.StatusCode, cut(wantBody, gotBody), got.StatusCode, cut(gotBody, wantBody))
		}
		for _, h := range []string{"Content-Type", "Access-Control-Allow-Origin", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Expose-Headers"} {
			if w, g := want.Header.Get(h), got.Header.Get(h); w != g && want.StatusCode/100 != 4 {
				t.Errorf("%s: %s is %q, Prometheus has %q", a, h, g, w)
			}
		}
	}
	t.Logf("%d requests; status codes %v", len(asks), codes)
}

// TestCardinalityEqualsPrometheus compares /status/tsdb, whose figures of equal
// size stand in no order.
func TestCardinalityEqualsPrometheus(t *testing.T) {
	db := openStore(t)
	fill(t, db)
	a := ask{http.MethodGet, "/status/tsdb", form("limit", "1000")}
	type figures []struct {
		Name  string
		Value uint64
	}
	read := func(h http.Handler) (all struct {
		Data struct {
			HeadStats                                                                                                  map[string]int64
			SeriesCountByMetricName, LabelValueCountByLabelName, MemoryInBytesByLabelName, SeriesCountByLabelValuePair figures
		}
	}) {
		if err := json.Unmarshal(body(t, a.send(h)), &all); err != nil {
			t.Fatal(err)
		}
		d := &all.Data
		for _, f := range []figures{d.SeriesCountByMetricName, d.LabelValueCountByLabelName, d.MemoryInBytesByLabelName, d.SeriesCountByLabelValuePair} {
			slices.SortFunc(f, func(a, b struct {
				Name  string
				Value uint64
			}) int {
				return strings.Compare(a.Name, b.Name)
			})
		}
		return all
	}
	if diff := cmp.Diff(read(prometheusAPI(db)), read(hubAPI(t, db))); diff != "" {
		t.Errorf("/status/tsdb (-Prometheus +hub):\n%s", diff)
	}
}

// TestRemoteReadEqualsPrometheus compares the bytes of remote read.
func TestRemoteReadEqualsPrometheus(t *testing.T) {
	db := openStore(t)
	fill(t, db)
	theirs, ours := prometheusAPI(db), hubAPI(t, db)
	for _, m := range []*labels.Matcher{
		labels.MustNewMatcher(labels.MatchEqual, "__name__", "temperature"), labels.MustNewMatcher(labels.MatchRegexp, "__name__", "native.*|odd.*|ended"),
		labels.MustNewMatcher(labels.MatchNotEqual, "device", "t1"), labels.MustNewMatcher(labels.MatchNotRegexp, "__name__", "t.*"), labels.MustNewMatcher(labels.MatchEqual, "__name__", "nothing"),
	} {
		q, err := remote.ToQuery((epoch+60)*1000, (epoch+900)*1000, []*labels.Matcher{m}, nil)
		if err != nil {
			t.Fatal(err)
		}
		b, err := (&prompb.ReadRequest{Queries: []*prompb.Query{q, q}}).Marshal()
		if err != nil {
			t.Fatal(err)
		}
		send := func(h http.Handler) (*http.Response, []byte) {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/api/v1/read", bytes.NewReader(snappy.Encode(nil, b))))
			plain, err := snappy.Decode(nil, w.Body.Bytes())
			if err != nil {
				t.Fatalf("%s: %v: %s", m, err, w.Body)
			}
			return w.Result(), plain
		}
		want, wantBody := send(theirs)
		got, gotBody := send(ours)
		if want.StatusCode != got.StatusCode || !bytes.Equal(wantBody, gotBody) {
			t.Errorf("%s: %d, %d bytes; Prometheus: %d, %d bytes", m, got.StatusCode, len(gotBody), want.StatusCode, len(wantBody))
		}
		for _, h := range []string{"Content-Type", "Content-Encoding"} {
			if got.Header.Get(h) != want.Header.Get(h) {
				t.Errorf("%s: %s is %q, Prometheus has %q", m, h, got.Header.Get(h), want.Header.Get(h))
			}
		}
	}
}

func body(t *testing.T, r *http.Response) []byte {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return timings.ReplaceAll(b, []byte(`"timings":{}`))
}

// cut shows a from shortly before it differs from b.
func cut(a, b []byte) []byte {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	from := max(0, i-60)
	return a[from:min(len(a), from+300)]
}
