package hub

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/plan"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/web"
)

// Bounds of what the page of compute shows.
const (
	shownRecords  = 300 // of a state
	shownWaiting  = 50  // in the queue, and as many deferred
	explainedOnes = 10  // of the queue, with what would help
	readEvents    = 200
	shownEvents   = 16
)

// compute is what the page of compute shows to who is narrowed to a region.
func (h *hub) compute(ctx context.Context, region string) (web.Compute, error) {
	all, err := h.scheduler.Declared(ctx)
	if err != nil {
		return web.Compute{}, err
	}
	c := web.Compute{At: h.clock(), Facilities: h.facilities(&all, region)}
	names := map[string]string{}
	keep := func(r *ledger.Record) bool {
		if r.Workload == nil || !r.Workload.Within(region) {
			return false
		}
		names[r.ID] = r.Workload.Name
		return true
	}
	for _, state := range []schedule.State{schedule.Running, schedule.Bound, schedule.Reserved, schedule.Succeeded, schedule.Failed, schedule.Preempted, schedule.Expired} {
		found, err := h.scheduler.List(ctx, ledger.Filter{State: state}, "", shownRecords)
		if err != nil {
			return c, err
		}
		for i := range found {
			if keep(&found[i]) {
				c.Bars = append(c.Bars, barsOf(&found[i], c.At)...)
			}
		}
	}
	if c.Queue, err = h.waiting(ctx, schedule.Queued, keep); err != nil {
		return c, err
	}
	if c.Deferred, err = h.waiting(ctx, schedule.Deferred, keep); err != nil {
		return c, err
	}
	c.Events, err = h.computeEvents(ctx, all.Seq, region, names)
	return c, err
}

func (h *hub) facilities(all *ledger.Snapshot, region string) (out []web.Facility) {
	pools := map[string][]web.Pool{}
	capacity := map[string]plan.Capacity{}
	for _, c := range h.scheduler.Capacities() {
		capacity[c.Pool] = c
	}
	for _, p := range all.Pools {
		c := capacity[p.ID]
		pools[p.Facility] = append(pools[p.Facility], web.Pool{
			ID: p.ID, Facility: p.Facility, Capacity: c.Capacity, Leased: c.Leased, Free: c.Free,
			DrawW: p.IdleWatts() + int64(p.Power.OrDefault().Draw(c.Leased)),
		})
	}
	now, signals := h.clock(), h.scheduler.Signals()
	for _, f := range all.Facilities {
		if !strings.HasPrefix(f.Region, region) {
			continue
		}
		one := web.Facility{Facility: f, Pools: pools[f.ID]}
		var leased, total float64
		for _, p := range one.Pools {
			leased, total = leased+float64(p.Leased[schedule.CPUMilli]), total+float64(p.Capacity[schedule.CPUMilli])
		}
		hour := now.Add(time.Hour)
		one.PUENow = signals.Overhead(&f, now, hour, leased/max(total, 1), math.NaN())
		one.Carbon = signalNow(signals, signal.Carbon, f.GridZone, now)
		one.Price = signalNow(signals, signal.Price, f.GridZone, now)
		out = append(out, one)
	}
	return out
}

func signalNow(signals signal.Set, kind signal.Kind, zone string, now time.Time) web.Reading {
	step, known := signals.Of(kind, zone).At(now)
	if !known {
		return web.Reading{Value: signal.Fallback[kind]}
	}
	return web.Reading{Value: step.Value, Forecast: true}
}

// barsOf are the leases of a workload, each as one bar for a pool.
func barsOf(r *ledger.Record, now time.Time) (out []web.Bar) {
	for _, l := range r.Leases {
		if !l.State.Takes() && !r.State.Ended() {
			continue
		}
		state := string(r.State)
		if l.State == schedule.Fenced {
			state = string(l.State)
		}
		for _, b := range poolBars(r, l.Parts, state) {
			switch {
			case r.State.Ended():
				b.End = r.Since
			case b.End.Before(now):
				b.End = now // it takes longer than was planned
			}
			out = append(out, b)
		}
	}
	return out
}

func poolBars(r *ledger.Record, parts []schedule.Assignment, state string) (out []web.Bar) {
	for _, p := range parts {
		i := slices.IndexFunc(out, func(b web.Bar) bool { return b.Pool == p.Pool })
		if i < 0 {
			i = len(out)
			out = append(out, web.Bar{Pool: p.Pool, Workload: r.ID, Name: r.Workload.Name, State: state, Start: p.Start, End: p.End})
		}
		out[i].Members++
		if p.End.After(out[i].End) {
			out[i].End = p.End
		}
	}
	return out
}

