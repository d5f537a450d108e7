package schedule

import "time"

// Decision is what was decided about a workload, and why.
type Decision struct {
	At time.Time
	// Assignments of all members; empty when it waits.
	Assignments []Assignment
	// Until is when a deferred workload is to start; zero otherwise. Planned is
	// where, as seen now: pools without nodes, of which nothing is held.
	Until   time.Time
	Planned []Assignment
	// Reasons why it waits, or runs where it does.
	Reasons []Reason
	// Totals of all assignments.
	EnergyKWh    float64 // at the meter: PUE included
	CarbonKg     float64
	Cost         float64 // yuan: electricity, rates and transfer
	TransferGiB  float64
	ExpectedWait time.Duration
	// Scores of the chosen placement, by scorer; their costs add up.
	Scores    []Score
	RunnersUp []RunnerUp // the best first, at most MaxRunnersUp
	// Preempts is work that gave way to it.
	Preempts []Victim
	// Refused says of pools that were no candidate what stood in the way. An
	// explanation names every pool; a decision on the way keeps none.
	Refused []Refusal
	// DataAge is the age of the oldest live value that the decision relied on;
	// 0 when it relied on none.
	DataAge time.Duration
	// Bound and Gap are set where the optimiser ran, and are those of all that were
	// decided together: no placement of them costs less than Bound, in yuan and by
	// their objectives, and this one costs a share of Gap more.
	Bound, Gap float64
}

// MaxRunnersUp is how many placements are kept that were not chosen.
const MaxRunnersUp = 5

// Assignment is the place of one member.
type Assignment struct {
	Task     string
	Index    int // of the member within its task, from 0
	Facility string
	Pool     string
	Node     string // empty in a pool of classes: the engine chooses
	// Slot is the node's place in its pool, from 0: nodes in order, or those
	// of the classes one after the other.
	Slot int
	// Devices are the accelerators used, by number in the node; Use holds what
	// is taken of all of them together.
	Devices []uint8
	Use     Vector
	// Start and End by P95; End is a plan, the capacity is free when the lease
	// ends.
	Start, End time.Time
}

// Score is what one scorer says of a placement.
type Score struct {
	Scorer string  // a name of Scorers
	Value  float64 // in Unit
	Unit   string  // UCUM, or CNY
	Cost   float64 // yuan, by the workload's objective
}

// RunnerUp is a placement that was not chosen.
type RunnerUp struct {
	Facility, Pool string
	Cost           float64 // yuan, of all scores together
	// Worse is the scorer that costs most more than at the chosen placement;
	// without a name where none does.
	Worse Score
}

// Victim is work that gives way, as a whole.
type Victim struct {
	Workload string
	Tenant   string
	Priority int
	// Lost is the most that a member has to do again: since it began, or since its
	// last checkpoint.
	Lost time.Duration
	// Cost is what is lost of all members, in yuan: their resource hours, and a
	// minute of each to begin again, by 1 + priority/100.
	Cost float64
}

// Refusal says why a pool was no candidate: the first filter that failed, and
// the smallest change that would make it fit.
type Refusal struct {
	Facility, Pool string
	Reason         Reason
	// Change is what would make it fit; empty when nothing small does.
	Change []Change
}

// Change is one thing to be altered in a request.
type Change struct {
	Key      string // key path in the workload, such as tasks[0].memory_mib
	From, To string
}

// Nearest is the refusal that the fewest changes of the request would lift;
// without a pool where none would.
func (d Decision) Nearest() (nearest Refusal) {
	for _, r := range d.Refused {
		if n := len(r.Change); n > 0 && (nearest.Pool == "" || n < len(nearest.Change)) {
			nearest = r
		}
	}
	return nearest
}
