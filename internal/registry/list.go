package registry

import (
	"maps"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Filter narrows a list of devices; empty fields let everything through.
type Filter struct {
	Kind   telemetry.Kind
	Site   string
	Model  string
	Region string // prefix of division codes
	Query  string // part of the id or of a tag's value, in any case
	Match  func(id string) bool
	// Sees lets the devices through that a caller may see; nil lets all.
	Sees func(*telemetry.Device) bool
}

func (f *Filter) lets(d *Device) bool {
	return (f.Sees == nil || f.Sees(d.Device)) &&
		(f.Kind == "" || d.Kind == f.Kind) &&
		(f.Site == "" || d.Site == f.Site) &&
		(f.Model == "" || d.modelID() == f.Model) &&
		strings.HasPrefix(d.Region, f.Region) &&
		(f.Query == "" || f.mentions(d)) &&
		(f.Match == nil || f.Match(d.ID))
}

func (f *Filter) mentions(d *Device) bool {
	q := strings.ToLower(f.Query)
	if strings.Contains(strings.ToLower(d.ID), q) {
		return true
	}
	for _, v := range d.Tags {
		if strings.Contains(strings.ToLower(v), q) {
			return true
		}
	}
	return false
}

// List returns up to limit devices in the order of their ids, beginning behind
// the id after, and whether more follow.
func (r *Registry) List(f Filter, after string, limit int) (page []*Device, more bool) {
	ids := r.ids()
	at, found := slices.BinarySearch(ids, after)
	if found {
		at++
	}
	for _, id := range ids[at:] {
		d, err := r.Get(id)
		if err != nil || !f.lets(d) {
			continue // removed since the ids were sorted, or not asked for
		}
		if len(page) == limit {
			return page, true
		}
		page = append(page, d)
	}
	return page, false
}

// ids returns all ids in order. The slice is never changed.
func (r *Registry) ids() []string {
	r.mu.RLock()
	ids := r.sorted
	r.mu.RUnlock()
	if ids != nil {
		return ids
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sorted == nil {
		r.sorted = slices.Sorted(maps.Keys(r.devices))
	}
	return r.sorted
}

// Regions returns the division codes in use and how many devices each has;
// devices without a region count under the empty code. Devices that sees does
// not let through are not counted; nil lets all.
func (r *Registry) Regions(sees func(*telemetry.Device) bool) map[string]int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := map[string]int{}
	for _, e := range r.devices {
		if sees == nil || sees(e.device.Device) {
			n[e.device.Region]++
		}
	}
	return n
}

// Kinds returns how many devices of each kind are registered.
func (r *Registry) Kinds() map[telemetry.Kind]int {
	r.mu.RLock()
	defer r.mu.RUnlock()
	n := map[telemetry.Kind]int{}
	for _, e := range r.devices {
		n[e.device.Kind]++
	}
	return n
}
