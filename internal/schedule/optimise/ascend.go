package optimise

import "math"

// The volume algorithm (Barahona and Anbil 2000), with steps that are longer
// where the price is higher: prices of what is short for an hour are hundreds of
// times those of what is short for a day, and equal steps find neither.
const (
	firstStep   = 0.5
	mostStep    = 2.0
	mostWeight  = 0.15 // of a new answer in the mean of the answers
	leastWeight = 0.02
	patience    = 12    // answers without a better bound until steps shorten
	lookEvery   = 40    // answers, after which jobs are placed by the prices
	little      = 0.002 // a rise of the bound in that many that makes new answers weigh less
	enough      = 0.001 // a gap that ends the ascent
	base        = 0.2   // of the mean price, that steps count at least
)

// loads is what jobs use, by place, dimension and slot; nil where nothing is
// scarce.
type loads [][dims][]float64

func (s *solver) newLoads() loads {
	u := make(loads, len(s.Places))
	s.each(func(i, d int) { u[i][d] = make([]float64, s.Slots) })
	return u
}

// each calls f for every dimension of a place that is scarce.
func (s *solver) each(f func(place, d int)) {
	for i := range s.scarce {
		for d, scarce := range s.scarce[i] {
			if scarce {
				f(i, d)
			}
		}
	}
}

// ascent is the search for the prices with the highest bound.
type ascent struct {
	*solver
	next   prices
	answer loads // what all use at the prices last asked
	mean   loads // of the answers, the latest counting most
	step   float64
	weight float64
	red    int // answers without a better bound
}

// ascend raises the bound: prices go up where the mean of the answers so far uses
// more than there is, and down where it uses less. Now and then jobs are placed
// by the prices.
func (s *solver) ascend() {
	a := ascent{solver: s, next: s.newPrices(), answer: s.newLoads(), mean: s.newLoads(), step: firstStep, weight: mostWeight}
	s.bound = s.ask(&s.best, a.mean)
	s.round(&s.best)
	last := s.bound
	for n := 1; n <= s.limits.Ascents && !s.stop(); n++ {
		if !a.move() {
			break
		}
		a.hear()
		if n%lookEvery != 0 {
			continue
		}
		if s.bound-last < little*math.Abs(last) {
			a.weight = max(a.weight/1.5, leastWeight)
		}
		last = s.bound
		if s.round(&s.best); gap(s.lowest, s.bound) < enough {
			return
		}
	}
	s.round(&s.best)
}

// move sets the next prices, and reports whether there is anywhere to go.
func (a *ascent) move() bool {
	least := base * a.usual()
	norm := 0.0
	a.each(func(i, d int) {
		room, old, scale := a.room[i][d], a.best.of[i][d], a.scale[d]
		for t, m := range a.mean[i][d] {
			over := (m - room[t]) / scale
			if v := old[t] * scale; over > 0 || v > 0 {
				norm += over * over * (v + least)
			}
		}
	})
	if norm == 0 {
		return false
	}
	by := a.step * (a.lowest - a.bound) / norm
	a.each(func(i, d int) {
		room, old, to, scale := a.room[i][d], a.best.of[i][d], a.next.of[i][d], a.scale[d]
		f := by / (scale * scale)
		for t, m := range a.mean[i][d] {
			to[t] = max(0, old[t]+f*(old[t]*scale+least)*(m-room[t]))
		}
		a.next.sum(i, d)
	})
	return true
}

// usual is the mean of the prices that are not 0, for what a job uses on average;
// 1 while there is none.
func (a *ascent) usual() float64 {
	sum, n := 0.0, 0
	a.each(func(i, d int) {
		for _, v := range a.best.of[i][d] {
			if v > 0 {
				sum += v * a.scale[d]
				n++
			}
		}
	})
	if n == 0 {
		return 1
	}
	return sum / float64(n)
}

// hear asks at the next prices, and keeps them if the bound is higher.
func (a *ascent) hear() {
	bound := a.ask(&a.next, a.answer)
	a.each(func(i, d int) {
		to := a.mean[i][d]
		for t, u := range a.answer[i][d] {
			to[t] += a.weight * (u - to[t])
		}
	})
	if bound > a.bound {
		a.bound, a.red, a.step = bound, 0, min(a.step*1.1, mostStep)
		a.best, a.next = a.next, a.best
		return
	}
	if a.red++; a.red >= patience {
		a.red = 0
		a.step *= 0.66
	}
}

// ask is the bound at some prices, and what all would use then.
func (s *solver) ask(p *prices, use loads) (bound float64) {
	s.each(func(i, d int) {
		clear(use[i][d])
		for t, v := range p.of[i][d] {
			bound -= v * s.room[i][d][t]
		}
	})
	for i := range s.classes {
		k := &s.classes[i]
		o, start, value := s.cheapest(k, p)
		if k.Left > 0 {
			bound += min(value, k.Left) * float64(k.Count)
		} else {
			bound += value * float64(k.Count)
		}
		if o < 0 {
			continue
		}
		option := &k.Options[o]
		for _, d := range k.dims {
			if to := use[option.Place][d]; to != nil {
				u := float64(k.Use[d]) * float64(k.Count)
				for t := int(start); t < min(int(start)+option.Length, s.Slots); t++ {
					to[t] += u
				}
			}
		}
	}
	return bound
}

func (s *solver) stop() bool {
	s.stopped = s.stopped || s.limits.Stop()
	return s.stopped
}
