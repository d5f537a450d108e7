package rules

import (
	"context"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// world is a store in which every expression is the name of a metric with a
// bound: "hot > 30" gives the devices whose newest value, at most a minute old, is
// above.
type world struct {
	t      *testing.T
	mu     sync.Mutex
	points map[string]map[int64]float64 // by device, ms
	fails  error
	wrote  map[string]float64 // by labels and time
	told   int
	files  folder
	db     *records.DB
	dir    string
}

// folder is one that somebody else writes to.
type folder struct{ now atomic.Pointer[fstest.MapFS] }

func (f *folder) put(m fstest.MapFS) { f.now.Store(&m) }

func (f *folder) Open(name string) (fs.File, error) { return f.now.Load().Open(name) }

func newWorld(t *testing.T, text string) *world {
	w := &world{t: t, points: map[string]map[int64]float64{}, wrote: map[string]float64{}, dir: t.TempDir()}
	w.files.put(files("f.yaml", text))
	w.open()
	t.Cleanup(func() { _ = w.db.Close() })
	return w
}

func (w *world) open() {
	db, err := records.Open(context.Background(), filepath.Join(w.dir, "records.db"))
	if err != nil {
		w.t.Fatal(err)
	}
	w.db = db
}

func (w *world) put(device string, at time.Time, v float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.points[device] == nil {
		w.points[device] = map[int64]float64{}
	}
	w.points[device][at.UnixMilli()] = v
}

func (w *world) ask(_ context.Context, expr string, at time.Time) (out promql.Vector, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fails != nil {
		return nil, w.fails
	}
	for device, points := range w.points {
		newest, value := int64(-1), 0.0
		for t, v := range points {
			if t > newest && t <= at.UnixMilli() && t > at.Add(-time.Minute).UnixMilli() {
				newest, value = t, v
			}
		}
		if newest >= 0 && (value > 30 || !strings.Contains(expr, ">")) {
			out = append(out, promql.Sample{Metric: labels.FromStrings("__name__", "hot", "device", device), F: value, T: at.UnixMilli()})
		}
	}
	slices.SortFunc(out, func(a, b promql.Sample) int { return labels.Compare(a.Metric, b.Metric) })
	return out, nil
}

func (w *world) write(_ context.Context, all []Sample) (fresh, conflicts int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range all {
		key := s.Labels.String() + time.UnixMilli(s.Time).UTC().Format(" 15:04:05")
		was, there := w.wrote[key]
		if there && was != s.Value {
			if !telemetry.IsStaleMarker(was) || !telemetry.IsStaleMarker(s.Value) {
				conflicts++
			}
			continue
		}
		if !there {
			fresh++
		}
		w.wrote[key] = s.Value
	}
	return fresh, conflicts, nil
}

func (w *world) start(clock func() time.Time) *Engine {
	w.t.Helper()
	cfg := DefaultConfig()
	e, err := Open(context.Background(), cfg, Deps{
		Ask: w.ask, AskShared: w.ask, Write: w.write, Dir: &w.files,
		Grade: func(ls labels.Labels) telemetry.Grade {
			if strings.HasPrefix(ls.Get("device"), "core") {
				return telemetry.Core
			}
			return telemetry.General
		},
		Taken:   func(name string) bool { return name == "device_presence" },
		Changed: func() { w.mu.Lock(); w.told++; w.mu.Unlock() },
		Base:    "http://hub", Records: w.db, Log: slog.New(slog.DiscardHandler), Clock: clock, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return e
}

// play runs an engine under a clock of its own until the scenario is over.
func (w *world) play(scenario func(e *Engine)) {
	w.t.Helper()
	e := w.start(time.Now)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	scenario(e)
	cancel()
	if err := <-done; err != nil {
		w.t.Error(err)
	}
}

// history is the history, the oldest first, in a form that tests can name.
func (w *world) history(e *Engine) (all []string) {
	w.t.Helper()
	changes, _, err := e.History(context.Background(), HistoryQuery{Limit: 1000})
	if err != nil {
		w.t.Fatal(err)
	}
	slices.Reverse(changes)
	for _, c := range changes {
		s := c.Kind + " " + c.Labels.Get("device") + " at " + c.At.UTC().Format("15:04:05")
		if c.Late {
			s += " known " + c.Known.UTC().Format("15:04:05")
		}
		all = append(all, s)
	}
	return all
}

func (w *world) expect(e *Engine, want ...string) {
	w.t.Helper()
	if got := w.history(e); !slices.Equal(got, want) {
		w.t.Errorf("history\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func firing(e *Engine) (all []string) {
	for _, a := range e.Alerts() {
		if a.Firing() {
			all = append(all, a.Labels.Get("device"))
		}
	}
	return all
}

const hotRule = `
groups:
  - name: rooms
    interval: 15s
    query_offset: 30s
    rules:
      - {record: hot:now, expr: hot}
      - alert: Hot
        expr: hot > 30
        for: 30s
        annotations: {summary: "{{ $labels.device }} has {{ $value }}"}
`

// The clock of synctest begins at midnight of 2000-01-01 UTC.
func clock(s string) time.Time {
	t, err := time.Parse("15:04:05", s)
	if err != nil {
		panic(err)
	}
	return time.Date(2000, 1, 1, t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
}

func until(s string) {
	time.Sleep(time.Until(clock(s)))
	synctest.Wait()
}

// fill puts a value every 15 s.
func (w *world) fill(device, from, to string, v float64) {
	for at := clock(from); at.Before(clock(to)); at = at.Add(15 * time.Second) {
		w.put(device, at, v)
	}
}

func TestAnAlertIsKnownOnceTheDataOfItsTimeCanBeThere(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.fill("t1", "00:00:00", "00:05:00", 20)
		w.fill("t1", "00:05:00", "00:10:00", 40)
		w.fill("t1", "00:10:00", "00:30:00", 20)
		w.play(func(e *Engine) {
			until("00:05:59")
			w.expect(e)
			until("00:06:01") // it fires at 5:30, which is evaluated at 6:00
			w.expect(e, "firing t1 at 00:05:30")
			until("00:20:00")
			w.expect(e, "firing t1 at 00:05:30", "resolved t1 at 00:10:00")
		})
	})
	if v := w.wrote[`{__name__="hot:now", device="t1", job="hub"} 00:05:00`]; v != 40 {
		t.Errorf("recorded at 5:00: %v", v)
	}
	if v := w.wrote[`{__name__="ALERTS", alertname="Hot", alertstate="pending", device="t1", job="hub"} 00:05:15`]; v != 1 {
		t.Errorf("ALERTS at 5:15: %v", v)
	}
}

func TestLateDataShowThatAnAlertFiredAndWhenThatWasKnown(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.play(func(e *Engine) {
			until("00:20:05")
			w.fill("t1", "00:05:00", "00:10:00", 40) // what a device kept while it had no way to us
			e.CameLate([]byte("hot"), clock("00:05:00").UnixMilli())
			until("00:21:00")
			w.expect(e, "firing t1 at 00:05:30 known 00:20:05", "resolved t1 at 00:10:45 known 00:20:05")
			if got := firing(e); got != nil {
				t.Errorf("history raises %v now", got)
			}
			if v := w.wrote[`{__name__="ALERTS", alertname="Hot", alertstate="firing", device="t1", job="hub"} 00:10:45`]; !telemetry.IsStaleMarker(v) {
				t.Errorf("its series does not end: %v", v)
			}
			if v := w.wrote[`{__name__="hot:now", device="t1", job="hub"} 00:10:45`]; !telemetry.IsStaleMarker(v) {
				t.Errorf("what was recorded does not end: %v", v)
			}
			w.fill("t2", "00:15:00", "00:40:00", 40) // and this one goes on
			until("00:22:00")                        // what came late is looked at once in an interval
			e.CameLate([]byte("hot"), clock("00:15:00").UnixMilli())
			until("00:22:20")
			if got := firing(e); !slices.Equal(got, []string{"t2"}) {
				t.Errorf("firing %v", got)
			}
			v := e.Alerts()[0]
			if !v.Active.Equal(clock("00:15:00")) || !v.Fired.Equal(clock("00:15:30")) {
				t.Errorf("since %s, fired %s", v.Active, v.Fired)
			}
		})
	})
}

func TestLateDataTakeBackAnAlertThatHadNoReason(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.fill("t1", "00:05:00", "00:05:45", 40)
		w.fill("t1", "00:05:45", "00:30:00", 20)
		w.play(func(e *Engine) {
			until("00:10:00")
			w.expect(e, "firing t1 at 00:05:30", "resolved t1 at 00:05:45")
			w.put("t1", clock("00:05:15").Add(time.Second), 20) // it was below in between
			w.put("t1", clock("00:05:30"), 20)
			e.CameLate([]byte("hot"), clock("00:05:16").UnixMilli())
			until("00:11:00")
			w.expect(e, "firing t1 at 00:05:30", "resolved t1 at 00:05:45", "retracted t1 at 00:05:30 known 00:10:00")
			if g := e.Groups()[0]; g.Rules[0].Conflicts == 0 || g.Again == 0 {
				t.Errorf("that a recorded value would be another is not told: %+v", g)
			}
		})
	})
	if v := w.wrote[`{__name__="hot:now", device="t1", job="hub"} 00:05:30`]; v != 40 {
		t.Errorf("the first recorded value became %v", v)
	}
}

