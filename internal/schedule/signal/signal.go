// Package signal holds what changes with the hour and is forecast: the carbon
// and the price of electricity, the PUE of a facility, capacity that will be
// free. A series is a value; what it says depends on nothing but the time that
// it is asked for.
package signal

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
)

// Kind says what a series is about.
type Kind string

// The kinds, with their units.
const (
	Carbon Kind = "carbon" // g of CO2 equivalent per kWh
	Price  Kind = "price"  // yuan per kWh
	PUE    Kind = "pue"    // total energy over the energy of computing
	Free   Kind = "free"   // share of a pool that will be free, 0 to 1; its zone is the pool
)

// Kinds are all kinds.
var Kinds = []Kind{Carbon, Price, PUE, Free}

// Units is the unit that values of a kind have.
var Units = map[Kind]string{Carbon: "g/kWh", Price: "CNY/kWh", PUE: "1", Free: "1"}

// Step is a value that holds from Start until before End. Low and High bound
// it with a chance of eight in ten where the forecast says so; both are Value
// where it does not.
type Step struct {
	Start, End       time.Time
	Value, Low, High float64
}

// Series is one forecast of one kind for one zone.
type Series struct {
	Kind   Kind
	Zone   string
	Issued time.Time
	Steps  []Step // in order, without overlap; gaps are unknown
}

// MaxSteps is how many steps a series may have: a year of quarter hours.
const MaxSteps = 35_200

// Check implements strict.Checker.
func (s Series) Check(path string) []strict.Error {
	var errs []strict.Error
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	if !slices.Contains(Kinds, s.Kind) {
		fault("kind", "%q is not one of %v", s.Kind, Kinds)
	}
	if s.Zone == "" || len(s.Zone) > 63 {
		fault("zone", "has %d bytes, not 1 to 63", len(s.Zone))
	}
	if s.Issued.IsZero() {
		fault("issued_at", "is missing: say when the forecast was made")
	}
	if n := len(s.Steps); n == 0 || n > MaxSteps {
		fault("points", "are %d, not 1 to %d", n, MaxSteps)
	}
	for i, p := range s.Steps {
		at := fmt.Sprintf("points[%d]", i)
		switch {
		case !p.End.After(p.Start):
			fault(at+".end", "%s is not after its start %s", p.End.Format(time.RFC3339), p.Start.Format(time.RFC3339))
		case i > 0 && p.Start.Before(s.Steps[i-1].End):
			fault(at+".start", "%s is before the end of the point before it, %s", p.Start.Format(time.RFC3339), s.Steps[i-1].End.Format(time.RFC3339))
		}
		if least := map[Kind]float64{Carbon: 0, Price: math.Inf(-1), PUE: 1}[s.Kind]; math.IsNaN(p.Value) || math.IsInf(p.Value, 0) || p.Value < least {
			fault(at+".value", "%v is no %s in %s", p.Value, s.Kind, Units[s.Kind])
		}
		if s.Kind == Free && !(p.Low >= 0 && p.High <= 1) {
			fault(at+".value", "%v to %v is no share of a pool, 0 to 1", p.Low, p.High)
		}
		if !(p.Low <= p.Value && p.Value <= p.High) {
			fault(at+".value", "%v is not between its quantiles %v and %v", p.Value, p.Low, p.High)
		}
	}
	return errs
}

// At returns the step that holds at t.
func (s *Series) At(t time.Time) (Step, bool) {
	if s == nil {
		return Step{}, false
	}
	i := s.after(t)
	if i == len(s.Steps) || t.Before(s.Steps[i].Start) {
		return Step{}, false
	}
	return s.Steps[i], true
}

// after is the index of the first step that ends after t.
func (s *Series) after(t time.Time) int {
	return sort.Search(len(s.Steps), func(i int) bool { return s.Steps[i].End.After(t) })
}

