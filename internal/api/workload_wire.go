package api

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/telemetry"
)

// WorkloadIn is a workload as its owner describes it.
type WorkloadIn struct {
	Tenant    string          `json:"tenant,omitempty" doc:"default when absent"`
	Name      string          `json:"name"`
	Priority  int             `json:"priority,omitempty" doc:"0 to 1000; the higher is served first"`
	Objective objectiveIn     `json:"objective,omitzero"`
	Gang      string          `json:"gang,omitempty" doc:"none, all or minimum; none when absent"`
	Shape     string          `json:"shape,omitempty" doc:"any, one_facility, one_per_facility or spread; any when absent"`
	Tasks     []taskIn        `json:"tasks" minItems:"1" maxItems:"1000"`
	Window    *windowIn       `json:"window,omitempty"`
	Latency   *latencyIn      `json:"latency,omitempty"`
	Data      []datasetIn     `json:"data,omitempty" maxItems:"100"`
	Security  *securityIn     `json:"security,omitempty"`
	Affinity  *AffinityIn     `json:"affinity,omitempty"`
	Budget    *budgetIn       `json:"budget,omitempty"`
	Payload   json.RawMessage `json:"payload,omitempty" doc:"for the engine, as it is"`
}

type taskIn struct {
	Name         string          `json:"name"`
	Count        int             `json:"count,omitempty" doc:"members; 1 when absent"`
	MinCount     int             `json:"min_count,omitempty" doc:"how many must run; count when absent"`
	CPUMilli     int64           `json:"cpu_milli,omitempty"`
	MemoryMiB    int64           `json:"memory_mib,omitempty"`
	DiskGiB      int64           `json:"disk_gib,omitempty"`
	PowerW       int64           `json:"power_w,omitempty"`
	Accelerators *acceleratorsIn `json:"accelerators,omitempty"`
	Duration     string          `json:"duration" doc:"how long a member runs, in half of all cases: 90s, 1h30m"`
	DurationP95  string          `json:"duration_p95,omitempty" doc:"in 19 of 20 cases; duration when absent"`
	Limit        string          `json:"limit,omitempty" doc:"a member that runs longer is ended by its engine; no limit when absent"`

	Interruptible bool   `json:"interruptible,omitempty"`
	Checkpoint    string `json:"checkpoint,omitempty" doc:"most work that is lost when it is interrupted"`
}

type acceleratorsIn struct {
	Count     int                `json:"count,omitempty" doc:"devices; 1 when absent"`
	Milli     int64              `json:"milli,omitempty" doc:"thousandths of one device; 1000 when absent"`
	Models    []string           `json:"models,omitempty" doc:"any of these; any at all when absent"`
	Speed     map[string]float64 `json:"speed,omitempty" doc:"by model, how fast the work runs there; 1 when absent"`
	MemoryMiB int64              `json:"memory_mib,omitempty" doc:"least of one device"`
}

type windowIn struct {
	Earliest   *time.Time `json:"earliest,omitempty"`
	Deadline   *time.Time `json:"deadline,omitempty"`
	Deferrable bool       `json:"deferrable,omitempty" doc:"it may wait for cheaper or greener hours"`
}

type latencyIn struct {
	FromRegion string  `json:"from_region"`
	MaxMillis  float64 `json:"max_ms" doc:"of a round trip"`
}

type datasetIn struct {
	Dataset string   `json:"dataset"`
	At      []string `json:"at,omitempty" doc:"facilities that hold it"`
	ReadGiB float64  `json:"read_gib"`
	Copy    bool     `json:"copy,omitempty" doc:"moved before the start; read from afar otherwise"`
}

type securityIn struct {
	MinGrade  int    `json:"min_grade,omitempty" doc:"等保"`
	DataGrade string `json:"data_grade,omitempty" doc:"general, important or core"`
}

// AffinityIn is where work may run.
type AffinityIn struct {
	Facilities    []string          `json:"facilities,omitempty"`
	NotFacilities []string          `json:"not_facilities,omitempty"`
	Pools         []string          `json:"pools,omitempty"`
	Regions       []string          `json:"regions,omitempty" doc:"prefixes of division codes"`
	Archs         []string          `json:"archs,omitempty"`
	Labels        map[string]string `json:"labels,omitempty" doc:"each must be equal at the pool"`
}

type budgetIn struct {
	Money    float64 `json:"money,omitempty" doc:"yuan"`
	CarbonKg float64 `json:"carbon_kg,omitempty"`
}

// objectiveIn is a name, or weights.
type objectiveIn struct {
	name        string
	CarbonPrice float64 `json:"carbon_price"`
	HourPrice   float64 `json:"hour_price"`
}

