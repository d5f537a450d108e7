package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// Workload is what is to run. Durations are written like 90s or 1h30m; what is
// left out has the hub's default.
type Workload struct {
	Tenant    string          `json:"tenant,omitempty"`
	Name      string          `json:"name"`
	Priority  int             `json:"priority,omitempty"`  // 0 to 1000
	Objective string          `json:"objective,omitempty"` // cheapest, greenest, fastest, balanced
	Gang      string          `json:"gang,omitempty"`      // none, all, minimum
	Shape     string          `json:"shape,omitempty"`     // any, one_facility, one_per_facility, spread
	Tasks     []Task          `json:"tasks"`
	Window    *Window         `json:"window,omitempty"`
	Latency   *Latency        `json:"latency,omitempty"`
	Data      []Dataset       `json:"data,omitempty"`
	Security  *Security       `json:"security,omitempty"`
	Affinity  *Affinity       `json:"affinity,omitempty"`
	Payload   json.RawMessage `json:"payload,omitempty"` // for the engine, as it is
}

// Task is a number of equal members.
type Task struct {
	Name          string        `json:"name"`
	Count         int           `json:"count,omitempty"`
	MinCount      int           `json:"min_count,omitempty"`
	CPUMilli      int64         `json:"cpu_milli,omitempty"`
	MemoryMiB     int64         `json:"memory_mib,omitempty"`
	DiskGiB       int64         `json:"disk_gib,omitempty"`
	Accelerators  *Accelerators `json:"accelerators,omitempty"`
	Duration      string        `json:"duration"`
	DurationP95   string        `json:"duration_p95,omitempty"`
	Limit         string        `json:"limit,omitempty"` // a member that runs longer is ended; empty: none
	Interruptible bool          `json:"interruptible,omitempty"`
	Checkpoint    string        `json:"checkpoint,omitempty"`
}

// Accelerators are devices, or a part of one.
type Accelerators struct {
	Count  int      `json:"count,omitempty"`
	Milli  int64    `json:"milli,omitempty"` // thousandths of one device
	Models []string `json:"models,omitempty"`
}

// Window is when a workload may run.
type Window struct {
	Earliest   *time.Time `json:"earliest,omitempty"`
	Deadline   *time.Time `json:"deadline,omitempty"`
	Deferrable bool       `json:"deferrable,omitempty"`
}

// Latency bounds the round trip from where users are.
type Latency struct {
	FromRegion string  `json:"from_region"`
	MaxMillis  float64 `json:"max_ms"`
}

// Dataset is what a workload reads.
type Dataset struct {
	Dataset string   `json:"dataset"`
	At      []string `json:"at,omitempty"`
	ReadGiB float64  `json:"read_gib"`
	Copy    bool     `json:"copy,omitempty"`
}

// Security is what a facility must be fit for.
type Security struct {
	MinGrade  int    `json:"min_grade,omitempty"`
	DataGrade string `json:"data_grade,omitempty"` // general, important, core
}

// Affinity is where a workload may run.
type Affinity struct {
	Facilities []string          `json:"facilities,omitempty"`
	Pools      []string          `json:"pools,omitempty"`
	Regions    []string          `json:"regions,omitempty"`
	Archs      []string          `json:"archs,omitempty"`
	Labels     map[string]string `json:"labels,omitempty"`
}

// Status is what became of a workload.
type Status struct {
	ID       string    `json:"id"`
	State    string    `json:"state"` // reserved, queued, deferred, bound, running, succeeded, …
	Reasons  []Reason  `json:"reasons"`
	Decision *Decision `json:"decision"`
	Lease    *Lease    `json:"lease"`
	Leases   []Lease   `json:"leases"` // one for each facility
	Queue    *Turn     `json:"queue"`
	Repeated bool      `json:"repeated"` // it was submitted before under the same key
}

// Reason is one why, from a closed list of codes.
type Reason struct {
	Code string   `json:"code"`
	Args []string `json:"args"`
	Text Text     `json:"text"`
}

// Text is in both languages.
type Text struct {
	ZH string `json:"zh"`
	EN string `json:"en"`
}

// Decision is where a workload goes and what that costs.
type Decision struct {
	Assignments []Assignment `json:"assignments"`
	Until       *time.Time   `json:"until"` // when a deferred workload is to start
	// Planned is where it is to run then, by segment, or after its pause; nothing
	// is held.
	Planned   []Assignment `json:"planned"`
	EnergyKWh float64      `json:"energy_kwh"`
	CarbonKg  float64      `json:"carbon_kg"`
	Cost      float64      `json:"cost"` // yuan
	// Bound and Gap are set where it was decided together with others: all of them
	// cost at most a share of Gap more than Bound, in yuan and by their objectives.
	Bound   float64   `json:"bound"`
	Gap     float64   `json:"gap"`
	Refused []Refusal `json:"refused"`
}

// Assignment is the place of one member.
type Assignment struct {
	Task     string    `json:"task"`
	Index    int       `json:"index"`
	Facility string    `json:"facility"`
	Pool     string    `json:"pool"`
	Node     string    `json:"node"`
	Devices  []int     `json:"devices"`
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
}

// Refusal says why a pool cannot take it, and the smallest change that would
// help.
type Refusal struct {
	Facility string   `json:"facility"`
	Pool     string   `json:"pool"`
	Reason   Reason   `json:"reason"`
	Change   []Change `json:"change"`
}

// Change is one key of a workload with another value.
type Change struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
}

// Turn is where a workload stands in the queue.
type Turn struct {
	Rank     int        `json:"rank"`
	StartP50 *time.Time `json:"start_p50"`
	StartP90 *time.Time `json:"start_p90"`
}

const workloads = "/api/v1/workloads"

func pathOf(id string) string { return workloads + "/" + url.PathEscape(id) }

// Submit has a workload run. The same key and workload, sent again within seven
// days, change nothing and are answered as before: after a lost answer, send it
// again. An empty key makes every call a submission.
func (c *Client) Submit(ctx context.Context, w Workload, key string) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodPost, workloads, key, w, &s)
	return s, err
}

// Try says where a workload would go, and keeps nothing.
func (c *Client) Try(ctx context.Context, w Workload) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodPost, workloads+"?dry_run=place", "", w, &s)
	return s, err
}

// Get returns a workload as it is.
func (c *Client) Get(ctx context.Context, id string) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, pathOf(id), "", nil, &s)
	return s, err
}

// Explain says why a workload runs where it does, or why it waits and what
// would help.
func (c *Client) Explain(ctx context.Context, id string) (Status, error) {
	var s Status
	err := c.call(ctx, http.MethodGet, pathOf(id)+"/explanation", "", nil, &s)
	return s, err
}

// Cancel ends a workload wherever it is.
func (c *Client) Cancel(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, pathOf(id), "", nil, nil)
}
