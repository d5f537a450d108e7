package ledger

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
)

// Charge is what a workload has taken from the budget of its tenant.
type Charge struct {
	Month    string
	Money    float64 // yuan
	CarbonKg float64
	Planned  time.Duration // that it runs for it
}

// charge takes what a decision costs from the budget of the tenant, if it has
// one: from then on it counts.
func (t *txn) charge(r *record, d *schedule.Decision) {
	owner, ok := t.l.extras[thing{kindTenant, r.Tenant}].(schedule.Tenant)
	if !ok || owner.Budget == (schedule.Budget{}) {
		return
	}
	c := Charge{Month: schedule.MonthOf(t.now), Money: d.Cost, CarbonKg: d.CarbonKg}
	for i := range d.Assignments {
		a := &d.Assignments[i]
		c.Planned = max(c.Planned, a.End.Sub(a.Start))
	}
	if r.Charged.Month == c.Month { // for other members of it
		c.Money, c.CarbonKg, c.Planned = c.Money+r.Charged.Money, c.CarbonKg+r.Charged.CarbonKg, max(c.Planned, r.Charged.Planned)
	}
	r.Charged = c
	t.spend(r.Tenant, c.Month, d.Cost, d.CarbonKg)
}

// refund gives back what a workload was charged for and did not use when it comes
// from its state to another: all of it when it had not begun, and what was left
// of the planned time when it ran. What has succeeded has used it.
func (t *txn) refund(r *record, to schedule.State) {
	c := &r.Charged
	if c.Month == "" || hasLeases(to) || !hasLeases(r.State) {
		return
	}
	left := 0.0
	switch {
	case to == schedule.Succeeded:
	case r.State != schedule.Running:
		left = 1
	case c.Planned > 0:
		left = max(0, 1-t.now.Sub(r.Since).Hours()/c.Planned.Hours())
	}
	if left > 0 {
		t.spend(r.Tenant, c.Month, -left*c.Money, -left*c.CarbonKg)
	}
	*c = Charge{}
}

// spend adds to what a tenant has spent in a month. A month that is over is not
// kept.
func (t *txn) spend(tenant, month string, money, kg float64) {
	id := thing{kindSpent, tenant}
	s, ok := t.things[id].(schedule.Spent)
	if !ok {
		s, _ = t.l.extras[id].(schedule.Spent)
	}
	if s.Month > month {
		return
	}
	s = s.In(month)
	s.Tenant, s.Money, s.CarbonKg = tenant, max(0, s.Money+money), max(0, s.CarbonKg+kg)
	t.put(kindSpent, tenant, s)
	t.changes = append(t.changes, Change{Spent: &s})
}
