package gate

import (
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Policy is what a class of data has to meet before it is published.
type Policy struct {
	// Name of the policy, for the report.
	Name string `yaml:"name" json:"name"`
	// K is the least number of distinct contributors of a published cell.
	K int64 `yaml:"k" json:"k"`
	// MaxSharePercent is the largest share of a sum that one contributor may have; 0 asks for none.
	MaxSharePercent int64 `yaml:"max_share_percent" json:"max_share_percent"`
	// IntervalPercent is how far up and down the sum of a dominated cell stays uncertain, in percent of it.
	IntervalPercent int64 `yaml:"interval_percent" json:"interval_percent"`
	// MinBin is the shortest bin of time that is published.
	MinBin time.Duration `yaml:"min_bin" json:"min_bin_ns"`
	// Delay is how long a bin has to have ended before it is published.
	Delay time.Duration `yaml:"delay" json:"delay_ns"`
	// MaxBound is the most that one contributor may be counted in a day; 0 asks for no bound.
	MaxBound int64 `yaml:"max_bound" json:"max_bound"`
	// Beside is how many contributors lie beyond a published quantile, on each side, at least.
	Beside int64 `yaml:"beside" json:"beside"`
	// ExtremeStep is the step to which maxima are rounded up; 0 publishes none.
	ExtremeStep int64 `yaml:"extreme_step" json:"extreme_step"`
	// MicroEpsilon is how much noise hides of a day's data, in millionths of ε; 0 adds no noise.
	MicroEpsilon int64 `yaml:"micro_epsilon" json:"micro_epsilon"`
	// NoiseBound is how many contributions of one contributor to a day the noise hides together where nobody bounds them: of one who gives n of them it hides ε·n/NoiseBound.
	NoiseBound int64 `yaml:"noise_bound" json:"noise_bound"`
	// Zones are polygons; what touches one is not published.
	Zones []Zone `yaml:"zones" json:"zones,omitempty"`
}

// Zone is a polygon in which nothing is published: its corners, each a longitude
// and a latitude in millionths of a degree.
type Zone struct {
	// Name of the zone.
	Name string `yaml:"name" json:"name"`
	// Corners are longitude and latitude in turn.
	Corners []int32 `yaml:"corners" json:"-"`
}

// The policies that hold where a dataset names no stricter one.
var (
	vehicleFlow = Policy{Name: "vehicle_flow", K: 10, IntervalPercent: 15, MinBin: 15 * time.Minute, Delay: 15 * time.Minute, Beside: 5}
	personal    = Policy{Name: "personal", K: 20, IntervalPercent: 15, MinBin: 15 * time.Minute, Delay: 15 * time.Minute, Beside: 5}
	energy      = Policy{Name: "energy", K: 15, MaxSharePercent: 15, IntervalPercent: 15, MinBin: 15 * time.Minute, Delay: 15 * time.Minute, Beside: 5}
)

// VehicleFlow is for what vehicles leave on roads.
func VehicleFlow() Policy { return vehicleFlow }

// Personal is for what is linked to persons.
func Personal() Policy { return personal }

// Energy is for the use of energy by customers.
func Energy() Policy { return energy }

const (
	maxK       = 1_000_000
	maxEpsilon = 1_000_000 // millionths: ε ≤ 1 per dataset and day
)

// Check tells all that is wrong with a policy.
func (p Policy) Check(path string) []strict.Error {
	all := strict.Between(path, "k", p.K, 2, maxK)
	all = append(all, strict.Between(path, "max_share_percent", p.MaxSharePercent, 0, 100)...)
	all = append(all, strict.Between(path, "interval_percent", p.IntervalPercent, 1, 100)...)
	all = append(all, strict.Between(path, "min_bin", p.MinBin, time.Second, 366*24*time.Hour)...)
	all = append(all, strict.Between(path, "delay", p.Delay, 0, 366*24*time.Hour)...)
	all = append(all, strict.Between(path, "max_bound", p.MaxBound, 0, maxK)...)
	all = append(all, strict.Between(path, "beside", p.Beside, 1, maxK)...)
	all = append(all, strict.AtLeast(path, "extreme_step", p.ExtremeStep, 0)...)
	all = append(all, strict.Between(path, "micro_epsilon", p.MicroEpsilon, 0, maxEpsilon)...)
	all = append(all, strict.Between(path, "noise_bound", p.NoiseBound, 0, maxK)...)
	for _, z := range p.Zones {
		if len(z.Corners) < 6 || len(z.Corners)%2 != 0 {
			all = append(all, strict.Fault(path, "zones", "zone %q has %d numbers; a polygon takes a longitude and a latitude for each of three corners or more", z.Name, len(z.Corners)))
		}
	}
	return all
}
