package schedule

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Workload is what somebody wants to run.
type Workload struct {
	ID       string
	Tenant   string
	Name     string
	Priority int // the higher is served first and may pre-empt the lower
	Tasks    []Task
	Gang     Gang
	Shape    Shape
	Window   Window
	Latency  *Latency
	Data     []Dataset
	Security Security
	Affinity Affinity
	Budget   Budget
	// Objective weighs what a placement costs.
	Objective Objective
	// Payload is for the engine and opaque here, JSON.
	Payload   json.RawMessage
	Submitted time.Time
	By        string // who submitted it; says nothing to the planner
}

// Within reports whether who is narrowed to a region (a prefix of division
// codes; empty for all) may see a workload: all of where it may run lies there.
func (w *Workload) Within(region string) bool {
	return region == "" || len(w.Affinity.Regions) > 0 &&
		!slices.ContainsFunc(w.Affinity.Regions, func(r string) bool { return !strings.HasPrefix(r, region) })
}

// Task is one part of a workload: Max equal members, of which at least Min
// must run.
type Task struct {
	Name     string
	Min, Max int
	// Use is what one member needs, without accelerators.
	Use Vector
	// Accelerators is what it needs of them; nil: none.
	Accelerators *Accelerators
	// P50 and P95 of how long a member runs. P95 counts for what is planned
	// after it, P50 for energy.
	P50, P95 time.Duration
	// Limit is how long a member may run before its engine ends it; zero: as long
	// as it likes.
	Limit time.Duration
	// Interruptible members may stop and go on later, and lose at most
	// Checkpoint of work.
	Interruptible bool
	Checkpoint    time.Duration
}

// Accelerators is a need of devices.
type Accelerators struct {
	// Count of devices, each used by Milli thousandths; a Count above 1 takes
	// whole devices.
	Count int
	Milli int64
	// Models that will do; empty for any. Speed is how fast the work runs
	// there, 1 where it is not said; durations are divided by it.
	Models []string
	Speed  map[string]float64
	// MemoryMiB is the least memory of one device.
	MemoryMiB int64
}

// Need is what one member takes of a node, accelerators included.
func (t *Task) Need() Vector {
	v := t.Use
	if t.Accelerators != nil {
		v[AcceleratorMilli] = int64(t.Accelerators.Count) * t.Accelerators.Milli
	}
	return v
}

// SpeedOn is how fast it runs with devices of a kind.
func (t *Task) SpeedOn(a *Accelerator) float64 {
	if t.Accelerators == nil || a == nil {
		return 1
	}
	if s := t.Accelerators.Speed[a.Model]; s > 0 {
		return s
	}
	return 1
}

// Gang says which members of a workload must start together.
type Gang string

// The gangs.
const (
	GangNone    Gang = "none"    // each on its own
	GangAll     Gang = "all"     // all, or none
	GangMinimum Gang = "minimum" // Min of every task, or none; more when there is room
)

// Shape says how members lie over facilities.
type Shape string

// The shapes.
const (
	AnyShape       Shape = "any"
	OneFacility    Shape = "one_facility"     // all in one
	OnePerFacility Shape = "one_per_facility" // no two in the same
	Spread         Shape = "spread"           // as evenly as capacity allows
)

// Window is when a workload may run.
type Window struct {
	Earliest time.Time // zero: at once
	Deadline time.Time // of its end, by P95; zero: none
	// Deferrable work may wait for cheaper or greener hours, up to the deadline.
	Deferrable bool
}

// Latency is how near a workload must be to its users.
type Latency struct {
	FromRegion string
	MaxMillis  float64 // of a round trip
}

// Dataset is data that a workload reads.
type Dataset struct {
	ID string
	// At are facilities that hold it; a placement there moves nothing.
	At      []string
	ReadGiB float64
	// Copy moves all of it before the start; otherwise it is read from afar.
	Copy bool
}

// Security is what a facility must grant.
type Security struct {
	MinGrade  int             // 等保, 0: any
	DataGrade telemetry.Grade // of what is processed; Ungraded: inside use, as general
}

// Affinity restricts pools by id, facility and label. Empty lists allow all.
type Affinity struct {
	Facilities    []string
	NotFacilities []string
	Pools         []string
	Regions       []string // prefixes of division codes
	Archs         []string
	Labels        map[string]string // each must be equal at the pool
}

