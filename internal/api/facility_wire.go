package api

import (
	"bytes"
	"encoding/json"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/signal"
	"github.com/songhua-io/hub/internal/telemetry"
)

// FacilityIn is a facility as people describe it.
type FacilityIn struct {
	Names         text     `json:"names"`
	Operator      string   `json:"operator,omitempty" maxLength:"255"`
	Region        string   `json:"region" doc:"six-digit division code (GB/T 2260)"`
	Lat           *float64 `json:"lat,omitempty" doc:"degrees, WGS 84"`
	Lon           *float64 `json:"lon,omitempty" doc:"degrees, WGS 84"`
	SecurityGrade int      `json:"security_grade,omitempty" doc:"of GB/T 22239 (等保), 1 to 4; 1 when absent"`
	MaxDataGrade  string   `json:"max_data_grade,omitempty" doc:"highest grade of data that it may hold: general, important or core; general when absent"`
	GridZone      string   `json:"grid_zone,omitempty" doc:"zone of its carbon and price signals" maxLength:"63"`
	PUE           pueIn    `json:"pue,omitzero"`
	GreenShare    float64  `json:"green_share,omitempty" doc:"0 to 1: bought from wind, sun or water"`
	PowerCapW     int64    `json:"power_cap_w,omitempty" doc:"0: no cap"`
	State         string   `json:"state,omitempty" doc:"ready, cordoned, draining or lost; ready when absent"`

	Live facilityLiveIn `json:"live,omitzero" doc:"which series tell what goes on there: PromQL over those whose region is the facility's, and whose grade is general"`
}

// pueIn is a number, or an object where more is known.
type pueIn struct {
	Constant    float64      `json:"constant,omitempty"`
	Load        [][2]float64 `json:"load,omitempty"`
	Temperature [][2]float64 `json:"temperature,omitempty"`
	Live        string       `json:"live,omitempty"`
}

// Schema implements huma.SchemaProvider.
func (pueIn) Schema(huma.Registry) *huma.Schema {
	curve := &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeNumber}}}
	return &huma.Schema{
		Description: "total energy over the energy of computing: a number, or a constant with curves over load (0 to 1) and outdoor temperature (°C, added), or the zone of a live signal; 1.5 when absent",
		OneOf: []*huma.Schema{{Type: huma.TypeNumber}, {Type: huma.TypeObject, AdditionalProperties: false, Properties: map[string]*huma.Schema{
			"constant": {Type: huma.TypeNumber}, "load": curve, "temperature": curve, "live": {Type: huma.TypeString},
		}}},
	}
}

// UnmarshalJSON implements json.Unmarshaler.
func (p *pueIn) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] != '{' {
		return json.Unmarshal(b, &p.Constant)
	}
	type object pueIn
	return json.Unmarshal(b, (*object)(p))
}

// MarshalJSON implements json.Marshaler.
func (p pueIn) MarshalJSON() ([]byte, error) {
	if p.Load == nil && p.Temperature == nil && p.Live == "" {
		return json.Marshal(p.Constant)
	}
	type object pueIn
	return json.Marshal(object(p))
}

func curve(points [][2]float64) []schedule.Point {
	var all []schedule.Point
	for _, p := range points {
		all = append(all, schedule.Point{X: p[0], Y: p[1]})
	}
	return all
}

func pairsOf(points []schedule.Point) [][2]float64 {
	var all [][2]float64
	for _, p := range points {
		all = append(all, [2]float64{p.X, p.Y})
	}
	return all
}

func orElse[T comparable](v, absent T) T {
	var zero T
	if v == zero {
		return absent
	}
	return v
}

func (in FacilityIn) facility(id string) (schedule.Facility, error) {
	grade, err := telemetry.ParseGrade(orElse(in.MaxDataGrade, "general"))
	if err != nil {
		return schedule.Facility{}, fault("body.max_data_grade", in.MaxDataGrade, err.Error())
	}
	f := schedule.Facility{
		ID: id, Names: schedule.Text{ZH: in.Names.ZH, EN: in.Names.EN}, Operator: in.Operator, Region: in.Region, Lat: in.Lat, Lon: in.Lon,
		SecurityGrade: orElse(in.SecurityGrade, 1), MaxDataGrade: grade, GridZone: in.GridZone,
		PUE:        schedule.PUE{Constant: orElse(in.PUE.Constant, signal.Fallback[signal.PUE]), Load: curve(in.PUE.Load), Temperature: curve(in.PUE.Temperature), Live: in.PUE.Live},
		Live:       schedule.FacilityLive(in.Live),
		GreenShare: in.GreenShare, PowerCapW: in.PowerCapW, State: schedule.FacilityState(orElse(in.State, string(schedule.Ready))),
	}
	return f, faulty(f.Check(""))
}

func describeFacility(f schedule.Facility) FacilityIn {
	return FacilityIn{
		Names: text{f.Names.ZH, f.Names.EN}, Operator: f.Operator, Region: f.Region, Lat: f.Lat, Lon: f.Lon, SecurityGrade: f.SecurityGrade,
		MaxDataGrade: f.MaxDataGrade.String(), GridZone: f.GridZone, GreenShare: f.GreenShare, PowerCapW: f.PowerCapW, State: string(f.State), Live: facilityLiveIn(f.Live),
		PUE: pueIn{Constant: f.PUE.Constant, Load: pairsOf(f.PUE.Load), Temperature: pairsOf(f.PUE.Temperature), Live: f.PUE.Live},
	}
}

