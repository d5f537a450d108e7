package loop

import (
	"slices"
	"sync"
	"testing"

	"github.com/songhua-io/hub/internal/schedule/ledger"
)

func TestWhatIsToldIsTakenInInOrderBeforeAnybodyReads(t *testing.T) {
	var got []string
	g := guard{take: func(n *news) {
		for _, c := range n.changes {
			got = append(got, c.Removed)
		}
	}}
	tell := func(pools ...string) {
		var all []ledger.Change
		for _, p := range pools {
			all = append(all, ledger.Change{Removed: p})
		}
		g.applied(all)
		clear(all) // nothing of the slice is kept
	}
	tell("a")
	if !slices.Equal(got, []string{"a"}) {
		t.Errorf("told while nobody holds the state: %q", got)
	}
	g.Lock()
	tell("b", "c") // does not wait
	tell("d")
	if len(got) != 1 {
		t.Errorf("taken in while somebody else reads: %q", got)
	}
	g.Unlock()
	if !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("told while the state was held: %q", got)
	}
}

func TestWhatIsToldIsSeenByWhoLocksAfterIt(t *testing.T) {
	seen := 0
	g := guard{take: func(n *news) { seen += len(n.changes) }}
	var told sync.Mutex // as the ledger's: who tells holds it
	var all sync.WaitGroup
	const tellers, each = 8, 2000
	for range tellers {
		all.Go(func() {
			for range each {
				told.Lock()
				g.applied([]ledger.Change{{}})
				told.Unlock()
				g.Lock()
				before := seen
				g.Unlock()
				if before == 0 {
					t.Error("what was told before is not there")
					return
				}
			}
		})
	}
	all.Wait()
	g.Lock()
	defer g.Unlock()
	if seen != tellers*each {
		t.Errorf("%d of %d were taken in", seen, tellers*each)
	}
}
