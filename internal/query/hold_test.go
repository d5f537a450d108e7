package query

import (
	"context"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/util/teststorage"
	"pgregory.net/rapid"
)

// declared are the periods of devices, and of their metrics (device/metric)
// where these are longer.
type declared map[string]time.Duration

func (d declared) Period(device, metric string) (time.Duration, bool) {
	p, ok := d[device]
	for key, of := range d {
		if name, found := strings.CutPrefix(key, device+"/"); found && (metric == "" || metric == name) {
			p, ok = max(p, of), true
		}
	}
	return p, ok
}

func (d declared) MaxPeriod() time.Duration {
	return slices.Max(append(slices.Collect(maps.Values(d)), 0))
}

func (d declared) LongPeriods() (all []string) {
	for device, p := range d {
		device, _, _ = strings.Cut(device, "/")
		if p > LongPeriod && !slices.Contains(all, device) {
			all = append(all, device)
		}
	}
	return all
}

// heldEngine evaluates everything the way /query does: over what the caller may
// see, held for the devices' periods.
type heldEngine struct {
	promql.QueryEngine
	periods  declared
	lookback time.Duration
}

type scopedQuery struct{ promql.Query }

func (q scopedQuery) Exec(ctx context.Context) *promql.Result {
	return q.Query.Exec(withScope(ctx, Scope{}))
}

func (e heldEngine) over(q storage.Queryable) storage.Queryable {
	return held{confined{q, 1000}, e.periods, &longOnes{periods: e.periods}, e.lookback}
}

func (e heldEngine) opts() promql.QueryOpts {
	return promql.NewPrometheusQueryOpts(false, e.lookback, nil)
}

func (e heldEngine) NewInstantQuery(ctx context.Context, q storage.Queryable, _ promql.QueryOpts, qs string, at time.Time) (promql.Query, error) {
	made, err := e.QueryEngine.NewInstantQuery(ctx, e.over(q), e.opts(), qs, at)
	return scopedQuery{made}, err
}

func (e heldEngine) NewRangeQuery(ctx context.Context, q storage.Queryable, _ promql.QueryOpts, qs string, start, end time.Time, step time.Duration) (promql.Query, error) {
	made, err := e.QueryEngine.NewRangeQuery(ctx, e.over(q), e.opts(), qs, start, end, step)
	return scopedQuery{made}, err
}

func newHeldEngine(t testing.TB, periods declared) heldEngine {
	return heldEngine{promqltest.NewTestEngine(t, false, 0, 1_000_000), periods, lookback(periods)}
}

// outOfOrder is a store that takes late samples.
func outOfOrder(t testing.TB) storage.Storage {
	return teststorage.New(t, lateWindow)
}

func lateWindow(o *tsdb.Options) { o.OutOfOrderTimeWindow = 30 * 24 * time.Hour.Milliseconds() }

func play(t *testing.T, periods declared, script string) {
	t.Helper()
	// promqltest wants an empty line before each command
	script = regexp.MustCompile(`(?m)^(eval|load)`).ReplaceAllString(script, "\n$1")
	promqltest.RunTestWithStorage(t, script, newHeldEngine(t, periods), outOfOrder)
}

var fleet = declared{"soil": time.Hour, "air": 10 * time.Second, "well": 24 * time.Hour}

func TestEachDeviceHoldsItsLastValueForTwoAndAHalfPeriods(t *testing.T) {
	play(t, fleet, `
load 10s
	v{device="air"} 0+1x360
load 1h
	v{device="soil"} 100 101 102 _ _ _ 106

# both report
eval instant at 3600s v
	v{device="air"} 360
	v{device="soil"} 101

# the air sensor stopped at 1h; its 25 s end before the next second does
eval instant at 3624s v
	v{device="air"} 360
	v{device="soil"} 101
eval instant at 3625s v
	v{device="soil"} 101

# the soil probe is silent after 2h, until 6h
eval instant at 16199s v
	v{device="soil"} 102
eval instant at 16200s v
eval instant at 21599s v
eval instant at 6h v
	v{device="soil"} 106

eval range from 0 to 9h step 30m v
	v{device="air"} 0 180 360
	v{device="soil"} 100 100 101 101 102 102 102 102 102 _ _ _ 106 106 106 106 106 _ _

# a step within the air sensor's hold
eval range from 3560s to 3650s step 10s v{device="air"}
	v{device="air"} 356 357 358 359 360 360 360
`)
}

