package influx

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// twins are an InfluxDB and the TSDB of the local engine with the same points.
type twins struct {
	influx *Client
	local  storage.Queryable
	from   int64 // of the first point, in milliseconds
}

const (
	twinPoints = 240
	twinStep   = 10_000 // milliseconds
)

// oddValues come among others: what InfluxDB holds in another field, and what
// compares as equal and is not the same.
var oddValues = []float64{math.NaN(), math.Float64frombits(value.StaleNaN), math.Float64frombits(0x7ff8000000000123), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 100, 100, -100}

func newTwins(t *testing.T, s influxd) twins {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	local := teststorage.New(t)
	t.Cleanup(func() { _ = local.Close() })
	tw := twins{influx: s.client(t, s.bucket(t)), local: local, from: 1764000000000}
	var batch []queue.Series
	for i, odd := range oddTexts {
		name := []string{"load", "load", "空", "x:y.z"}[i%4]
		pairs := []string{"device", fmt.Sprintf("probe-%d", i%7), "text", odd}
		if i%3 == 0 {
			pairs = append(pairs, "zone", "a")
		}
		series := queue.Series{Labels: metric(name, pairs...)}
		for j := range twinPoints {
			if r.IntN(5) == 0 {
				continue
			}
			v := math.Round(r.NormFloat64()*1000) / 100
			if r.IntN(4) == 0 {
				v = oddValues[r.IntN(len(oddValues))]
			}
			series.Points = append(series.Points, telemetry.Point{Time: tw.from + int64(j)*twinStep + int64(r.IntN(3)*r.IntN(2)), Value: v})
		}
		batch = append(batch, series)
	}
	if err := tw.influx.Send(context.Background(), batch); err != nil {
		t.Fatal(err)
	}
	own := func(s queue.Series) labels.Labels {
		var b labels.ScratchBuilder
		for _, l := range s.Labels {
			b.Add(l.Name, l.Value)
		}
		b.Sort()
		return b.Labels()
	}
	// PromQL adds series in the order in which they are found, in the TSDB that of
	// their coming.
	slices.SortFunc(batch, func(a, b queue.Series) int { return labels.Compare(own(a), own(b)) })
	app := local.Appender(context.Background())
	for _, series := range batch {
		for _, p := range series.Points {
			if _, err := app.Append(0, own(series), p.Time, p.Value); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := app.Commit(); err != nil {
		t.Fatal(err)
	}
	return tw
}

// text is a result with every bit of its values.
func text(t *testing.T, res *promql.Result) []string {
	t.Helper()
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	var out []string
	switch v := res.Value.(type) {
	case promql.Vector:
		for _, s := range v {
			out = append(out, fmt.Sprintf("%s %d %x", s.Metric, s.T, math.Float64bits(s.F)))
		}
	case promql.Matrix:
		for _, s := range v {
			line := s.Metric.String()
			for _, p := range s.Floats {
				line += fmt.Sprintf(" %d %x", p.T, math.Float64bits(p.F))
			}
			out = append(out, line)
		}
	default:
		t.Fatalf("a result of the type %T", v)
	}
	slices.Sort(out)
	return out
}

// TestQueriesAnswerAsTheLocalEngine asks both the same, and wants the same bits:
// of what the server does of a query, and of what it does not.
func TestQueriesAnswerAsTheLocalEngine(t *testing.T) {
	tw := newTwins(t, startInflux(t))
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	instants := []string{
		`load`, `sum by (zone) (load)`, `max(load)`, `topk(3, load)`, `timestamp(load)`, `abs(load)`, `count({__name__=~".+"})`, `group by (text) ({__name__!=""})`,
		`sort(load)`, `avg(load offset 3m)`, `max(load @ 1764000600)`, `absent(load)`, `absent(none)`, `quantile(0.9, load)`, `stddev(load)`, `load > 0`, `load + on (text) load`,
		`max_over_time(load[10m])`, `min_over_time(load[10m])`, `last_over_time(load[10m])`, `present_over_time(load[10m])`, `absent_over_time(load[10m])`, `count_over_time(load[10m])`,
		`sum_over_time(load[10m])`, `avg_over_time(load[10m])`, `rate(load[10m])`, `stddev_over_time(load[10m])`, `quantile_over_time(0.5, load[10m])`, `changes(load[10m])`,
		`max_over_time({__name__=~".+"}[7m] offset 2m)`, `min_over_time({text=~".*[^a]"}[1h])`, `max_over_time(load[10m:1m])`, `max_over_time(sum(load)[10m:30s])`, `max(max_over_time(load[3s]))`,
		`last_over_time(load[15s])`, `sum(last_over_time(load[1m])) by (zone)`, `max_over_time(load[1h] @ end())`,
	}
	for _, q := range instants {
		for at := tw.from - 60_000; at < tw.from+twinPoints*twinStep+600_000; at += 387_001 {
			var got [2][]string
			for i, from := range []storage.Queryable{tw.local, tw.influx} {
				query, err := engine.NewInstantQuery(context.Background(), from, nil, q, time.UnixMilli(at))
				if err != nil {
					t.Fatalf("%s: %v", q, err)
				}
				got[i] = text(t, query.Exec(context.Background()))
				query.Close()
			}
			if diff := cmp.Diff(got[0], got[1], cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s at %d (-local +influx):\n%s", q, at, diff)
			}
		}
	}
	for _, q := range []string{`sum(load)`, `max_over_time(load[2m])`, `max_over_time(load[10s])`, `rate({text!=""}[3m])`, `load{zone=""}`} {
		var got [2][]string
		for i, from := range []storage.Queryable{tw.local, tw.influx} {
			query, err := engine.NewRangeQuery(context.Background(), from, nil, q, time.UnixMilli(tw.from-1), time.UnixMilli(tw.from+twinPoints*twinStep), 37*time.Second)
			if err != nil {
				t.Fatalf("%s: %v", q, err)
			}
			got[i] = text(t, query.Exec(context.Background()))
			query.Close()
		}
		if diff := cmp.Diff(got[0], got[1], cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("%s over time (-local +influx):\n%s", q, diff)
		}
	}
}

// TestMatchersFindWhatTheLocalEngineFinds asks for series, names and values.
func TestMatchersFindWhatTheLocalEngineFinds(t *testing.T) {
	tw := newTwins(t, startInflux(t))
	var sets [][]*labels.Matcher
	add := func(ms ...*labels.Matcher) { sets = append(sets, ms) }
	one := func(kind labels.MatchType, name, v string) *labels.Matcher {
		return labels.MustNewMatcher(kind, name, v)
	}
	add()
	for _, name := range []string{"text", "zone", "__name__", "nowhere"} {
		for _, v := range []string{"", "a", "load", `C:\dir\`} {
			add(one(labels.MatchEqual, name, v))
			add(one(labels.MatchNotEqual, name, v))
		}
		for _, re := range []string{".*", ".+", "a|", "a|空|load", ".*\\\\.*", "(?i)LOAD", "[^/]+", "(?s).*\n.*"} {
			add(one(labels.MatchRegexp, name, re))
			add(one(labels.MatchNotRegexp, name, re))
		}
	}
	for _, text := range oddTexts {
		add(one(labels.MatchEqual, "text", text), one(labels.MatchNotEqual, "device", "probe-1"))
	}
	add(one(labels.MatchEqual, "zone", "a"), one(labels.MatchRegexp, "device", "probe-[1-4]"), one(labels.MatchNotRegexp, "text", "a.*"))
	ctx := context.Background()
	for _, ms := range sets {
		var got [2][]string
		for i, from := range []storage.Queryable{tw.local, tw.influx} {
			q, err := from.Querier(math.MinInt64, math.MaxInt64)
			if err != nil {
				t.Fatal(err)
			}
			for _, hints := range []*storage.SelectHints{nil, {Start: math.MinInt64, End: math.MaxInt64, Func: "series"}} {
				if len(ms) == 0 {
					break // for names and values alone
				}
				set := q.Select(ctx, true, hints, ms...)
				for set.Next() {
					got[i] = append(got[i], set.At().Labels().String())
				}
				if set.Err() != nil {
					t.Fatalf("%v: %v", ms, set.Err())
				}
			}
			names, _, err := q.LabelNames(ctx, nil, ms...)
			if err != nil {
				t.Fatalf("%v: %v", ms, err)
			}
			got[i] = append(append(got[i], "names"), names...)
			for _, name := range []string{"__name__", "text", "nowhere"} {
				values, _, err := q.LabelValues(ctx, name, nil, ms...)
				if err != nil {
					t.Fatalf("%v: %v", ms, err)
				}
				got[i] = append(append(got[i], "values of "+name), values...)
			}
			_ = q.Close()
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("%v (-local +influx):\n%s", ms, diff)
		}
	}
}

func TestPlans(t *testing.T) {
	for _, c := range []struct {
		hints storage.SelectHints
		want  []part
	}{
		{storage.SelectHints{}, everything},
		{storage.SelectHints{Func: "series"}, newest},
		{storage.SelectHints{Func: "sum"}, newest},
		{storage.SelectHints{Func: "sum", Step: 1}, everything},
		{storage.SelectHints{Func: "max_over_time", Range: 60000, Step: 1000}, everything},
		{storage.SelectHints{Func: "rate", Range: 60000}, everything},
		{storage.SelectHints{Func: "count_over_time", Range: 60000}, everything},
		{storage.SelectHints{Func: "last_over_time", Range: 60000}, []part{{valuesAlone, "|> last()\n"}, {bitsAlone, ""}}},
	} {
		if got := planOf(&c.hints); !slices.Equal(got, c.want) {
			t.Errorf("%+v: %q, want %q", c.hints, got, c.want)
		}
	}
}