// TestAGroupThatAsksForWhatItRecordsIsEvaluatedAgainOnce, not for ever.
func TestAGroupThatAsksForWhatItRecordsIsEvaluatedAgainOnce(t *testing.T) {
	w := newWorld(t, strings.Replace(hotRule, "expr: hot > 30", "expr: hot:now > 30", 1)+`
  - name: others
    interval: 15s
    rules: [{alert: Other, expr: "hot:now > 30"}]
`)
	synctest.Test(t, func(t *testing.T) {
		w.play(func(e *Engine) {
			until("00:20:05")
			w.fill("t1", "00:15:00", "00:16:00", 40)
			e.CameLate([]byte("hot"), clock("00:15:00").UnixMilli())
			until("00:22:00")
			again := func() (all []uint64) {
				for _, g := range e.Groups() {
					all = append(all, g.Again)
				}
				return all
			}
			first := again()
			if slices.Contains(first, 0) {
				t.Errorf("evaluated again %d times; whoever asks for what was recorded is to be, too", first)
			}
			until("00:30:00")
			if got := again(); !slices.Equal(got, first) {
				t.Errorf("evaluated again %d times, and minutes later %d", first, got)
			}
		})
	})
}

func TestARestartForgetsNothingAndTellsNothingTwice(t *testing.T) {
	w := newWorld(t, strings.Replace(hotRule, "for: 30s", "for: 5m\n        keep_firing_for: 10m", 1))
	synctest.Test(t, func(t *testing.T) {
		w.fill("t1", "00:05:00", "00:30:00", 40)
		w.play(func(*Engine) { until("00:08:00") }) // pending
		until("00:09:00")
		w.play(func(e *Engine) {
			until("00:12:00")
			w.expect(e, "firing t1 at 00:10:00")
			until("00:34:00") // quiet since 30:00, and kept
		})
		until("00:36:00")
		w.play(func(e *Engine) {
			if got := firing(e); !slices.Equal(got, []string{"t1"}) {
				t.Errorf("after a restart %v", got)
			}
			until("00:50:00")
			w.expect(e, "firing t1 at 00:10:00", "resolved t1 at 00:40:45")
		})
	})
}

