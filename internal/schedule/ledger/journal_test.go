package ledger

import (
	"compress/gzip"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/schedule"
)

// A data directory from before there was a journal goes on as it was: what
// lives, what ended, keys, and numbers.
func TestADirectoryFromBeforeTheJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	packed, err := os.Open("testdata/before-journal.db.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer packed.Close()
	from, err := gzip.NewReader(packed)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := io.ReadAll(from)
	if err == nil {
		err = os.WriteFile(path, whole, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	written := newClock() // keys of that day hold
	written.nanos.Store(time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC).UnixNano())
	h := prepare(t, path, func(_ *Config, d *Deps) { d.Clock = written.get }).run()
	want := map[string]schedule.State{"w-1": schedule.Reserved, "w-2": schedule.Running, "w-3": schedule.Succeeded, "w-4": schedule.Cancelled, "w-5": schedule.Succeeded, "r-6": ""}
	for id, state := range want {
		r, err := h.Get(t.Context(), id)
		if err != nil || r.State != state || len(r.Leases) != 1 || len(r.Leases[0].Parts) != 1 || r.First.ID != id || r.Workload != nil && (r.Workload.ID != id || r.Decision == nil && id == "w-5") {
			t.Errorf("%s: %+v, %v", id, r, err)
		}
	}
	if got := h.ids(t, Filter{}, "", 10); !slices.Equal(got, []string{"r-6", "w-5", "w-4", "w-3", "w-2", "w-1"}) {
		t.Errorf("listed %v", got)
	}
	if got := h.ids(t, Filter{Tenant: "other"}, "", 10); !slices.Equal(got, []string{"w-5"}) {
		t.Errorf("listed %v of one tenant", got)
	}
	w := workload("train-key", 1)
	w.Tenant = "other"
	if r := h.Submit(t.Context(), Move{New: &w, Key: "key", Body: [32]byte{1}, To: schedule.Queued})[0]; r.Err != nil || !r.Receipts[0].Repeated || r.Receipts[0].ID != "w-5" {
		t.Errorf("the key gave %+v", r)
	}
	if r := h.submit(t, at("f", "p", 2, 0, 1)); r.ID != "w-7" || r.Grants[0].Token != 7 {
		t.Errorf("the next is %+v", r)
	}
	h.report(t, 2, schedule.Succeeded)
	h.close(t)
	h = open(t, path, func(_ *Config, d *Deps) { d.Clock = written.get })
	if r, err := h.Get(t.Context(), "w-2"); err != nil || r.State != schedule.Succeeded || r.Workload == nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func (h *hub) ids(t *testing.T, f Filter, before string, limit int) (all []string) {
	t.Helper()
	records, err := h.List(t.Context(), f, before, limit)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		all = append(all, r.ID)
	}
	return all
}

func (h *hub) rows(t *testing.T, table string) (n int) {
	t.Helper()
	if err := h.db.Each(t.Context(), func(r *sql.Rows) error { return r.Scan(&n) }, "SELECT count(*) FROM "+table); err != nil {
		t.Fatal(err)
	}
	return n
}

// What ends soon never has a row; neighbours share a pack as soon as all of a
// block have ended, and are found wherever they are.
func TestWhatEndedIsFoundInMemoryAndInPacks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	h := prepare(t, path)
	h.journal.reach = journalBytes
	h.run()
	h.declare(t, "f", "p", 2)
	var want []string
	for i := range 3 * blockSize {
		w := workload("w", 1)
		w.Tenant = fmt.Sprintf("t%d", i%3)
		r := h.Submit(t.Context(), Move{New: &w, To: schedule.Reserved, Decision: decided(at("f", "p", 0, 0, 1))})[0]
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		to := schedule.Succeeded
		if i%5 == 0 {
			to = schedule.Failed
		}
		h.report(t, r.Receipts[0].Grants[0].Token, to)
		want = append([]string{r.Receipts[0].ID}, want...)
	}
	if live, packs := h.rows(t, "schedule_live"), h.rows(t, "schedule_packs"); live != 0 || packs != 2 {
		t.Errorf("%d rows, %d packs", live, packs)
	}
	check := func() {
		t.Helper()
		var paged []string
		for before := ""; ; before = paged[len(paged)-1] {
			page := h.ids(t, Filter{}, before, 7)
			if paged = append(paged, page...); len(page) < 7 {
				break
			}
		}
		if !slices.Equal(paged, want) {
			t.Errorf("pages are %v", paged)
		}
		for _, f := range []Filter{{Tenant: "t1"}, {State: schedule.Failed}, {Tenant: "t2", State: schedule.Succeeded}, {Tenant: "nobody"}} {
			var some []string
			for i, id := range want {
				n := len(want) - 1 - i
				if (f.Tenant == "" || f.Tenant == fmt.Sprintf("t%d", n%3)) && (f.State == "" || (f.State == schedule.Failed) == (n%5 == 0)) {
					some = append(some, id)
				}
			}
			if got := h.ids(t, f, "", 1000); !slices.Equal(got, some) {
				t.Errorf("%+v lists %v, not %v", f, got, some)
			}
		}
		for _, id := range want {
			if r, err := h.Get(t.Context(), id); err != nil || r.ID != id || r.Workload.ID != id || !r.State.Ended() || r.Leases[0].State != schedule.Released {
				t.Fatalf("%s: %+v, %v", id, r, err)
			}
		}
	}
	check()
	h.close(t)
	h = carrying(prepare(t, path)).run()
	check()
	for h.rows(t, "schedule_journal") > 0 {
		h.nudge()
	}
	check()
	h.close(t)
	h = open(t, path)
	check()
}

// What was carried into a row and changed since is as it changed, whatever of
// the journal is gone by then.
func TestCarriedOnAtEveryStep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	h := carrying(prepare(t, path)).run()
	h.declare(t, "f", "p", 4)
	var tokens []uint64
	reopen := func() {
		t.Helper()
		before := h.everything(t)
		h.close(t)
		h = carrying(prepare(t, path)).run()
		if diff := cmp.Diff(before, h.everything(t), cmpopts.EquateEmpty()); diff != "" {
			t.Fatalf("opened again:\n%s", diff)
		}
	}
	for i := range 4 {
		tokens = append(tokens, h.submit(t, at("f", "p", i, 0, 1)).Grants[0].Token)
		reopen()
	}
	for _, to := range []schedule.State{schedule.Bound, schedule.Running, schedule.Succeeded} {
		for _, token := range tokens {
			h.report(t, token, to)
			reopen()
		}
	}
	for _, token := range tokens {
		if r, err := h.Get(t.Context(), workloadID(token)); err != nil || r.State != schedule.Succeeded {
			t.Errorf("%+v, %v", r, err)
		}
	}
}

// A change of a record of which nothing else is there is damage, and said.
func TestAJournalThatIsDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "r.db")
	h := prepare(t, path)
	h.journal.reach = journalBytes
	h.run()
	h.declare(t, "f", "p", 1)
	r := h.submit(t, at("f", "p", 0, 0, 1))
	h.report(t, r.Grants[0].Token, schedule.Bound)
	h.exec(t, "DELETE FROM schedule_journal WHERE id = 1")
	h.close(t)
	db, err := records.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = Open(t.Context(), DefaultConfig(), Deps{Records: db, Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()})
	wants(t, err, errDocument)
}
