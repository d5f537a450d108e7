package enrolment

import (
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Bounds of the knocks that are remembered. One address can bring few new ones,
// and all together not many a second: a flood neither fills the list at once
// nor costs the doors much.
const maxKnocks = 1000

var (
	originKnocks   = quota.Rate{N: 20, Per: 20 * time.Minute}
	togetherKnocks = quota.Rate{N: 200, Per: 20 * time.Second}
)

// Knock is a device that nobody registered and that asked to be let in. What it
// showed is not kept.
type Knock struct {
	Device      string
	Door        string
	Address     netip.Addr // the last one
	First, Last time.Time
	Count       int
	// Unit is what a roadside unit said of itself; nil for other devices.
	Unit *KnockingUnit
}

// knocks are the devices that asked, in memory.
type knocks struct {
	origins  *quota.Sketch
	together *quota.Limiter

	mu      sync.Mutex
	by      map[string]*Knock
	dropped float64
}

func newKnocks(start time.Time) *knocks {
	return &knocks{origins: quota.NewSketch(originKnocks, start), together: quota.NewLimiter(togetherKnocks, start), by: map[string]*Knock{}}
}

// Knock remembers that a device which is not registered asked to be let in. An
// id that none could have is not remembered; when there are too many, the one
// that has been silent longest is forgotten.
func (r *Registrar) Knock(device, door string, from netip.Addr) {
	if telemetry.CheckDeviceID(device) == nil {
		r.knocks.add(device, door, from, nil, r.o.Clock())
	}
}

func (k *knocks) add(device, door string, from netip.Addr, unit *KnockingUnit, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old := k.by[device]; old != nil {
		old.Door, old.Address, old.Last = door, from, now
		old.Unit = old.Unit.with(unit)
		old.Count++
		return
	}
	if k.tooMany(from, unit, now) {
		k.dropped++
		return
	}
	if len(k.by) >= maxKnocks {
		k.dropped++
		k.forgetOldest()
	}
	k.by[device] = &Knock{device, door, from, now, now, 1, unit}
}

// tooMany reports whether a new one is not remembered. A gateway has shown who it
// is: it may bring more than a stranger's address.
func (k *knocks) tooMany(from netip.Addr, unit *KnockingUnit, now time.Time) bool {
	if unit == nil {
		return k.origins.Take(k.origins.Address(from), now) > 0 || k.together.Take(now) > 0
	}
	return k.behind(unit.Gateway) >= maxUnitKnocks || k.together.Take(now) > 0
}

func (k *knocks) forgetOldest() {
	var oldest *Knock
	for _, n := range k.by {
		if oldest == nil || n.Last.Before(oldest.Last) {
			oldest = n
		}
	}
	delete(k.by, oldest.Device)
}

// Knocks lists the devices that asked and are not registered, by their ids.
func (r *Registrar) Knocks() []Knock {
	r.knocks.mu.Lock()
	defer r.knocks.mu.Unlock()
	var all []Knock
	for id, n := range r.knocks.by {
		if r.o.Registry.Device(id) != nil || n.Unit != nil && r.o.Registry.Unit(id) != "" {
			delete(r.knocks.by, id)
			continue
		}
		all = append(all, *n)
	}
	slices.SortFunc(all, func(a, b Knock) int { return strings.Compare(a.Device, b.Device) })
	return all
}
