package api

import (
	"context"
	"fmt"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/loop"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// ScenarioIn is what would be otherwise.
type ScenarioIn struct {
	Facilities map[string]FacilityIn `json:"facilities,omitempty" doc:"added or replaced, by id" maxProperties:"1000"`
	Pools      map[string]PoolIn     `json:"pools,omitempty" doc:"added or replaced, by id" maxProperties:"1000"`
	Remove     []string              `json:"remove_pools,omitempty" maxItems:"1000"`
	States     map[string]string     `json:"states,omitempty" doc:"of facilities: ready, cordoned, draining or lost" maxProperties:"1000"`
	Signals    []zoneSignal          `json:"signals,omitempty" doc:"other curves of carbon, price, PUE or free capacity" maxItems:"100"`
	Workloads  []WorkloadIn          `json:"workloads,omitempty" doc:"besides those that wait, before and after" maxItems:"1000"`
}

type zoneSignal struct {
	Kind string `json:"kind" doc:"carbon, price, pue or free"`
	Zone string `json:"zone"`
	signal.Forecast
}

type outlookOut struct {
	Placed     int              `json:"placed"`
	Deferred   int              `json:"deferred"`
	Waiting    int              `json:"waiting"`
	Displaced  int              `json:"displaced,omitempty" doc:"leases whose pool would be gone"`
	EnergyKWh  float64          `json:"energy_kwh" doc:"of what was placed"`
	CarbonKg   float64          `json:"carbon_kg"`
	Cost       float64          `json:"cost" doc:"yuan"`
	Facilities []utilisationOut `json:"facilities"`
}

type utilisationOut struct {
	Facility string             `json:"facility"`
	Used     map[string]float64 `json:"used" doc:"share of each resource that is leased, 0 to 1"`
}

type simulationOut struct {
	Body struct {
		Before outlookOut `json:"before"`
		After  outlookOut `json:"after"`
	}
}

type simulationPost struct{ Body ScenarioIn }

// simulate is for those who see all regions: its figures are of all that waits.
func (a *API) simulate(ctx context.Context, in *simulationPost) (*simulationOut, error) {
	if err := may(ctx, access.SubmitWorkloads, ""); err != nil {
		return nil, err
	}
	x, err := in.Body.scenario(a.Scheduler.Region)
	if err != nil {
		return nil, err
	}
	before, after, err := a.Scheduler.Simulate(ctx, x)
	if err != nil {
		return nil, err
	}
	out := &simulationOut{}
	out.Body.Before, out.Body.After = showOutlook(before), showOutlook(after)
	return out, nil
}

func (in ScenarioIn) scenario(regionOf func(facility string) string) (x loop.Scenario, err error) {
	known := func(at, id string) error {
		if _, added := in.Facilities[id]; added || regionOf(id) != "" {
			return nil
		}
		return fault(at, id, "facility "+id+" is not known; add it under facilities")
	}
	for id, f := range in.Facilities {
		one, err := f.facility(id)
		if err != nil {
			return x, below("facilities."+id+".", err)
		}
		x.Facilities = append(x.Facilities, one)
	}
	for id, p := range in.Pools {
		one, err := p.pool(id)
		if err != nil {
			return x, below("pools."+id+".", err)
		}
		if err := known("body.pools."+id+".facility", p.Facility); err != nil {
			return x, err
		}
		x.Pools = append(x.Pools, one)
	}
	x.Remove, x.States = in.Remove, map[string]schedule.FacilityState{}
	for id, state := range in.States {
		if err := known("body.states."+id, id); err != nil {
			return x, err
		}
		switch s := schedule.FacilityState(state); s {
		case schedule.Ready, schedule.Cordoned, schedule.Draining, schedule.Lost:
			x.States[id] = s
		default:
			return x, fault("body.states."+id, state, fmt.Sprintf("state %q is none; there are ready, cordoned, draining and lost", state))
		}
	}
	for i, s := range in.Signals {
		one, faults := s.Series(signal.Kind(s.Kind), s.Zone)
		if len(faults) > 0 {
			return x, below(fmt.Sprintf("signals[%d].", i), faulty(faults))
		}
		x.Signals = append(x.Signals, one)
	}
	for i, w := range in.Workloads {
		one, err := w.workload(fmt.Sprintf("workloads[%d].", i))
		if err != nil {
			return x, err
		}
		x.Workloads = append(x.Workloads, one)
	}
	return x, nil
}

// below names the keys of a fault from the body that holds the thing.
func below(at string, err error) error {
	p, ok := err.(*problem)
	if !ok {
		return err
	}
	p.Detail = at + " " + p.Detail
	for _, d := range p.Errors {
		d.Location = "body." + at + d.Location[min(len("body."), len(d.Location)):]
	}
	return p
}

func showOutlook(o loop.Outlook) outlookOut {
	out := outlookOut{o.Placed, o.Deferred, o.Waiting, o.Displaced, o.EnergyKWh, o.CarbonKg, o.Cost, make([]utilisationOut, len(o.Facilities))}
	for i, f := range o.Facilities {
		out.Facilities[i] = utilisationOut{f.Facility, map[string]float64{}}
		for d, total := range f.Capacity {
			if total > 0 {
				out.Facilities[i].Used[schedule.DimensionNames[d]] = float64(f.Leased[d]) / float64(total)
			}
		}
	}
	return out
}
