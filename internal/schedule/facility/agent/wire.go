package agent

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
)

// order is what an agent is handed; agents have the same by themselves
// (docs/formats/agent-work.md).
type order struct {
	which
	Name     string             `json:"name,omitempty"`
	Total    int                `json:"total"`
	Programs map[string]program `json:"programs"`
	Members  []member           `json:"members"`
	Hold     bool               `json:"hold,omitempty"`
}

type which struct {
	Workload string `json:"workload"`
	Lease    string `json:"lease"`
	Token    uint64 `json:"token"`
}

type program struct {
	Command []string          `json:"command"`
	Env     map[string]string `json:"env,omitempty"`
}

type member struct {
	Task         string  `json:"task"`
	Index        int     `json:"index"`
	Devices      []int   `json:"devices,omitempty"`
	CPUMilli     int64   `json:"cpu_milli,omitempty"`
	MemoryMiB    int64   `json:"memory_mib,omitempty"`
	DiskGiB      int64   `json:"disk_gib,omitempty"`
	LimitSeconds float64 `json:"limit_seconds,omitempty"`
}

// answer is what an order is answered.
type answer struct {
	Outcome string `json:"outcome"`
	Message string `json:"message"`
	Running int    `json:"running"`
}

func (a answer) err(node string) error {
	switch a.Outcome {
	case "taken":
		return nil
	case "fenced":
		return fmt.Errorf("node %s: %s: %w", node, a.Message, facility.ErrFenced)
	case "refused":
		return fmt.Errorf("node %s: %s: %w", node, a.Message, facility.ErrRefused)
	}
	return fmt.Errorf("node %s answers %.40q, which is no outcome", node, a.Outcome)
}

// status is the work of a lease on one node, as its agent reports it.
type status struct {
	which
	State    facility.Progress `json:"state"`
	Members  int               `json:"members"`
	Total    int               `json:"total"`
	ExitCode int               `json:"exit_code"`
	Message  string            `json:"message"`
	TimedOut bool              `json:"timed_out"`
	At       time.Time         `json:"at"`
}

// readStatuses finds them in a reported configuration; false where the agent
// runs no work.
func readStatuses(config json.RawMessage) (all []status, runs bool) {
	var in struct {
		Agent struct {
			Work *[]status `json:"work"`
		} `json:"agent"`
	}
	if json.Unmarshal(config, &in) != nil || in.Agent.Work == nil {
		return nil, false
	}
	return *in.Agent.Work, true
}

// payload is a workload's for this engine: one program for all of its tasks,
// or one for each by name.
type payload struct {
	program
	Tasks map[string]program `json:"tasks"`
}

// orders splits work by node.
func orders(w facility.Work) (map[string]*order, error) {
	refused := func(format string, args ...any) error {
		return fmt.Errorf(format+": %w", append(args, facility.ErrRefused)...)
	}
	var p payload
	if err := json.Unmarshal(w.Payload, &p); err != nil {
		return nil, refused(`payload %.60q of workload %s is not like {"command": ["/opt/jobs/train"]}: %v`, w.Payload, w.Workload, err)
	}
	all := map[string]*order{}
	for _, m := range w.Members {
		run, ok := p.Tasks[m.Task]
		if !ok {
			run = p.program
		}
		if len(run.Command) == 0 {
			return nil, refused("payload of workload %s has no command for task %s; write command, or tasks.%s.command", w.Workload, m.Task, m.Task)
		}
		if m.Node == "" {
			return nil, refused("pool %s does not name its nodes, and which agent is to run task %s is not known; declare nodes whose ids are those of devices", m.Pool, m.Task)
		}
		o := all[m.Node]
		if o == nil {
			o = &order{which: which{w.Workload, w.Lease, w.Token}, Name: w.Name, Total: len(w.Members), Programs: map[string]program{}}
			all[m.Node] = o
		}
		o.Programs[m.Task] = run
		o.Members = append(o.Members, wireMember(m))
	}
	return all, nil
}

func wireMember(m facility.Member) member {
	out := member{
		Task: m.Task, Index: m.Index, CPUMilli: m.Use[schedule.CPUMilli], MemoryMiB: m.Use[schedule.MemoryMiB], DiskGiB: m.Use[schedule.DiskGiB],
		LimitSeconds: m.Limit.Seconds(),
	}
	for _, d := range m.Devices {
		out.Devices = append(out.Devices, int(d))
	}
	return out
}

// reports puts what the nodes say of each lease together. One that is not
// told by all of its nodes is not over.
func reports(nodes map[string][]status) map[uint64]facility.Report {
	type sum struct {
		facility.Report
		members, total, waiting, over int
	}
	sums := map[uint64]*sum{}
	for _, all := range nodes {
		for _, s := range all {
			r := sums[s.Token]
			if r == nil {
				r = &sum{Report: facility.Report{Lease: s.Lease, Token: s.Token, State: facility.Succeeded}}
				sums[s.Token] = r
			}
			r.members, r.total = r.members+s.Members, max(r.total, s.Total)
			r.TimedOut = r.TimedOut || s.TimedOut
			if s.At.After(r.At) {
				r.At = s.At
			}
			switch {
			case s.State == facility.Waiting:
				r.waiting += s.Members
			case s.State.Over():
				r.over += s.Members
			}
			worse := s.State == facility.Failed && (r.State != facility.Failed || s.ExitCode > r.ExitCode) ||
				s.State == facility.Stopped && r.State == facility.Succeeded
			if worse || s.State == r.State && r.Message == "" {
				r.State, r.ExitCode, r.Message = s.State, s.ExitCode, s.Message
			}
		}
	}
	out := make(map[uint64]facility.Report, len(sums))
	for token, r := range sums {
		if r.over < r.total {
			r.State, r.ExitCode, r.Message = facility.Running, 0, fmt.Sprint(r.over)+" of "+strconv.Itoa(r.total)+" members have ended"
			if r.waiting == r.members {
				r.State = facility.Waiting
			}
		}
		out[token] = r.Report
	}
	return out
}
