package outbox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/edge/backoff"
)

// attempt bounds one message to a destination.
const attempt = 2 * time.Minute

// firstLook is when what is there is looked at first after a start, at the latest.
const firstLook = 10 * time.Minute

// run sends until ctx ends. After a failure it pauses, longer each time: a
// destination that comes back is not run over.
func (s *sender) run(ctx context.Context) error {
	var pause backoff.Backoff
	// The first is soon: a hub that is started anew every day would never look.
	const never = 100 * 365 * 24 * time.Hour
	next := s.deps.Clock().Add(cmp.Or(min(s.Reconcile, firstLook), never))
	for ctx.Err() == nil {
		worked, err := s.step(ctx)
		if err != nil && !backoff.Sleep(ctx, pause.Next()) {
			return nil
		}
		if worked && err == nil {
			pause.Reset()
		}
		if worked {
			continue
		}
		wait := time.NewTimer(next.Sub(s.deps.Clock()))
		due := false
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-s.look:
			due = true
		case <-wait.C:
			due = true
		}
		wait.Stop()
		if due && ctx.Err() == nil {
			again := cmp.Or(s.Reconcile, never)
			if err := s.reconcile(ctx); err != nil && ctx.Err() == nil {
				s.failed(err)
				s.deps.Log.Warn("outlet_not_reconciled", "outlet", s.Name, "error", err)
				again = pause.Next()
			} else {
				pause.Reset()
			}
			next = s.deps.Clock().Add(again)
		}
	}
	return nil
}

// waiting are the datasets that the destination is to be told of, those first
// that it was not tried with, the oldest change first.
func (s *sender) waiting() []waiting {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []waiting
	seen := map[string]bool{}
	s.deps.Each(func(dataset string, number int64) {
		seen[dataset] = true
		if e := s.entries[dataset]; e == nil || e.Number < number {
			all = append(all, waiting{dataset, number, s.tries[dataset]})
		}
	})
	for dataset, e := range s.entries {
		if !seen[dataset] && !e.Gone { // its tombstone is no longer told, and it is still there
			all = append(all, waiting{dataset, 0, s.tries[dataset]})
		}
	}
	slices.SortFunc(all, func(a, b waiting) int {
		return cmp.Or(cmp.Compare(a.tries, b.tries), cmp.Compare(a.number, b.number), cmp.Compare(a.dataset, b.dataset))
	})
	return all
}

// step tells the destination of all that waits, until the first failure. It
// reports whether there was anything.
func (s *sender) step(ctx context.Context) (worked bool, err error) {
	for _, w := range s.waiting() {
		worked = true
		if err := s.send(ctx, w.dataset); err != nil {
			if ctx.Err() != nil {
				return true, err
			}
			s.failed(err)
			s.mu.Lock()
			if s.tries == nil {
				s.tries = map[string]int{}
			}
			s.tries[w.dataset]++
			s.mu.Unlock()
			return true, err
		}
	}
	return worked, nil
}

// send tells the destination of one dataset, as it is now.
func (s *sender) send(ctx context.Context, dataset string) error {
	it, was := s.deps.Item(dataset), s.entry(dataset)
	if was != nil {
		it.Known = was.Known
	}
	is := &Entry{Dataset: dataset, Number: it.Number, Known: it.Known, Gone: it.Entry == nil}
	if is.Gone && was == nil { // it was never there
		return s.keep(ctx, "", false, is)
	}
	if was != nil {
		is.Drift = was.Drift // until it is looked at again
	}
	limited, cancel := context.WithTimeout(ctx, attempt)
	known, err := s.Outlet.Destination.Send(limited, it)
	cancel()
	if ctx.Err() != nil {
		return ctx.Err()
	}
	var refused *Refused
	switch is.Known, is.At = known, s.deps.Clock().UTC(); {
	case errors.As(err, &refused):
		is.Problem = refused.Text
		s.deps.Log.Warn("outlet_refused", "outlet", s.Name, "dataset", dataset, "reason", refused.Error())
	case err != nil:
		if was == nil || was.Known != known { // what it is called there is known already
			is.Number, is.At = 0, time.Time{}
			if was != nil {
				is.Gone, is.Problem, is.At = was.Gone, was.Problem, was.At
			}
			err = errors.Join(err, s.keep(ctx, "", false, is))
		}
		return fmt.Errorf("dataset %s: %w", dataset, err)
	}
	if err := s.keep(s.telling(ctx, it, is), regionOf(it.Entry), true, is); err != nil {
		return err
	}
	s.mu.Lock()
	s.sent = is.At
	s.mu.Unlock()
	s.reached()
	return nil
}

