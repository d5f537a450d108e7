package loop

import (
	"context"
	"maps"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// PutFacility declares a facility and returns its version; see
// ledger.PutFacility.
func (s *Scheduler) PutFacility(ctx context.Context, f schedule.Facility) (int64, error) {
	return s.ledger.PutFacility(ctx, f)
}

// RemoveFacility forgets a facility that has no pools.
func (s *Scheduler) RemoveFacility(ctx context.Context, id string) error {
	return s.ledger.RemoveFacility(ctx, id)
}

// PutPool declares a pool and returns its version; see ledger.PutPool.
func (s *Scheduler) PutPool(ctx context.Context, p schedule.Pool) (int64, error) {
	return s.ledger.PutPool(ctx, p)
}

// RemovePool forgets a pool of which nothing is taken.
func (s *Scheduler) RemovePool(ctx context.Context, id string) error {
	return s.ledger.RemovePool(ctx, id)
}

// PutTenant keeps a tenant and returns its version.
func (s *Scheduler) PutTenant(ctx context.Context, t schedule.Tenant) (int64, error) {
	version, err := s.ledger.PutTenant(ctx, t)
	return version, s.share(ctx, err)
}

// PutQueue keeps a queue and returns its version.
func (s *Scheduler) PutQueue(ctx context.Context, q schedule.Queue) (int64, error) {
	version, err := s.ledger.PutQueue(ctx, q)
	return version, s.share(ctx, err)
}

// RemoveQueue forgets a queue.
func (s *Scheduler) RemoveQueue(ctx context.Context, id string) error {
	return s.share(ctx, s.ledger.RemoveQueue(ctx, id))
}

// RemoveTenant forgets a tenant; its workloads stay.
func (s *Scheduler) RemoveTenant(ctx context.Context, id string) error {
	return s.share(ctx, s.ledger.RemoveTenant(ctx, id))
}

// share reads the shares anew after they were declared.
func (s *Scheduler) share(ctx context.Context, err error) error {
	if err != nil {
		return err
	}
	all, err := s.ledger.Inventory(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shares.declare(all.Tenants, all.Queues)
	s.spending.declare(all.Tenants)
	s.changed()
	return nil
}

// PutSignal takes a forecast over. What was deferred by an older one is decided
// anew. It reports whether the forecast is not older than the one there.
func (s *Scheduler) PutSignal(ctx context.Context, one *signal.Series) (taken bool, err error) {
	s.mu.Lock()
	next := maps.Clone(s.signals)
	taken = next.Put(one)
	s.mu.Unlock()
	if !taken {
		return false, nil
	}
	if err := s.ledger.PutSignal(ctx, *one); err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next = maps.Clone(s.signals)
	if taken = next.Put(one); taken {
		s.signals = next
		s.reissue(one.Kind)
	}
	return taken, nil
}

// Report takes what who runs a workload says of it; see ledger.Report.
func (s *Scheduler) Report(ctx context.Context, reports ...ledger.Report) []error {
	return s.ledger.Report(ctx, reports...)
}

// Cancel ends a workload for its owner.
func (s *Scheduler) Cancel(ctx context.Context, id string) error { return s.ledger.Cancel(ctx, id) }
