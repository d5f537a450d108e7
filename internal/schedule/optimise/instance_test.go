package optimise

import (
	"math"
	"math/rand/v2"

	"github.com/songhua-io/hub/internal/schedule"
)

// shape says what an instance is like.
type shape struct {
	jobs, places, slots int
	load                float64 // of accelerators, what runs and the queue together, over the time
	lumps               bool    // jobs of one to eight devices in facilities of eight to 64
}

// slotsPerHour of the instances: slots of a quarter of an hour.
const slotsPerHour = 4

// instance is a queue before a province: facilities of one to thirty nodes with
// eight devices of one of four models, each in one of eight zones with a tariff
// of peak and valley and carbon that follows the sun and the wind; leases that
// come and go and are fewer at night; jobs as in the openb trace, of a share of a
// device, one or up to eight, or of CPUs alone, for half an hour to eight hours, a
// third of them in windows that are tight.
func instance(seed uint64, s shape) *Problem {
	rng := rand.New(rand.NewPCG(seed, 22))
	p := &Problem{Slots: s.slots, Places: make([]Place, s.places)}
	model, zone, pue := make([]int, s.places), make([]int, s.places), make([]float64, s.places)
	green := make([]float64, s.places)
	capacity := make([]schedule.Vector, s.places)
	devices := 0.0
	for i := range s.places {
		model[i], zone[i], pue[i], green[i] = rng.IntN(4), rng.IntN(8), 1.1+0.5*rng.Float64(), 0.6*rng.Float64()
		nodes := int64(1 + rng.IntN(30))
		if s.lumps {
			nodes = (nodes + 3) / 4
		}
		capacity[i] = schedule.Vector{nodes * 96_000, nodes * 768 << 10, nodes * 8000}
		devices += float64(nodes*8) * float64(s.slots)
	}
	zones := forecasts(rng, s.slots)
	asked := 0.0
	for left := s.jobs; left > 0; {
		k := Class{Count: min(left, 1+rng.IntN(7))}
		left -= k.Count
		hours := []float64{0.5, 1, 2, 4, 8}[rng.IntN(5)]
		var watts float64
		accepts := [4]bool{}
		if rng.IntN(4) > 0 {
			milli := devicesOf(rng)
			if s.lumps {
				milli = []int64{1000, 1000, 2000, 4000, 8000}[rng.IntN(5)]
			}
			k.Use = schedule.Vector{milli * 8, milli * 64, milli}
			watts = float64(milli) * 0.33
			accepts[rng.IntN(4)] = true
			accepts[rng.IntN(4)] = true
			asked += float64(milli) / 1000 * hours * slotsPerHour * float64(k.Count)
		} else {
			n := int64([]int{4, 8, 16, 32}[rng.IntN(4)])
			k.Use = schedule.Vector{n * 1000, n * 4096}
			watts = float64(n) * 5
			accepts = [4]bool{true, true, true, true}
		}
		first, last := 0, s.slots
		if rng.IntN(3) == 0 {
			first = rng.IntN(s.slots / 2)
			last = min(s.slots, first+int(hours*slotsPerHour*(1.2+2*rng.Float64()))+1)
		}
		delay := []float64{0, 0.2, 1}[rng.IntN(3)] // yuan an hour
		carbon := []float64{0, 0.8, 0.8}[rng.IntN(3)]
		dearest := 0.0
		for i := range s.places {
			if !accepts[model[i]] || !k.Use.Within(capacity[i]) {
				continue
			}
			length := int(math.Ceil(hours * slotsPerHour))
			if k.Use[schedule.AcceleratorMilli] > 0 {
				length = int(math.Ceil(hours * slotsPerHour / []float64{1, 1.3, 0.7, 1}[model[i]]))
			}
			o := Option{Place: i, Length: length, First: first}
			for t := first; t+length <= last; t++ {
				cost := delay * float64(t) / slotsPerHour
				for x := t; x < t+length; x++ {
					z := zones[zone[i]][x]
					cost += watts / 1000 / slotsPerHour * pue[i] * (z.yuan + carbon*(1-green[i])*z.kg)
				}
				o.Cost = append(o.Cost, cost)
				dearest = max(dearest, cost)
			}
			if len(o.Cost) > 0 {
				k.Options = append(k.Options, o)
			}
		}
		// A start after the horizon costs half as much again as the dearest in it.
		k.Wait = 1.5 * dearest
		p.Classes = append(p.Classes, k)
	}
	// What runs takes the rest of the load, less at night, by leases that come and
	// go.
	running := s.load - asked/devices
	for i := range p.Places {
		p.Places[i].Room = make([]schedule.Vector, s.slots)
		here, leases := running+0.1*(rng.Float64()-0.5), 0.0
		for t := range s.slots {
			if rng.IntN(6) == 0 {
				leases = 0.1 * rng.NormFloat64()
			}
			taken := here + leases + 0.1*math.Sin((float64(t)/slotsPerHour-8)/12*math.Pi)
			for d, all := range capacity[i] {
				p.Places[i].Room[t][d] = all - int64(float64(all)*min(1, max(0, taken)))
			}
		}
	}
	p.Trim()
	return p
}

// devicesOf draws thousandths of devices about as the openb trace asks for them.
func devicesOf(rng *rand.Rand) int64 {
	switch x := rng.IntN(100); {
	case x < 20:
		return 250
	case x < 42:
		return 500
	case x < 90:
		return 1000
	case x < 93:
		return 2000
	case x < 96:
		return 4000
	}
	return 8000
}

// forecast is one quarter of an hour of a zone.
type forecast struct{ yuan, kg float64 }

func forecasts(rng *rand.Rand, slots int) (zones [8][]forecast) {
	for z := range zones {
		sun, wind, phase := 0.3*rng.Float64(), 0.4*rng.Float64(), rng.Float64()*2*math.Pi
		gust := 0.0
		for t := range slots {
			hour := math.Mod(float64(t)/slotsPerHour, 24)
			tariff := 0.6
			switch {
			case hour < 6 || hour >= 22:
				tariff = 0.3
			case hour >= 8 && hour < 11 || hour >= 17 && hour < 20:
				tariff = 1.0
			}
			gust = 0.9*gust + 0.1*rng.NormFloat64()
			day := max(0, math.Sin((hour-6)/12*math.Pi))
			kg := 0.85 - sun*day - wind*(0.5+0.5*math.Sin(hour/24*2*math.Pi+phase)) + 0.1*gust
			zones[z] = append(zones[z], forecast{tariff, max(0.05, kg)})
		}
	}
	return zones
}
