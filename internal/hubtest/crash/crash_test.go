package crash

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest"
)

var rounds = flag.Int("rounds", 30, "rounds of the crash harness")

func TestMain(m *testing.M) {
	flag.Parse()
	code := m.Run()
	hubtest.Clean()
	os.Exit(code)
}

// TestNothingAcknowledgedIsLost kills the hub at random moments; where the
// machine allows a loop mount, every other round cuts the disk's power first.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("takes minutes; make crash")
	}
	d, err := newDisk(t, 4096)
	if err != nil {
		t.Logf("kill -9 only, no power cuts: %v", err)
	}
	h := start(t, hubtest.Build(t, ""), d)
	for round := range *rounds {
		metric, cut := fmt.Sprintf("crash_%d", round), d != nil && round%2 == 1
		if faults := h.round(metric, cut); len(faults) > 0 {
			t.Fatalf("round %d (power cut: %v):\n%s", round, cut, list(faults))
		}
		h.sendAgain(metric)
	}
	for round := range *rounds {
		if faults := h.compare(fmt.Sprintf("crash_%d", round)); len(faults) > 0 {
			t.Fatalf("after round %d, in a later one:\n%s", round, list(faults))
		}
	}
	sent, acked := h.totals()
	if sent != acked {
		t.Errorf("%d samples were sent and %d acknowledged, though all were sent again", sent, acked)
	}
	t.Logf("%d rounds, %d samples acknowledged, each there once", *rounds, acked)
	h.seesConflicts()
}

// TestTheHarnessSeesLoss runs a hub that acknowledges before the fsync on a
// disk whose power is cut, or, where there can be none, whose fsync fails: a
// harness that finds nothing would prove nothing.
func TestTheHarnessSeesLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; make crash")
	}
	binary := hubtest.Build(t, "songhua_ack_before_fsync")
	d, err := newDisk(t, 1024)
	if err != nil {
		t.Logf("fsync failure instead of power cuts: %v", err)
		h := start(t, binary, nil)
		for round := range 10 { // the hub may end over a write of its own before anybody has an answer
			if n := h.answersWithoutFsync(fmt.Sprintf("unsafe_%d", round)); n > 0 {
				return
			}
			h.launch()
		}
		t.Fatal("a hub that acknowledges before the fsync had none ten times, and the harness saw no acknowledgement")
	}
	h := start(t, binary, d)
	for round := range 10 {
		if faults := h.round(fmt.Sprintf("crash_%d", round), true); len(faults) > 0 {
			t.Logf("round %d: %d losses seen, the first: %s", round, len(faults), faults[0])
			return
		}
	}
	t.Fatal("ten power cuts of a hub that acknowledges before the fsync, and the harness saw no loss")
}

// round publishes for a random moment, ends the hub, starts it again and
// returns what is wrong with what was sent in this round.
func (h *harness) round(metric string, cut bool) []string {
	h.t.Helper()
	end := h.publish(metric)
	time.Sleep(time.Duration(rand.IntN(500)) * time.Millisecond)
	if cut {
		must(h.t, h.cutPower())
		// A hub that acknowledged after a failed fsync would do so here.
		must(h.t, h.hub.Thaw())
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
	}
	h.hub.Kill()
	end()
	if cut {
		must(h.t, h.disk.powerUp())
	}
	said := h.hub.Output()
	h.launch()
	faults := h.compare(metric)
	if len(faults) > 0 {
		faults = append(faults, fmt.Sprintf("before: %s\nafter: %s", said, h.hub.Output()))
	}
	return faults
}

// cutPower leaves the hub frozen. Without that, an fsync which the cut
// overtakes can return as if it had succeeded: ext4 finishes the aborted
// transaction before the caller begins to wait for it. A real power cut leaves
// nobody to be told.
func (h *harness) cutPower() error {
	if err := h.hub.Freeze(); err != nil {
		return err
	}
	return h.disk.cut()
}
