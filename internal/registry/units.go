package registry

import "slices"

// tagESN is the tag that holds the serial number (ESN) of a roadside unit, where
// it is not the id of its device.
const tagESN = "esn"

// indexUnit and unindexUnit keep byESN. r.mu is held.
func (r *Registry) indexUnit(d *Device) {
	if esn := d.Tags[tagESN]; esn != "" {
		r.byESN[esn] = append(r.byESN[esn], d.ID)
	}
}

func (r *Registry) unindexUnit(d *Device) {
	esn := d.Tags[tagESN]
	if esn == "" {
		return
	}
	left := slices.DeleteFunc(slices.Clone(r.byESN[esn]), func(id string) bool { return id == d.ID })
	if len(left) == 0 {
		delete(r.byESN, esn)
		return
	}
	r.byESN[esn] = left
}

// Unit returns the device with a serial number: the one that has it as id, else
// the one that has it as tag esn; empty when there is none, or several.
func (r *Registry) Unit(esn string) (device string) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if e := r.devices[esn]; e != nil {
		return e.device.ID
	}
	if ids := r.byESN[esn]; len(ids) == 1 {
		return ids[0]
	}
	return ""
}

// IsUnit reports whether a device has a serial number, as id or as tag esn.
func (r *Registry) IsUnit(device, esn string) bool {
	if device == esn {
		return true
	}
	d := r.Device(device)
	return d != nil && esn != "" && d.Tags[tagESN] == esn
}
