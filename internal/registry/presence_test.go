package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// traffic is a write path whose knowledge the test sets.
type traffic struct {
	mu   sync.Mutex
	seen map[string]Seen
}

func (a *traffic) Activity(yield func(string, Seen) bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for id, s := range a.seen {
		if !yield(id, s) {
			return
		}
	}
}

// sample lets a live sample of a device arrive.
func (a *traffic) sample(device string) {
	a.set(device, Seen{LastReceived: time.Now(), LastEvent: time.Now()})
}

func (a *traffic) set(device string, s Seen) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.seen[device] = s
}

// watch is a running presence and what it told.
type watch struct {
	*Presence
	*traffic
	mu    sync.Mutex
	told  []string
	start time.Time
	stop  func()
}

func watching(t *testing.T, r *Registry) *watch {
	t.Helper()
	w := &watch{traffic: &traffic{seen: map[string]Seen{}}, start: time.Now()}
	p, err := NewPresence(t.Context(), PresenceConfig{
		Registry: r, Records: r.db, Activity: w.traffic, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry(),
		On: func(all []Transition) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, x := range all {
				w.told = append(w.told, fmt.Sprintf("%s %s->%s %s %s", x.Device, x.From, x.To, x.Reason, x.At.Sub(w.start).Round(time.Second)))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Presence = p
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- p.Run(ctx) }()
	w.stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	return w
}

func (w *watch) expect(t *testing.T, want string) {
	t.Helper()
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	var lines []string
	for l := range strings.Lines(want) {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	if diff := cmp.Diff(lines, w.told); diff != "" {
		t.Errorf("transitions (-want +got):\n%s", diff)
	}
}

// story runs what happens to devices a, b and c (period 60 s) by a clock of its own.
func story(t *testing.T, f func(t *testing.T, r *Registry, w *watch)) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, t.TempDir())
		for _, id := range []string{"a", "b", "c"} {
			add(t, r, Spec{ID: id, Period: time.Minute})
		}
		w := watching(t, r)
		f(t, r, w)
		w.stop()
	})
}

func TestPresence(t *testing.T) {
	t.Run("a broken connection means offline at once", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.Connected("a")
			time.Sleep(time.Hour)
			w.Left("a", ReasonLost)
			w.Connected("b")
			w.Left("b", ReasonKeepAlive)
			w.expect(t, `a never->online connected 0s
				a online->offline lost 1h0m0s
				b never->online connected 1h0m0s
				b online->offline keep_alive 1h0m0s`)
		})
	})
	t.Run("devices that connect, send and leave stay online between sessions", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			for range 10 {
				w.Connected("a")
				w.sample("a")
				w.Left("a", ReasonDisconnect)
				time.Sleep(time.Minute)
			}
			time.Sleep(time.Hour)
			w.expect(t, `a never->online connected 0s
				a online->late silent_period 10m31s
				a late->offline silent_period 11m31s`)
		})
	})
	t.Run("http devices come and go by their samples", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.sample("a")
			time.Sleep(100 * time.Second)
			w.sample("a")
			time.Sleep(time.Hour)
			w.sample("a")
			time.Sleep(time.Second)
			w.expect(t, `a never->online telemetry 0s
				a online->late silent_period 1m31s
				a late->online telemetry 1m40s
				a online->late silent_period 3m11s
				a late->offline silent_period 4m11s
				a offline->online telemetry 1h1m40s`)
		})
	})
	t.Run("what arrived before the connection broke does not bring a device back", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.Connected("a")
			time.Sleep(1500 * time.Millisecond)
			w.sample("a")
			w.Left("a", ReasonLost)
			time.Sleep(time.Minute)
			w.expect(t, `a never->online connected 0s
				a online->offline lost 2s`)
		})
	})
	t.Run("late history does not make a device online", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.set("a", Seen{LastEvent: time.Now().Add(-time.Hour), Samples: 10})
			time.Sleep(time.Minute)
			w.expect(t, ``)
			if s := w.Of("a"); s.State != Never || s.Samples != 10 || s.LastEvent.IsZero() {
				t.Errorf("%+v", s)
			}
		})
	})
	t.Run("a taken-over session is no absence", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.Connected("a")
			w.Connected("a")
			w.Left("a", ReasonTakenOver)
			time.Sleep(time.Hour + time.Second/2)
			w.Left("a", ReasonDisconnect)
			time.Sleep(time.Second)
			w.expect(t, `a never->online connected 0s
				a online->offline disconnect 1h0m1s`)
		})
	})
	t.Run("one of two connections is enough", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.Connected("a")
			w.Connected("a")
			w.Left("a", ReasonLost)
			time.Sleep(time.Hour)
			w.expect(t, `a never->online connected 0s`)
		})
	})
	t.Run("disabled and removed devices go offline", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.sample("a")
			time.Sleep(1500 * time.Millisecond)
			w.sample("b")
			time.Sleep(time.Second)
			if _, err := r.Disable(t.Context(), "a", 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			if err := r.Remove(t.Context(), "b", 0); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			w.expect(t, `a never->online telemetry 0s
				b never->online telemetry 2s
				a online->offline revoked 3s
				b online->offline revoked 4s`)
		})
	})
	t.Run("the learned period counts where none is declared", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			add(t, r, Spec{ID: "probe"})
			w.set("probe", Seen{LastReceived: time.Now(), Period: time.Hour})
			time.Sleep(90 * time.Minute)
			w.expect(t, `probe never->online telemetry 0s`)
			time.Sleep(2 * time.Second)
			w.expect(t, `probe never->online telemetry 0s
				probe online->late silent_period 1h30m1s`)
		})
	})
	t.Run("a death stands until the next sign of life", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.Connected("a")
			w.set("b", Seen{Died: time.Now()}) // nothing was ever heard of it
			time.Sleep(1500 * time.Millisecond)
			sample, death := time.Now(), time.Now().Add(time.Second/4)
			w.set("a", Seen{LastReceived: sample, Died: death})
			time.Sleep(time.Hour)
			w.expect(t, `a never->online connected 0s
				a online->offline death 2s`)
			w.set("a", Seen{LastReceived: time.Now(), Died: death})
			time.Sleep(time.Second)
			died := time.Now()
			w.set("a", Seen{LastReceived: died.Add(time.Second / 4), Died: died}) // and was born again
			time.Sleep(time.Hour)
			w.expect(t, `a never->online connected 0s
				a online->offline death 2s
				a offline->online telemetry 1h0m2s
				a online->offline death 1h0m3s
				a offline->online telemetry 1h0m3s`)
		})
	})
	t.Run("who never said goodbye is silent, not gone", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			add(t, r, Spec{ID: "fast", Period: 100 * time.Millisecond})
			w.sample("fast")
			time.Sleep(10 * time.Second)
			w.expect(t, `fast never->online telemetry 0s
				fast online->offline silent_period 1s`)
		})
	})
	t.Run("events at once, not with the next second", func(t *testing.T) {
		story(t, func(t *testing.T, r *Registry, w *watch) {
			w.Connected("a")
			w.expect(t, `a never->online connected 0s`)
		})
	})
}

func TestPresenceSurvivesRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir)
		for _, id := range []string{"a", "b", "c"} {
			add(t, r, Spec{ID: id, Period: time.Minute})
		}
		w := watching(t, r)
		w.Connected("a")
		w.Connected("b")
		time.Sleep(90 * time.Second)
		w.sample("a")
		w.Left("b", ReasonLost)
		time.Sleep(2 * time.Second)
		w.Left("a", ReasonShutdown)
		before := w.Of("a")
		w.stop()

		time.Sleep(24 * time.Hour)
		w = watching(t, open(t, dir))
		after := w.Of("a")
		before.Since, before.LastSeen, before.LastEvent = before.Since.UTC(), before.LastSeen.UTC(), before.LastEvent.UTC()
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("a (-before +after):\n%s", diff)
		}
		if s := w.Of("b"); s.State != Offline || s.Reason != ReasonLost {
			t.Errorf("b: %+v", s)
		}
		if s := w.Of("c"); s.State != Never {
			t.Errorf("c: %+v", s)
		}
		time.Sleep(80 * time.Second)
		w.expect(t, ``)
		time.Sleep(80 * time.Second)
		w.expect(t, `a online->late silent_period 1m31s
			a late->offline silent_period 2m31s`)
		w.stop()

		history, err := w.History(t.Context(), "a", 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		var got []PresenceState
		for _, c := range history {
			got = append(got, c.State)
		}
		if want := []PresenceState{Offline, Late, Online}; !slices.Equal(got, want) {
			t.Errorf("history %v, want %v", got, want)
		}
	})
}

func TestTheLearnedPeriodSurvivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir)
		add(t, r, Spec{ID: "probe"})
		w := watching(t, r)
		w.sample("probe")
		time.Sleep(5 * time.Hour)
		w.set("probe", Seen{LastReceived: time.Now(), Period: time.Hour})
		time.Sleep(10 * time.Second)
		w.stop()

		w = watching(t, open(t, dir))
		if got := w.Of("probe").Period; got != time.Hour {
			t.Fatalf("the next start knows the period as %s", got)
		}
		w.sample("probe") // what the write path has not learned yet forgets nothing
		time.Sleep(89 * time.Minute)
		w.expect(t, ``)
		w.stop()
	})
}

