package ledger

import (
	"fmt"

	"github.com/songhua-io/hub/internal/schedule"
)

// book is what is there and what is taken of it, node by node and device by
// device. It is slow to search and quick to check, and shares nothing with the
// index by which the planner finds places: whatever is proposed, the book
// refuses what does not fit.
//
// After every take that succeeds 0 <= used <= capacity for each node in each
// resource that it took, each device is used by at most 1000 thousandths, and a
// facility with a cap draws at most so much. Capacity that is reduced below what
// is taken stays over until leases end; nothing is added to it meanwhile.
type book struct {
	facilities map[string]*site
	pools      map[string]*poolBook
}

type site struct {
	schedule.Facility
	drawW int64 // idle nodes, and all that is taken
}

type poolBook struct {
	schedule.Pool
	site  *site
	slots []slot
	names map[string]int // slots of nodes that have an id
	// held are the leases that take something here, by token, with how many
	// parts.
	held map[uint64]int
}

// slot is one node.
type slot struct {
	capacity, used schedule.Vector
	devices        []int16 // thousandths in use, by number
}

func newBook() *book {
	return &book{facilities: map[string]*site{}, pools: map[string]*poolBook{}}
}

// Refused is why something does not fit.
type Refused struct {
	Reason         schedule.Reason
	Facility, Pool string
}

// Error says it in English.
func (r *Refused) Error() string {
	return fmt.Sprintf("facility %q, pool %q: %s; decide again on the state as it is now", r.Facility, r.Pool, r.Reason.Text().EN)
}

// place returns the node of a part: by its name, where it has one, since nodes
// move when a pool is declared anew.
func (p *poolBook) place(a *schedule.Assignment) (int, bool) {
	if a.Node != "" {
		i, ok := p.names[a.Node]
		return i, ok
	}
	return a.Slot, a.Slot >= 0 && a.Slot < len(p.slots) && len(p.Nodes) == 0
}

// may reports why a part cannot be taken; nil when it can. What
// follows is arithmetic.
func (b *book) may(a *schedule.Assignment) error {
	p := b.pools[a.Pool]
	if p == nil || p.site.ID != a.Facility {
		return &Refused{schedule.Because(schedule.NoPool), a.Facility, a.Pool}
	}
	refuse := func(code schedule.Code, args ...any) error {
		return &Refused{schedule.Because(code, args...), a.Facility, a.Pool}
	}
	if p.site.State != schedule.Ready {
		return refuse(schedule.FacilityNotReady, p.site.State)
	}
	if err := sound(a); err != nil {
		return err
	}
	at, ok := p.place(a)
	if !ok {
		return fmt.Errorf("pool %q, node %q, slot %d: %w", a.Pool, a.Node, a.Slot, ErrStale)
	}
	s := &p.slots[at]
	for i, n := range a.Use {
		if n > 0 && n > s.capacity[i]-s.used[i] {
			return refuse(schedule.NoCapacityNow, schedule.DimensionNames[i], max(0, s.capacity[i]-s.used[i]), n)
		}
	}
	share := shareOf(a)
	for _, d := range a.Devices {
		if int64(d)*schedule.DeviceMilli >= s.capacity[schedule.AcceleratorMilli] {
			return fmt.Errorf("pool %q, slot %d has no device %d: %w", a.Pool, at, d, ErrStale)
		}
		if int64(s.devices[d])+share > schedule.DeviceMilli {
			return refuse(schedule.NoCapacityNow, schedule.DimensionNames[schedule.AcceleratorMilli], schedule.DeviceMilli-int64(s.devices[d]), share)
		}
	}
	if w := p.Watts(a.Use); p.site.PowerCapW > 0 && w > p.site.PowerCapW-p.site.drawW {
		return refuse(schedule.PowerCap, p.site.PowerCapW, p.site.drawW, w)
	}
	return nil
}

// sound reports what no capacity could make right.
func sound(a *schedule.Assignment) error {
	if i := a.Use.Negative(); i < schedule.Dimensions {
		return fmt.Errorf("task %q, member %d: %s %d %w: it is negative", a.Task, a.Index, schedule.DimensionNames[i], a.Use[i], ErrInvalid)
	}
	milli, n := a.Use[schedule.AcceleratorMilli], int64(len(a.Devices))
	if n == 0 && milli == 0 {
		return nil
	}
	if n == 0 || milli == 0 || milli%n != 0 || milli/n > schedule.DeviceMilli || n > 1 && milli/n != schedule.DeviceMilli {
		return fmt.Errorf("task %q, member %d: %d thousandths of %d devices %w: a part of one device, or several whole", a.Task, a.Index, milli, n, ErrInvalid)
	}
	for i, d := range a.Devices {
		for _, other := range a.Devices[:i] {
			if d == other {
				return fmt.Errorf("task %q, member %d: device %d %w: it is there twice", a.Task, a.Index, d, ErrInvalid)
			}
		}
	}
	return nil
}

