package register

import (
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/quota"
)

// rates count the requests that are made by each grant, for every interface
// together. A grant that is over is forgotten.
type rates struct {
	mu sync.Mutex
	of map[int64]*rate
}

type rate struct {
	perMinute int
	policy    *quota.Policy
	limiter   *quota.Limiter
}

// Charge counts a request by a grant of so many a minute, 0: as many as wanted. It
// returns why there is one too many.
func (r *Register) Charge(grant int64, perMinute int) *quota.Exceeded {
	if perMinute == 0 {
		return nil
	}
	now := r.now()
	one := r.rate(grant, perMinute, now)
	if wait := one.limiter.Take(now); wait > 0 {
		return &quota.Exceeded{Policy: one.policy, Name: GrantID(grant), After: wait}
	}
	return nil
}

func (r *Register) rate(grant int64, perMinute int, now time.Time) *rate {
	r.rates.mu.Lock()
	defer r.rates.mu.Unlock()
	one := r.rates.of[grant]
	if one != nil && one.perMinute == perMinute {
		return one
	}
	per := quota.Rate{N: perMinute, Per: time.Minute}
	one = &rate{perMinute, &quota.Policy{Of: quota.Grant, What: "requests", Rate: per}, quota.NewLimiter(per, now)}
	r.rates.of[grant] = one
	if inForce := r.InForce(); len(r.rates.of) > 2*len(inForce)+64 {
		old := r.rates.of
		r.rates.of = map[int64]*rate{grant: one}
		for _, g := range inForce {
			if kept := old[g.Number]; kept != nil {
				r.rates.of[g.Number] = kept
			}
		}
	}
	return one
}
