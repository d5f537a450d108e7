package schedule

import "github.com/songhua-io/hub/internal/config/strict"

// PoolLive says which series of the hub tell what goes on at a pool: PromQL
// expressions, whose results carry the label node (or device) with the id of a
// node, or neither for the whole pool. An empty one leaves it to the defaults.
type PoolLive struct {
	CPUMilli         string // in use
	MemoryMiB        string // in use
	AcceleratorMilli string // in use
	QueueWait        string // seconds that work lies in the engine's own queue
	FailuresPerHour  string // of one node
}

// FacilityLive says which series tell what goes on at a facility, as PoolLive
// does.
type FacilityLive struct {
	PUE            string // total energy over the energy of computing
	OutdoorCelsius string
	PowerWatts     string // of its pools together; several elements add up
}

// Expression is one with the key that declares it.
type Expression struct{ Key, Text string }

// Expressions are those that are declared.
func (l PoolLive) Expressions() []Expression {
	return declared([]Expression{
		{LiveCPU, l.CPUMilli}, {LiveMemory, l.MemoryMiB}, {LiveAccelerator, l.AcceleratorMilli}, {LiveQueueWait, l.QueueWait}, {LiveFailures, l.FailuresPerHour},
	})
}

// Expressions are those that are declared.
func (l FacilityLive) Expressions() []Expression {
	return declared([]Expression{{LivePUE, l.PUE}, {LiveOutdoor, l.OutdoorCelsius}, {LivePower, l.PowerWatts}})
}

// The names of live values, which are the keys that declare them.
const (
	LiveCPU         = "cpu_milli"
	LiveMemory      = "memory_mib"
	LiveAccelerator = "accelerator_milli"
	LiveQueueWait   = "queue_wait"
	LiveFailures    = "failures_per_hour"
	LivePUE         = "pue"
	LiveOutdoor     = "outdoor_celsius"
	LivePower       = "power_watts"
	LiveInlet       = "inlet_celsius"
)

func declared(all []Expression) (out []Expression) {
	for _, e := range all {
		if e.Text != "" {
			out = append(out, e)
		}
	}
	return out
}

// maxExpression bounds an expression in bytes.
const maxExpression = 4096

func checkExpressions(path string, all []Expression) (errs []strict.Error) {
	for _, e := range all {
		if len(e.Text) > maxExpression {
			errs = append(errs, strict.Fault(path, "live."+e.Key, "has %d bytes, and %d are the most; make a recording of it and name that", len(e.Text), maxExpression))
		}
	}
	return errs
}