func TestWhatComesLateFromBeforeARestartIsLookedAtAgain(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.fill("t1", "00:05:00", "00:07:00", 40)
		w.fill("t1", "00:07:00", "00:30:00", 20)
		w.fill("t2", "00:10:00", "00:30:00", 40)
		known := []string{"firing t1 at 00:05:30", "resolved t1 at 00:07:00", "firing t2 at 00:10:30"}
		w.play(func(e *Engine) {
			until("00:15:00")
			w.expect(e, known...)
		})
		until("00:16:00")
		w.play(func(e *Engine) {
			until("00:17:05")
			w.fill("t3", "00:03:00", "00:06:00", 40) // what a device kept since long before
			e.CameLate([]byte("hot"), clock("00:03:00").UnixMilli())
			until("00:18:00")
			known = append(known, "firing t3 at 00:03:30 known 00:17:05", "resolved t3 at 00:06:45 known 00:17:05")
			w.expect(e, known...)
			w.put("t1", clock("00:05:15"), 20) // and what shows that it was well
			w.put("t1", clock("00:05:45"), 20)
			w.put("t1", clock("00:06:15"), 20)
			w.put("t1", clock("00:06:45"), 20)
			e.CameLate([]byte("hot"), clock("00:05:15").UnixMilli())
			until("00:19:00")
			known = append(known, "retracted t1 at 00:05:30 known 00:18:00")
			w.expect(e, known...)
			if g := e.Groups()[0]; g.Beyond != 0 {
				t.Errorf("%d times it was too late", g.Beyond)
			}
			if got := firing(e); !slices.Equal(got, []string{"t2"}) {
				t.Errorf("firing %v", got)
			}
		})
		change := strings.Replace(hotRule, "for: 30s", "for: 45s", 1)
		w.files.put(fstest.MapFS{"f.yaml": {Data: []byte(change), ModTime: time.Now()}})
		w.play(func(e *Engine) {
			until("00:20:05")
			w.fill("t4", "00:03:00", "00:06:00", 40)
			e.CameLate([]byte("hot"), clock("00:03:00").UnixMilli())
			until("00:21:00")
			w.expect(e, known...) // other rules begin with the present
			if g := e.Groups()[0]; g.Beyond != 1 {
				t.Errorf("%d times it was too late", g.Beyond)
			}
		})
	})
}