func TestEveryAcceptedPeriodHoldsTwoAndAHalfTimes(t *testing.T) {
	play(t, declared{"well": 24 * time.Hour, "meter.a": 31 * 24 * time.Hour, "air": 10 * time.Second}, `
load 1d
	level{device="well"} 7 8
	level{device="meter.a"} 1 _
	level{device="stranger"} 3 3

eval instant at 1d level
	level{device="well"} 8
	level{device="meter.a"} 1
	level{device="stranger"} 3
# two and a half days after the last value
eval instant at 5039m level
	level{device="well"} 8
	level{device="meter.a"} 1
eval instant at 5040m level
	level{device="meter.a"} 1
eval instant at 5040m level{device="well"}
eval instant at 111599m level{device="meter.a"}
	level{device="meter.a"} 1
eval instant at 111599m sum by (device) (level)
	{device="meter.a"} 1
eval instant at 111600m level
`)
}

func TestAMetricThatComesSeldomHoldsForItsOwnTime(t *testing.T) {
	play(t, declared{"probe": time.Minute, "probe/moisture": time.Hour, "probe/salinity": 24 * time.Hour, "other": time.Minute}, `
load 1m
	air{device="probe"} 0+1x1440
load 1d
	moisture{device="probe"} _ 40
	moisture{device="other"} _ 50
	salinity{device="probe"} _ 3

eval instant at 1d {__name__=~"air|moisture|salinity"}
	air{device="probe"} 1440
	moisture{device="probe"} 40
	moisture{device="other"} 50
	salinity{device="probe"} 3
eval instant at 1445m {device="probe"}
	moisture{device="probe"} 40
	salinity{device="probe"} 3
eval instant at 1589m moisture
	moisture{device="probe"} 40
eval instant at 1590m {device="probe"}
	salinity{device="probe"} 3
eval instant at 5039m {__name__=~"air|moisture|salinity"}
	salinity{device="probe"} 3
eval instant at 5040m {device="probe"}
`)
}

// TestHistoryIsSearchedForLongPeriodsAlone watches what windows are opened, and
// with which devices the longest is searched.
func TestHistoryIsSearchedForLongPeriodsAlone(t *testing.T) {
	periods := declared{"well": 24 * time.Hour, "soil": time.Hour, "air": 10 * time.Second}
	for _, c := range []struct {
		expr string
		want []string
	}{
		{"v", []string{"5m0s", "25h0m0s", "60h0m0s well"}},
		{`v{device="air"}`, []string{"5m0s"}},
		{`v{device="soil"}`, []string{"5m0s", "25h0m0s"}},
		{`v{device="well"}`, []string{"5m0s", "60h0m0s well"}},
		{"rate(v[10m])", []string{"10m0s"}},
		{`rate(v[10m]) + on() v{device="air"}`, []string{"10m0s", "5m0s"}},
	} {
		var seen []string
		watched := watch{teststorage.New(t), &seen}
		e := newHeldEngine(t, periods)
		q, err := e.NewInstantQuery(t.Context(), watched, nil, c.expr, noon)
		if err != nil {
			t.Fatal(err)
		}
		if res := q.Exec(t.Context()); res.Err != nil {
			t.Fatal(res.Err)
		}
		q.Close()
		if diff := cmp.Diff(c.want, seen); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.expr, diff)
		}
	}
}

// watch notes every Select: the range of its querier, and the devices it names.
type watch struct {
	storage.Queryable
	seen *[]string
}

func (w watch) Querier(mint, maxt int64) (storage.Querier, error) {
	q, err := w.Queryable.Querier(mint, maxt)
	return watchedQuerier{q, time.Duration(maxt-mint+1) * time.Millisecond, w.seen}, err
}

type watchedQuerier struct {
	storage.Querier
	window time.Duration
	seen   *[]string
}

func (q watchedQuerier) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	note := q.window.String()
	for _, m := range ms {
		if m.Name == "device" && m.Type == labels.MatchRegexp {
			note += " " + m.Value
		}
	}
	*q.seen = append(*q.seen, note)
	return q.Querier.Select(ctx, sorted, hints, ms...)
}

func TestUnknownPeriodsKeepTheFiveMinuteRule(t *testing.T) {
	play(t, fleet, `
load 1m
	hub_up 1x10
	v{device="stranger"} 2x10
	v{device=""} 3x10

eval instant at 899s {__name__=~"hub_up|v"}
	hub_up 1
	v{device="stranger"} 2
	v 3
eval instant at 900s {__name__=~"hub_up|v"}
`)
}

