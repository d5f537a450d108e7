// Package optimise decides about many jobs at once: which place and which start
// for each, so that all together cost least, and how far that is from what no
// choice can cost less than. It is pure: the same problem and limits give the
// same solution.
//
//	ascend    prices of capacity by slot, and the bound     ascend.go, price.go
//	round     jobs placed one after the other by prices     round.go
//	improve   jobs moved, alone or by displacing another    improve.go
//
// The bound is that of the linear program in which a job may be split over
// places and starts: with a price on each capacity every class takes its cheapest
// option, so the Lagrangian dual equals it (Geoffrion 1974). Art. 13
package optimise

import (
	"math"

	"github.com/songhua-io/hub/internal/schedule"
)

// Problem is what is to be decided. Time is in slots from 0.
type Problem struct {
	Slots   int
	Places  []Place
	Classes []Class
}

// Place is where jobs may run.
type Place struct {
	Room []schedule.Vector // by slot: what jobs may use together; not negative
}

// Class is a number of equal jobs.
type Class struct {
	Count   int
	Use     schedule.Vector // of one job, as long as it runs
	Options []Option        // places where it may run
	Wait    float64         // what a job costs that gets no start, yuan
	// Left is the least that an option costs which was left out to save work; 0:
	// none was. The bound counts it, so that it holds for those as well.
	Left float64
}

// Option is a place where the jobs of a class may run.
type Option struct {
	Place  int
	Length int       // slots that a job takes; what lies beyond Slots is not looked at
	First  int       // the first start
	Cost   []float64 // yuan of a job, by start from First; +Inf where it may not
}

// Limits bound the work. A zero value stands for the default.
type Limits struct {
	Ascents int         // steps of the prices
	Rounds  int         // rounds of improvement
	Stop    func() bool // asked now and then; true ends the work with what there is
}

// Limits by default.
const (
	DefaultAscents = 400
	DefaultRounds  = 4
)

// Price is what a unit of each resource is worth in one slot, in yuan.
type Price [schedule.Dimensions]float64

// Choice is what a job gets.
type Choice struct {
	Option int // of its class; -1: no start
	Start  int // slot
}

// Solution is what was found.
type Solution struct {
	Jobs   [][]Choice // by class; Count of each
	Prices [][]Price  // by place and slot
	Cost   float64
	Bound  float64 // no choice costs less
	Gap    float64 // (Cost - Bound) / |Bound|; 0 where both are equal
}

// Solve finds starts and places for all jobs.
func Solve(p *Problem, l Limits) Solution {
	if l.Ascents == 0 {
		l.Ascents = DefaultAscents
	}
	if l.Rounds == 0 {
		l.Rounds = DefaultRounds
	}
	if l.Stop == nil {
		l.Stop = func() bool { return false }
	}
	s := newSolver(p, l)
	s.ascend()
	s.improve()
	return s.solution()
}

// gap is a cost over a bound, as a share of the bound.
func gap(cost, bound float64) float64 {
	if cost <= bound {
		return 0
	}
	return (cost - bound) / max(math.Abs(bound), 1e-9)
}

func (s *solver) solution() Solution {
	out := Solution{Jobs: make([][]Choice, len(s.classes)), Prices: make([][]Price, len(s.Places)), Cost: s.lowest, Bound: s.bound, Gap: gap(s.lowest, s.bound)}
	for i, c := range s.least {
		k := s.jobs[i].class
		out.Jobs[k] = append(out.Jobs[k], Choice{Option: int(c.option), Start: int(c.start)})
	}
	for i := range s.Places {
		out.Prices[i] = make([]Price, s.Slots)
		for d, of := range s.best.of[i] {
			for t, v := range of {
				out.Prices[i][t][d] = v
			}
		}
	}
	return out
}

// Trim rules out the starts at which a job does not fit even alone. No solution
// has them, but the linear program would put a part of a job there: without them
// the bound is higher.
func (p *Problem) Trim() {
	for i := range p.Classes {
		k := &p.Classes[i]
		for j := range k.Options {
			o := &k.Options[j]
			room := p.Places[o.Place].Room
			open := 0 // slots from here on in which it fits; beyond the horizon it does
			for t := min(o.First+len(o.Cost)-1+o.Length, p.Slots) - 1; t >= o.First; t-- {
				if open++; !k.Use.Within(room[t]) {
					open = 0
				}
				if n := t - o.First; n < len(o.Cost) && open < min(o.Length, p.Slots-t) {
					o.Cost[n] = math.Inf(1)
				}
			}
		}
	}
}
