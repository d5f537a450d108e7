package loop

import (
	"sync"
	"sync/atomic"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// guard is the lock of the state, which keeps it in step with the ledger: what
// the ledger applied and what became of promises is taken in before whoever
// locks goes on, in the order in which it was told. Who tells does not wait: the
// ledger tells under its own lock, and a decision that is being made would hold
// up everybody. So all that is read under the lock is as new as the ledger was
// when it was locked.
type guard struct {
	mu   sync.Mutex
	take func(*news) // what was told; under mu

	some  atomic.Bool // there is something to take in
	news  sync.Mutex  // what follows
	told  []news
	spare []news
}

// news is one thing that was told: either of them.
type news struct {
	changes []ledger.Change
	leases  []schedule.Lease // changes point here, or to what it grew from
	moves   []move
	results []ledger.Result // of moves
}

// keptNews bounds the memory that one thing that was told leaves to another.
const keptNews = 1 << 12

// clear leaves the memory, when it is not large.
func (n *news) clear() {
	if len(n.changes)+len(n.moves) > keptNews {
		*n = news{}
		return
	}
	clear(n.changes)
	clear(n.leases)
	clear(n.moves)
	*n = news{changes: n.changes[:0], leases: n.leases[:0], moves: n.moves[:0]}
}

// Lock waits for the state, and brings it in step.
func (g *guard) Lock() {
	g.mu.Lock()
	g.catchUp()
}

// Unlock lets the state go, and takes in what was told while it was held.
func (g *guard) Unlock() {
	g.mu.Unlock()
	g.settle()
}

// applied tells what the ledger applied.
func (g *guard) applied(changes []ledger.Change) {
	g.news.Lock()
	n := g.next()
	for _, c := range changes {
		if c.Lease != nil {
			n.leases = append(n.leases, *c.Lease)
			c.Lease = &n.leases[len(n.leases)-1]
		}
		n.changes = append(n.changes, c)
	}
	g.news.Unlock()
	g.tell()
}

// promised tells what became of moves.
func (g *guard) promised(moves []move, results []ledger.Result) {
	g.news.Lock()
	n := g.next()
	n.moves, n.results = append(n.moves, moves...), results
	g.news.Unlock()
	g.tell()
}

// next is a new entry, with the memory of an old one. The caller holds news.
func (g *guard) next() *news {
	if len(g.told) < cap(g.told) {
		g.told = g.told[:len(g.told)+1]
	} else {
		g.told = append(g.told, news{})
	}
	return &g.told[len(g.told)-1]
}

func (g *guard) tell() {
	g.some.Store(true)
	g.settle()
}

// settle takes in what was told, unless somebody holds the state: who does will
// when letting it go.
func (g *guard) settle() {
	for g.some.Load() && g.mu.TryLock() {
		g.catchUp()
		g.mu.Unlock()
	}
}

// catchUp takes in what was told. The caller holds mu.
func (g *guard) catchUp() {
	for g.some.Load() {
		g.news.Lock()
		g.some.Store(false)
		told := g.told
		g.told, g.spare = g.spare[:0], nil
		g.news.Unlock()
		for i := range told {
			n := &told[i]
			g.take(n)
			n.clear()
		}
		g.spare = told
	}
}
