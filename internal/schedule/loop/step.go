package loop

import (
	"sync"
	"sync/atomic"

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
	moves   []move
	results []ledger.Result // of moves
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
	n.changes = append(n.changes, changes...)
	g.news.Unlock()
	g.tell()
}

// promised tells what became of moves.
func (g *guard) promised(moves []move, results []ledger.Result) {
	g.news.Lock()
	n := g.next()
	n.moves, n.results = moves, results
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
			clear(n.changes)
			n.changes, n.moves, n.results = n.changes[:0], nil, nil
		}
		g.spare = told
	}
}
