package scrape

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/telemetry"
)

func lines(t *testing.T, text string) (out []string) {
	t.Helper()
	faults, err := Parse([]byte(text), 1000, func(s telemetry.Sample) {
		l := string(s.Metric)
		for _, tag := range s.Tags {
			l += fmt.Sprintf(" %s=%q", tag.Name, tag.Value)
		}
		out = append(out, fmt.Sprintf("%s %g @%d %s", l, s.Value, s.Time, s.Unit))
	})
	if err != nil || len(faults) > 0 {
		t.Fatal(err, faults)
	}
	return out
}

func TestTheTextFormatIsRead(t *testing.T) {
	got := lines(t, `# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{ method = "post" , code = "400", }    3 1395066363000

msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf -3982045
a_quantile{quantile="0.5"} NaN
node_disk_read_bytes_total{device="sda",empty=""} 5
{"utf8.name", site="x"} 7
`)
	want := []string{
		`http_requests_total method="post" code="200" 1027 @1395066363000 `,
		`http_requests_total method="post" code="400" 3 @1395066363000 `,
		`msdos_file_access_time_seconds path="C:\\DIR\\FILE.TXT" error="Cannot find file:\n\"FILE.TXT\"" 1.458255915e+09 @1000 s`,
		`metric_without_timestamp_and_labels 12.47 @1000 `,
		`node_disk_read_bytes_total exported_device="sda" 5 @1000 By`,
		`utf8.name exported_site="x" 7 @1000 `,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestOpenMetricsTimesAreSeconds(t *testing.T) {
	got := lines(t, "# TYPE foo histogram\nfoo_bucket{le=\"1.0\"} 10 1520879607.789 # {trace_id=\"x\"} 0.5\nfoo_count 10 # {a=\"b\"} 1\n# EOF\n")
	want := []string{`foo_bucket le="1.0" 10 @1520879607789 `, `foo_count 10 @1000 `}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestFaultsNameTheLine(t *testing.T) {
	for in, want := range map[string]string{
		"a 1\nb x\n":        "line 2: metric b: \"x\" is no value",
		"a{b=\"c} 1\n":      "line 1: metric a: label b: \"\\\"c} 1\" does not end",
		"a{b=c} 1\n":        "line 1: metric a: label b: \"c} 1\" begins without a quote",
		"a{b=\"c\"\n":       "line 1: metric a: the labels do not end",
		"a 1 yesterday\n":   "line 1: \"yesterday\" is no time",
		"{b=\"c\"} 1\n":     "has no metric name",
		"<html>\n<body>x\n": "has no metric name",
	} {
		faults, err := Parse([]byte(in), 0, func(telemetry.Sample) {})
		if all := errors.Join(append(faults, err)...); all == nil || !strings.Contains(all.Error(), want) {
			t.Errorf("%q: %v, want %s", in, all, want)
		}
		if (err == nil) != strings.HasPrefix(in, "a 1\n") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestABadLineCostsOnlyItself(t *testing.T) {
	text := "a 1\n" + strings.Repeat("x y z\n", 20) + "b 2\n"
	var got []string
	faults, err := Parse([]byte(text), 0, func(s telemetry.Sample) { got = append(got, string(s.Metric)) })
	if err != nil || strings.Join(got, " ") != "a b" || len(faults) != maxFaults+1 || !strings.Contains(faults[maxFaults].Error(), "12 more") {
		t.Error(got, faults, err)
	}
}

func TestAnExporterIsScraped(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "a_one 1\nb_two 2\na_three\na_three 3\n")
	}))
	defer server.Close()
	cfg := Config{URL: server.URL, Metrics: []string{"a_*"}, Interval: source.Interval{Interval: time.Minute}, BearerToken: "key"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var got []string
	err := New(cfg, time.Now).Run(ctx, func(_ context.Context, r source.Record) error {
		for _, s := range r.Samples {
			got = append(got, string(s.Metric))
		}
		if len(r.Faults) != 1 {
			t.Error(r.Faults)
		}
		cancel()
		return nil
	})
	if d := cmp.Diff([]string{"a_one", "a_three"}, got); err != nil || d != "" {
		t.Error(err, d)
	}
	cfg.BearerToken = ""
	if err := New(cfg, time.Now).Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "401") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("a{b=\"c\\n\"} 1 2 # {x=\"y\"} 1\n# EOF"))
	f.Add([]byte("{\"a.b\",c=\"d\"} 1"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, _ = Parse(in, 0, func(s telemetry.Sample) {
			if len(s.Metric) == 0 {
				t.Error("a sample without a name")
			}
		})
	})
}
