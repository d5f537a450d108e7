package simulate

import (
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"time"

	"github.com/songhua-io/hub/internal/simulate/roads"
)

// Passing is how many motor vehicles passed the detector of a link in a minute,
// and the sum of their speeds in mm/s.
type Passing struct {
	Unit, From, To     string
	Minute             time.Time
	Vehicles, SpeedSum int64
}

// PastRoads makes up what passed on the road net of a fleet between two times, the
// oldest first: some avenues are busy, most are in the hours of a city's day, and
// some never are. The same fleet has the same past.
func PastRoads(c Config, from, to time.Time, each func(Passing) error) error {
	if c.RSUs == 0 {
		return nil
	}
	_, links := pastNet(c)
	for m := from.Truncate(time.Minute); m.Before(to); m = m.Add(time.Minute) {
		for i, l := range links {
			if err := each(passing(c, i, l, m)); err != nil {
				return err
			}
		}
	}
	return nil
}

// pastNet is the road net of a fleet, with its units by their ids.
func pastNet(c Config) (map[string]*Device, []roads.Link) {
	r := newRoadside(c, Doors{}, func(string) string { return "" }, slog.New(slog.DiscardHandler))
	units := make(map[string]*Device, len(r.devices))
	for _, d := range r.devices {
		units[d.ID] = d
	}
	return units, roads.New(r.cfg).Links()
}

// Links is how many links the road net of a fleet has.
func (c Config) Links() int {
	if c.RSUs == 0 {
		return 0
	}
	_, links := pastNet(c)
	return len(links)
}

// passing is what passed on the i-th link in a minute.
func passing(c Config, i int, l roads.Link, m time.Time) Passing {
	day := 0.05 + 0.9*traffic(m)
	rng := rand.New(rand.NewPCG(c.Seed^uint64(i)<<32, uint64(m.Unix())))
	busy := 4 + 30*lattice(c.Seed, uint64(i)+0x70ad, 0) // vehicles a minute at its busiest
	n := max(0, int64(math.Round(busy*day+math.Sqrt(busy*day)*rng.NormFloat64())))
	speed := 14 - 6*day + rng.NormFloat64()
	return Passing{Unit: l.Device, From: l.From, To: l.To, Minute: m, Vehicles: n, SpeedSum: int64(1000 * max(2, speed) * float64(n))}
}

// Track is a series of the past: a value each Step from Start on, NaN where there
// is none. Labels hold __name__.
type Track struct {
	Labels map[string]string
	Start  time.Time
	Step   time.Duration
	Values []float64
}

// PastSeries makes up what a hub made of the roads of a fleet between two times, a
// value a minute, and with compute of the facilities: series that no device
// reports, so that none can report them afterwards. The same fleet has the same past.
func PastSeries(c Config, compute bool, from, to time.Time, each func(Track) error) error {
	if c.RSUs > 0 {
		if err := pastOfRoads(c, from, to, each); err != nil {
			return err
		}
	}
	if !compute {
		return nil
	}
	return pastOfCompute(c.Seed, from, to, each)
}

func pastOfRoads(c Config, from, to time.Time, each func(Track) error) error {
	units, links := pastNet(c)
	seen := map[string]bool{}
	for i, l := range links {
		labels := map[string]string{"device": l.Device, "kind": "rsu", "region": units[l.Device].Region, "site": units[l.Device].Site}
		if err := pastOfLink(c, i, l, labels, from, to, each); err != nil {
			return err
		}
		if seen[l.To] {
			continue
		}
		seen[l.To] = true
		rush := math.Round(75 + 35*lattice(c.Seed, uint64(i)+0x519, 0))
		for phase := range 2 {
			if err := pastOfPhase(phase, rush, with(labels, "node", l.To), from, to, each); err != nil {
				return err
			}
		}
	}
	return nil
}

func pastOfLink(c Config, i int, l roads.Link, labels map[string]string, from, to time.Time, each func(Track) error) error {
	labels = with(labels, "from", l.From, "to", l.To, "source", "sensor")
	flow, speed := track(labels, "road_vehicles", from, to, time.Minute), track(labels, "road_speed_mean", from, to, time.Minute)
	flow.Labels["type"] = "motor"
	for j := range flow.Values {
		p := passing(c, i, l, flow.at(j).Add(-time.Minute)) // a minute is told of at its end
		flow.Values[j], speed.Values[j] = float64(p.Vehicles), math.NaN()
		if p.Vehicles > 0 {
			speed.Values[j] = round(float64(p.SpeedSum) / 1000 / float64(p.Vehicles))
		}
	}
	return all(each, flow, speed)
}

