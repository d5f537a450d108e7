package optimise

import (
	"cmp"
	"math"
	"slices"
)

// job is one job and where it is.
type job struct {
	class int32
	choice
	pays float64 // for its capacity
}

// choice is a place and a start; option -1 is none.
type choice struct {
	option, start int32
}

var waits = choice{option: -1}

// rooms are what is left, by place, dimension and slot; nil where nothing is
// scarce.
type rooms [][dims][]int64

func (s *solver) newRooms() rooms {
	r := make(rooms, len(s.Places))
	s.each(func(i, d int) {
		r[i][d] = make([]int64, s.Slots)
		for t := range r[i][d] {
			r[i][d][t] = s.Places[i].Room[t][d]
		}
	})
	return r
}

// move takes (sign -1) or gives back (1) what a job uses.
func (s *solver) move(r rooms, k *class, c choice, sign int64) {
	if c.option < 0 {
		return
	}
	o := &k.Options[c.option]
	end := min(int(c.start)+o.Length, s.Slots)
	for _, d := range k.dims {
		if room := r[o.Place][d]; room != nil {
			for t := int(c.start); t < end; t++ {
				room[t] += sign * k.Use[d]
			}
		}
	}
}

// blocked is the last slot in which a job does not fit; -1: it fits.
func (s *solver) blocked(r rooms, k *class, o *Option, start int) int {
	at, end := -1, min(start+o.Length, s.Slots)
	for _, d := range k.dims {
		if room := r[o.Place][d]; room != nil {
			for t := end - 1; t >= start && t > at; t-- {
				if room[t] < k.Use[d] {
					at = t
					break
				}
			}
		}
	}
	return at
}

// cost is what a choice costs a job of a class.
func (k *class) cost(c choice) float64 {
	if c.option < 0 {
		return k.Wait
	}
	o := &k.Options[c.option]
	return o.Cost[int(c.start)-o.First]
}

// fitting is the cheapest choice for which there is room, of those that cost less
// than value; nil prices count nothing.
func (s *solver) fitting(r rooms, k *class, p *prices, value float64) (best choice, least float64, found bool) {
	best, least = waits, value
	for _, i := range k.order {
		if k.least[i] >= least {
			break
		}
		o := &k.Options[i]
		for j := 0; j < len(o.Cost); j++ {
			cost := o.Cost[j]
			if p != nil {
				cost += s.payment(k, o, o.First+j, p)
			}
			if cost >= least {
				continue
			}
			if at := s.blocked(r, k, o, o.First+j); at >= 0 {
				j = at - o.First // every start up to there covers the slot
				continue
			}
			best, least, found = choice{i, int32(o.First + j)}, cost, true
		}
	}
	return best, least, found
}

// payment is what a job pays for capacity.
func (s *solver) payment(k *class, o *Option, start int, p *prices) (sum float64) {
	for _, d := range k.dims {
		if p.priced[o.Place][d] {
			sums := p.sums[o.Place][d]
			sum += float64(k.Use[d]) * (sums[start+o.Length] - sums[start])
		}
	}
	return sum
}

// round places all jobs by the prices, those first that pay most for capacity,
// and keeps what costs less than before.
func (s *solver) round(p *prices) {
	pays := make([]float64, len(s.classes))
	for i := range s.classes {
		k := &s.classes[i]
		if o, start, _ := s.cheapest(k, p); o >= 0 {
			pays[i] = s.payment(k, &k.Options[o], int(start), p)
		}
		for _, d := range k.dims {
			pays[i] += 1e-9 * float64(k.Use[d]) / s.scale[d]
		}
	}
	order := make([]int32, len(s.jobs))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortStableFunc(order, func(a, b int32) int { return cmp.Compare(pays[s.jobs[b].class], pays[s.jobs[a].class]) })
	r, total := s.newRooms(), 0.0
	all := make([]choice, len(s.jobs))
	for _, j := range order {
		k := &s.classes[s.jobs[j].class]
		all[j], _, _ = s.fitting(r, k, p, math.Inf(1))
		if k.cost(all[j]) >= k.Wait {
			all[j] = waits
		}
		s.move(r, k, all[j], -1)
		total += k.cost(all[j])
	}
	if total < s.lowest {
		s.lowest, s.least = total, all
	}
}
