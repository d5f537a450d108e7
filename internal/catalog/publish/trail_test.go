package publish

import (
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/catalog"
)

// told notes that a destination has a version of a dataset, as an outbox does.
func (w *world) toldOf(destination, dataset string, version int64) {
	w.t.Helper()
	if err := w.db.Tx(Told(w.t.Context(), destination, dataset, version, w.now), func(*sql.Tx) error { return nil }); err != nil {
		w.t.Fatal(err)
	}
}

// What a ticket led to is found by its number: the versions that were made with the
// corrections that answer it, or ordered for it, and who outside has them since when.
func TestWhatATicketLedTo(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.made(w.order("air"))
	w.correct("t1", 7)
	w.corrected[0].ticket = "t-7"
	w.made(w.order("air"))
	w.toldOf("city", "air", 1) // which is of no ticket
	first := w.now.Add(time.Minute)
	w.now = first
	w.toldOf("city", "air", 2)
	w.now = w.now.Add(time.Hour)
	w.toldOf("city", "air", 2)
	w.correct("t1", 8)
	w.correct("t2", 8)
	w.corrected[1].ticket, w.corrected[2].ticket = "t-7", "t-8"
	o := w.order("air")
	o.Reason, o.Ticket = catalog.Text{ZH: "核对后更正"}, "t-9"
	w.made(o)
	if diff := cmp.Diff([]string{"2026-11-20", "2026-11-20 correction 1: 探头偏差 (ticket t-7)", "2026-11-20 核对后更正 (ticket t-7, t-8, t-9)"}, w.told("air")); diff != "" {
		t.Error(diff)
	}
	if zh := w.drafts["air"][1].Reason.ZH; zh != "更正 1：探头偏差（工单 t-7）" {
		t.Error(zh)
	}
	if diff := cmp.Diff([]string{"t-7", "t-7", "t-8", "t-9"}, w.answers); diff != "" {
		t.Errorf("tickets are told: %s", diff)
	}
	for ticket, want := range map[string][]int64{"t-7": {2, 3}, "t-8": {3}, "t-9": {3}, "t-70": nil} {
		all, err := w.MadeFor(t.Context(), ticket)
		if err != nil {
			t.Fatal(err)
		}
		var versions []int64
		for _, m := range all {
			versions = append(versions, m.Version)
			if told := m.Told["city"]; m.Version == 2 && !told.Equal(first) || m.Version == 3 && len(m.Told) > 0 {
				t.Errorf("%s: of version %d was told %v", ticket, m.Version, m.Told)
			}
		}
		if diff := cmp.Diff(want, versions); diff != "" {
			t.Errorf("%s: %s", ticket, diff)
		}
	}
}

// A version that was decided and not made before a crash is out for its ticket
// afterwards, and not before.
func TestATicketOfAVersionThatACrashHeldUp(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.made(w.order("air"))
	w.correct("t1", 7)
	w.corrected[0].ticket = "t-7"
	w.fails = errors.New("the disk is full")
	w.refused(w.order("air"), w.fails)
	if all, err := w.MadeFor(t.Context(), "t-7"); err != nil || len(all) != 0 || len(w.answers) != 0 {
		t.Errorf("%+v, %v, %v", all, w.answers, err)
	}
	w.fails = nil
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	w.open()
	if err := w.finishAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := w.MadeFor(t.Context(), "t-7")
	if err != nil || len(all) != 1 || all[0].Reason.EN != "correction 1: 探头偏差 (ticket t-7)" || len(w.answers) != 1 {
		t.Errorf("%+v, %v, %v", all, w.answers, err)
	}
}
