package registry

import (
	"fmt"

	"github.com/songhua-io/hub/internal/telemetry"
)

// ESNTag is the tag that holds the serial number by which a roadside unit calls
// itself, where that is not its id.
const ESNTag = "esn"

// ESN returns the serial number of a roadside unit; empty for other devices.
func ESN(d *telemetry.Device) string {
	switch {
	case d == nil || d.Kind != telemetry.KindRSU:
		return ""
	case d.Tags[ESNTag] != "":
		return d.Tags[ESNTag]
	}
	return d.ID
}

// Unit returns the roadside unit with a serial number; nil when none is
// registered. No two have the same.
func (r *Registry) Unit(esn string) *telemetry.Device {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.devices[r.esns[esn]]; e != nil {
		return e.device.Device
	}
	return nil
}

// claim reports that another device has the serial number of this one. The
// caller holds change or mu.
func (r *Registry) claim(d *Device) error {
	esn := ESN(d.Device)
	if other, taken := r.esns[esn]; taken && esn != "" && other != d.ID {
		return &Invalid{[]Fault{{"tags." + ESNTag, esn, fmt.Sprintf("serial number %q is that of roadside unit %q; correct one of them", esn, other)}}}
	}
	return nil
}

// reclaim is claim for a device that changes: what it does not change is no
// reason to refuse.
func (r *Registry) reclaim(old, now *Device) error {
	if ESN(old.Device) == ESN(now.Device) {
		return nil
	}
	return r.claim(now)
}

// reserial keeps esns over a change of a device; either is nil when there was
// none, or is none any more. The caller holds mu.
func (r *Registry) reserial(old, now *Device) {
	if old != nil && r.esns[ESN(old.Device)] == old.ID {
		delete(r.esns, ESN(old.Device))
	}
	if now == nil {
		return
	}
	if esn := ESN(now.Device); esn != "" && r.claim(now) == nil {
		r.esns[esn] = now.ID
	}
}
