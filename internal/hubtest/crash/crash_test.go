package crash

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
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
	binary := hubtest.Build(t, "")
	d, err := newDisk(t, 4096)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no disk whose power can be cut: %v", err)
		}
		t.Logf("kill -9 only, no power cuts: %v", err)
	}
	harness := start(t, binary, d)
	for round := range *rounds {
		lost := harness.round(round, d != nil && round%2 == 1)
		if len(lost) > 0 {
			t.Fatalf("round %d lost what was acknowledged:\n%s", round, list(lost))
		}
	}
	if lost := harness.verifyAll(); len(lost) > 0 {
		t.Fatalf("lost in a later round:\n%s", list(lost))
	}
	t.Logf("%d rounds, %d samples acknowledged, none lost", *rounds, harness.acked())
}

// TestTheHarnessSeesLoss runs a hub that acknowledges before the fsync on a
// disk whose power is cut: a harness that finds nothing would prove nothing.
func TestTheHarnessSeesLoss(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute; make crash")
	}
	d, err := newDisk(t, 1024)
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no disk whose power can be cut: %v", err)
		}
		t.Skipf("no disk whose power can be cut: %v", err)
	}
	harness := start(t, hubtest.Build(t, "songhua_ack_before_fsync"), d)
	for round := range 10 {
		if lost := harness.round(round, true); len(lost) > 0 {
			t.Logf("round %d: %d losses seen, the first: %s", round, len(lost), lost[0])
			return
		}
	}
	t.Fatal("ten power cuts of a hub that acknowledges before the fsync, and the harness saw no loss")
}

type harness struct {
	t       *testing.T
	binary  string
	disk    *disk // nil: kill only
	dir     string
	hub     *hubtest.Hub
	writers []*writer
}

func start(t *testing.T, binary string, d *disk) *harness {
	t.Helper()
	h := &harness{t: t, binary: binary, disk: d, dir: t.TempDir()}
	if d != nil {
		h.dir = d.at + "/data"
	}
	h.launch()
	h.writers = newWriters(t, h.hub)
	t.Cleanup(func() { h.hub.Kill() })
	return h
}

func (h *harness) launch() {
	h.t.Helper()
	var err error
	if h.hub, err = hubtest.Launch(h.binary, h.dir, "serve"); err != nil {
		h.t.Fatal(err)
	}
}

// round publishes for a random moment, ends the hub, starts it again and
// returns what is missing of what was acknowledged in this round.
func (h *harness) round(n int, cut bool) []string {
	h.t.Helper()
	metric, base := fmt.Sprintf("crash_%d", n), time.Now().UnixMilli()
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	before := h.acked()
	var wg sync.WaitGroup
	for _, w := range h.writers {
		wg.Go(func() { _ = w.door(ctx, w, h.hub, metric, base) })
	}
	time.Sleep(time.Duration(200+rand.IntN(1300)) * time.Millisecond)
	if cut {
		must(h.t, h.cutPower())
		// A hub that acknowledged after a failed fsync would do so here.
		must(h.t, h.hub.Thaw())
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
	}
	h.hub.Kill()
	cancel()
	wg.Wait()
	if cut {
		if err := h.disk.powerUp(); err != nil {
			h.t.Fatal(err)
		}
	}
	if h.acked() == before {
		h.t.Fatalf("round %d: nothing was acknowledged, so nothing was tested\n%s", n, h.hub.Output())
	}
	said := h.hub.Output()
	h.launch()
	lost := h.verify(metric)
	if len(lost) > 0 {
		lost = append(lost, fmt.Sprintf("power cut: %v; before: %s; after: %s", cut, said, h.hub.Output()))
	}
	return lost
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

func (h *harness) acked() (n int64) {
	for _, w := range h.writers {
		n += w.count()
	}
	return n
}

func (h *harness) verifyAll() (lost []string) {
	for round := range *rounds {
		lost = append(lost, h.verify(fmt.Sprintf("crash_%d", round))...)
	}
	return lost
}

// verify compares what every writer had acknowledged of a metric with what the
// hub has of it.
func (h *harness) verify(metric string) (lost []string) {
	h.t.Helper()
	for _, w := range h.writers {
		spans := w.acked[metric]
		if len(spans) == 0 {
			continue
		}
		stored := h.stored(w.device, metric, spans)
		last := spans[len(spans)-1].last
		var gap span
		report := func() {
			if gap.first != 0 {
				lost = append(lost, fmt.Sprintf("%s %s: %d to %d of what was acknowledged up to %d are not there", w.device, metric, gap.first, gap.last, last))
			}
			gap = span{}
		}
		for _, s := range spans {
			for at := s.first; at <= s.last; at++ {
				v, ok := stored[at]
				switch {
				case ok && v != value(at):
					lost = append(lost, fmt.Sprintf("%s %s at %d: %d instead of %d", w.device, metric, at, v, value(at)))
				case !ok && gap.first == 0:
					gap = span{at, at}
				case !ok:
					gap.last = at
				}
				if ok {
					report()
				}
			}
		}
		report()
	}
	return lost
}

// stored reads a series by its raw samples and fails the test when a time
// stands twice.
func (h *harness) stored(device, metric string, spans []span) map[int64]int64 {
	h.t.Helper()
	first, last := spans[0].first, spans[len(spans)-1].last
	all := map[int64]int64{}
	const step = 20_000 // milliseconds, and so samples, per query
	for from := first; from <= last; from += step {
		series, err := h.hub.Query(h.t.Context(), fmt.Sprintf(`%s{device=%q}[%dms]`, metric, device, step), time.UnixMilli(from+step-1))
		if err != nil {
			h.t.Fatal(err)
		}
		if len(series) > 1 {
			h.t.Fatalf("%s of %s is %d series", metric, device, len(series))
		}
		for _, s := range series {
			for _, v := range s.Values {
				at := int64(v[0].(float64)*1000 + 0.5)
				number, err := strconv.ParseFloat(v[1].(string), 64)
				if err != nil {
					h.t.Fatal(err)
				}
				if _, twice := all[at]; twice {
					h.t.Fatalf("%s of %s at %d is there twice", metric, device, at)
				}
				all[at] = int64(number)
			}
		}
	}
	return all
}

func list(lost []string) string {
	text := ""
	for i, l := range lost {
		if i == 10 {
			return text + fmt.Sprintf("… and %d more\n", len(lost)-i)
		}
		text += l + "\n"
	}
	return text
}
