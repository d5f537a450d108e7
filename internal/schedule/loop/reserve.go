package loop

import (
	"context"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// Reservation asks for capacity for a scheduler that keeps its own queue.
type Reservation struct {
	// Wanted says what and where, as a workload of one member or more does.
	Wanted *schedule.Workload
	TTL    time.Duration // until it ends unless it is renewed or committed
	Key    string        // as of Submission
	Body   [32]byte
}

// Reserve promises capacity at once or not at all. Without a promise the
// decision says why, pool by pool.
func (s *Scheduler) Reserve(ctx context.Context, r Reservation) (ledger.Receipt, schedule.Decision, error) {
	if r.Key != "" {
		if was, ok, err := s.ledger.Answered(ctx, r.Wanted.Tenant, r.Key, r.Body); ok || err != nil {
			return was, schedule.Decision{}, err
		}
	}
	now := s.deps.Clock()
	s.mu.Lock()
	d, to := s.decide(r.Wanted, now)
	s.mu.Unlock()
	if to != schedule.Reserved {
		return ledger.Receipt{}, s.Try(r.Wanted), nil
	}
	s.mu.Lock()
	s.spending.decide(r.Wanted.Tenant, d, -1) // reservations cost their tenants nothing
	s.mu.Unlock()
	got, err := s.ledger.Reserve(context.WithoutCancel(ctx), ledger.Reservation{
		Tenant: r.Wanted.Tenant, Key: r.Key, Body: r.Body, Parts: d.Assignments, Expires: now.Add(r.TTL),
	})
	if err != nil || got.Repeated {
		s.mu.Lock()
		s.give(r.Wanted.Tenant, d.Assignments)
		s.changed()
		s.mu.Unlock()
	}
	return got, *d, err
}

// Renew lets a lease end later.
func (s *Scheduler) Renew(ctx context.Context, token uint64, ttl time.Duration) error {
	return s.ledger.Renew(ctx, token, s.deps.Clock().Add(ttl))
}

// Commit says that the owner of a reservation uses it; a TTL of zero: until it
// is released.
func (s *Scheduler) Commit(ctx context.Context, token uint64, ttl time.Duration) error {
	expires := time.Time{}
	if ttl > 0 {
		expires = s.deps.Clock().Add(ttl)
	}
	return s.ledger.Commit(ctx, token, expires)
}

// Release gives a reservation back.
func (s *Scheduler) Release(ctx context.Context, token uint64) error {
	return s.ledger.Release(ctx, token)
}
