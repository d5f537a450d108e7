package schedule

import (
	"fmt"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Network says how far facilities lie from one another and from the regions
// where people use them, and what it costs to move data.
type Network struct {
	// Links are what was measured or agreed. They hold both ways.
	Links []Link
	// Tiers count where no link says; the zero value knows nothing.
	Tiers   Tiers
	Version int64
}

// MaxLinks is how many links a network may have.
const MaxLinks = 20_000

// Link is the way between two ends, each a facility or a division code
// (GB/T 2260); a code such as 220000 counts for all that lies within.
type Link struct {
	From, To string
	Way
}

// Way is what it takes to go between two places.
type Way struct {
	RoundTripMillis float64
	GbitPerSecond   float64
	CostPerGB       float64 // yuan
	KWhPerGB        float64
}

// Tiers are the ways within a city, a province and the country.
type Tiers struct{ City, Province, Country Way }

// DefaultTiers has the latency circles of the national computing network (1, 5
// and 20 ms), the prices of cloud regions (0.02 US dollars per GB between two of
// them), and energy per GB of fixed networks (Aslan et al. 2018: 0.06 kWh in
// 2015, halved every two years).
var DefaultTiers = Tiers{
	City:     Way{RoundTripMillis: 1, GbitPerSecond: 100, CostPerGB: 0, KWhPerGB: 0.0005},
	Province: Way{RoundTripMillis: 5, GbitPerSecond: 40, CostPerGB: 0.05, KWhPerGB: 0.001},
	Country:  Way{RoundTripMillis: 20, GbitPerSecond: 10, CostPerGB: 0.14, KWhPerGB: 0.002},
}

// Check implements strict.Checker.
func (n Network) Check(path string) []strict.Error {
	var errs []strict.Error
	if len(n.Links) > MaxLinks {
		errs = append(errs, strict.Fault(path, "links", "%d are more than %d; links between division codes count for all that lies within", len(n.Links), MaxLinks))
	}
	seen := map[[2]string]bool{}
	for i, l := range n.Links {
		at := element("links", i)
		if seen[[2]string{l.From, l.To}] {
			errs = append(errs, strict.Fault(path, at, "from %q to %q is there twice; links hold both ways", l.From, l.To))
		}
		seen[[2]string{l.From, l.To}], seen[[2]string{l.To, l.From}] = true, true
		if l.From == "" || l.To == "" {
			errs = append(errs, strict.Fault(path, at, "names no two ends: say from and to, each a facility or a division code"))
		}
		errs = append(errs, l.Way.check(path, at)...)
	}
	for key, w := range map[string]Way{"tiers.city": n.Tiers.City, "tiers.province": n.Tiers.Province, "tiers.country": n.Tiers.Country} {
		if w != (Way{}) {
			errs = append(errs, w.check(path, key)...)
		}
	}
	return errs
}

func (w Way) check(path, at string) []strict.Error {
	if w.RoundTripMillis >= 0 && w.GbitPerSecond > 0 && w.CostPerGB >= 0 && w.KWhPerGB >= 0 {
		return nil
	}
	return []strict.Error{strict.Fault(path, at, "has %v: no value may be negative, and gbit_per_second must be above 0", fmt.Sprintf("%+v", w))}
}