func TestAnOfflineMarkerEndsASeriesAtOnce(t *testing.T) {
	play(t, fleet, `
load 30m
	v{device="soil"} 1 _ 2 stale _ _ 5

eval instant at 89m59s v
	v{device="soil"} 2
eval instant at 90m v
eval instant at 91m v
eval instant at 3h v
	v{device="soil"} 5
eval instant at 90m absent(v)
	{} 1
`)
}

func TestRangeFunctionsSeeOnlyRealSamples(t *testing.T) {
	play(t, fleet, `
load 1h
	v{device="soil"} 1 2 _ _ _ 6

eval instant at 10h count_over_time(v[11h])
	{device="soil"} 3
eval instant at 10h last_over_time(v[11h])
	v{device="soil"} 6
eval instant at 5h sum_over_time(v[5h1s])
	{device="soil"} 9
eval instant at 5h max_over_time(timestamp(v)[5h:1h])
	{device="soil"} 18000
eval instant at 5h increase(v[10h]) > 0
	{device="soil"} 6

# of the ten steps of a subquery seven have a value: to 3h, and 5h
eval instant at 5h count_over_time(v[5h:30m])
	{device="soil"} 7
eval range from 5h to 6h step 30m count_over_time(v[5h:30m])
	{device="soil"} 7 7 7
`)
}

func TestModifiersShiftTheHold(t *testing.T) {
	play(t, fleet, `
load 1h
	v{device="soil"} 1 2 _ _ _ 6
load 10s
	v{device="air"} 0+1x10

eval instant at 5h v offset 2h
	v{device="soil"} 2
eval instant at 6h v offset 2h
eval instant at 9h v @ 3600
	v{device="soil"} 2
eval instant at 9h v @ 124
	v{device="soil"} 1
	v{device="air"} 10
eval instant at 9h v @ 125
	v{device="soil"} 1
eval instant at 0 v offset -5h
	v{device="soil"} 6
eval range from 2h to 5h step 1h v offset 1h
	v{device="soil"} 2 2 2 _
eval range from 2h to 5h step 1h v{device="soil"} @ 5400
	v{device="soil"} 2 2 2 2

eval instant at 2h timestamp(v)
	{device="soil"} 3600
eval instant at 4h timestamp(v)
eval instant at 4h absent(v{device="soil"})
	{device="soil"} 1
eval instant at 3h absent(v{device="soil"})
eval instant at 3h v{device="soil"} unless v{device="air"}
	v{device="soil"} 2
`)
}

func TestLateHistoryClosesTheGap(t *testing.T) {
	play(t, fleet, `
load 1h
	v{device="soil"} 1 _ _ _ _ 6
eval instant at 4h v
eval range from 0 to 5h step 1h v
	v{device="soil"} 1 1 1 _ _ 6

# what the probe had kept comes in behind
load 1h
	v{device="soil"} _ 2 _ 4
eval instant at 4h v
	v{device="soil"} 4
eval range from 0 to 5h step 1h v
	v{device="soil"} 1 2 2 4 4 6
eval instant at 5h count_over_time(v[6h])
	{device="soil"} 4
`)
}

func TestNativeHistogramsPass(t *testing.T) {
	play(t, fleet, `
load 1h
	h{device="soil"} {{schema:0 sum:5 count:4 buckets:[1 2 1]}}x1 _ _ _ _
eval instant at 3h histogram_count(h)
	{device="soil"} 4
eval instant at 4h h
`)
}

