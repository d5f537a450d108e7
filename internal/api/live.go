package api

import (
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// poolLiveIn says which series tell what goes on at a pool.
type poolLiveIn struct {
	CPUMilli         string `json:"cpu_milli,omitempty" doc:"in use; results carry the label node (or device) with the id of a node, or neither for the whole pool. What agents report of the machine they run on (host_cpu_percent) when absent"`
	MemoryMiB        string `json:"memory_mib,omitempty" doc:"in use; host_memory_used_bytes when absent"`
	AcceleratorMilli string `json:"accelerator_milli,omitempty" doc:"in use; by gpu_memory_used_bytes when absent"`
	QueueWait        string `json:"queue_wait,omitempty" doc:"seconds that work lies in the engine's own queue; the highest counts. What the hub itself sees when absent"`
	FailuresPerHour  string `json:"failures_per_hour,omitempty" doc:"of one node; the highest counts. What the hub itself sees when absent"`
}

// facilityLiveIn says which series tell what goes on at a facility.
type facilityLiveIn struct {
	PUE            string `json:"pue,omitempty" doc:"total energy over the energy of computing; the highest counts"`
	OutdoorCelsius string `json:"outdoor_celsius,omitempty" doc:"the highest counts"`
	PowerWatts     string `json:"power_watts,omitempty" doc:"of its pools; several elements add up. power_watts of devices that are its nodes when absent"`
}

// liveOut are live values of a facility.
type liveOut struct {
	PowerW       int64      `json:"power_watts,omitempty"`
	PUE          float64    `json:"pue,omitempty"`
	InletCelsius float64    `json:"inlet_celsius,omitempty" doc:"the warmest"`
	Age          string     `json:"age,omitempty" doc:"of the oldest of them"`
	Stale        []staleOut `json:"stale,omitempty" doc:"what is too old to count, so that what was declared does"`
}

type staleOut struct {
	Name string     `json:"name"`
	Last *time.Time `json:"last,omitempty" doc:"when the last one was taken; absent: none ever came"`
}

func showLive(l plan.FacilityLive, now time.Time) *liveOut {
	out := &liveOut{PowerW: l.PowerW, PUE: l.PUE, InletCelsius: l.InletC}
	if !l.At.IsZero() {
		out.Age = max(0, now.Sub(l.At)).Round(time.Second).String()
	}
	for _, s := range l.Stale {
		out.Stale = append(out.Stale, staleOut{s.Name, moment(s.At)})
	}
	return out
}

// expressions refuses what cannot be evaluated, each with its key and the place.
func (a *API) expressions(at string, all []schedule.Expression) error {
	for _, e := range all {
		if err := a.Expression(e.Text); err != nil {
			return fault("body."+at+"live."+e.Key, e.Text, "live."+e.Key+" is no PromQL that can be asked for a value now: "+err.Error())
		}
	}
	return nil
}
