package live

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

var noon = time.Date(2026, 11, 26, 4, 0, 0, 0, time.UTC)

// told keeps what a feed tells, in the place of the scheduler, which the tests of
// the hub have.
type told struct {
	declared   ledger.Snapshot
	experience map[string]loop.Experience
	seen       []loop.Observation
	values     loop.Values
}

func (t *told) Declared(context.Context) (ledger.Snapshot, error) { return t.declared, nil }
func (t *told) Experience() map[string]loop.Experience            { return t.experience }
func (t *told) Observe(all []loop.Observation)                    { t.seen = all }
func (t *told) SetLive(v loop.Values)                             { t.values = v }

func feed(t *testing.T, s *told, now *time.Time, answers map[string][]Reading) *Feed {
	t.Helper()
	return New(Deps{Scheduler: s, Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return *now }, Metrics: prometheus.NewRegistry(),
		Ask: func(_ context.Context, _, expression string, _ time.Time) ([]Reading, error) {
			if got, ok := answers[expression]; ok && got == nil {
				return nil, errors.New("it cannot be evaluated")
			}
			return answers[expression], nil
		}})
}

// TestWhatTheSchedulerSeesItselfCountsWhereNothingIsDeclared has a pool that says
// nothing and one that declares what is not there.
func TestWhatTheSchedulerSeesItselfCountsWhereNothingIsDeclared(t *testing.T) {
	now := noon
	nodes := []schedule.Class{{Count: 100, Node: schedule.Node{CPUMilli: 1000}}}
	s := &told{
		declared: ledger.Snapshot{Facilities: []schedule.Facility{{ID: "f", Region: "220100"}}, Pools: []schedule.Pool{
			{ID: "own", Facility: "f", Classes: nodes}, {ID: "declares", Facility: "f", Classes: nodes, Live: schedule.PoolLive{QueueWait: "wait", FailuresPerHour: "broken"}},
		}},
		experience: map[string]loop.Experience{
			"own":      {Wait: 90 * time.Second, WaitAt: noon.Add(-time.Minute), Lost: 9, Over: 24 * time.Hour},
			"declares": {Wait: time.Hour, WaitAt: noon, Lost: 9, Over: 24 * time.Hour},
		},
	}
	f := feed(t, s, &now, map[string][]Reading{"wait": {}, "broken": nil})
	round := func() {
		t.Helper()
		if err := f.Round(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	round()
	own, declares := s.values.Pools["own"], s.values.Pools["declares"]
	// Ten losses in 2,400 node hours and the 10,000 of the prior.
	if own.Wait != 90*time.Second || math.Abs(own.FailuresPerHour-10/12_400.0) > 1e-5 || own.At != noon.Add(-time.Minute) || len(own.Stale) != 0 {
		t.Errorf("what was seen: %+v", own)
	}
	if declares.Wait != 0 || declares.FailuresPerHour != 0 || len(declares.Stale) != 2 || !declares.At.IsZero() {
		t.Errorf("what is declared and does not come: %+v", declares)
	}
	now = noon.Add(plan.LiveBound)
	s.experience = nil
	round()
	if l, ok := s.values.Pools["own"]; !ok || l.Wait != 0 || !l.At.IsZero() {
		t.Errorf("it ended and nobody is told: %+v %v", l, ok)
	}
	round()
	if _, ok := s.values.Pools["own"]; ok {
		t.Error("it is told again that there is nothing")
	}
}

// TestAWarmInletRaisesTheRisk reads the factors of ASHRAE.
func TestAWarmInletRaisesTheRisk(t *testing.T) {
	for inlet, want := range map[float64]float64{0: 1, 10: .72, 20: 1, 21.25: 1.065, 35: 1.55, 60: 1.76} {
		if got := warmth(inlet); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %v °C %v, want %v", inlet, got, want)
		}
	}
	now := noon
	s := &told{declared: ledger.Snapshot{Facilities: []schedule.Facility{{ID: "f", Region: "220100"}}, Pools: []schedule.Pool{{ID: "p", Facility: "f", Nodes: []schedule.Node{{ID: "n", CPUMilli: 1000}}}}}}
	f := feed(t, s, &now, map[string][]Reading{defaults[schedule.LiveInlet]: {{Node: "n", Region: "220100", Value: 35, At: noon.Add(-20 * time.Second)}, {Node: "n", Region: "110000", Value: 99, At: noon}}})
	if err := f.Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	if l := s.values.Pools["p"]; math.Abs(l.FailuresPerHour-1.55e-4) > 0.06e-4 || l.At != noon.Add(-20*time.Second) {
		t.Errorf("%+v", l)
	}
	if l := s.values.Facilities["f"]; l.InletC != 35 || l.At != noon.Add(-20*time.Second) {
		t.Errorf("%+v", l)
	}
}