func (h *hub) waiting(ctx context.Context, state schedule.State, keep func(*ledger.Record) bool) (waits web.Waits, err error) {
	found, err := h.scheduler.Waiting(ctx, state, shownRecords)
	if err != nil {
		return waits, err
	}
	waits.More = len(found) == shownRecords
	var out []web.Waiting
	for i := range found {
		r := &found[i]
		if !keep(r) {
			continue
		}
		w := web.Waiting{ID: r.ID, Name: r.Workload.Name, Tenant: r.Workload.Tenant, Priority: r.Workload.Priority, Since: r.Workload.Submitted, Until: r.Until}
		if r.Reason != nil {
			w.Reasons = []schedule.Reason{*r.Reason}
		}
		if d := r.Decision; d != nil {
			w.Planned = poolBars(r, d.Planned, string(schedule.Deferred))
			if len(d.Reasons) > 0 {
				w.Reasons = d.Reasons
			}
		}
		if turn, waits := h.scheduler.Turn(r.ID); waits {
			w.Rank, w.Start = turn.Rank, turn.P50
		}
		out = append(out, w)
	}
	slices.SortStableFunc(out, func(a, b web.Waiting) int {
		return cmp.Or(cmp.Compare(a.Rank, b.Rank), a.Until.Compare(b.Until))
	})
	waits.All, waits.First = len(out), out[:min(len(out), shownWaiting)]
	if state != schedule.Queued {
		return waits, nil
	}
	for i := range out[:min(len(out), explainedOnes)] {
		if _, d, err := h.scheduler.Explain(ctx, out[i].ID); err == nil { // it may have gone meanwhile
			out[i].Help = d.Nearest()
		}
	}
	return waits, nil
}

// computeEvents are the last ones of workloads and facilities, the newest first,
// without the steps that others follow at once. Of a ledger that has forgotten
// them there are none.
func (h *hub) computeEvents(ctx context.Context, last int64, region string, names map[string]string) (out []web.Event, err error) {
	found, _, err := h.scheduler.Events(ctx, max(0, last-readEvents), readEvents)
	if errors.Is(err, ledger.ErrCompacted) {
		return nil, nil
	}
	for _, e := range slices.Backward(found) {
		told := e.Kind == schedule.OfFacility || e.Kind == schedule.OfWorkload && e.To != string(schedule.Submitted) && e.To != string(schedule.Bound)
		if told && strings.HasPrefix(e.Region, region) && len(out) < shownEvents {
			out = append(out, web.Event{Event: e, Name: names[e.Object]})
		}
	}
	return out, err
}

// workload is a workload as its page shows it, with its explanation; one that
// the caller may not see is as if it were not there.
func (h *hub) workload(ctx context.Context, region, id string) (web.Workload, error) {
	r, d, err := h.scheduler.Explain(ctx, id)
	switch {
	case errors.Is(err, ledger.ErrUnknown), err == nil && (r.Workload == nil || !r.Workload.Within(region)):
		return web.Workload{}, web.ErrNoWorkload
	case err != nil:
		return web.Workload{}, err
	}
	out := web.Workload{Workload: *r.Workload, State: r.State, Since: r.Since, Decision: d}
	for _, l := range r.Leases {
		if l.State.Live() || r.State.Ended() {
			out.Bars = append(out.Bars, poolBars(&r, l.Parts, string(r.State))...)
		}
	}
	if r.Reason != nil {
		out.Reasons = append(out.Reasons, *r.Reason)
	}
	for _, s := range d.Scores {
		one := web.Score{Score: s}
		for _, k := range plan.Scorers {
			if k.Name == s.Scorer {
				one.About = k.Text
			}
		}
		out.Scores = append(out.Scores, one)
	}
	if out.Events, err = h.story(ctx, id); err != nil {
		return web.Workload{}, err
	}
	if turn, waits := h.scheduler.Turn(id); waits {
		out.Waits, out.Rank, out.Start = true, turn.Rank, turn.P50
	}
	return out, nil
}

// shownStory is how many of its newest events the page of a workload shows.
const shownStory = 100

func (h *hub) story(ctx context.Context, id string) (all []schedule.Event, err error) {
	for since, more := int64(0), true; more; since = all[len(all)-1].Seq {
		var some []schedule.Event
		if some, more, err = h.scheduler.EventsOf(ctx, id, since, 1000); err != nil || len(some) == 0 {
			return all, err
		}
		all = append(all, some...)
		all = all[max(0, len(all)-shownStory):]
	}
	return all, nil
}