// What is the longest that was learned, and that a period shifted by hours, is known
// within a second.
func TestTheLongestLearnedPeriodIsKnownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := open(t, dir)
		add(t, r, Spec{ID: "probe"})
		add(t, r, Spec{ID: "other"})
		add(t, r, Spec{ID: "declared", Period: time.Minute})
		w := watching(t, r)
		shifts := w.Shifts()
		learn := func(device string, period, longest time.Duration, shifted bool) {
			t.Helper()
			w.set(device, Seen{LastReceived: time.Now(), Period: period})
			time.Sleep(1100 * time.Millisecond)
			synctest.Wait()
			if got := w.Longest(); got != longest || (w.Shifts() != shifts) != shifted {
				t.Errorf("%s learned of %s: the longest is %s, want %s; shifted: %v", period, device, got, longest, !shifted)
			}
			shifts = w.Shifts()
		}
		learn("probe", 20*time.Minute, 20*time.Minute, false)
		learn("other", 12*time.Hour, 12*time.Hour, true)
		learn("declared", 24*time.Hour, 12*time.Hour, true)
		learn("other", 12*time.Hour+time.Minute, 12*time.Hour+time.Minute, false)
		learn("other", 10*time.Minute, 20*time.Minute, true)
		time.Sleep(10 * time.Second)
		w.stop()
		w = watching(t, open(t, dir))
		synctest.Wait()
		if got := w.Longest(); got < 20*time.Minute {
			t.Errorf("after a restart the longest is %s", got)
		}
		w.stop()
	})
}

// A group of transitions that the disk does not take waits as a whole and is
// told once.
func TestTransitionsAreToldTogetherAndOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := open(t, t.TempDir())
		specs := make([]Spec, 3*piece)
		for i := range specs {
			specs[i].ID = fmt.Sprintf("d%d", i)
		}
		if _, err := r.CreateBatch(t.Context(), specs); err != nil {
			t.Fatal(err)
		}
		var calls, told int
		p, err := NewPresence(t.Context(), PresenceConfig{
			Registry: r, Records: r.db, Activity: &traffic{}, Log: slog.New(slog.DiscardHandler), Now: time.Now, Metrics: prometheus.NewRegistry(),
			On: func(all []Transition) { calls, told = calls+1, told+len(all) },
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 * piece {
			p.Connected(fmt.Sprintf("d%d", i))
			p.Left(fmt.Sprintf("d%d", i), ReasonLost)
		}
		failing := records.Also(t.Context(), func(*sql.Tx) error { return errors.New("disk is full") })
		if err := p.flush(failing); err == nil {
			t.Error("the failure is not told")
		}
		if err := p.flush(t.Context()); err != nil {
			t.Error(err)
		}
		if calls != 1 || told != 6*piece {
			t.Errorf("%d transitions were told in %d calls, want %d in one", told, calls, 6*piece)
		}
		for _, id := range []string{"d0", fmt.Sprintf("d%d", 3*piece-1)} {
			if history, err := p.History(t.Context(), id, 0, 10); err != nil || len(history) != 2 || history[0].Reason != ReasonLost {
				t.Errorf("history of %s: %+v, %v", id, history, err)
			}
		}
	})
}

func TestPresenceHistoryIsBounded(t *testing.T) {
	story(t, func(t *testing.T, r *Registry, w *watch) {
		for range maxHistory {
			w.Connected("a")
			w.Left("a", ReasonLost)
		}
		synctest.Wait()
		all, err := w.History(t.Context(), "a", 0, 10*maxHistory)
		if err != nil {
			t.Fatal(err)
		}
		if len(all) != maxHistory || all[0].N != 2*maxHistory {
			t.Errorf("%d entries, the newest is number %d", len(all), all[0].N)
		}
	})
}

func TestFleetGauge(t *testing.T) {
	story(t, func(t *testing.T, r *Registry, w *watch) {
		add(t, r, Spec{ID: "n1", Kind: "node"})
		w.Connected("a")
		want := `
			# HELP hub_registry_devices Registered devices by kind and presence.
			# TYPE hub_registry_devices gauge
			hub_registry_devices{kind="node",presence="late"} 0
			hub_registry_devices{kind="node",presence="never"} 1
			hub_registry_devices{kind="node",presence="offline"} 0
			hub_registry_devices{kind="node",presence="online"} 0
			hub_registry_devices{kind="sensor",presence="late"} 0
			hub_registry_devices{kind="sensor",presence="never"} 2
			hub_registry_devices{kind="sensor",presence="offline"} 0
			hub_registry_devices{kind="sensor",presence="online"} 1
			`
		if err := testutil.GatherAndCompare(w.Metrics.(*prometheus.Registry), strings.NewReader(want), "hub_registry_devices"); err != nil {
			t.Error(err)
		}
	})
}

// What a device declares goes before what was learned, and that before its model.
func TestTheModelSaysHowOftenADeviceReports(t *testing.T) {
	m := telemetry.NewModel("probe", "", 0, false, []telemetry.Metric{{Name: "soil", Period: time.Hour}, {Name: "air", Period: 10 * time.Minute}})
	for _, c := range []struct {
		d    telemetry.Device
		t    track
		want time.Duration
	}{
		{telemetry.Device{}, track{}, DefaultPeriod},
		{telemetry.Device{Model: m}, track{}, 10 * time.Minute},
		{telemetry.Device{Model: m}, track{Standing: Standing{Period: time.Minute}}, time.Minute},
		{telemetry.Device{Model: m, Period: 2 * time.Hour}, track{Standing: Standing{Period: time.Minute}}, 2 * time.Hour},
	} {
		if got := period(&c.d, &c.t); got != c.want {
			t.Errorf("%+v: %s, want %s", c, got, c.want)
		}
	}
}