func TestWhatWasNotLookedAtBeforeARestartIsAfterIt(t *testing.T) {
	w := newWorld(t, strings.Replace(hotRule, "interval: 15s", "interval: 5m", 1))
	synctest.Test(t, func(t *testing.T) {
		w.play(func(e *Engine) {
			until("00:40:05")
			e.CameLate([]byte("hot"), clock("00:30:00").UnixMilli()) // the next is looked at in five minutes
			until("00:40:10")
			w.fill("t1", "00:05:00", "00:11:00", 40)
			e.CameLate([]byte("hot"), clock("00:05:00").UnixMilli())
			until("00:40:20")
			w.expect(e)
		})
		w.play(func(e *Engine) {
			until("00:40:40")
			want := []string{"firing t1 at 00:10:00 known 00:40:20", "resolved t1 at 00:15:00 known 00:40:20"}
			w.expect(e, want...)
		})
		w.play(func(e *Engine) {
			before := e.Groups()[0].Again
			until("00:41:00")
			if got := e.Groups()[0].Again; got != before {
				t.Errorf("evaluated again %d times for what was looked at", got-before)
			}
		})
	})
}

// TestWhatIsKeptOfFlappingAlertsIsBounded and tells of the newest exactly.
func TestWhatIsKeptOfFlappingAlertsIsBounded(t *testing.T) {
	w := newWorld(t, strings.Replace(hotRule, "for: 30s", "for: 0s", 1))
	synctest.Test(t, func(t *testing.T) {
		for at := clock("00:00:00"); at.Before(clock("00:20:00")); at = at.Add(30 * time.Second) {
			for i := range 60 {
				device := "t" + strconv.Itoa(i)
				w.put(device, at, 40)
				w.put(device, at.Add(15*time.Second), 20)
			}
		}
		var moments []moment
		w.play(func(e *Engine) {
			until("00:21:00")
			moments = e.groups[0].moments
			s := e.groups[0].state()
			if n := len(s.Rules[1].Past); n > maxPast || n <= maxPast-60 {
				t.Errorf("%d are kept", n)
			}
			if !s.Since.After(clock("00:02:00")) {
				t.Errorf("since %s", s.Since)
			}
		})
		w.play(func(e *Engine) {
			got := e.groups[0].moments
			for i, m := range got {
				j := slices.IndexFunc(moments, func(was moment) bool { return was.at.Equal(m.at) })
				if j < 0 || !sameAlerts(m.rules[1:], moments[j].rules[1:]) || i > 0 && m.same != moments[j].same {
					t.Errorf("%s: %d alerts, and there were others", m.at, len(m.rules[1]))
				}
			}
			if len(got) < 40 {
				t.Errorf("%d moments", len(got))
			}
		})
	})
}

func TestAfterAPauseOnlyWhatIsInReachIsMadeUpFor(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.play(func(*Engine) { until("00:05:00") })
		w.fill("t1", "01:00:00", "01:10:00", 40) // 7 hours before
		w.fill("t2", "07:30:00", "07:40:00", 40)
		until("08:00:00")
		w.play(func(e *Engine) {
			until("08:01:00")
			w.expect(e, "firing t2 at 07:30:30", "resolved t2 at 07:40:45")
			if firing(e) != nil {
				t.Error("history raises an alert now")
			}
		})
	})
}

func TestARuleThatFailsKeepsItsAlerts(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.fill("t1", "00:00:00", "01:00:00", 40)
		w.play(func(e *Engine) {
			until("00:05:00")
			w.mu.Lock()
			w.fails = errMatcher
			w.mu.Unlock()
			until("00:10:00")
			if got := firing(e); !slices.Equal(got, []string{"t1"}) || e.Groups()[0].Rules[1].Err == nil {
				t.Errorf("firing %v, %+v", got, e.Groups()[0].Rules[1])
			}
		})
	})
}