// Mean returns the mean value over [start, end), and the share of that time for
// which the series says something.
func (s *Series) Mean(start, end time.Time) (mean, known float64) {
	if s == nil || !end.After(start) {
		return 0, 0
	}
	var sum, hours float64
	for i := s.after(start); i < len(s.Steps) && s.Steps[i].Start.Before(end); i++ {
		p := s.Steps[i]
		h := earlier(p.End, end).Sub(later(p.Start, start)).Hours()
		sum += p.Value * h
		hours += h
	}
	if hours == 0 {
		return 0, 0
	}
	return sum / hours, hours / end.Sub(start).Hours()
}

// Least is the lowest of the low quantiles of [start, end); false when the series
// says nothing of that time.
func (s *Series) Least(start, end time.Time) (low float64, known bool) {
	if s == nil {
		return 0, false
	}
	for i := s.after(start); i < len(s.Steps) && s.Steps[i].Start.Before(end); i++ {
		if !known || s.Steps[i].Low < low {
			low, known = s.Steps[i].Low, true
		}
	}
	return low, known
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Fresh is how old a forecast may be before nothing is deferred for it.
const Fresh = 36 * time.Hour

// Stale reports whether a forecast was issued too long before now, or covers
// nothing from now on.
func (s *Series) Stale(now time.Time) bool {
	return s == nil || now.Sub(s.Issued) > Fresh || s.after(now) == len(s.Steps)
}

// Set is the newest series of each kind and zone.
type Set map[Key]*Series

// Key names a series.
type Key struct {
	Kind Kind
	Zone string
}

// Put takes a series over that is not older than the one there, and reports
// whether it did.
func (s Set) Put(n *Series) bool {
	k := Key{n.Kind, n.Zone}
	if old := s[k]; old != nil && old.Issued.After(n.Issued) {
		return false
	}
	s[k] = n
	return true
}

// Sorted returns all series, by kind and zone.
func (s Set) Sorted() []*Series {
	all := slices.Collect(maps.Values(s))
	slices.SortFunc(all, func(a, b *Series) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Zone, b.Zone)) })
	return all
}

// Of returns a series, nil when there is none.
func (s Set) Of(kind Kind, zone string) *Series { return s[Key{kind, zone}] }

// Fallback are the values that count where nothing is known: the carbon of the
// grid of Northeast China, and a usual tariff of industry.
var Fallback = map[Kind]float64{Carbon: 560, Price: 0.60, PUE: 1.5}

// Mean is the mean of a kind in a zone over [start, end): of the series where it
// says something, and of the fallback elsewhere.
func (s Set) Mean(kind Kind, zone string, start, end time.Time) float64 {
	mean, known := s.Of(kind, zone).Mean(start, end)
	return mean*known + Fallback[kind]*(1-known)
}

// Overhead is the PUE of a facility over [start, end) at a load (0 to 1) and an
// outdoor temperature in °C (NaN when not known).
func (s Set) Overhead(f *schedule.Facility, start, end time.Time, load, outdoor float64) float64 {
	if f.PUE.Live != "" {
		if mean, known := s.Of(PUE, f.PUE.Live).Mean(start, end); known > 0 {
			return mean
		}
	}
	p := f.PUE.Constant
	if p == 0 {
		p = Fallback[PUE]
	}
	if len(f.PUE.Load) > 0 {
		p = interpolate(f.PUE.Load, load)
	}
	if len(f.PUE.Temperature) > 0 && !math.IsNaN(outdoor) {
		p += interpolate(f.PUE.Temperature, outdoor)
	}
	return max(p, 1)
}

// interpolate reads a curve, which is level beyond its ends.
func interpolate(curve []schedule.Point, x float64) float64 {
	i := sort.Search(len(curve), func(i int) bool { return curve[i].X >= x })
	switch {
	case i == 0:
		return curve[0].Y
	case i == len(curve):
		return curve[i-1].Y
	}
	a, b := curve[i-1], curve[i]
	return a.Y + (b.Y-a.Y)*(x-a.X)/(b.X-a.X)
}
