package registry

import (
	"fmt"

	"github.com/songhua-io/hub/internal/telemetry"
)

// modelOf returns the present state of a model; nil for the empty id.
func (r *Registry) modelOf(id string) (*telemetry.Model, error) {
	if id == "" {
		return nil, nil
	}
	if r.model != nil {
		if m := r.model(id); m != nil {
			return m, nil
		}
	}
	return nil, fmt.Errorf("model %.140q is not known; `hub model list` lists those that are, `hub model add FILE` adds one", id)
}

// resolve gives a device the present state of the model that it names, or
// returns an *Invalid. The caller holds change, so that no state is missed.
func (r *Registry) resolve(d *Device, model string) error {
	m, err := r.modelOf(model)
	if m != nil && m.Kind != "" && m.Kind != d.Kind {
		err = fmt.Errorf("model %q is for devices of kind %s, and this one is of kind %s; choose another model, or correct the kind", model, m.Kind, d.Kind)
	}
	d.Device.Model = m
	var f faults
	f.add("model", model, err)
	return f.err()
}

// Remodel gives every device that names a model its new state.
func (r *Registry) Remodel(m *telemetry.Model) {
	r.change.Lock()
	defer r.change.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.devices {
		if e.device.Model == nil || e.device.Model.ID != m.ID {
			continue
		}
		d, t := *e.device, *e.device.Device
		r.changed(&t)
		t.Model, d.Device = m, &t
		e.device = &d
		r.regrade(&t)
	}
}

// Users returns how many devices name a model, of those that sees lets through;
// nil lets all.
func (r *Registry) Users(model string, sees func(*telemetry.Device) bool) (n int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, e := range r.devices {
		if e.device.Model != nil && e.device.Model.ID == model && (sees == nil || sees(e.device.Device)) {
			n++
		}
	}
	return n
}
