package loop

import (
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// spending is what tenants that have a budget spend in the month.
type spending struct {
	month   string
	budgets map[string]schedule.Budget
	spent   map[string]schedule.Spent // as the ledger has it
	// decided is what was decided and not answered by the ledger yet.
	decided map[string]schedule.Budget
}

func newSpending() spending {
	return spending{budgets: map[string]schedule.Budget{}, spent: map[string]schedule.Spent{}, decided: map[string]schedule.Budget{}}
}

func (s *spending) declare(tenants []schedule.Tenant) {
	clear(s.budgets)
	for _, t := range tenants {
		if t.Budget != (schedule.Budget{}) {
			s.budgets[t.ID] = t.Budget
		}
	}
}

// decide counts what a decision costs until the ledger has answered (sign 1), and
// no longer (-1): from then on it says itself.
func (s *spending) decide(tenant string, d *schedule.Decision, sign float64) {
	if _, ok := s.budgets[tenant]; !ok && s.decided[tenant] == (schedule.Budget{}) {
		return
	}
	b := s.decided[tenant]
	b.Money, b.CarbonKg = b.Money+sign*d.Cost, b.CarbonKg+sign*d.CarbonKg
	if s.decided[tenant] = b; b.Money < 1e-9 && b.CarbonKg < 1e-9 {
		delete(s.decided, tenant)
	}
}

// over is why a tenant may not spend what a decision costs; nil when it may.
func (s *spending) over(tenant string, d *schedule.Decision, now time.Time) *schedule.Reason {
	budget, ok := s.budgets[tenant]
	if !ok {
		return nil
	}
	spent, decided := s.spent[tenant].In(schedule.MonthOf(now)), s.decided[tenant]
	for _, x := range []struct {
		unit          string
		may, is, more float64
		digits        int
	}{
		{"yuan", budget.Money, spent.Money + decided.Money, d.Cost, 2},
		{"kg", budget.CarbonKg, spent.CarbonKg + decided.CarbonKg, d.CarbonKg, 3},
	} {
		if x.may > 0 && x.is+x.more > x.may {
			number := func(v float64) string { return strconv.FormatFloat(v, 'f', x.digits, 64) }
			r := schedule.Because(schedule.TenantBudget, tenant, x.unit, number(x.is), number(x.may), number(x.more))
			return &r
		}
	}
	return nil
}

// turned reports whether a month has begun since it was asked last.
func (s *spending) turned(now time.Time) bool {
	month := schedule.MonthOf(now)
	was := s.month
	s.month = month
	return was != "" && was != month
}