// faulty is one answer that names every fault; nil when there is none.
func faulty(faults []strict.Error) error {
	if len(faults) == 0 {
		return nil
	}
	all := make([]string, len(faults))
	details := make([]*huma.ErrorDetail, len(faults))
	for i, f := range faults {
		all[i] = f.Path + " " + f.Msg
		details[i] = &huma.ErrorDetail{Message: f.Msg, Location: "body." + f.Path}
	}
	p := newProblem(422, strings.Join(all, "; "))
	p.Errors = details
	return p
}

// PoolIn is a pool as people describe it.
type PoolIn struct {
	Facility    string            `json:"facility"`
	Arch        string            `json:"arch,omitempty" doc:"amd64 when absent"`
	Engine      string            `json:"engine,omitempty" doc:"agent, kubernetes, slurm, or none where the owner runs the work and asks for reservations; agent when absent"`
	Accelerator *acceleratorIn    `json:"accelerator,omitempty"`
	Nodes       []NodeIn          `json:"nodes,omitempty" maxItems:"10000"`
	Classes     []classIn         `json:"classes,omitempty" doc:"instead of nodes: how many there are of each size" maxItems:"1000"`
	Labels      map[string]string `json:"labels,omitempty"`
	Power       *powerIn          `json:"power,omitempty" doc:"what a node draws; 100 W idle, 4 W a CPU and 300 W an accelerator when absent"`
	Rate        *rateIn           `json:"rate,omitempty" doc:"yuan per hour besides electricity"`
	Live        poolLiveIn        `json:"live,omitzero" doc:"which series tell what goes on there: PromQL over those whose region is the facility's, and whose grade is general"`
}

type acceleratorIn struct {
	Vendor    string `json:"vendor,omitempty"`
	Model     string `json:"model"`
	MemoryMiB int64  `json:"memory_mib,omitempty"`
	Shareable bool   `json:"shareable,omitempty" doc:"a device may be used in thousandths"`
}

// NodeIn is one machine, or the size of a class of machines.
type NodeIn struct {
	ID           string `json:"id,omitempty"`
	CPUMilli     int64  `json:"cpu_milli"`
	MemoryMiB    int64  `json:"memory_mib"`
	DiskGiB      int64  `json:"disk_gib,omitempty"`
	Accelerators int    `json:"accelerators,omitempty" doc:"whole devices"`
	PowerW       int64  `json:"power_w,omitempty"`
}

func (n NodeIn) node() schedule.Node { return schedule.Node(n) }

type classIn struct {
	Count int `json:"count"`
	NodeIn
}

type powerIn struct {
	IdleW           float64 `json:"idle_w"`
	CPUWatt         float64 `json:"cpu_w" doc:"of one CPU in use"`
	AcceleratorWatt float64 `json:"accelerator_w" doc:"of one whole device in use"`
}

type rateIn struct {
	CPU         float64 `json:"cpu" doc:"of one CPU"`
	Accelerator float64 `json:"accelerator" doc:"of one whole device"`
}

func (in PoolIn) pool(id string) (schedule.Pool, error) {
	p := schedule.Pool{
		ID: id, Facility: in.Facility, Arch: orElse(in.Arch, "amd64"), Engine: schedule.Engine(orElse(in.Engine, string(schedule.EngineAgent))),
		Labels: in.Labels, Power: schedule.DefaultPower, Live: schedule.PoolLive(in.Live),
	}
	if in.Accelerator != nil {
		a := schedule.Accelerator(*in.Accelerator)
		p.Accelerator = &a
	}
	for _, n := range in.Nodes {
		p.Nodes = append(p.Nodes, n.node())
	}
	for _, c := range in.Classes {
		p.Classes = append(p.Classes, schedule.Class{Count: c.Count, Node: c.node()})
	}
	if in.Power != nil {
		p.Power = schedule.Power(*in.Power)
	}
	if in.Rate != nil {
		p.Rate = schedule.Rate(*in.Rate)
	}
	return p, faulty(p.Check(""))
}

func describePool(p schedule.Pool) PoolIn {
	power, rate := powerIn(p.Power), rateIn(p.Rate)
	out := PoolIn{Facility: p.Facility, Arch: p.Arch, Engine: string(p.Engine), Labels: p.Labels, Power: &power, Rate: &rate, Live: poolLiveIn(p.Live)}
	if p.Accelerator != nil {
		a := acceleratorIn(*p.Accelerator)
		out.Accelerator = &a
	}
	for _, n := range p.Nodes {
		out.Nodes = append(out.Nodes, NodeIn(n))
	}
	for _, c := range p.Classes {
		out.Classes = append(out.Classes, classIn{Count: c.Count, NodeIn: NodeIn(c.Node)})
	}
	return out
}

// compact is JSON without what people added to read it.
func compact(raw json.RawMessage) json.RawMessage {
	var b bytes.Buffer
	if len(raw) == 0 || json.Compact(&b, raw) != nil {
		return raw
	}
	return b.Bytes()
}
