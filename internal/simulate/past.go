package simulate

import (
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/songhua-io/hub/internal/simulate/roads"
)

// HistoryTakes is within what time the hours before fill in on a machine that is
// not busy with other things.
const HistoryTakes = 2 * time.Minute

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
	r := newRoadside(c, Doors{}, func(string) string { return "" }, slog.New(slog.DiscardHandler))
	links := roads.New(r.cfg).Links()
	for m := from.Truncate(time.Minute); m.Before(to); m = m.Add(time.Minute) {
		day := 0.05 + 0.9*traffic(m)
		for i, l := range links {
			rng := rand.New(rand.NewPCG(c.Seed^uint64(i)<<32, uint64(m.Unix())))
			busy := 4 + 30*lattice(c.Seed, uint64(i)+0x70ad, 0) // vehicles a minute at its busiest
			n := max(0, int64(math.Round(busy*day+math.Sqrt(busy*day)*rng.NormFloat64())))
			speed := 14 - 6*day + rng.NormFloat64()
			if err := each(Passing{Unit: l.Device, From: l.From, To: l.To, Minute: m, Vehicles: n, SpeedSum: int64(1000 * max(2, speed) * float64(n))}); err != nil {
				return err
			}
		}
	}
	return nil
}
