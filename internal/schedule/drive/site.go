package drive

import (
	"cmp"
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// site is one facility with its engines. Its fields are under the driver's mu.
type site struct {
	d       *Driver
	id      string
	life    context.Context // ends when the facility is gone
	end     context.CancelFunc
	wake    chan struct{} // holds one token while run has something to do
	engines map[schedule.Engine]*watched
	items   map[uint64]*item // leases that take capacity, and strays, by token
	todo    map[uint64]*item // of items, those that somebody must be asked about
	busy    int
	// open says that the beginning of every Watch was gone through since one of
	// them failed: what the engines have is known, and they may be asked.
	open bool
	dark time.Time // since when it is not open
	was  schedule.FacilityState
}

// watched is an engine as its Watch shows it.
type watched struct {
	facility.Engine
	kind     schedule.Engine
	watching bool
	round    int             // of Watch
	complete bool            // its beginning was seen
	seen     map[uint64]bool // tokens that this round has reported
}

func newSite(d *Driver, id string) *site {
	s := &site{d: d, id: id, wake: make(chan struct{}, 1), engines: map[schedule.Engine]*watched{}, items: map[uint64]*item{}, todo: map[uint64]*item{}}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// most is how many requests about one facility are out at once.
const most = 64

// retry is how soon the ledger is asked again about a facility.
const retry = time.Second

// run asks for what is due until ctx ends.
func (s *site) run(ctx context.Context) error {
	group, all := errgroup.WithContext(ctx)
	s.d.mu.Lock()
	s.dark = time.Now()
	s.d.mu.Unlock()
	for all.Err() == nil {
		pause := s.judge(all)
		s.d.mu.Lock()
		for _, e := range s.engines {
			if !e.watching {
				e.watching = true
				group.Go(func() error { return s.watch(all, e) })
			}
		}
		for _, i := range s.next() {
			group.Go(func() error {
				s.attend(all, i)
				return nil
			})
		}
		pause = s.pause(pause)
		s.d.mu.Unlock()
		select {
		case <-all.Done():
		case <-s.wake:
		case <-time.After(pause):
		}
	}
	return group.Wait()
}

// next takes what is due out of what is to do. The caller holds mu.
func (s *site) next() (found []*item) {
	if !s.open {
		return nil
	}
	now := time.Now()
	for token, i := range s.todo {
		if s.busy == most {
			break
		}
		if i.busy || i.after.After(now) {
			continue
		}
		delete(s.todo, token)
		i.busy = true
		s.busy++
		found = append(found, i)
	}
	return found
}

// pause is how long nothing is due, at most longest. The caller holds mu.
func (s *site) pause(longest time.Duration) time.Duration {
	if !s.open || s.busy == most {
		return longest
	}
	for _, i := range s.todo {
		if !i.busy {
			longest = min(longest, time.Until(i.after))
		}
	}
	return max(longest, time.Millisecond)
}

// due puts an item among what is to do. The caller holds mu.
func (s *site) due(i *item) {
	if s.want(i) == nothing {
		return
	}
	s.todo[i.lease.Token] = i
	nudge(s.wake)
}

// watch keeps the Watch of one engine up.
func (s *site) watch(ctx context.Context, e *watched) error {
	var pause backoff.Backoff
	for {
		s.d.mu.Lock()
		e.round, e.complete, e.seen = e.round+1, false, map[uint64]bool{}
		round := e.round
		s.d.mu.Unlock()
		err := e.Watch(ctx, func(r facility.Report) { s.saw(e, round, r) })
		if ctx.Err() != nil {
			return nil
		}
		s.d.mu.Lock()
		if e.complete {
			pause.Reset()
		}
		e.complete = false
		s.close()
		s.d.mu.Unlock()
		again := pause.Next()
		s.d.deps.Log.Warn("engine_not_seen", "facility", s.id, "engine", e.kind, "error", err, "again", again)
		if !backoff.Sleep(ctx, again) {
			return nil
		}
	}
}

// close says that not all is seen any more. The caller holds mu.
func (s *site) close() {
	if s.open {
		s.open, s.dark = false, time.Now()
	}
	nudge(s.wake)
}

// complete reports whether the beginnings of all engines were seen. The caller
// holds mu.
func (s *site) complete() bool {
	for _, e := range s.engines {
		if !e.complete {
			return false
		}
	}
	return true
}

// saw takes a report of an engine.
func (s *site) saw(e *watched, round int, r facility.Report) {
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if round != e.round {
		return
	}
	if r.Complete {
		e.complete = true
		nudge(s.wake)
		return
	}
	e.seen[r.Token] = true
	i := s.items[r.Token]
	if i == nil {
		if r.State.Over() {
			return
		}
		// The ledger has no such lease: what runs under it must end.
		i = &item{stray: true, halves: []half{{kind: e.kind}}, lease: schedule.Lease{ID: r.Lease, Token: r.Token, Facility: s.id, State: schedule.Fenced}}
		s.items[r.Token] = i
	}
	i.saw(e, r)
	s.due(i)
}

// judge says whether the facility is seen, lost, or back, and returns when to
// look again.
func (s *site) judge(ctx context.Context) time.Duration {
	s.d.mu.Lock()
	f, open, complete, dark, known := s.d.facilities[s.id], s.open, s.complete(), time.Since(s.dark), map[uint64]bool{}
	if complete && !open {
		known = s.known()
	}
	s.d.mu.Unlock()
	var err error
	switch {
	case open:
	case complete:
		err = s.back(ctx, f, known)
	case f.State == schedule.Lost:
	case dark < s.d.deps.Dark:
		return s.d.deps.Dark - dark
	default:
		err = s.lose(ctx, f, dark)
	}
	if err != nil && ctx.Err() == nil {
		s.d.deps.Log.Error("facility_not_judged", "facility", s.id, "error", err)
		return retry
	}
	return time.Hour
}

// lose fences the facility. One that is not declared any more has no leases.
func (s *site) lose(ctx context.Context, f schedule.Facility, dark time.Duration) error {
	if err := s.d.deps.Ledger().Fence(ctx, s.id); err != nil {
		if errors.Is(err, ledger.ErrUnknown) {
			return nil
		}
		return err
	}
	s.d.mu.Lock()
	s.was = f.State
	s.d.mu.Unlock()
	s.d.deps.Log.Error("facility_lost", "facility", s.id, "unseen_seconds", dark.Seconds())
	return nil
}

// back opens the facility: what of a lost one goes on is the ledger's to say,
// and what its engines do not have is lost.
func (s *site) back(ctx context.Context, f schedule.Facility, known map[uint64]bool) error {
	if f.State == schedule.Lost {
		_, err := s.d.deps.Ledger().Reconcile(ctx, s.id, func(token uint64) bool { return known[token] })
		if err == nil {
			err = s.restore(ctx, f)
		}
		if err != nil && !errors.Is(err, ledger.ErrUnknown) {
			return err
		}
	}
	s.d.mu.Lock()
	defer s.d.mu.Unlock()
	if !s.complete() {
		return nil
	}
	s.open = true
	for _, i := range s.items {
		i.settle(s)
		s.d.stir(i.lease.Workload)
	}
	nudge(s.wake)
	return nil
}

// restore gives the facility the state back that it had; after a restart of the
// hub that is ready: lost is who is not seen.
func (s *site) restore(ctx context.Context, f schedule.Facility) error {
	s.d.mu.Lock()
	f.State = cmp.Or(s.was, schedule.Ready)
	s.d.mu.Unlock()
	if _, err := s.d.deps.Ledger().PutFacility(ctx, f); err != nil {
		return err
	}
	s.d.deps.Log.Info("facility_back", "facility", s.id, "state", f.State)
	return nil
}

// known are the tokens that engines have reported in this round, but for those
// that they say were stopped. The caller holds mu.
func (s *site) known() map[uint64]bool {
	all := map[uint64]bool{}
	for _, e := range s.engines {
		for token := range e.seen {
			if i := s.items[token]; i != nil && !i.stopped() {
				all[token] = true
			}
		}
	}
	return all
}