// shareOf is how many thousandths a part uses of each of its devices.
func shareOf(a *schedule.Assignment) int64 {
	if len(a.Devices) == 0 {
		return 0
	}
	return a.Use[schedule.AcceleratorMilli] / int64(len(a.Devices))
}

// take takes a part under a lease, or changes nothing and says why not.
func (b *book) take(token uint64, a *schedule.Assignment) error {
	if err := b.may(a); err != nil {
		return err
	}
	b.add(token, a, 1)
	return nil
}

// free gives back a part that was taken under a lease.
func (b *book) free(token uint64, a *schedule.Assignment) { b.add(token, a, -1) }

// add adds sign times a part. What was taken on a node that is not there any
// more counts on a node without capacity.
func (b *book) add(token uint64, a *schedule.Assignment, sign int64) {
	p := b.pools[a.Pool]
	s := &p.slots[p.keep(a)]
	s.used = s.used.Add(a.Use.Times(sign))
	share := int16(sign * shareOf(a))
	for _, d := range a.Devices {
		for int(d) >= len(s.devices) {
			s.devices = append(s.devices, 0)
		}
		s.devices[d] += share
	}
	p.site.drawW += sign * p.Watts(a.Use)
	if p.held[token] += int(sign); p.held[token] == 0 {
		delete(p.held, token)
	}
}

// keep returns the node of a part and makes one without capacity when it is
// gone.
func (p *poolBook) keep(a *schedule.Assignment) int {
	at, ok := p.place(a)
	if ok {
		return at
	}
	if a.Node == "" && len(p.Nodes) == 0 {
		p.slots = append(p.slots, make([]slot, a.Slot+1-len(p.slots))...)
		return a.Slot
	}
	name := a.Node
	if name == "" { // of a pool that had classes and has nodes now
		name = fmt.Sprintf("#%d", a.Slot)
		if at, ok := p.names[name]; ok {
			return at
		}
	}
	p.names[name] = len(p.slots)
	p.slots = append(p.slots, slot{})
	return len(p.slots) - 1
}

// putFacility declares a facility, or declares it anew.
func (b *book) putFacility(f schedule.Facility) {
	s := b.facilities[f.ID]
	if s == nil {
		s = &site{}
		b.facilities[f.ID] = s
	}
	s.Facility = f
}

// putPool declares a pool, or declares it anew: parts calls its function for
// every part that is taken in it.
func (b *book) putPool(p schedule.Pool, parts func(token uint64, each func(*schedule.Assignment))) {
	old := b.pools[p.ID]
	fresh := &poolBook{Pool: p, site: b.facilities[p.Facility], names: map[string]int{}, held: map[uint64]int{}}
	for i, n := range p.Nodes {
		fresh.names[n.ID] = i
		fresh.slots = append(fresh.slots, newSlot(n))
	}
	for _, c := range p.Classes {
		for range c.Count {
			fresh.slots = append(fresh.slots, newSlot(c.Node))
		}
	}
	b.pools[p.ID] = fresh
	fresh.site.drawW += p.IdleWatts()
	if old == nil {
		return
	}
	old.site.drawW -= old.IdleWatts()
	for token := range old.held {
		parts(token, func(a *schedule.Assignment) {
			if a.Pool == p.ID {
				old.site.drawW -= old.Watts(a.Use)
				b.add(token, a, 1)
			}
		})
	}
}

func newSlot(n schedule.Node) slot {
	return slot{capacity: n.Capacity(), devices: make([]int16, n.Accelerators)}
}

// removePool forgets a pool of which nothing is taken.
func (b *book) removePool(id string) {
	p := b.pools[id]
	p.site.drawW -= p.IdleWatts()
	delete(b.pools, id)
}

// over reports whether more is taken than the pool has now.
func (p *poolBook) over() bool {
	for i := range p.slots {
		s := &p.slots[i]
		if !s.used.Within(s.capacity) {
			return true
		}
	}
	return false
}
