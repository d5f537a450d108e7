package drive

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// item is one lease on its way. Its fields are under the driver's mu.
type item struct {
	lease  schedule.Lease // newest, as the ledger has it
	halves []half         // one for each engine of the lease, nearly always one
	stray  bool           // the ledger has no such lease
	busy   bool           // somebody is being asked
	pause  backoff.Backoff
	after  time.Time // not before
	since  time.Time // an engine does not do what is asked since; zero: it does
	told   facility.Progress
	// end is what the ledger is told when nothing of the lease is at an engine
	// any more.
	end *ledger.Report
}

// half is what of a lease one engine has.
type half struct {
	kind    schedule.Engine
	asked   bool // the engine has it, or had it: when it does not report it, it is lost
	round   int  // of Watch in which that was last known
	taken   bool // Start has returned, so that all of it is there
	begun   bool // Start has returned without Hold, or it is known to have begun
	said    facility.Progress
	code    int
	message string
	late    bool // it ran longer than its limit
	stuck   bool // the engine could not begin it
}

// wish is what is next for a lease.
type wish int

const (
	nothing wish = iota
	bind         // the ledger writes that the engine is about to be asked
	hold         // the engine takes it, and begins nothing
	start
	tell // the ledger how far it is
	stop
)

// want says what is next for an item. The caller holds mu.
func (s *site) want(i *item) wish {
	switch {
	case i.stray || i.end != nil || i.lease.State == schedule.Fenced:
		return stop
	case i.lease.State == schedule.Held && i.progress() == "":
		return bind
	case i.progress() != i.told:
		return tell
	case i.all(func(h *half) bool { return h.begun }):
		return nothing
	case !s.d.together(i):
		return start
	case !i.taken():
		return hold
	case s.d.complete(i):
		return start
	}
	return nothing
}

// all reports whether something is true of all halves.
func (i *item) all(is func(*half) bool) bool {
	for n := range i.halves {
		if !is(&i.halves[n]) {
			return false
		}
	}
	return true
}

// taken reports whether the engines have all of an item. The caller holds mu.
func (i *item) taken() bool { return i.all(func(h *half) bool { return h.taken }) }

// progress is how far the lease as a whole is: it ends when all of it has ended,
// or when a part has failed. Empty: nothing is known, or nothing has begun.
func (i *item) progress() facility.Progress {
	running, over := false, true
	for _, h := range i.halves {
		switch h.said {
		case facility.Failed, facility.Stopped:
			return facility.Failed
		case facility.Running:
			running = true
		}
		over = over && h.said == facility.Succeeded
	}
	switch {
	case over:
		return facility.Succeeded
	case running:
		return facility.Running
	}
	return i.told
}

// stopped reports whether an engine says that it was stopped there.
func (i *item) stopped() bool {
	for _, h := range i.halves {
		if h.said == facility.Stopped {
			return true
		}
	}
	return false
}

// saw takes a report. What has ended does not run again. The caller holds mu.
func (i *item) saw(e *watched, r facility.Report) {
	for n := range i.halves {
		h := &i.halves[n]
		if h.kind != e.kind || h.said.Over() {
			continue
		}
		h.asked, h.round, h.said, h.code, h.message, h.late, h.stuck = true, e.round, r.State, r.ExitCode, r.Message, r.TimedOut, r.NotBegun
		if r.State != facility.Waiting {
			h.taken, h.begun = true, true
		}
	}
}

// settle gives up what an engine should have and does not. The caller holds mu.
func (i *item) settle(s *site) {
	if i.lease.State == schedule.Committed {
		for _, h := range i.halves {
			e := s.engines[h.kind]
			if h.asked && h.round < e.round && !e.seen[i.lease.Token] && i.end == nil {
				why := schedule.Because(schedule.FacilityLost, s.id)
				i.end = &ledger.Report{Token: i.lease.Token, To: schedule.Queued, Reason: &why}
			}
		}
	}
	s.due(i)
}

