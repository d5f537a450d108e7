package ledger

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
)

// A process that is killed leaves a ledger that opens without help, with all
// that it answered, and gives no token or number again.
func TestKilledWhileMany(t *testing.T) {
	if path := os.Getenv("LEDGER_KEEP_AT"); path != "" {
		tellAll(t, path)
	}
	path := filepath.Join(t.TempDir(), "r.db")
	said := map[string]answer{} // of workloads that nobody took back
	last := uint64(0)
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWhileMany$")
		cmd.Env = append(os.Environ(), "LEDGER_KEEP_AT="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, killed := 0, false
		for in := bufio.NewScanner(out); in.Scan(); {
			var a answer
			if n, _ := fmt.Sscanf(in.Text(), "answer %s %s %d %d .", &a.id, &a.state, &a.token, &a.seq); n == 4 && strings.HasSuffix(in.Text(), ".") {
				if a.token != 0 && a.token <= last && said[a.id].token != a.token {
					t.Fatalf("round %d: token %d of %s was given before %d", round, a.token, a.id, last)
				}
				if old := said[a.id]; a.seq > old.seq {
					said[a.id] = a
				}
			}
			if lines++; lines == 300*(round+1) && !killed {
				killed = true
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		cmd.Wait() //nolint:errcheck // it was killed
		if !killed {
			t.Fatalf("round %d: the process ended by itself after %d lines", round, lines)
		}
		last = reopened(t, path, said)
	}
	t.Logf("%d workloads, token %d", len(said), last)
}

// answer is what a child said of a workload when it was answered.
type answer struct {
	id, state string
	token     uint64
	seq       int64
}

// tellAll acts until it is killed, and says what it was answered.
func tellAll(t *testing.T, path string) {
	h := open(t, path)
	for f := range modelFacilities {
		h.declare(t, fmt.Sprintf("f%d", f), fmt.Sprintf("p%d", f), modelNodes)
	}
	for i := range 32 {
		go func() {
			c := &client{h: h, rand: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), uint64(i)))}
			for {
				w := workload("w", 1)
				r := h.Submit(context.Background(), Move{New: &w, To: schedule.Reserved, Decision: decided(c.part(0))})[0]
				if r.Err != nil {
					continue
				}
				a := r.Receipts[0]
				fmt.Printf("answer %s %s %d %d .\n", a.ID, a.State, a.Grants[0].Token, a.Seq)
				if c.rand.IntN(16) == 0 {
					continue // it stays
				}
				back := c.rand.IntN(4) == 0
				for _, to := range []schedule.State{schedule.Bound, schedule.Running, schedule.Succeeded} {
					if back && to == schedule.Succeeded {
						takeBack(h, answer{a.ID, "", a.Grants[0].Token, a.Seq})
						break
					}
					if err := h.Report(context.Background(), Report{Token: a.Grants[0].Token, To: to})[0]; err == nil {
						a.Seq++
						fmt.Printf("answer %s %s %d %d .\n", a.ID, to, a.Grants[0].Token, a.Seq)
					}
				}
			}
		}()
	}
	time.Sleep(time.Hour) // until it is killed
}

// takeBack takes work back that runs, and says that it has stopped.
func takeBack(h *hub, a answer) {
	if r := h.Submit(context.Background(), Move{Workload: a.id, To: schedule.Preempted})[0]; r.Err != nil {
		return
	}
	fmt.Printf("answer %s %s %d %d .\n", a.id, schedule.Preempted, a.token, a.seq+1)
	if h.Release(context.Background(), a.token) == nil {
		fmt.Printf("answer %s %s %d %d .\n", a.id, schedule.Queued, a.token, a.seq+2)
	}
}

var order = map[string]int{"submitted": 1, "reserved": 2, "bound": 3, "running": 4, "succeeded": 5, "preempted": 5, "queued": 6}

// reopened checks a ledger against what was answered, and returns its last token.
func reopened(t *testing.T, path string, said map[string]answer) uint64 {
	t.Helper()
	h := prepare(t, path).run()
	for id, a := range said {
		r, err := h.Get(t.Context(), id)
		if err != nil {
			t.Fatalf("%s was %s and is gone: %v", id, a.state, err)
		}
		if order[string(r.State)] < order[a.state] || len(r.Leases) != 1 || r.Leases[0].Token != a.token {
			t.Errorf("%s was %s with token %d and is %s with %v", id, a.state, a.token, r.State, r.Leases)
		}
		if stops := r.Leases[0].State == schedule.Fenced; stops != (r.State == schedule.Preempted) {
			t.Errorf("%s is %s with a lease that is %s", id, r.State, r.Leases[0].State)
		}
	}
	replayed(t, h)
	once := h.everything(t)
	// The next round needs room: what is left is given back.
	for _, r := range once.Records {
		if err := h.Cancel(t.Context(), r.ID); err != nil {
			t.Fatal(err)
		}
		for _, l := range r.Leases {
			if err := h.Release(t.Context(), l.Token); err != nil {
				t.Fatal(err)
			}
		}
		delete(said, r.ID)
	}
	once = h.everything(t)
	h.close(t)
	h = prepare(t, path).run()
	if diff := cmp.Diff(once, h.everything(t), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("opened again:\n%s", diff)
	}
	h.close(t)
	return once.Token
}

