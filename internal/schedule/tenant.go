package schedule

import (
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Tenant is who workloads belong to, and what it may spend.
type Tenant struct {
	ID     string
	Names  Text
	Budget Budget // in a calendar month
	// Weight is the tenant's share where there is not enough for all.
	Weight  int64
	Version int64
}

// Queue is a share of capacity that the workloads of some tenants draw on.
type Queue struct {
	ID      string
	Tenants []string // empty: all that have no queue of their own
	// Weight is the share of what nobody has a claim to.
	Weight int64
	// Nominal is what the queue has a claim to in each resource; 0: none.
	Nominal Vector
	// Borrow is how much more it may use while others do not; it gives that
	// back, by pre-emption, when they do. Negative: without bound.
	Borrow  Vector
	Version int64
}

// Spent is what the work of a tenant costs in a calendar month: that which has
// begun, or is promised.
type Spent struct {
	Tenant   string
	Month    string  // such as 2026-11
	Money    float64 // yuan
	CarbonKg float64
}

// In returns what was spent in a month: nothing when it is another one.
func (s Spent) In(month string) Spent {
	if s.Month != month {
		return Spent{Tenant: s.Tenant, Month: month}
	}
	return s
}

// beijing is the time by which months begin.
var beijing = time.FixedZone("UTC+8", 8*60*60)

// MonthOf is the calendar month of a time, in Beijing.
func MonthOf(t time.Time) string { return t.In(beijing).Format("2006-01") }

// Check implements strict.Checker.
func (t Tenant) Check(path string) []strict.Error {
	errs := CheckID(path, "id", t.ID)
	if !(t.Budget.Money >= 0) || !(t.Budget.CarbonKg >= 0) {
		errs = append(errs, strict.Fault(path, "budget", "a value is negative"))
	}
	return append(errs, checkWeight(path, t.Weight)...)
}

// Check implements strict.Checker.
func (q Queue) Check(path string) []strict.Error {
	errs := append(CheckID(path, "id", q.ID), checkWeight(path, q.Weight)...)
	for i, t := range q.Tenants {
		errs = append(errs, CheckID(path, element("tenants", i), t)...)
	}
	if i := q.Nominal.Negative(); i < Dimensions {
		errs = append(errs, strict.Fault(path, "nominal."+DimensionNames[i], "%d is negative", q.Nominal[i]))
	}
	return errs
}

func checkWeight(path string, weight int64) []strict.Error {
	if weight >= 1 && weight <= 1_000_000 {
		return nil
	}
	return []strict.Error{strict.Fault(path, "weight", "%d is not between 1 and 1,000,000", weight)}
}