// TestHeldValuesByDefinition compares with what holding means, over random
// series, ranges and steps.
func TestHeldValuesByDefinition(t *testing.T) {
	devices := []string{"air", "soil", "minute", "stranger", "well", "tank"}
	periods := declared{"air": 10 * time.Second, "soil": time.Hour, "minute": time.Minute, "well": 9 * time.Hour, "tank": 20 * time.Hour}
	rapid.Check(t, func(rt *rapid.T) {
		engine := newHeldEngine(t, periods)
		db, err := teststorage.NewWithError(lateWindow)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		real := map[string][]promql.FPoint{}
		app := db.Appender(t.Context())
		for _, d := range devices {
			real[d] = drawSamples(rt, d, max(periods[d], time.Second))
			for _, p := range real[d] {
				if _, err := app.Append(0, labels.FromStrings("__name__", "v", "device", d), p.T, p.F); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := app.Commit(); err != nil {
			t.Fatal(err)
		}
		start := time.UnixMilli(rapid.Int64Range(0, 100_000_000).Draw(rt, "start"))
		step := time.Duration(rapid.SampledFrom([]int{1, 7, 60, 600, 3600, 30000}).Draw(rt, "step")) * time.Second
		end := start.Add(step * time.Duration(rapid.IntRange(0, 40).Draw(rt, "steps")))
		offset := rapid.SampledFrom([]time.Duration{0, time.Hour, -time.Hour}).Draw(rt, "offset")
		q, err := engine.NewRangeQuery(t.Context(), db, nil, "v offset "+offset.String(), start, end, step)
		if err != nil {
			t.Fatal(err)
		}
		defer q.Close()
		m, err := q.Exec(t.Context()).Matrix()
		if err != nil {
			rt.Fatal(err)
		}
		want := map[string][]promql.FPoint{}
		for _, d := range devices {
			stands := plainHold
			if p, ok := periods[d]; ok {
				stands = p * 5 / 2
			}
			for at := start; !at.After(end); at = at.Add(step) {
				if f, ok := standing(real[d], at.Add(-offset).UnixMilli(), stands.Milliseconds()); ok {
					want[d] = append(want[d], promql.FPoint{T: at.UnixMilli(), F: f})
				}
			}
		}
		got := map[string][]promql.FPoint{}
		for _, s := range m {
			got[s.Metric.Get("device")] = s.Floats
		}
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Fatalf("held values (-want +got):\n%s", diff)
		}
	})
}

// standing returns the value that stands at a time, by definition.
func standing(ps []promql.FPoint, at, stands int64) (float64, bool) {
	for _, p := range slices.Backward(ps) {
		if p.T <= at {
			return p.F, at-p.T < stands && !value.IsStaleNaN(p.F)
		}
	}
	return 0, false
}

// drawSamples draws a device's samples with gaps around its hold and offline marks.
func drawSamples(t *rapid.T, device string, period time.Duration) []promql.FPoint {
	at := rapid.Int64Range(0, 100_000_000).Draw(t, device+" begins")
	gap := rapid.Custom(func(t *rapid.T) int64 {
		tenths := rapid.SampledFrom([]int64{1, 10, 10, 10, 24, 25, 26, 100, 400}).Draw(t, "tenths of the period")
		return period.Milliseconds()*tenths/10 + rapid.Int64Range(0, 1).Draw(t, "more")
	})
	ps := []promql.FPoint{}
	for i, g := range rapid.SliceOfN(gap, 0, 60).Draw(t, device) {
		at += g
		f := float64(i)
		if rapid.IntRange(0, 19).Draw(t, "offline") == 0 {
			f = math.Float64frombits(value.StaleNaN)
		}
		ps = append(ps, promql.FPoint{T: at, F: f})
	}
	return ps
}

func TestLookbackReachesTheSlowestDeviceWithinBounds(t *testing.T) {
	for _, c := range []struct {
		slowest, want time.Duration
	}{
		{0, 5 * time.Minute}, {time.Minute, 5 * time.Minute}, {2 * time.Minute, 5 * time.Minute},
		{time.Hour, 150 * time.Minute}, {10 * time.Hour, 25 * time.Hour}, {24 * time.Hour, 60 * time.Hour}, {math.MaxInt64, 1860 * time.Hour},
	} {
		if got := lookback(declared{"d": c.slowest}); got != c.want {
			t.Errorf("devices report every %s: lookback %s, want %s", c.slowest, got, c.want)
		}
	}
}

// TestOfficialSuite runs Prometheus' own acceptance tests through the store as
// queries see it, first, with no period known, those that
// TestOfficialSuiteOnTheHubsStore leaves out, then all with a lookback of 50 hours
// in which every series must still end after its five minutes.
func TestOfficialSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand queries; make test")
	}
	t.Run("no_periods", func(t *testing.T) {
		promqltest.RunBuiltinTests(onlyStartTimes{t}, newHeldEngine(t, nil))
	})
	t.Run("wide_lookback", func(t *testing.T) {
		promqltest.RunBuiltinTests(withoutExtended{t}, newHeldEngine(t, declared{"elsewhere": 20 * time.Hour}))
	})
}

// onlyStartTimes runs the script that withoutStartTimes leaves out.
type onlyStartTimes struct{ *testing.T }

func (t onlyStartTimes) Run(name string, f func(*testing.T)) bool {
	return !strings.HasSuffix(name, startTimes) || t.T.Run(name, f)
}

// withoutExtended leaves out the files about the anchored and smoothed range
// selectors: they reach beyond their range by the lookback itself, and the API
// does not parse them (they are experimental).
type withoutExtended struct{ *testing.T }

func (t withoutExtended) Run(name string, f func(*testing.T)) bool {
	if strings.HasSuffix(name, "extended_vectors.test") || strings.HasSuffix(name, startTimes) {
		return true
	}
	return t.T.Run(name, f)
}
