package desk_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/desk"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestWhatIsRefusedAgainIsKeptOnce, also by another process, until it has left.
func TestWhatIsRefusedAgainIsKeptOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "desk.db")
	cfg := desk.DefaultConfig()
	cfg.MaxEntries = 4
	r := open(t, path, cfg)
	want := func(after string, want ...string) {
		t.Helper()
		if diff := cmp.Diff(want, r.payloads(t, desk.Filter{})); diff != "" {
			t.Errorf("%s: %s", after, diff)
		}
	}
	for range 2 {
		for range 2 {
			r.again(t, "a", "x value=1 1", telemetry.ReasonTimePast)
		}
		r.again(t, "a", "x value=2 1", telemetry.ReasonTimePast)
		r.again(t, "b", "x value=1 1", telemetry.ReasonTimePast)
		r.again(t, "a", "x value=1 1", telemetry.ReasonConflict)
		want("another value, device, reason", "x value=1 1", "x value=1 1", "x value=2 1", "x value=1 1")
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		at := r.at
		r = open(t, path, cfg)
		r.at = at
	}
	if n, err := r.Drop(t.Context(), desk.Filter{Device: "a"}); n != 3 || err != nil {
		t.Fatalf("dropped %d, %v", n, err)
	}
	r.again(t, "a", "x value=1 1", telemetry.ReasonTimePast)
	want("what was dropped comes again", "x value=1 1", "x value=1 1")
	for range 4 {
		r.keep("c", "y", telemetry.ReasonMalformed)
	}
	want("four others", "y", "y", "y", "y")
	r.again(t, "a", "x value=1 1", telemetry.ReasonTimePast)
	want("what had to go comes again", "x value=1 1", "y", "y", "y")
	r.again(t, "d", "", telemetry.ReasonNotFinite)
	r.again(t, "d", "", telemetry.ReasonNotFinite)
	want("without a payload nothing is the same", "", "", "x value=1 1", "y")
}

// TestWhatIsRefusedAgainDuringItsReplayStays: the engine refuses it before the
// entry that is replayed leaves the desk.
func TestWhatIsRefusedAgainDuringItsReplayStays(t *testing.T) {
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), desk.DefaultConfig())
	r.again(t, "a", "x value=1 1", telemetry.ReasonTimePast)
	for range 2 {
		n, err := r.Replay(t.Context(), desk.Filter{}, func(*ingest.Delivery) error {
			r.again(t, "a", "x value=1 1", telemetry.ReasonTimePast)
			return nil
		})
		if n != 1 || err != nil {
			t.Fatalf("replayed %d, %v", n, err)
		}
		if got := r.payloads(t, desk.Filter{}); len(got) != 1 {
			t.Fatalf("after the replay: %q", got)
		}
		r.again(t, "a", "x value=1 1", telemetry.ReasonTimePast)
		if got := r.payloads(t, desk.Filter{}); len(got) != 1 {
			t.Errorf("refused once more: %q", got)
		}
	}
}

// TestWhatIsRefusedAgainIsOnDiskAtOnce, however much it is: the engine's queue goes on
// from there.
func TestWhatIsRefusedAgainIsOnDiskAtOnce(t *testing.T) {
	cfg := desk.DefaultConfig()
	cfg.MaxEntries = 10_000
	r := open(t, filepath.Join(t.TempDir(), "desk.db"), cfg)
	var all []*ingest.Message
	for i := range 5_000 { // more than wait in memory
		all = append(all, &ingest.Message{Device: "a", Payload: fmt.Appendf(nil, "x value=%d 1", i), Rejects: []telemetry.Reject{{Reason: telemetry.ReasonTimePast}}})
	}
	if err := r.KeepOnce(r.at, all...); err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "copy.db") // as a process that is killed leaves it
	data, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(copied, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := len(open(t, copied, cfg).payloads(t, desk.Filter{})); n != len(all) {
		t.Errorf("%d of %d are on disk", n, len(all))
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.KeepOnce(r.at, all...); err == nil {
		t.Error("a desk that cannot write does not say so")
	}
}
