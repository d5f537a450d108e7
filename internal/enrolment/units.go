package enrolment

import (
	"math"
	"net/netip"
	"strings"

	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Bounds of the roadside units that are remembered.
const (
	maxUnitKnocks = 500 // behind one gateway
	maxUnitName   = 128 // bytes
)

// KnockingUnit is what is known of a roadside unit that nobody registered.
type KnockingUnit struct {
	Gateway string // the device that speaks for it
	// Name is what it calls itself; empty when it did not say.
	Name string
	// Lat and Lon are where it says that it stands; nil when it did not.
	Lat, Lon *float64
}

// KnockUnit remembers that a gateway spoke for a roadside unit which is not
// registered, by its serial number (ESN). What the unit says of itself (INFO,
// BaseINFO) is shown to who decides; st may be nil.
func (r *Registrar) KnockUnit(esn, gateway, door string, from netip.Addr, st *road.Status) {
	if telemetry.CheckDeviceID(esn) == nil {
		r.knocks.add(esn, door, from, knocking(gateway, st), r.o.Clock())
	}
}

func knocking(gateway string, st *road.Status) *KnockingUnit {
	u := &KnockingUnit{Gateway: gateway}
	if st == nil {
		return u
	}
	u.Name = strings.ToValidUTF8(st.Name[:min(len(st.Name), maxUnitName)], "")
	if math.Abs(st.At.Lat) <= 90 && math.Abs(st.At.Lon) <= 180 { // NaN is neither
		u.Lat, u.Lon = &st.At.Lat, &st.At.Lon
	}
	return u
}

// with returns what is known after another message, which may say less.
func (u *KnockingUnit) with(now *KnockingUnit) *KnockingUnit {
	switch {
	case now == nil:
		return u
	case u == nil:
		return now
	}
	if now.Name == "" {
		now.Name = u.Name
	}
	if now.Lat == nil {
		now.Lat, now.Lon = u.Lat, u.Lon
	}
	return now
}

// behind counts the units of a gateway. The caller holds mu.
func (k *knocks) behind(gateway string) (count int) {
	for _, n := range k.by {
		if n.Unit != nil && n.Unit.Gateway == gateway {
			count++
		}
	}
	return count
}
