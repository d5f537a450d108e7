package schedule

import "time"

// Lease is a promise of capacity in one facility.
type Lease struct {
	ID       string
	Workload string // empty for a reservation of a scheduler that keeps its own queue
	Tenant   string
	Facility string
	// Token fences: within a facility a later lease has a higher one, and an
	// engine refuses a token below the highest that it has seen for the same
	// capacity.
	Token uint64
	State LeaseState
	// Parts are what is taken, in the order of the decision.
	Parts   []Assignment
	Created time.Time
	// Expires is when it ends unless it is renewed; zero: when it is released.
	Expires time.Time
}

// LeaseState is where a lease is in its life.
type LeaseState string

// The states of a lease.
const (
	Held      LeaseState = "held"      // capacity is taken, nothing runs
	Committed LeaseState = "committed" // an engine has it
	Released  LeaseState = "released"  // capacity is free again
	// Fenced leases are of a facility that is lost, or of work that is to stop:
	// what they promised may still be in use there, so that capacity stays
	// taken until the engine says that nothing runs any more, and the work may
	// begin elsewhere under another lease.
	Fenced LeaseState = "fenced"
)

// Live reports whether work may run under a lease in this state.
func (s LeaseState) Live() bool { return s == Held || s == Committed }

// MayBecome reports whether next may follow s. A fenced lease is committed
// again when its facility comes back and the work has not begun elsewhere.
func (s LeaseState) MayBecome(next LeaseState) bool {
	switch s {
	case "":
		return next == Held
	case Held:
		return next != Held
	case Committed:
		return next == Released || next == Fenced
	case Fenced:
		return next == Released || next == Committed
	}
	return false
}

// Takes reports whether a lease in this state takes capacity.
func (s LeaseState) Takes() bool { return s != Released }

// Event is one transition. Sequence numbers rise by one; Watchers resume after
// the last that they have seen.
type Event struct {
	Seq    int64
	At     time.Time
	Kind   EventKind
	Object string // id
	Tenant string
	Region string // of the facility, empty when there is none
	// From and To are states.
	From, To string
	Reason   *Reason
	Lease    string
	Token    uint64
}

// EventKind says what an event is about.
type EventKind string

// The kinds of events.
const (
	OfWorkload EventKind = "workload"
	OfLease    EventKind = "lease"
	OfFacility EventKind = "facility"
	OfPool     EventKind = "pool"
)
