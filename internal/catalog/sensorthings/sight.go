package sensorthings

import (
	"math"

	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// sees reports whether the registry says nothing against showing a device.
func (q *question) sees(d *telemetry.Device) bool {
	if q.sight != nil {
		return q.sight.Sees(d)
	}
	return q.caller.Sees(d)
}

// registered returns a device of which a series is seen; nil where it is not
// there, or not to be seen whatever its series.
func (q *question) registered(id string) *registry.Device {
	d, err := q.api.deps.Devices.Get(id)
	if err != nil || !q.sees(d.Device) {
		return nil
	}
	return d
}

// seen are those of some devices of which a series is seen; nil for all.
func (q *question) seen(devices []*registry.Device) (map[string]bool, error) {
	if q.sight == nil {
		return nil, nil
	}
	found := map[string]bool{}
	if len(devices) == 0 {
		return found, nil
	}
	from, err := q.series()
	if err != nil {
		return nil, err
	}
	ms, err := matchers(devices, "")
	if err != nil {
		return nil, err
	}
	q.cost += len(devices) * costOfDevice
	placed := map[string]bool{} // a series may show more than the one before
	set := from.Select(q.ctx, false, &storage.SelectHints{Start: math.MinInt64, End: math.MaxInt64, Func: "series"}, ms...)
	for len(placed) < len(devices) && set.Next() {
		if err := q.takeSeries(); err != nil {
			return nil, err
		}
		id := set.At().Labels().Get("device")
		found[id] = true
		if q.sight.Places(id) {
			placed[id] = true
		}
	}
	return found, set.Err()
}

// places reports whether where a device is may be seen, of which a series is.
func (q *question) places(d *registry.Device) bool {
	return q.sight == nil || q.sight.Places(d.ID)
}

// any reports whether a device that fits is seen. Who sees by an own right is
// shown places and sensors of devices that are not there too.
func (q *question) any(f registry.Filter, of func(*registry.Device) bool) bool {
	if q.sight == nil {
		return true
	}
	for r, err := range q.devices(things, f, "") {
		if err != nil {
			return false
		}
		if !r.passed && (of == nil || of(r.device)) {
			return true
		}
	}
	return false
}