func TestFilesAreFollowedAndABadOneKeepsWhatItWas(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.fill("t1", "00:00:00", "01:00:00", 40)
		change := func(text string) {
			w.files.put(fstest.MapFS{"f.yaml": {Data: []byte(text), ModTime: time.Now()}})
		}
		w.play(func(e *Engine) {
			until("00:05:00")
			change("groups: [{name: rooms, rules: [{alert: Hot, expr: sum(}]}]")
			until("00:05:10")
			if got := firing(e); len(got) != 1 || !strings.Contains(e.Faults()["f.yaml"], "unclosed left parenthesis") {
				t.Errorf("firing %v, faults %v", got, e.Faults())
			}
			change("groups: [{name: rooms, rules: [{record: hub_x, expr: hot}]}]")
			until("00:05:20")
			if !strings.Contains(e.Faults()["f.yaml"], "hub_x") {
				t.Errorf("faults %v", e.Faults())
			}
			change(strings.Replace(hotRule, "summary:", "text:", 1)) // the alert goes on
			until("00:06:00")
			if got := e.Alerts(); len(got) != 1 || !got[0].Active.Equal(clock("00:00:00").Add(-0)) && got[0].Active.After(clock("00:00:30")) || got[0].Annotations.Get("text") == "" || len(e.Faults()) > 0 {
				t.Errorf("alerts %+v, faults %v", got, e.Faults())
			}
			w.files.put(fstest.MapFS{})
			until("00:07:00")
			if got := w.history(e); len(got) != 2 || !strings.HasPrefix(got[1], "resolved t1") || firing(e) != nil {
				t.Errorf("history %v", got)
			}
		})
	})
}

func TestShippedRulesAreTurnedOffByName(t *testing.T) {
	w := newWorld(t, "groups: []")
	shipped := files("a.yaml", `{groups: [{name: g, rules: [{alert: A, expr: up}, {alert: B, expr: up}]}, {name: h, rules: [{alert: C, expr: up}]}]}`)
	cfg := DefaultConfig()
	cfg.Off = []string{"A", "h"}
	e, err := Open(context.Background(), cfg, Deps{Shipped: shipped, Changed: func() {}, Taken: func(string) bool { return false }, Records: w.db,
		Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	g := e.Groups()
	if len(g) != 1 || g[0].ID() != "songhua/a.yaml;g" || len(g[0].Rules) != 1 || g[0].Rules[0].Alert != "B" {
		t.Errorf("%+v", g)
	}
}

func TestASilenceSaysWhoAndWhyAndEnds(t *testing.T) {
	w := newWorld(t, hotRule)
	synctest.Test(t, func(t *testing.T) {
		w.fill("t1", "00:00:00", "02:00:00", 40)
		m, err := ParseMatcher(`device=~"t.*"`)
		if err != nil {
			t.Fatal(err)
		}
		every, _ := ParseMatcher(`device!="x"`)
		w.play(func(e *Engine) {
			until("00:05:00")
			for _, bad := range []Silence{
				{Until: clock("01:00:00"), Comment: "x"},
				{Matchers: []Matcher{m}, Until: clock("01:00:00")},
				{Matchers: []Matcher{m}, Until: clock("00:01:00"), Comment: "x"},
				{Matchers: []Matcher{every}, Until: clock("01:00:00"), Comment: "x"},
			} {
				if _, err := e.Silence(context.Background(), bad); err == nil {
					t.Errorf("taken: %+v", bad)
				}
			}
			s, err := e.Silence(context.Background(), Silence{Matchers: []Matcher{m}, Until: clock("01:00:00"), By: "wang", Comment: "repair"})
			if err != nil || len(e.Alerts()[0].Silences) != 1 {
				t.Fatal(err, e.Alerts())
			}
			elsewhere, err := e.Silence(context.Background(), Silence{Matchers: []Matcher{m}, Until: clock("01:00:00"), By: "li", Comment: "repair", Region: "2201"})
			if err != nil || len(e.Alerts()[0].Silences) != 1 {
				t.Errorf("%v: a silence of region 2201 is in force elsewhere: %v", err, e.Alerts()[0].Silences)
			}
			if _, err := e.EndSilence(context.Background(), elsewhere.ID, "li"); err != nil {
				t.Error(err)
			}
			if got := e.Silences(false); len(got) != 1 || got[0].ID != s.ID || got[0].By != "wang" {
				t.Errorf("%+v", got)
			}
		})
		w.play(func(e *Engine) {
			until("00:06:00")
			if len(e.Alerts()[0].Silences) != 1 {
				t.Error("a restart ended it")
			}
			until("01:01:00")
			if len(e.Alerts()[0].Silences) != 0 || len(e.Silences(false)) != 0 || len(e.Silences(true)) != 2 {
				t.Errorf("%v", e.Silences(true))
			}
		})
	})
}
