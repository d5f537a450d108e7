package plan

import (
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/telemetry"
)

// The filters come in this order: what the facility is, what the pool is, what
// is free, what it would cost. The first that fails is the reason.

// passed is the code of a filter that does not fail.
const passed schedule.Code = ""

// held is the grade that counts for one: what has none is for inside use.
func held(g telemetry.Grade) telemetry.Grade { return max(g, telemetry.General) }

// admits says whether a facility may run a workload at all.
func (c *Cluster) admits(w *schedule.Workload, f *schedule.Facility) schedule.Code {
	switch {
	case f.State != schedule.Ready:
		return schedule.FacilityNotReady
	case excluded(w, f):
		return schedule.FacilityExcluded
	case !inRegions(w.Affinity.Regions, f.Region):
		return schedule.RegionNotAllowed
	case f.SecurityGrade < w.Security.MinGrade:
		return schedule.SecurityGradeLow
	case held(w.Security.DataGrade) > held(f.MaxDataGrade):
		return schedule.DataGradeHigh
	case w.Latency == nil:
		return passed
	}
	way, known := c.way(place{region: w.Latency.FromRegion}, placeOf(f))
	switch {
	case !known:
		return schedule.LatencyUnknown
	case way.RoundTripMillis > w.Latency.MaxMillis:
		return schedule.LatencyHigh
	}
	return passed
}

func excluded(w *schedule.Workload, f *schedule.Facility) bool {
	return (len(w.Affinity.Facilities) > 0 && !slices.Contains(w.Affinity.Facilities, f.ID)) || slices.Contains(w.Affinity.NotFacilities, f.ID)
}

func inRegions(prefixes []string, region string) bool {
	return len(prefixes) == 0 || slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(region, p) })
}

// suits says whether a pool is of the sort that a task asks for.
func suits(w *schedule.Workload, t *schedule.Task, p *schedule.Pool) schedule.Code {
	if len(w.Affinity.Pools) > 0 && !slices.Contains(w.Affinity.Pools, p.ID) {
		return schedule.PoolExcluded
	}
	if len(w.Affinity.Archs) > 0 && !slices.Contains(w.Affinity.Archs, p.Arch) {
		return schedule.ArchDiffers
	}
	for k, v := range w.Affinity.Labels {
		if p.Labels[k] != v {
			return schedule.LabelDiffers
		}
	}
	n, a := t.Accelerators, p.Accelerator
	switch {
	case n == nil:
		return passed
	case a == nil:
		return schedule.NoAccelerator
	case len(n.Models) > 0 && !slices.Contains(n.Models, a.Model):
		return schedule.ModelDiffers
	case a.MemoryMiB < n.MemoryMiB:
		return schedule.DeviceMemoryLow
	case n.Milli < schedule.DeviceMilli && !a.Shareable:
		return schedule.NotShareable
	}
	return passed
}

// speed is how fast a task runs at a pool.
func speed(t *schedule.Task, p *schedule.Pool) float64 { return t.SpeedOn(p.Accelerator) }

// over is a duration at a speed.
func over(d time.Duration, speed float64) time.Duration {
	if speed == 1 {
		return d
	}
	return time.Duration(float64(d) / speed)
}

// powered reports whether a facility may draw so many more watts.
func (f *facility) powered(watts int64) bool {
	return f.def.PowerCapW == 0 || watts == 0 || f.draw()+watts <= f.def.PowerCapW
}

// place is an end of a way.
type place struct{ facility, region string }

func placeOf(f *schedule.Facility) place { return place{f.ID, f.Region} }

// ends are the names of a place in links, the nearest first.
func (p place) ends() [4]string {
	e := [4]string{p.facility, p.region}
	if len(p.region) == 6 {
		e[2], e[3] = p.region[:4]+"00", p.region[:2]+"0000"
	}
	return e
}

// way is how to go from one place to another: the link whose ends are nearest,
// else the tier.
func (c *Cluster) way(a, b place) (schedule.Way, bool) {
	if a.facility != "" && a.facility == b.facility {
		return schedule.Way{GbitPerSecond: c.tiers.City.GbitPerSecond}, true
	}
	if len(c.links) > 0 {
		if w, ok := c.link(a.ends(), b.ends()); ok {
			return w, true
		}
	}
	t := &c.tiers
	switch {
	case *t == schedule.Tiers{}, len(a.region) != 6, len(b.region) != 6:
		return schedule.Way{}, false
	case a.region[:4] == b.region[:4]:
		return t.City, true
	case a.region[:2] == b.region[:2]:
		return t.Province, true
	}
	return t.Country, true
}

func (c *Cluster) link(from, to [4]string) (schedule.Way, bool) {
	best, found := 8, schedule.Way{}
	for x, a := range from {
		for y, b := range to {
			if x+y < best && a != "" && b != "" {
				if w, ok := c.links[[2]string{a, b}]; ok {
					best, found = x+y, w
				}
			}
		}
	}
	return found, best < 8
}
