package loop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// stepped is a scheduler whose passes are the test's to make: what it decides
// depends on nothing but what it was asked, and when.
func stepped(t *testing.T) *running {
	t.Helper()
	db, err := records.Open(t.Context(), file(t))
	if err != nil {
		t.Fatal(err)
	}
	r := &running{t: t, db: db, ended: make(chan error, 1), now: noon}
	r.Scheduler, err = Open(t.Context(), DefaultConfig(), Deps{Records: db, Log: slog.New(slog.DiscardHandler), Clock: r.clock, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- r.ledger.Run(ctx) }()
	t.Cleanup(r.close)
	return r
}

// day is what happens to a scheduler in a day of a seed.
type day struct {
	*running
	rng  *rand.Rand
	ids  []string
	live []uint64 // tokens, as they were promised
}

func (d *day) step(n int) {
	switch d.rng.IntN(10) {
	case 0, 1, 2, 3, 4:
		d.ask(n)
	case 5, 6:
		if len(d.live) > 0 {
			i := d.rng.IntN(len(d.live))
			for _, to := range []schedule.State{schedule.Running, []schedule.State{schedule.Succeeded, schedule.Failed, schedule.Queued}[d.rng.IntN(3)]} {
				if err := d.Report(d.t.Context(), ledger.Report{Token: d.live[i], To: to})[0]; err != nil && !errors.Is(err, ledger.ErrFenced) {
					d.t.Fatal(err)
				}
			}
			d.live = slices.Delete(d.live, i, i+1)
		}
	case 7:
		if len(d.ids) > 0 {
			_ = d.Cancel(d.t.Context(), d.ids[d.rng.IntN(len(d.ids))]) // some have ended
		}
	case 8:
		kind, from := []signal.Kind{signal.Carbon, signal.Price}[d.rng.IntN(2)], d.clock()
		s := &signal.Series{Kind: kind, Zone: []string{"a", "b", "c"}[d.rng.IntN(3)], Issued: from}
		for h := range 24 {
			at, v := from.Add(time.Duration(h)*time.Hour), 100+500*d.rng.Float64()
			if kind == signal.Price {
				v /= 500
			}
			s.Steps = append(s.Steps, signal.Step{Start: at, End: at.Add(time.Hour), Value: v, Low: v, High: v})
		}
		if _, err := d.PutSignal(d.t.Context(), s); err != nil {
			d.t.Fatal(err)
		}
	case 9:
		d.advance(time.Duration(d.rng.IntN(30)) * time.Minute)
	}
	d.pass(d.t.Context())
}

// ask submits something of a random shape.
func (d *day) ask(n int) {
	w := work(fmt.Sprint("w", n), 1+d.rng.Int64N(8), func(w *schedule.Workload) {
		w.Tenant, w.Priority = fmt.Sprint("t", d.rng.IntN(3)), d.rng.IntN(3)
		w.Objective = schedule.Objectives[d.rng.IntN(len(schedule.Objectives))]
		w.Tasks[0].P50 = time.Duration(1+d.rng.IntN(5)) * time.Hour
		w.Tasks[0].P95 = 2 * w.Tasks[0].P50
		if d.rng.IntN(3) == 0 {
			w.Gang, w.Tasks[0].Min, w.Tasks[0].Max = schedule.GangAll, 3, 3
		}
		if d.rng.IntN(3) == 0 {
			w.Window = schedule.Window{Deferrable: true, Deadline: d.clock().Add(20 * time.Hour)}
		}
	})
	d.ids = append(d.ids, d.submit(w).ID)
}

// follow takes in what was promised since, up to an event.
func (d *day) follow(since, last int64) {
	for since < last {
		all, _, err := d.Events(d.t.Context(), since, 1000)
		if err != nil {
			d.t.Fatal(err)
		}
		for _, e := range all {
			if since = e.Seq; e.Kind == schedule.OfLease && e.To == string(schedule.Held) {
				d.live = append(d.live, e.Token)
			}
		}
	}
}

func (d *day) last() int64 {
	s, err := d.ledger.Snapshot(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return s.Seq
}

// story is every event of a day, and where each workload is at its end.
func story(t *testing.T, seed uint64) string {
	d := &day{running: stepped(t), rng: rand.New(rand.NewPCG(seed, 1))}
	for i, id := range []string{"a", "b", "c"} {
		d.declare(id, 1+i)
	}
	since := int64(0)
	for n := range 200 {
		d.step(n)
		last := d.last()
		d.follow(since, last)
		since = last
	}
	var b strings.Builder
	for from := int64(0); from < since; {
		all, _, err := d.Events(t.Context(), from, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range all {
			fmt.Fprintln(&b, e.Seq, e.At, e.Kind, e.Object, e.From, e.To, e.Reason, e.Token)
			from = e.Seq
		}
	}
	for _, id := range d.ids {
		r, err := d.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, id, r.State, r.Until, r.Reason)
		if r.Decision != nil {
			fmt.Fprintf(&b, "%+v\n", *r.Decision)
		}
	}
	return b.String()
}

// TestTheSameDayIsDecidedTheSame replays days from their seeds: every decision,
// with its reasons, scores, places and numbers, is what it was.
func TestTheSameDayIsDecidedTheSame(t *testing.T) {
	if testing.Short() {
		t.Skip("six days; make test")
	}
	for seed := range uint64(3) {
		want := story(t, seed)
		if got := story(t, seed); got != want {
			a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
			for i := range min(len(a), len(b)) {
				if a[i] != b[i] {
					t.Fatalf("seed %d, line %d:\n%s\nand then\n%s", seed, i, a[i], b[i])
				}
			}
			t.Fatalf("seed %d: %d lines, and then %d", seed, len(a), len(b))
		}
		for _, what := range []string{"deferred", "queued", "released", "failed", "succeeded", "cancelled"} {
			if !strings.Contains(want, what) {
				t.Errorf("seed %d: nothing is %s", seed, what)
			}
		}
	}
}