// Schema implements huma.SchemaProvider.
func (objectiveIn) Schema(huma.Registry) *huma.Schema {
	var names []any
	for _, o := range schedule.Objectives {
		names = append(names, o.Name)
	}
	return &huma.Schema{
		Description: "what a placement is chosen by, or the weights: yuan per kg of CO2, and yuan per hour that it ends later; balanced when absent",
		OneOf: []*huma.Schema{{Type: huma.TypeString, Enum: names}, {Type: huma.TypeObject, AdditionalProperties: false, Properties: map[string]*huma.Schema{
			"carbon_price": {Type: huma.TypeNumber}, "hour_price": {Type: huma.TypeNumber},
		}}},
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (o *objectiveIn) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &o.name)
	}
	type weights objectiveIn
	o.name = "weights"
	return json.Unmarshal(b, (*weights)(o))
}

// MarshalJSON implements json.Marshaler.
func (o objectiveIn) MarshalJSON() ([]byte, error) {
	if o.name != "weights" {
		return json.Marshal(o.name)
	}
	type weights objectiveIn
	return json.Marshal(weights(o))
}

func (o objectiveIn) objective() schedule.Objective {
	for _, known := range schedule.Objectives {
		if known.Name == orElse(o.name, schedule.Balanced.Name) {
			return known
		}
	}
	return schedule.Objective{Name: o.name, CarbonPrice: o.CarbonPrice, HourPrice: o.HourPrice}
}

// length reads a duration; an empty one is the other.
func length(at, s string, absent time.Duration) (time.Duration, error) {
	if s == "" {
		return absent, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fault(at, s, fmt.Sprintf("%q is no duration; write it like 90s or 1h30m", s))
	}
	return d, nil
}

// workload is what the owner means; at is the key path of it.
func (in WorkloadIn) workload(at string) (*schedule.Workload, error) {
	w := &schedule.Workload{
		Tenant: orElse(in.Tenant, "default"), Name: in.Name, Priority: in.Priority, Objective: in.Objective.objective(),
		Gang: schedule.Gang(orElse(in.Gang, string(schedule.GangNone))), Shape: schedule.Shape(orElse(in.Shape, string(schedule.AnyShape))),
		Payload: compact(in.Payload),
	}
	for i, t := range in.Tasks {
		task, err := t.task(fmt.Sprintf("body.%stasks[%d].", at, i))
		if err != nil {
			return nil, err
		}
		w.Tasks = append(w.Tasks, task)
	}
	if in.Window != nil {
		w.Window.Deferrable = in.Window.Deferrable
		w.Window.Earliest, w.Window.Deadline = timeOf(in.Window.Earliest), timeOf(in.Window.Deadline)
	}
	if in.Latency != nil {
		l := schedule.Latency(*in.Latency)
		w.Latency = &l
	}
	for _, d := range in.Data {
		w.Data = append(w.Data, schedule.Dataset{ID: d.Dataset, At: d.At, ReadGiB: d.ReadGiB, Copy: d.Copy})
	}
	if in.Security != nil {
		grade, err := telemetry.ParseGrade(orElse(in.Security.DataGrade, "ungraded"))
		if err != nil {
			return nil, fault("body."+at+"security.data_grade", in.Security.DataGrade, err.Error())
		}
		w.Security = schedule.Security{MinGrade: in.Security.MinGrade, DataGrade: grade}
	}
	if in.Affinity != nil {
		w.Affinity = schedule.Affinity(*in.Affinity)
	}
	if in.Budget != nil {
		w.Budget = schedule.Budget(*in.Budget)
	}
	return w, faulty(w.Check(at))
}