// Budget bounds what a workload may cost; zero means no bound.
type Budget struct {
	Money    float64 // yuan
	CarbonKg float64
}

// Objective weighs, in yuan, what has no price of its own.
type Objective struct {
	Name string
	// CarbonPrice is yuan per kg of CO2.
	CarbonPrice float64
	// HourPrice is yuan per hour that the end of the workload is later.
	HourPrice float64
}

// The objectives by name. Balanced takes carbon at about ten times the price of
// the national market (CEA, 0.08 yuan per kg), so that it counts beside
// electricity; greenest and fastest let their part outweigh all others.
var (
	Cheapest = Objective{Name: "cheapest"}
	Greenest = Objective{Name: "greenest", CarbonPrice: 100}
	Fastest  = Objective{Name: "fastest", HourPrice: 1000}
	Balanced = Objective{Name: "balanced", CarbonPrice: 0.8, HourPrice: 1}
)

// Objectives are all objectives that have a name.
var Objectives = []Objective{Cheapest, Greenest, Fastest, Balanced}

// State is where a workload is in its life.
type State string

// The states of a workload.
const (
	Submitted State = "submitted"
	Queued    State = "queued"   // waits for capacity
	Deferred  State = "deferred" // waits for an hour that is better
	Reserved  State = "reserved" // capacity is promised
	Bound     State = "bound"    // the engine has it
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Preempted State = "preempted"
	Expired   State = "expired" // the lease ended before the work began
	Cancelled State = "cancelled"
)

// Ended reports whether nothing comes after the state.
func (s State) Ended() bool {
	switch s {
	case Succeeded, Failed, Expired, Cancelled:
		return true
	}
	return false
}

// steps are the states that may follow each.
var steps = map[State][]State{
	"":        {Submitted},
	Submitted: {Queued, Deferred, Reserved, Cancelled},
	Queued:    {Deferred, Reserved, Cancelled, Failed},
	Deferred:  {Queued, Reserved, Cancelled, Failed},
	Reserved:  {Bound, Queued, Preempted, Expired, Cancelled, Failed},
	Bound:     {Running, Queued, Succeeded, Failed, Preempted, Expired, Cancelled},
	Running:   {Succeeded, Failed, Preempted, Expired, Cancelled, Queued},
	Preempted: {Queued, Deferred, Reserved, Cancelled, Failed},
}

// MayBecome reports whether next may follow s.
func (s State) MayBecome(next State) bool { return slices.Contains(steps[s], next) }

// MaxPriority is the highest that a workload may have.
const MaxPriority = 1000

// MaxMembers is how many members one workload may have.
const MaxMembers = 100_000

// Members is how many members a workload has at most.
func (w *Workload) Members() int {
	n := 0
	for i := range w.Tasks {
		n += w.Tasks[i].Max
	}
	return n
}

// Splits reports whether a workload may run in segments with pauses between: all
// of it is one member that may be interrupted. Members of a larger one would have
// run for different times when they pause.
func (w *Workload) Splits() bool {
	return len(w.Tasks) == 1 && w.Tasks[0].Max == 1 && w.Tasks[0].Interruptible
}

// Left is the workload without what of it is done already. Work that takes longer
// than its P95 has a twentieth of it left, as far as anybody knows.
func (w *Workload) Left(worked time.Duration) *Workload {
	if worked == 0 || !w.Splits() {
		return w
	}
	rest, t := *w, w.Tasks[0]
	t.P95 = max(t.P95-worked, t.P95/20)
	t.P50 = min(max(t.P50-worked, t.P95/2), t.P95)
	rest.Tasks = []Task{t}
	return &rest
}