// reached forgets why the destination was not reached before.
func (s *sender) reached() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem != "" {
		s.deps.Log.Info("outlet_reached_again", "outlet", s.Name)
	}
	s.problem, s.since, s.tries = "", time.Time{}, nil
}

// failed remembers why the destination was not reached.
func (s *sender) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.problem == "" {
		s.since = s.deps.Clock().UTC()
		s.deps.Log.Warn("outlet_not_reached", "outlet", s.Name, "error", err)
	}
	s.problem = err.Error()
}

// reconcile asks the destination what it has of every dataset that it was told
// of. What differs is told anew, and so is what is gone there.
func (s *sender) reconcile(ctx context.Context) error {
	for _, e := range s.list() {
		if e.Pending || e.Problem != (catalog.Text{}) || e.Number == 0 {
			continue
		}
		it := s.deps.Item(e.Dataset)
		it.Known = e.Known
		limited, cancel := context.WithTimeout(ctx, attempt)
		known, drift, err := s.Outlet.Destination.Look(limited, it)
		cancel()
		var refused *Refused
		switch {
		case errors.Is(err, ErrAlike):
			continue
		case errors.As(err, &refused): // its answer came late
			e.Problem = refused.Text
		case err != nil:
			return fmt.Errorf("dataset %s: %w", e.Dataset, err)
		}
		if is := e; refused != nil || !slices.Equal(drift, e.Drift) || known != e.Known {
			is.Known, is.Drift = known, drift
			if len(drift) > 0 {
				is.Number = 0
				s.deps.Log.Warn("outlet_drifted", "outlet", s.Name, "dataset", e.Dataset, "fields", drift)
			}
			if err := s.keep(ctx, regionOf(it.Entry), true, &is); err != nil {
				return err
			}
		}
	}
	s.mu.Lock()
	s.looked = s.deps.Clock().UTC()
	s.mu.Unlock()
	s.reached()
	return nil
}

// retry lets what failed be told anew.
func (s *sender) retry(ctx context.Context, dataset string) (n int, err error) {
	var all []*Entry
	for _, e := range s.list() {
		if dataset == "" && e.Problem != (catalog.Text{}) || dataset == e.Dataset {
			e.Number, e.Problem = 0, catalog.Text{}
			all = append(all, &e)
		}
	}
	if dataset != "" && len(all) == 0 {
		return 0, fmt.Errorf("dataset %.70q of outlet %s %w; `hub outlet show %s` lists those that are", dataset, s.Name, ErrUnknown, s.Name)
	}
	if len(all) > 0 {
		err = s.keep(ctx, "", false, all...)
	}
	s.stir(s.wake)
	return len(all), err
}

// list are the entries by their ids, those that nothing was told of yet too.
func (s *sender) list() []Entry {
	pending := map[string]bool{}
	for _, w := range s.waiting() {
		pending[w.dataset] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Entry, 0, len(s.entries)+len(pending))
	for id, e := range s.entries {
		is := *e
		is.Pending = pending[id]
		delete(pending, id)
		all = append(all, is)
	}
	for id := range maps.Keys(pending) {
		all = append(all, Entry{Dataset: id, Pending: true})
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Compare(a.Dataset, b.Dataset) })
	return all
}

// state counts the entries.
func (s *sender) state() State {
	st := State{Name: s.Name, Kind: s.Kind}
	first := int64(1<<63 - 1)
	oldest := ""
	for _, w := range s.waiting() {
		st.Pending++
		if w.number < first {
			first, oldest = w.number, w.dataset
		}
	}
	if oldest != "" {
		st.Oldest = s.deps.Item(oldest).At
	}
	for _, e := range s.list() {
		switch {
		case e.Problem != (catalog.Text{}) && !e.Pending:
			st.Failed++
		case !e.Pending && !e.Gone:
			st.Delivered++
		}
		if len(e.Drift) > 0 {
			st.Drifted++
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Problem, st.Since, st.Sent, st.Looked = s.problem, s.since, s.sent, s.looked
	return st
}