// pastOfPhase is one of the two phases of a node: cycles are longer in the rush
// hours, and north and south have more of them in the morning.
func pastOfPhase(phase int, rush float64, labels map[string]string, from, to time.Time, each func(Track) error) error {
	labels = with(labels, "phase", string(rune('1'+phase)))
	cycle, ratio := track(labels, "signal_cycle_seconds", from, to, time.Minute), track(labels, "signal_green_ratio", from, to, time.Minute)
	var lights [3]Track
	for i, name := range []string{"protected_green", "yellow", "red"} {
		lights[i] = track(with(labels, "light", name), "signal_light_seconds", from, to, time.Minute)
	}
	for j := range cycle.Values {
		length, green := plan(cycle.at(j).Add(-time.Minute), phase, rush)
		cycle.Values[j], ratio.Values[j] = length, round4(green/length)
		lights[0].Values[j], lights[1].Values[j] = round(60*green/length), round(60*3/length)
		lights[2].Values[j] = round(60 - lights[0].Values[j] - lights[1].Values[j])
	}
	return all(each, cycle, ratio, lights[0], lights[1], lights[2])
}

// plan is the length of a cycle, rush in the rush hours, and of the green of a phase,
// in seconds; 5 s of each half of a cycle are yellow, or red for all.
func plan(t time.Time, phase int, rush float64) (cycle, green float64) {
	cycle, share := 60.0, 0.5
	switch h := hour(t); {
	case h >= 7 && h < 9:
		cycle, share = rush, 0.6
	case h >= 16.5 && h < 19:
		cycle, share = rush, 0.45
	}
	if phase > 0 {
		share = 1 - share
	}
	return cycle, (cycle - 10) * share
}

// pastFacilities are what facilities draw without work, and the more with all of
// their processors at work, in W, of which grid.
var pastFacilities = []struct {
	id, region  string
	idle, work  float64
	least, most float64 // load
	carbon      func(hour int, wind float64) float64
}{
	{"changchun-1", "220100", 5200, 9000, 0.08, 0.3, carbonJilin},
	{"baicheng-wind", "220800", 16_000, 60_000, 0.1, 0.3, carbonBaicheng},
	{"yanbian-edge", "222400", 560, 720, 0.1, 0.8, carbonJilin},
	{"jilin-cloud", "220200", 5300, 5600, 0.02, 0.15, carbonJilin},
}

// pastStep is how often a hub writes series of facilities.
const pastStep = 15 * time.Second

func pastOfCompute(seed uint64, from, to time.Time, each func(Track) error) error {
	for i, f := range pastFacilities {
		labels := map[string]string{"facility": f.id, "job": "hub", "region": f.region}
		load, power, carbon := track(labels, "hub_schedule_facility_load", from, to, pastStep), track(labels, "hub_schedule_facility_power_watts", from, to, pastStep), track(labels, "hub_schedule_facility_carbon_kg_per_hour", from, to, pastStep)
		for j := range load.Values {
			at := load.at(j)
			wind := windOf(seed, at)
			busy := clamp(0.5+0.3*math.Cos(2*math.Pi*(hour(at)-14)/24)+0.35*wander(seed, 0xc2+uint64(i), at, time.Hour), 0, 1)
			if f.region == "220800" { // work waits for wind
				busy = clamp(0.7*wind+0.3*busy, 0, 1)
			}
			share := f.least + (f.most-f.least)*busy
			watts := f.idle + f.work*share
			load.Values[j], power.Values[j] = round4(share), math.Round(watts)
			carbon.Values[j] = round4(watts / 1000 * f.carbon(localHour(at), wind) / 1000)
		}
		if err := all(each, load, power, carbon); err != nil {
			return err
		}
	}
	return nil
}

// track is a series without values yet.
func track(labels map[string]string, name string, from, to time.Time, step time.Duration) Track {
	from = from.Truncate(step)
	return Track{Labels: with(labels, "__name__", name), Start: from, Step: step, Values: make([]float64, max(0, int(to.Sub(from)/step)))}
}

// at is when the i-th value is of.
func (t *Track) at(i int) time.Time { return t.Start.Add(time.Duration(i) * t.Step) }

// with is labels with others besides, by turns names and values.
func with(labels map[string]string, more ...string) map[string]string {
	out := maps.Clone(labels)
	for i := 0; i < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

func all(each func(Track) error, some ...Track) error {
	for _, t := range some {
		if err := each(t); err != nil {
			return err
		}
	}
	return nil
}