// attend does what is next for an item, once.
func (s *site) attend(ctx context.Context, i *item) {
	s.d.mu.Lock()
	want, l := s.want(i), i.lease
	s.d.mu.Unlock()
	var err error
	switch want {
	case bind:
		err = s.report(ctx, ledger.Report{Token: l.Token, To: schedule.Bound})
	case hold, start:
		err = s.start(ctx, i, l, want == hold)
	case tell:
		err = s.tell(ctx, i, l)
	case stop:
		err = s.stop(ctx, i, l)
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	i.busy = false
	s.busy--
	switch {
	case err == nil:
		i.pause.Reset()
	case ctx.Err() == nil:
		again := i.pause.Next()
		i.after = time.Now().Add(again)
		s.d.deps.Log.Warn("lease_not_driven", "facility", s.id, "lease", l.ID, "workload", l.Workload, "error", err, "again", again)
	}
	if s.items[l.Token] == i {
		s.due(i)
	}
	if want == hold && err == nil {
		s.d.stir(l.Workload)
	}
	nudge(s.wake)
}

// report tells the ledger. A lease that is not live any more is no error: what
// the ledger has done to it came by Follow.
func (s *site) report(ctx context.Context, all ...ledger.Report) error {
	for _, err := range s.d.deps.Ledger().Report(ctx, all...) {
		if err != nil && !errors.Is(err, ledger.ErrFenced) && !errors.Is(err, ledger.ErrUnknown) {
			return err
		}
	}
	return nil
}

// patient bounds one request to an engine.
const patient = time.Minute

// each asks the engines of an item, those of its halves that which wants, and
// does done for those that did as they were asked.
func (s *site) each(ctx context.Context, i *item, l schedule.Lease, request string, which func(*half) bool, ask func(context.Context, facility.Engine, facility.Work) error, done func(*half, *watched)) error {
	w, limits, err := s.work(ctx, i, l)
	if err != nil {
		return err
	}
	s.d.mu.Lock()
	halves := make([]half, len(i.halves))
	copy(halves, i.halves)
	s.d.mu.Unlock()
	var errs []error
	for n, h := range halves {
		if !which(&h) {
			continue
		}
		e := s.engine(h.kind)
		part := w
		part.Members = s.members(l, h.kind, limits)
		bounded, cancel := context.WithTimeout(ctx, patient)
		err := ask(bounded, e.Engine, part)
		cancel()
		if ctx.Err() != nil { // the hub ends, and the engine has not failed
			return ctx.Err()
		}
		s.d.calls.WithLabelValues(request, outcome(err)).Inc()
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.d.mu.Lock()
		done(&i.halves[n], e)
		s.d.mu.Unlock()
	}
	return errors.Join(errs...)
}

func outcome(err error) string {
	switch {
	case err == nil:
		return "done"
	case errors.Is(err, facility.ErrRefused):
		return "refused"
	case errors.Is(err, facility.ErrFenced):
		return "fenced"
	}
	return "failed"
}

func (s *site) engine(kind schedule.Engine) *watched {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	return s.engines[kind]
}

// work is what the engines of an item are told of it, without its members, and
// the limits of those by task.
func (s *site) work(ctx context.Context, i *item, l schedule.Lease) (w facility.Work, limits map[string]time.Duration, err error) {
	w = facility.Work{Workload: l.Workload, Lease: l.ID, Token: l.Token}
	if i.stray {
		return w, nil, nil
	}
	r, err := s.d.deps.Ledger().Get(ctx, w.Workload)
	if err != nil {
		return w, nil, err
	}
	w.Name, w.Payload = r.Workload.Name, r.Workload.Payload
	limits = map[string]time.Duration{}
	for n := range r.Workload.Tasks {
		limits[r.Workload.Tasks[n].Name] = r.Workload.Tasks[n].Limit
	}
	return w, limits, nil
}

func (s *site) members(l schedule.Lease, kind schedule.Engine, limits map[string]time.Duration) (all []facility.Member) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	for _, p := range l.Parts {
		if s.d.kinds[p.Pool] == kind {
			all = append(all, facility.Member{Assignment: p, Limit: limits[p.Task]})
		}
	}
	return all
}

// start asks for what has not begun, or where it is only to be held, for what is
// not taken.
func (s *site) start(ctx context.Context, i *item, l schedule.Lease, held bool) error {
	request := "start"
	if held {
		request = "hold"
	}
	err := s.each(ctx, i, l, request, func(h *half) bool { return !h.begun && !(held && h.taken) },
		func(ctx context.Context, e facility.Engine, w facility.Work) error {
			w.Hold = held
			return e.Start(ctx, w)
		},
		func(h *half, e *watched) {
			h.asked, h.taken, h.begun, h.round = true, true, h.begun || !held, max(e.round, h.round)
		})
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	now := time.Now()
	if i.since.IsZero() {
		i.since = now
	}
	switch {
	case ctx.Err() != nil:
	case err == nil:
		i.since = time.Time{}
	case errors.Is(err, facility.ErrFenced):
		// Another driver has stopped it, or has started a later lease.
		s.giveUp(i, schedule.Because(schedule.FacilityLost, s.id))
		s.d.deps.Log.Error("lease_fenced_at_engine", "facility", s.id, "lease", l.ID, "workload", l.Workload, "error", err)
		return nil
	case errors.Is(err, facility.ErrRefused):
		i.after = now.Add(s.d.refuse(l.Workload))
		s.giveUp(i, schedule.Because(schedule.EngineRefused, err))
		s.d.deps.Log.Warn("engine_refused", "facility", s.id, "lease", l.ID, "workload", l.Workload, "error", err)
		return nil
	case now.Sub(i.since) > s.d.deps.Patience:
		s.giveUp(i, schedule.Because(schedule.EngineRefused, err))
	}
	return err
}

