// Package queue orders what waits for capacity: by priority, then so that the
// tenant with the least of its fair share comes first, then by age. Work that
// does not fit lets what is behind it pass, but only other work: of a class of
// equal workloads the first is tried, and when it does not fit the rest is not
// asked.
package queue

import (
	"cmp"
	"container/heap"
	"encoding/json"
	"hash/maphash"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
)

// Queue is what waits. It is not safe for concurrent use.
type Queue struct {
	seed   maphash.Seed
	levels []*level // by priority, the highest first
	items  map[string]*item
}

// level is all of one priority.
type level struct {
	priority int
	tenants  map[string]*tenant
	order    order
}

// tenant is what one tenant has waiting at a level: the classes, that with the
// oldest head first.
type tenant struct {
	name    string
	classes map[uint64]*class
	heads   heads
}

// class is workloads that fit wherever one of them does, the oldest first.
type class struct {
	key   uint64
	items []*item
	at    int // in heads; -1 while it is set aside
}

type item struct {
	w     *schedule.Workload
	level *level
	class uint64
	place int // in the order of the level
}

// New returns an empty queue.
func New() *Queue { return &Queue{seed: maphash.MakeSeed(), items: map[string]*item{}} }

// Len is how many wait.
func (q *Queue) Len() int { return len(q.items) }

// Has reports whether a workload waits.
func (q *Queue) Has(id string) bool { return q.items[id] != nil }

// Get returns a workload that waits; nil when it does not.
func (q *Queue) Get(id string) *schedule.Workload {
	if i := q.items[id]; i != nil {
		return i.w
	}
	return nil
}

// Each calls f for all that waits, in no order.
func (q *Queue) Each(f func(*schedule.Workload)) {
	for _, i := range q.items {
		f(i.w)
	}
}

// Add lets a workload wait. One that is there already stays where it is.
func (q *Queue) Add(w *schedule.Workload) {
	if q.items[w.ID] != nil {
		return
	}
	l := q.level(w.Priority)
	i := &item{w: w, level: l, class: q.classOf(w)}
	l.order.add(i)
	q.items[w.ID] = i
	t := l.tenants[w.Tenant]
	if t == nil {
		t = &tenant{name: w.Tenant, classes: map[uint64]*class{}}
		l.tenants[w.Tenant] = t
	}
	c := t.classes[i.class]
	if c == nil {
		c = &class{key: i.class, at: -1}
		t.classes[i.class] = c
	}
	// One that comes back, as after a pre-emption, has its old place.
	n, _ := slices.BinarySearchFunc(c.items, i, older)
	c.items = slices.Insert(c.items, n, i)
	if c.at < 0 {
		heap.Push(&t.heads, c)
	} else {
		heap.Fix(&t.heads, c.at)
	}
}

func older(a, b *item) int {
	if c := a.w.Submitted.Compare(b.w.Submitted); c != 0 {
		return c
	}
	return cmp.Compare(a.w.ID, b.w.ID)
}

func (q *Queue) level(priority int) *level {
	n, found := slices.BinarySearchFunc(q.levels, priority, func(l *level, p int) int { return cmp.Compare(p, l.priority) })
	if !found {
		q.levels = slices.Insert(q.levels, n, &level{priority: priority, tenants: map[string]*tenant{}})
	}
	return q.levels[n]
}

// Remove takes a workload out, and reports whether it waited.
func (q *Queue) Remove(id string) bool {
	i := q.items[id]
	if i == nil {
		return false
	}
	delete(q.items, id)
	i.level.order.remove(i)
	t := i.level.tenants[i.w.Tenant]
	c := t.classes[i.class]
	n, _ := slices.BinarySearchFunc(c.items, i, older)
	c.items = slices.Delete(c.items, n, n+1)
	switch {
	case len(c.items) > 0 && c.at >= 0:
		heap.Fix(&t.heads, c.at)
	case len(c.items) == 0:
		if c.at >= 0 {
			heap.Remove(&t.heads, c.at)
		}
		delete(t.classes, c.key)
	}
	if len(t.classes) == 0 {
		delete(i.level.tenants, t.name)
	}
	if len(i.level.tenants) == 0 {
		q.levels = slices.DeleteFunc(q.levels, func(l *level) bool { return l == i.level })
	}
	return true
}

// Ahead is how many wait at a priority or above.
func (q *Queue) Ahead(priority int) (n int) {
	for _, l := range q.levels {
		if l.priority < priority {
			break
		}
		n += l.order.live
	}
	return n
}

// Rank is how many wait that came before it, at its priority or above; the
// first has 0.
func (q *Queue) Rank(id string) (rank int, waits bool) {
	i := q.items[id]
	if i == nil {
		return 0, false
	}
	for _, l := range q.levels {
		if l == i.level {
			break
		}
		rank += l.order.live
	}
	return rank + i.level.order.before(i), true
}

// Outcome is what became of a try.
type Outcome int

// The outcomes.
const (
	Left  Outcome = iota // it waits no longer
	Stays                // it does not fit, and neither do its equals
	Stop                 // nothing more is to be tried now
)

// Walk tries what waits, in order. Share is how much of its fair share a tenant
// uses; it is asked again after each try that left, so that a tenant that got
// something steps back. What left is taken out.
func (q *Queue) Walk(share func(tenant string) float64, try func(*schedule.Workload) Outcome) {
	for _, l := range slices.Clone(q.levels) {
		if !q.walk(l, share, try) {
			return
		}
	}
}

func (q *Queue) walk(l *level, share func(string) float64, try func(*schedule.Workload) Outcome) (more bool) {
	var aside []*class
	of := map[*class]*tenant{}
	defer func() {
		for _, c := range aside {
			if len(c.items) > 0 && c.at < 0 {
				heap.Push(&of[c].heads, c)
			}
		}
	}()
	for {
		t := l.next(share)
		if t == nil {
			return true
		}
		c := t.heads[0]
		w := c.items[0].w
		switch try(w) {
		case Left:
			q.Remove(w.ID)
		case Stays:
			heap.Pop(&t.heads)
			aside, of[c] = append(aside, c), t
		case Stop:
			return false
		}
	}
}

// next is the tenant to be served: the one with the least share that has
// something to try; of equals the one whose work is oldest.
func (l *level) next(share func(string) float64) (best *tenant) {
	var least float64
	for _, t := range l.tenants {
		if len(t.heads) == 0 {
			continue
		}
		s := share(t.name)
		if best == nil || s < least || s == least && older(t.heads[0].items[0], best.heads[0].items[0]) < 0 {
			best, least = t, s
		}
	}
	return best
}

// classOf is equal for workloads of which one fits wherever another does, at
// the same time.
func (q *Queue) classOf(w *schedule.Workload) uint64 {
	c := *w
	c.ID, c.Name, c.Payload, c.By, c.Submitted = "", "", nil, "", w.Window.Earliest
	b, err := json.Marshal(&c)
	if err != nil {
		panic(err) // a workload always has a JSON form
	}
	return maphash.Bytes(q.seed, b)
}

// heads is a heap of classes by their first.
type heads []*class

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return older(h[i].items[0], h[j].items[0]) < 0 }
func (h heads) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].at, h[j].at = i, j
}

// Push implements heap.Interface.
func (h *heads) Push(x any) {
	c := x.(*class)
	c.at = len(*h)
	*h = append(*h, c)
}

// Pop implements heap.Interface.
func (h *heads) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	*h = (*h)[:len(*h)-1]
	last.at = -1
	return last
}