func timeOf(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func (t taskIn) task(at string) (schedule.Task, error) {
	task := schedule.Task{Name: t.Name, Max: orElse(t.Count, 1), Interruptible: t.Interruptible}
	task.Min = orElse(t.MinCount, task.Max)
	task.Use = schedule.Vector{schedule.CPUMilli: t.CPUMilli, schedule.MemoryMiB: t.MemoryMiB, schedule.DiskGiB: t.DiskGiB, schedule.PowerW: t.PowerW}
	if a := t.Accelerators; a != nil {
		task.Accelerators = &schedule.Accelerators{Count: orElse(a.Count, 1), Milli: orElse(a.Milli, schedule.DeviceMilli), Models: a.Models, Speed: a.Speed, MemoryMiB: a.MemoryMiB}
	}
	var err error
	if task.P50, err = length(at+"duration", t.Duration, 0); err != nil {
		return task, err
	}
	if task.P95, err = length(at+"duration_p95", t.DurationP95, task.P50); err != nil {
		return task, err
	}
	if task.Limit, err = length(at+"limit", t.Limit, 0); err != nil {
		return task, err
	}
	task.Checkpoint, err = length(at+"checkpoint", t.Checkpoint, 0)
	return task, err
}

// describeWorkload is the inverse of workload.
func describeWorkload(w *schedule.Workload) WorkloadIn {
	out := WorkloadIn{
		Tenant: w.Tenant, Name: w.Name, Priority: w.Priority, Gang: string(w.Gang), Shape: string(w.Shape), Payload: w.Payload,
		Objective: objectiveIn{name: w.Objective.Name, CarbonPrice: w.Objective.CarbonPrice, HourPrice: w.Objective.HourPrice},
	}
	for i := range w.Tasks {
		out.Tasks = append(out.Tasks, describeTask(&w.Tasks[i]))
	}
	if w.Window != (schedule.Window{}) {
		out.Window = &windowIn{Earliest: moment(w.Window.Earliest), Deadline: moment(w.Window.Deadline), Deferrable: w.Window.Deferrable}
	}
	if w.Latency != nil {
		l := latencyIn(*w.Latency)
		out.Latency = &l
	}
	for _, d := range w.Data {
		out.Data = append(out.Data, datasetIn{Dataset: d.ID, At: d.At, ReadGiB: d.ReadGiB, Copy: d.Copy})
	}
	if w.Security != (schedule.Security{}) {
		out.Security = &securityIn{MinGrade: w.Security.MinGrade, DataGrade: w.Security.DataGrade.String()}
	}
	if a := w.Affinity; a.Facilities != nil || a.NotFacilities != nil || a.Pools != nil || a.Regions != nil || a.Archs != nil || a.Labels != nil {
		in := AffinityIn(a)
		out.Affinity = &in
	}
	if w.Budget != (schedule.Budget{}) {
		b := budgetIn(w.Budget)
		out.Budget = &b
	}
	return out
}

func describeTask(t *schedule.Task) taskIn {
	out := taskIn{
		Name: t.Name, Count: t.Max, MinCount: t.Min, CPUMilli: t.Use[schedule.CPUMilli], MemoryMiB: t.Use[schedule.MemoryMiB],
		DiskGiB: t.Use[schedule.DiskGiB], PowerW: t.Use[schedule.PowerW], Duration: t.P50.String(), DurationP95: t.P95.String(), Interruptible: t.Interruptible,
	}
	if t.Limit > 0 {
		out.Limit = t.Limit.String()
	}
	if t.Checkpoint > 0 {
		out.Checkpoint = t.Checkpoint.String()
	}
	if a := t.Accelerators; a != nil {
		out.Accelerators = &acceleratorsIn{Count: a.Count, Milli: a.Milli, Models: a.Models, Speed: a.Speed, MemoryMiB: a.MemoryMiB}
	}
	return out
}

type decisionOut struct {
	At          time.Time       `json:"at"`
	Assignments []assignmentOut `json:"assignments,omitempty"`
	Until       *time.Time      `json:"until,omitempty" doc:"when a deferred workload is to start"`
	Planned     []assignmentOut `json:"planned,omitempty" doc:"where it is to run then, as seen now, by segment; or after the pause of one that runs. Nothing is held"`
	Reasons     []reasonOut     `json:"reasons,omitempty"`
	EnergyKWh   float64         `json:"energy_kwh" doc:"at the meter, PUE included"`
	CarbonKg    float64         `json:"carbon_kg"`
	Cost        float64         `json:"cost" doc:"yuan: electricity, rates and transfer"`
	TransferGiB float64         `json:"transfer_gib,omitempty"`
	Wait        string          `json:"expected_wait,omitempty"`
	Scores      []scoreOut      `json:"scores,omitempty"`
	RunnersUp   []runnerUpOut   `json:"runners_up,omitempty"`
	Preempts    []victimOut     `json:"preempts,omitempty" doc:"work that gave way to it"`
	Refused     []refusalOut    `json:"refused,omitempty"`
	DataAge     string          `json:"data_age,omitempty" doc:"of the oldest live value that it relied on"`
	Bound       float64         `json:"bound,omitempty" doc:"yuan, by their objectives: no placement of those that were decided together costs less"`
	Gap         float64         `json:"gap,omitempty" doc:"share that all of them together cost more than the bound"`
}

type victimOut struct {
	Workload string  `json:"workload"`
	Priority int     `json:"priority"`
	Lost     string  `json:"lost" doc:"the most that a member has to do again"`
	Cost     float64 `json:"cost" doc:"yuan: the resource hours that are lost, weighed by the priority"`
}

type assignmentOut struct {
	Task     string           `json:"task"`
	Index    int              `json:"index"`
	Facility string           `json:"facility"`
	Pool     string           `json:"pool"`
	Node     string           `json:"node,omitempty"`
	Devices  []int            `json:"devices,omitempty"`
	Use      map[string]int64 `json:"use"`
	Start    time.Time        `json:"start"`
	End      time.Time        `json:"end"`
}

type reasonOut struct {
	Code string   `json:"code"`
	Args []string `json:"args,omitempty"`
	Text text     `json:"text"`
}

type scoreOut struct {
	Scorer string  `json:"scorer"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Cost   float64 `json:"cost" doc:"yuan, by the objective"`
}

type runnerUpOut struct {
	Facility string   `json:"facility"`
	Pool     string   `json:"pool"`
	Cost     float64  `json:"cost"`
	Worse    scoreOut `json:"worse" doc:"what costs most more there"`
}

type refusalOut struct {
	Facility string      `json:"facility"`
	Pool     string      `json:"pool"`
	Reason   reasonOut   `json:"reason"`
	Change   []changeOut `json:"change,omitempty" doc:"the smallest that would make it fit"`
}

type changeOut struct {
	Key  string `json:"key"`
	From string `json:"from"`
	To   string `json:"to"`
}

func showReason(r schedule.Reason) reasonOut {
	t := r.Text()
	return reasonOut{Code: string(r.Code), Args: r.Args, Text: text{t.ZH, t.EN}}
}

func showReasons(all []schedule.Reason) []reasonOut {
	out := make([]reasonOut, len(all))
	for i, r := range all {
		out[i] = showReason(r)
	}
	return out
}

func showAmount(v schedule.Vector) map[string]int64 {
	m := map[string]int64{}
	for i, n := range v {
		if n != 0 {
			m[schedule.DimensionNames[i]] = n
		}
	}
	return m
}

func showAssignments(parts []schedule.Assignment) []assignmentOut {
	out := make([]assignmentOut, len(parts))
	for i, p := range parts {
		out[i] = assignmentOut{Task: p.Task, Index: p.Index, Facility: p.Facility, Pool: p.Pool, Node: p.Node, Use: showAmount(p.Use), Start: p.Start, End: p.End}
		for _, d := range p.Devices {
			out[i].Devices = append(out[i].Devices, int(d))
		}
	}
	return out
}

func showDecision(d *schedule.Decision) *decisionOut {
	out := &decisionOut{
		At: d.At, Assignments: showAssignments(d.Assignments), Until: moment(d.Until), Planned: showAssignments(d.Planned), Reasons: showReasons(d.Reasons),
		EnergyKWh: d.EnergyKWh, CarbonKg: d.CarbonKg, Cost: d.Cost, TransferGiB: d.TransferGiB,
		Bound: d.Bound, Gap: d.Gap,
	}
	if d.ExpectedWait > 0 {
		out.Wait = d.ExpectedWait.String()
	}
	if d.DataAge > 0 {
		out.DataAge = d.DataAge.String()
	}
	for _, s := range d.Scores {
		out.Scores = append(out.Scores, scoreOut(s))
	}
	for _, r := range d.RunnersUp {
		out.RunnersUp = append(out.RunnersUp, runnerUpOut{r.Facility, r.Pool, r.Cost, scoreOut(r.Worse)})
	}
	for _, v := range d.Preempts {
		out.Preempts = append(out.Preempts, victimOut{v.Workload, v.Priority, v.Lost.String(), v.Cost})
	}
	for _, r := range d.Refused {
		o := refusalOut{Facility: r.Facility, Pool: r.Pool, Reason: showReason(r.Reason)}
		for _, c := range r.Change {
			o.Change = append(o.Change, changeOut(c))
		}
		out.Refused = append(out.Refused, o)
	}
	return out
}

type leaseOut struct {
	ID        string          `json:"id"`
	Facility  string          `json:"facility"`
	Token     uint64          `json:"token" doc:"fences: an engine refuses a lower one than it has seen"`
	State     string          `json:"state"`
	Workload  string          `json:"workload,omitempty"`
	Tenant    string          `json:"tenant"`
	Parts     []assignmentOut `json:"parts,omitempty"`
	Created   time.Time       `json:"created"`
	ExpiresAt *time.Time      `json:"expires_at" doc:"null: when it is released"`
	Output    string          `json:"output,omitempty" doc:"where its members write at the facility; * counts them from 0"`
}

func showLease(l *schedule.Lease) leaseOut {
	return leaseOut{ID: l.ID, Facility: l.Facility, Token: l.Token, State: string(l.State), Workload: l.Workload, Tenant: l.Tenant,
		Parts: showAssignments(l.Parts), Created: l.Created, ExpiresAt: moment(l.Expires)}
}
