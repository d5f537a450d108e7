package loop

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/ledger"
)

// TestTheSchedulerSeesWaitsAndLossesItself lets work lie in an engine, begin, and
// be lost with its facility.
func TestTheSchedulerSeesWaitsAndLossesItself(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "records.db"))
	r.declare("a", 4)
	report := func(token uint64, to schedule.State) {
		t.Helper()
		if err := r.Report(t.Context(), ledger.Report{Token: token, To: to})[0]; err != nil {
			t.Fatal(err)
		}
	}
	first, second := r.submit(work("first", 2)), r.submit(work("second", 2))
	for _, a := range []Answer{first, second} {
		report(a.Grants[0].Token, schedule.Bound)
	}
	r.advance(10 * time.Minute)
	if x := r.Experience()["a-cpu"]; x.Wait != 10*time.Minute || x.WaitAt != r.clock() {
		t.Errorf("two wait for ten minutes: %+v", x)
	}
	report(first.Grants[0].Token, schedule.Running)
	report(second.Grants[0].Token, schedule.Running)
	began := r.clock()
	r.advance(time.Minute)
	if x := r.Experience()["a-cpu"]; x.Wait != 10*time.Minute || !x.WaitAt.Equal(began) || x.Lost != 0 {
		t.Errorf("two began after ten minutes: %+v", x)
	}
	third := r.submit(work("third", 2))
	report(third.Grants[0].Token, schedule.Bound)
	report(third.Grants[0].Token, schedule.Running)
	if x := r.Experience()["a-cpu"]; x.Wait != 7*time.Minute {
		t.Errorf("one began at once: %+v", x)
	}
	f := schedule.Facility{ID: "a", Region: "220100", SecurityGrade: 2, GridZone: "a", PUE: schedule.PUE{Constant: 1.2}, State: schedule.Lost}
	if _, err := r.PutFacility(t.Context(), f); err != nil {
		t.Fatal(err)
	}
	if x := r.Experience()["a-cpu"]; x.Lost != 3 || x.Over != 11*time.Minute {
		t.Errorf("three are lost: %+v", x)
	}
	r.advance(25 * time.Hour)
	if x, ok := r.Experience()["a-cpu"]; ok {
		t.Errorf("after a day: %+v", x)
	}
}

// TestANetworkOutlivesTheHub declares one and opens the database again.
func TestANetworkOutlivesTheHub(t *testing.T) {
	path := filepath.Join(t.TempDir(), "records.db")
	r := open(t, path)
	if n := r.Network(); n.Version != 0 || n.Tiers != schedule.DefaultTiers {
		t.Errorf("without a declaration: %+v", n)
	}
	n := schedule.Network{Tiers: schedule.DefaultTiers, Links: []schedule.Link{{From: "a", To: "222400", Way: schedule.Way{RoundTripMillis: 50, GbitPerSecond: 1}}}}
	if version, err := r.PutNetwork(t.Context(), n); err != nil || version != 1 {
		t.Fatal(version, err)
	}
	r.declare("a", 1)
	near := work("near", 1, func(w *schedule.Workload) { w.Latency = &schedule.Latency{FromRegion: "222400", MaxMillis: 20} })
	if a := r.submit(near); a.State != schedule.Queued {
		t.Errorf("50 ms are too many: %s", a.State)
	}
	r.close()
	again := open(t, path)
	if n := again.Network(); n.Version != 1 || len(n.Links) != 1 || n.Links[0].RoundTripMillis != 50 {
		t.Errorf("after a restart: %+v", n)
	}
	if a := again.submit(near); a.State != schedule.Queued {
		t.Errorf("50 ms are too many after a restart: %s", a.State)
	}
}