// Check implements strict.Checker.
func (w Workload) Check(path string) []strict.Error {
	errs := CheckID(path, "tenant", w.Tenant)
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	if w.Name == "" || len(w.Name) > 253 {
		fault("name", "has %d bytes, not 1 to 253", len(w.Name))
	}
	if w.Priority < 0 || w.Priority > MaxPriority {
		fault("priority", "%d is not between 0 and %d", w.Priority, MaxPriority)
	}
	if !slices.Contains([]Gang{GangNone, GangAll, GangMinimum}, w.Gang) {
		fault("gang", "%q is not one of none, all, minimum", w.Gang)
	}
	if !slices.Contains([]Shape{AnyShape, OneFacility, OnePerFacility, Spread}, w.Shape) {
		fault("shape", "%q is not one of any, one_facility, one_per_facility, spread", w.Shape)
	}
	if len(w.Tasks) == 0 {
		fault("tasks", "are none; say at least one")
	}
	names := map[string]bool{}
	for i := range w.Tasks {
		at := element("tasks", i)
		errs = append(errs, w.Tasks[i].check(path, at)...)
		if names[w.Tasks[i].Name] {
			fault(at+".name", "%q is there twice", w.Tasks[i].Name)
		}
		names[w.Tasks[i].Name] = true
	}
	if n := w.Members(); n > MaxMembers {
		fault("tasks", "have %d members together, more than %d", n, MaxMembers)
	}
	if !w.Window.Deadline.IsZero() && !w.Window.Deadline.After(w.Window.Earliest) {
		fault("window.deadline", "is not after window.earliest")
	}
	if w.Latency != nil {
		if !regionPattern.MatchString(w.Latency.FromRegion) {
			fault("latency.from_region", "%q is no division code of six digits (GB/T 2260)", w.Latency.FromRegion)
		}
		if !(w.Latency.MaxMillis > 0) {
			fault("latency.max_ms", "%v is not above 0", w.Latency.MaxMillis)
		}
	}
	for i, d := range w.Data {
		if !(d.ReadGiB >= 0 && d.ReadGiB < 1e9) {
			fault(element("data", i)+".read_gib", "%v is not between 0 and a billion", d.ReadGiB)
		}
	}
	if w.Security.MinGrade < 0 || w.Security.MinGrade > 4 {
		fault("security.min_grade", "%d is not between 0 and 4 (GB/T 22239)", w.Security.MinGrade)
	}
	if !(w.Budget.Money >= 0) || !(w.Budget.CarbonKg >= 0) {
		fault("budget", "a value is negative")
	}
	if !(w.Objective.CarbonPrice >= 0) || !(w.Objective.HourPrice >= 0) {
		fault("objective", "a weight is negative")
	}
	return errs
}

func (t *Task) check(path, at string) []strict.Error {
	errs := CheckID(path, at+".name", t.Name)
	fault := func(key, format string, args ...any) {
		errs = append(errs, strict.Fault(path, at+"."+key, format, args...))
	}
	if t.Min < 1 || t.Max < t.Min {
		fault("count", "%d to %d is not a range that begins at 1 or more", t.Min, t.Max)
	}
	for i, v := range t.Use {
		if v < 0 || v > 1<<40 {
			fault(DimensionNames[i], "%d is not between 0 and %d", v, int64(1)<<40)
		}
	}
	if t.Need().IsZero() {
		fault("cpu_milli", "is 0, and so is every other resource; say what a member needs")
	}
	if t.P50 <= 0 || t.P95 < t.P50 || t.P95 > 366*24*time.Hour {
		fault("duration", "p50 %v and p95 %v must be above 0, rise, and be at most 8784h", t.P50, t.P95)
	}
	if t.Limit < 0 || t.Limit > 366*24*time.Hour {
		fault("limit", "%v is not between 0 (none) and 8784h", t.Limit)
	}
	if t.Checkpoint < 0 {
		fault("checkpoint", "%v is negative", t.Checkpoint)
	}
	if a := t.Accelerators; a != nil {
		if a.Count < 1 || a.Count > MaxDevices {
			fault("accelerators.count", "%d is not between 1 and %d", a.Count, MaxDevices)
		}
		if a.Milli < 1 || a.Milli > DeviceMilli || (a.Count > 1 && a.Milli != DeviceMilli) {
			fault("accelerators.milli", "%d of %d devices: one device may be used in 1 to 1000 thousandths, several only whole (1000)", a.Milli, a.Count)
		}
		for model, speed := range a.Speed {
			if !(speed > 0 && speed < 1e6) {
				fault("accelerators.speed."+model, "%v is not above 0", speed)
			}
		}
	}
	return errs
}