// giveUp lets an item be stopped where it may be, and then planned anew. The
// caller holds mu.
func (s *site) giveUp(i *item, why schedule.Reason) {
	i.end = &ledger.Report{Token: i.lease.Token, To: schedule.Queued, Reason: &why}
}

// refuse returns how long a workload that was refused waits before it is planned
// anew: not at all for the first time, and longer each time. The caller holds mu.
func (d *Driver) refuse(workload string) time.Duration {
	if b := d.refused[workload]; b != nil {
		return b.Next()
	}
	d.refused[workload] = &backoff.Backoff{}
	return 0
}

// tell tells the ledger how far an item is.
func (s *site) tell(ctx context.Context, i *item, l schedule.Lease) error {
	s.d.mu.Lock()
	p, worst := i.progress(), i.worst()
	s.d.mu.Unlock()
	running := ledger.Report{Token: l.Token, To: schedule.Running}
	switch p {
	case facility.Running:
		if err := s.report(ctx, running); err != nil {
			return err
		}
	case facility.Succeeded:
		return s.report(ctx, running, ledger.Report{Token: l.Token, To: schedule.Succeeded})
	case facility.Failed:
		why, err := s.why(ctx, l, worst)
		if err != nil {
			return err
		}
		s.d.deps.Log.Info("work_failed", "facility", s.id, "lease", l.ID, "workload", l.Workload, "reason", why.Code, "exit_code", worst.code, "message", worst.message)
		s.d.mu.Lock()
		i.end = &ledger.Report{Token: l.Token, To: schedule.Failed, Reason: &why}
		s.d.mu.Unlock()
		return s.report(ctx, running)
	}
	s.d.mu.Lock()
	i.told = p
	s.d.mu.Unlock()
	return nil
}

// worst is the half that failed; of several, that with the highest exit code.
// The caller holds mu.
func (i *item) worst() (worst half) {
	for _, h := range i.halves {
		if (h.said == facility.Failed || h.said == facility.Stopped) && (worst.said == "" || h.code > worst.code) {
			worst = h
		}
	}
	return worst
}

// why is why work has failed.
func (s *site) why(ctx context.Context, l schedule.Lease, worst half) (schedule.Reason, error) {
	switch {
	case worst.stuck:
		return schedule.Because(schedule.NotBegun, worst.message), nil
	case !worst.late:
		return schedule.Because(schedule.ExitCode, worst.code), nil
	}
	r, err := s.d.deps.Ledger().Get(ctx, l.Workload)
	if err != nil {
		return schedule.Reason{}, err
	}
	least := time.Duration(0) // that the work has run for longer than
	for n := range r.Workload.Tasks {
		t := &r.Workload.Tasks[n]
		if t.Limit > 0 && (least == 0 || t.Limit < least) && slices.ContainsFunc(l.Parts, func(p schedule.Assignment) bool { return p.Task == t.Name }) {
			least = t.Limit
		}
	}
	return schedule.Because(schedule.TimeLimit, least), nil
}

// stop ends an item at its engines, and then for the ledger.
func (s *site) stop(ctx context.Context, i *item, l schedule.Lease) error {
	err := s.each(ctx, i, l, "stop", func(*half) bool { return true }, func(ctx context.Context, e facility.Engine, w facility.Work) error {
		if err := e.Stop(ctx, w); !errors.Is(err, facility.ErrFenced) {
			return err
		}
		return nil // a later lease has stopped it
	}, func(*half, *watched) {})
	if err != nil {
		return fmt.Errorf("stop: %w", err)
	}
	s.d.mu.Lock()
	if i.end == nil {
		// Should its facility have come back meanwhile, with this among what it had.
		s.giveUp(i, schedule.Because(schedule.FacilityLost, s.id))
	}
	end, fenced := i.end, i.lease.State == schedule.Fenced
	if i.stray {
		delete(s.items, l.Token)
	}
	s.d.mu.Unlock()
	switch {
	case i.stray:
		return nil
	case fenced:
		return s.d.deps.Ledger().Release(ctx, l.Token)
	}
	return s.report(ctx, *end)
}