// writes are all statements of a commit, as triggers see them.
var writes = []string{"INSERT ON schedule_inventory", "UPDATE ON schedule_inventory", "DELETE ON schedule_inventory", "INSERT ON schedule_live", "UPDATE ON schedule_live",
	"DELETE ON schedule_live", "INSERT ON schedule_journal", "DELETE ON schedule_journal", "INSERT ON schedule_packs", "INSERT ON schedule_pack_tenants", "INSERT ON schedule_commits", "INSERT ON schedule_keys"}

// A fault at any write of a commit, and at the commit itself: nobody is
// answered, Run ends with the error, and what is there afterwards is what was
// there before.
func TestAFaultAtEveryWrite(t *testing.T) {
	for _, write := range append(writes, "commit") {
		t.Run(write, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "r.db")
			h := carrying(prepare(t, path)).run()
			h.declare(t, "f", "p", 5)
			h.declare(t, "g", "q", 1)
			stays, ends, past := h.submit(t, at("f", "p", 0, 0, 1)), h.submit(t, at("f", "p", 1, 0, 1)), h.submit(t, at("f", "p", 3, 0, 1))
			h.close(t)
			h = prepare(t, path).run()
			// In the journal: one that has a row changed, one ended, one is new.
			if errs := h.Report(t.Context(), Report{Token: stays.Grants[0].Token, To: schedule.Bound}, Report{Token: past.Grants[0].Token, To: schedule.Succeeded}); errors.Join(errs...) != nil {
				t.Fatal(errs)
			}
			h.submit(t, at("f", "p", 4, 0, 1))
			before := h.everything(t)
			h.close(t)

			h = carrying(prepare(t, path))
			ctx := context.Background()
			if write == "commit" {
				ctx = records.Also(ctx, func(*sql.Tx) error { return errors.New("a fault") })
			} else {
				h.exec(t, "CREATE TRIGGER fault BEFORE "+write+" BEGIN SELECT RAISE(ABORT, 'a fault'); END")
			}
			// All of it waits, and so is one batch.
			doing := []func() error{
				func() error { return h.Cancel(ctx, ends.ID) },
				func() error { return h.Report(ctx, Report{Token: stays.Grants[0].Token, To: schedule.Running})[0] },
				func() error { _, err := h.PutFacility(ctx, facility("f")); return err },
				func() error { _, err := h.PutFacility(ctx, facility("new")); return err },
				func() error { return h.RemovePool(ctx, "q") },
				func() error {
					w := workload("w", 1)
					return h.Submit(ctx, Move{New: &w, Key: "k", To: schedule.Reserved, Decision: decided(at("f", "p", 2, 0, 1))})[0].Err
				},
			}
			errs := make([]error, len(doing))
			var all sync.WaitGroup
			for i, f := range doing {
				all.Go(func() { errs[i] = f() })
			}
			for staged := 0; staged < len(doing); time.Sleep(time.Millisecond) {
				h.mu.RLock()
				staged = len(h.next.things) + len(h.next.records)
				h.mu.RUnlock()
			}
			reader := make(chan error, 1)
			go func() { _, err := h.Get(ctx, stays.ID); reader <- err }()
			err := h.Run(ctx)
			if err == nil || !strings.Contains(err.Error(), "a fault") {
				t.Fatalf("Run ended with %v", err)
			}
			all.Wait()
			for i, e := range errs {
				if e == nil {
					t.Errorf("change %d was answered", i)
				}
			}
			if err := <-reader; err == nil {
				t.Error("a reader saw what is not on disk")
			}
			wants(t, h.Cancel(ctx, stays.ID), err)
			for _, err := range h.Watch(ctx, before.Seq) {
				wants(t, err, errClosed)
			}
			if write != "commit" {
				h.exec(t, "DROP TRIGGER fault")
			}
			if err := h.db.Close(); err != nil {
				t.Fatal(err)
			}
			h = open(t, path)
			if diff := cmp.Diff(before, h.everything(t), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("a failed commit left something:\n%s", diff)
			}
			if h.keys.len() != 0 {
				t.Error("a failed commit left a key")
			}
		})
	}
}

// carrying lets each commit carry on what the one before left in the journal.
func carrying(h *hub) *hub {
	h.journal.reach = -1
	return h
}

func (h *hub) exec(t *testing.T, query string) {
	t.Helper()
	if err := h.db.Tx(t.Context(), func(tx *sql.Tx) error { _, err := tx.Exec(query); return err }); err != nil {
		t.Fatal(err)
	}
}
