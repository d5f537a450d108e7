package work

import (
	"fmt"
	"regexp"
	"time"
)

// Order is what a hub hands over: the members of one lease that this machine
// runs (docs/formats/agent-work.md).
type Order struct {
	Workload string `json:"workload"`
	Lease    string `json:"lease"`
	// Token is the fencing token of the lease.
	Token uint64 `json:"token"`
	Name  string `json:"name,omitempty"`
	// Total is how many members the lease has on all machines together.
	Total int `json:"total"`
	// Programs are what the members run, by task.
	Programs map[string]Program `json:"programs"`
	Members  []Member           `json:"members"`
	// Hold has the work taken, and not begun until it is ordered without.
	Hold bool `json:"hold,omitempty"`
}

// Program is what the members of a task run. No shell reads it.
type Program struct {
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
}

// Member is one process with all that it starts, and its limits. A zero limit
// is none.
type Member struct {
	Task         string  `json:"task"`
	Index        int     `json:"index"`
	Devices      []int   `json:"devices,omitempty"`
	CPUMilli     int64   `json:"cpu_milli,omitempty"`
	MemoryMiB    int64   `json:"memory_mib,omitempty"`
	DiskGiB      int64   `json:"disk_gib,omitempty"`
	LimitSeconds float64 `json:"limit_seconds,omitempty"`
}

func (m Member) limit() time.Duration { return time.Duration(m.LimitSeconds * float64(time.Second)) }

// Which names the work of a lease.
type Which struct {
	Workload string `json:"workload"`
	Lease    string `json:"lease"`
	Token    uint64 `json:"token"`
}

// Outcome is what became of an order.
type Outcome string

// The outcomes. Fenced and refused orders have changed nothing.
const (
	Taken   Outcome = "taken"   // it is on disk, now or since it came before
	Fenced  Outcome = "fenced"  // a higher token was seen, or this one was stopped
	Refused Outcome = "refused" // it will never run here as things are
)

// Answer is what an order is answered.
type Answer struct {
	Outcome Outcome `json:"outcome"`
	Message string  `json:"message,omitempty"`
	// Running is how many members run still, after a stop.
	Running int `json:"running"`
}

// State is how far work is; the words are those of the hub's engines.
type State string

// The states.
const (
	Waiting   State = "waiting"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Stopped   State = "stopped"
)

func (s State) over() bool { return s == Succeeded || s == Failed || s == Stopped }

// Status is the work of a lease on this machine, as the hub is told.
type Status struct {
	Which
	State State `json:"state"`
	// Members are those of this machine, and Total those of the lease.
	Members int `json:"members"`
	Total   int `json:"total"`
	// ExitCode is that of the member that ended worst; 128 and more is a signal.
	ExitCode int    `json:"exit_code"`
	Message  string `json:"message,omitempty"`
	// TimedOut says that a member ran longer than its limit.
	TimedOut bool      `json:"timed_out,omitempty"`
	At       time.Time `json:"at"`
}

var (
	namePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	idPattern   = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$`)
)

// fault is why an order cannot be read as one; empty when it can.
func (o Order) fault() string {
	switch {
	case !idPattern.MatchString(o.Workload) || !idPattern.MatchString(o.Lease) || o.Token == 0:
		return fmt.Sprintf("workload %.80q, lease %.80q and token %d do not name a lease", o.Workload, o.Lease, o.Token)
	case len(o.Members) == 0 || o.Total < len(o.Members):
		return fmt.Sprintf("%d members of %d are none to run", len(o.Members), o.Total)
	}
	seen := map[string]bool{}
	for _, m := range o.Members {
		at := m.Task + "/" + fmt.Sprint(m.Index)
		if _, ok := o.Programs[m.Task]; !ok || !namePattern.MatchString(m.Task) || m.Index < 0 || seen[at] ||
			m.CPUMilli < 0 || m.MemoryMiB < 0 || m.MemoryMiB > 1<<40 || m.DiskGiB < 0 || m.DiskGiB > 1<<30 || m.LimitSeconds < 0 || m.LimitSeconds > 1e9 {
			return fmt.Sprintf("member %.80q is no member of a task with a program, or is there twice, or has a limit that is none", at)
		}
		seen[at] = true
	}
	return ""
}
