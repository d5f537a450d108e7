package schedule

import (
	"math"
	"regexp"
	"slices"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Facility is a place with compute: a data centre, an edge room, a cloud region.
type Facility struct {
	ID       string
	Names    Text
	Operator string
	// Region is a division code of GB/T 2260.
	Region   string
	Lat, Lon *float64 // degrees, WGS 84
	// SecurityGrade is that of the classified protection of information
	// systems (GB/T 22239, 等保), 1 to 4.
	SecurityGrade int
	// MaxDataGrade is the highest grade of data that it may hold. Art. 74(3)
	MaxDataGrade telemetry.Grade
	// GridZone is the zone of its carbon and price signals.
	GridZone string
	PUE      PUE
	// GreenShare of its electricity is bought from wind, sun or water; 0 to 1.
	// That share counts as free of carbon.
	GreenShare float64
	State      FacilityState
	// PowerCapW is how much its pools may draw together; 0 means no cap.
	PowerCapW int64
	Live      FacilityLive
	Version   int64
}

// PUE is total energy over the energy of computing. It is the constant, unless
// a curve or a signal says more.
type PUE struct {
	Constant float64
	// Load is a curve over the share of capacity in use (0 to 1), and
	// Temperature one of what is added at an outdoor temperature in °C; both
	// are read by linear interpolation and rise in X.
	Load, Temperature []Point
	// Live is the zone of a signal of kind pue; empty for none. A stale signal
	// counts as absent.
	Live string
}

// Point is one point of a curve.
type Point struct{ X, Y float64 }

// FacilityState says whether new work goes to a facility.
type FacilityState string

// The states of a facility.
const (
	Ready    FacilityState = "ready"
	Cordoned FacilityState = "cordoned" // no new work; what runs goes on
	Draining FacilityState = "draining" // no new work; what can be moved is moved
	Lost     FacilityState = "lost"     // not reached; its leases are fenced
)

// FacilityStates are all states of a facility.
var FacilityStates = []FacilityState{Ready, Cordoned, Draining, Lost}

// Engine is what runs work at a pool.
type Engine string

// The engines.
const (
	EngineAgent      Engine = "agent"
	EngineKubernetes Engine = "kubernetes"
	EngineSlurm      Engine = "slurm"
	// EngineNone is a pool whose owner runs the work: it asks for reservations.
	EngineNone Engine = "none"
)

// Engines are all engines.
var Engines = []Engine{EngineAgent, EngineKubernetes, EngineSlurm, EngineNone}

// Accelerator is the kind of device that the nodes of a pool have.
type Accelerator struct {
	Vendor    string
	Model     string
	MemoryMiB int64
	// Shareable devices may be used in thousandths.
	Shareable bool
}

// Node is one machine of a pool.
type Node struct {
	ID           string
	CPUMilli     int64
	MemoryMiB    int64
	DiskGiB      int64
	Accelerators int // whole devices, at most MaxDevices
	PowerW       int64
}

// Capacity is what the node has.
func (n Node) Capacity() Vector {
	return Vector{n.CPUMilli, n.MemoryMiB, int64(n.Accelerators) * DeviceMilli, n.DiskGiB, n.PowerW}
}

// Class is a number of equal nodes of which nobody says which is which.
type Class struct {
	Count int
	Node  Node // without an id
}

// Pool is a set of nodes of one facility, with one engine and one kind of
// accelerator: the unit of capacity.
type Pool struct {
	ID          string
	Facility    string
	Arch        string // amd64, arm64, …
	Engine      Engine
	Accelerator *Accelerator // nil: none
	// Nodes are known one by one, or Classes say how many there are of each
	// size; never both.
	Nodes   []Node
	Classes []Class
	Labels  map[string]string
	Power   Power
	// Rate is money per hour, besides electricity, that the use of the pool
	// costs.
	Rate    Rate
	Live    PoolLive
	Version int64
}

// Power is how much a node draws: idle, and for what is in use. Zero values are
// replaced by DefaultPower.
type Power struct {
	IdleW           float64 // of a node without work
	CPUWatt         float64 // of one CPU in use
	AcceleratorWatt float64 // of one whole device in use
}

// DefaultPower is a usual server: 100 W idle, 4 W a CPU, 300 W an accelerator.
var DefaultPower = Power{IdleW: 100, CPUWatt: 4, AcceleratorWatt: 300}

// Draw returns the watts that a use of a node adds to it.
func (p Power) Draw(use Vector) float64 {
	return (p.CPUWatt*float64(use[CPUMilli]) + p.AcceleratorWatt*float64(use[AcceleratorMilli])) / 1000
}

// OrDefault replaces what is zero.
func (p Power) OrDefault() Power {
	if p.IdleW == 0 {
		p.IdleW = DefaultPower.IdleW
	}
	if p.CPUWatt == 0 {
		p.CPUWatt = DefaultPower.CPUWatt
	}
	if p.AcceleratorWatt == 0 {
		p.AcceleratorWatt = DefaultPower.AcceleratorWatt
	}
	return p
}

// Watts is what a use counts against the power cap of a facility: what it asks
// for, at least what it draws. Idle nodes count IdleWatts beside it.
func (p *Pool) Watts(use Vector) int64 {
	return max(use[PowerW], int64(math.Ceil(p.Power.OrDefault().Draw(use))))
}

// IdleWatts is what the nodes of the pool draw without work.
func (p *Pool) IdleWatts() int64 {
	n := len(p.Nodes)
	for _, c := range p.Classes {
		n += c.Count
	}
	return int64(math.Ceil(p.Power.OrDefault().IdleW * float64(n)))
}

// Rate is money per hour, in yuan.
type Rate struct {
	CPU         float64 // of one CPU
	Accelerator float64 // of one whole device
}

// MaxNodes is how many nodes one pool may have.
const MaxNodes = 10_000

var idPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// CheckID faults what is no id: of a facility, a pool, a tenant, a queue, a task.
func CheckID(path, key, id string) []strict.Error {
	if idPattern.MatchString(id) {
		return nil
	}
	return []strict.Error{strict.Fault(path, key, "%q is not 1 to 63 of a-z, 0-9, dot, hyphen and underscore, the first a letter or a digit", id)}
}

var regionPattern = regexp.MustCompile(`^[1-9][0-9]{5}$`)

// Check implements strict.Checker.
func (f Facility) Check(path string) []strict.Error {
	errs := CheckID(path, "id", f.ID)
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	if !regionPattern.MatchString(f.Region) {
		fault("region", "%q is no division code of six digits (GB/T 2260), such as 220100", f.Region)
	}
	if f.Lat != nil && (*f.Lat < -90 || *f.Lat > 90) {
		fault("lat", "%v is not between -90 and 90", *f.Lat)
	}
	if f.Lon != nil && (*f.Lon < -180 || *f.Lon > 180) {
		fault("lon", "%v is not between -180 and 180", *f.Lon)
	}
	if f.SecurityGrade < 1 || f.SecurityGrade > 4 {
		fault("security_grade", "%d is not between 1 and 4 (GB/T 22239)", f.SecurityGrade)
	}
	if !slices.Contains(FacilityStates, f.State) {
		fault("state", "%q is not one of %v", f.State, FacilityStates)
	}
	if !(f.GreenShare >= 0 && f.GreenShare <= 1) {
		fault("green_share", "%v is not between 0 and 1", f.GreenShare)
	}
	if f.PowerCapW < 0 {
		fault("power_cap_w", "%d is negative", f.PowerCapW)
	}
	return append(append(errs, f.PUE.check(path)...), checkExpressions(path, f.Live.Expressions())...)
}

func (p PUE) check(path string) []strict.Error {
	var errs []strict.Error
	if !(p.Constant >= 1 && p.Constant <= 10) {
		errs = append(errs, strict.Fault(path, "pue", "%v is not between 1 and 10", p.Constant))
	}
	for key, curve := range map[string][]Point{"pue.load": p.Load, "pue.temperature": p.Temperature} {
		if !slices.IsSortedFunc(curve, func(a, b Point) int {
			if a.X < b.X {
				return -1
			}
			return 1
		}) {
			errs = append(errs, strict.Fault(path, key, "its x must rise from point to point"))
		}
	}
	return errs
}

// Check implements strict.Checker.
func (p Pool) Check(path string) []strict.Error {
	errs := append(CheckID(path, "id", p.ID), CheckID(path, "facility", p.Facility)...)
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	if !slices.Contains(Engines, p.Engine) {
		fault("engine", "%q is not one of %v", p.Engine, Engines)
	}
	if len(p.Nodes) > 0 && len(p.Classes) > 0 {
		fault("nodes", "and classes are both there; say the nodes one by one, or how many there are of each size")
	}
	total := len(p.Nodes)
	seen := map[string]bool{}
	for i, n := range p.Nodes {
		at := element("nodes", i)
		errs = append(errs, CheckID(path, at+".id", n.ID)...)
		if seen[n.ID] {
			fault(at+".id", "%q is there twice", n.ID)
		}
		seen[n.ID] = true
		errs = append(errs, n.check(path, at, p.Accelerator != nil)...)
	}
	for i, c := range p.Classes {
		at := element("classes", i)
		if c.Count < 1 || c.Count > MaxNodes {
			fault(at+".count", "%d is not between 1 and %d", c.Count, MaxNodes)
		}
		total += max(c.Count, 0)
		errs = append(errs, c.Node.check(path, at, p.Accelerator != nil)...)
	}
	if total > MaxNodes {
		fault("nodes", "%d are more than %d; make several pools of them", total, MaxNodes)
	}
	if !(p.Power.IdleW >= 0 && p.Power.CPUWatt >= 0 && p.Power.AcceleratorWatt >= 0) {
		fault("power", "a value is negative")
	}
	if !(p.Rate.CPU >= 0 && p.Rate.Accelerator >= 0) {
		fault("rate", "a value is negative")
	}
	return append(errs, checkExpressions(path, p.Live.Expressions())...)
}

func (n Node) check(path, at string, accelerated bool) []strict.Error {
	var errs []strict.Error
	for i, v := range n.Capacity() {
		if v < 0 || v > 1<<40 {
			errs = append(errs, strict.Fault(path, at+"."+DimensionNames[i], "%d is not between 0 and %d", v, int64(1)<<40))
		}
	}
	switch {
	case n.Accelerators > MaxDevices:
		errs = append(errs, strict.Fault(path, at+".accelerators", "%d are more than %d", n.Accelerators, MaxDevices))
	case n.Accelerators > 0 && !accelerated:
		errs = append(errs, strict.Fault(path, at+".accelerators", "%d are there, but the pool's accelerator is not said", n.Accelerators))
	}
	return errs
}
