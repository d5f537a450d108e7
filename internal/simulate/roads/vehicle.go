package roads

import (
	"math"
	"math/rand/v2"
	"time"
)

// vehicle drives along a link.
type vehicle struct {
	number    int
	connected bool // it sends BSM
	length    float64
	wish      float64 // speed, m/s
	s, v, a   float64 // metres along its link, m/s, m/s²
	track     uint16  // at the unit of its link
	braked    time.Time
	broken    bool // it stops where it is, and stands
}

const (
	gap      = 2.5 // metres between two that stand
	hardest  = 6.0
	comfort  = 2.5
	pull     = 2.0
	halt     = 1.0 // metres before the stop line
	hardFrom = 4.0 // of deceleration, where the hazard is told (GB/T 31024: hard braking)
)

// drive moves the vehicles of a link for dt seconds. blocked says that the stop
// line may not be passed.
func (l *link) drive(dt float64, blocked bool) {
	ahead := math.Inf(1) // where one has to stand at most
	if blocked {
		ahead = l.length - halt
	}
	for _, c := range l.cars {
		room := ahead - c.s
		// The speed from which one can still stand there, comfortably (Gipps).
		safe := c.wish
		if !math.IsInf(room, 1) {
			safe = math.Sqrt(max(0, 2*comfort*max(0, room)))
		}
		want := min(c.wish, safe)
		if c.broken {
			want = min(want, max(0, c.v-comfort*dt))
		}
		c.a = max(-hardest, min(pull, (want-c.v)/dt))
		before := c.v
		c.v = max(0, c.v+c.a*dt)
		c.a = (c.v - before) / dt
		c.s += c.v * dt
		ahead = c.s - c.length - gap
	}
}

// leave takes the first vehicle off a link when it has passed its
// stop line; it returns the vehicle, or nil.
func (l *link) leave() *vehicle {
	if len(l.cars) == 0 || l.cars[0].s < l.length {
		return nil
	}
	c := l.cars[0]
	l.cars = append(l.cars[:0], l.cars[1:]...)
	return c
}

// room reports whether a vehicle may enter a link.
func (l *link) room() bool {
	return len(l.cars) == 0 || l.cars[len(l.cars)-1].s > l.cars[len(l.cars)-1].length+2*gap
}

func (l *link) enter(c *vehicle, s float64) {
	c.s = s
	l.cars = append(l.cars, c)
}

// next chooses where a vehicle goes on: straight, right or left, where there is a
// road; back, where there is none.
func (l *link) next(rng *rand.Rand) *link {
	turn := [3]int{0, 1, 3}[pick(rng)]
	for _, t := range []int{turn, 0, 1, 3, 2} {
		if n := l.to.out[l.way.turned(t)]; n != nil {
			return n
		}
	}
	return nil
}

// pick is 0, 1 or 2: seven in ten go straight on.
func pick(rng *rand.Rand) int {
	switch n := rng.IntN(10); {
	case n < 7:
		return 0
	case n < 9:
		return 1
	}
	return 2
}
