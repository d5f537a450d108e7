package optimise

import (
	"cmp"
	"math"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
)

const dims = schedule.Dimensions

// solver is the work on one problem.
type solver struct {
	*Problem
	limits Limits

	classes []class
	used    [dims]bool    // dimensions that some job needs
	scale   [dims]float64 // of a job, on average: makes dimensions comparable
	tail    int           // slots with those behind the horizon that jobs reach
	room    loads         // what there is
	scarce  [][dims]bool  // by place: all jobs that may come there are more than it has

	best    prices // with the highest bound
	bound   float64
	jobs    []job
	least   []choice // the cheapest choice of all jobs so far
	lowest  float64  // what it costs
	stopped bool
}

// class is what the search wants to know of a Class.
type class struct {
	*Class
	order []int32   // options, by their least cost
	least []float64 // by option
	at    []int32   // start of the least cost, by option
	dims  []int     // that a job needs
}

// prices are yuan for a unit in one slot, with their sums from slot 0.
type prices struct {
	of     [][dims][]float64 // by place, dimension and slot; nil where nothing is scarce
	sums   [][dims][]float64 // one longer, and constant behind the horizon
	priced [][dims]bool      // some price is above 0
}

func newSolver(p *Problem, l Limits) *solver {
	s := &solver{Problem: p, limits: l, classes: make([]class, len(p.Classes)), tail: p.Slots, bound: math.Inf(-1), lowest: math.Inf(1)}
	var weight [dims]float64
	for i := range p.Classes {
		k := &s.classes[i]
		k.Class = &p.Classes[i]
		for d, u := range k.Use {
			if u > 0 {
				k.dims = append(k.dims, d)
				s.used[d] = true
				s.scale[d] += float64(u) * float64(k.Count)
				weight[d] += float64(k.Count)
			}
		}
		s.sort(k)
		for range k.Count {
			s.jobs = append(s.jobs, job{class: int32(i)})
		}
	}
	for d := range s.scale {
		s.scale[d] /= max(weight[d], 1)
	}
	s.findScarce()
	s.room = s.newLoads()
	s.each(func(i, d int) {
		for t := range s.room[i][d] {
			s.room[i][d][t] = float64(s.Places[i].Room[t][d])
		}
	})
	s.best = s.newPrices()
	return s
}

// sort orders the options of a class by their least cost.
func (s *solver) sort(k *class) {
	k.least, k.at = make([]float64, len(k.Options)), make([]int32, len(k.Options))
	k.order = make([]int32, 0, len(k.Options))
	for i := range k.Options {
		o := &k.Options[i]
		k.least[i] = math.Inf(1)
		for j, cost := range o.Cost {
			if cost < k.least[i] {
				k.least[i], k.at[i] = cost, int32(o.First+j)
			}
		}
		s.tail = max(s.tail, o.First+len(o.Cost)+o.Length)
		if k.least[i] < k.Wait {
			k.order = append(k.order, int32(i))
		}
	}
	slices.SortStableFunc(k.order, func(a, b int32) int { return cmp.Compare(k.least[a], k.least[b]) })
}

// findScarce finds what can run short at all: only that has prices.
func (s *solver) findScarce() {
	most := make([][dims]float64, len(s.Places))
	for i := range s.classes {
		k := &s.classes[i]
		for _, o := range k.order {
			for _, d := range k.dims {
				most[k.Options[o].Place][d] += float64(k.Use[d]) * float64(k.Count)
			}
		}
	}
	s.scarce = make([][dims]bool, len(s.Places))
	for i := range s.Places {
		for d := range most[i] {
			s.scarce[i][d] = slices.ContainsFunc(s.Places[i].Room, func(v schedule.Vector) bool { return float64(v[d]) < most[i][d] })
		}
	}
}

func (s *solver) newPrices() prices {
	p := prices{of: make([][dims][]float64, len(s.Places)), sums: make([][dims][]float64, len(s.Places)), priced: make([][dims]bool, len(s.Places))}
	for i := range s.Places {
		for d := range dims {
			if s.scarce[i][d] {
				p.of[i][d] = make([]float64, s.Slots)
				p.sums[i][d] = make([]float64, s.tail+1)
			}
		}
	}
	return p
}

// sum brings sums in step with the prices of a place.
func (p *prices) sum(place, d int) {
	sums, total, priced := p.sums[place][d], 0.0, false
	for t, v := range p.of[place][d] {
		sums[t] = total
		total += v
		priced = priced || v > 0
	}
	for t := len(p.of[place][d]); t < len(sums); t++ {
		sums[t] = total
	}
	p.priced[place][d] = priced
}

// cheapest is the option of a class that costs least with what it pays for
// capacity. Since prices are not negative, no option behind one whose least cost
// is higher can be better.
func (s *solver) cheapest(k *class, p *prices) (option int32, start int32, value float64) {
	option, value = -1, k.Wait
	for _, i := range k.order {
		if k.least[i] >= value {
			break
		}
		o := &k.Options[i]
		var sums [dims][]float64
		var use [dims]float64
		n := 0
		for _, d := range k.dims {
			if p.priced[o.Place][d] {
				sums[n], use[n] = p.sums[o.Place][d][o.First:], float64(k.Use[d])
				n++
			}
		}
		if n == 0 {
			option, start, value = i, k.at[i], k.least[i]
			continue
		}
		for j, cost := range o.Cost {
			for x := range n {
				cost += use[x] * (sums[x][j+o.Length] - sums[x][j])
			}
			if cost < value {
				option, start, value = i, int32(o.First+j), cost
			}
		}
	}
	return option, start, value
}
