package publish

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/source"
)

// corrected says that what a device measured is another value.
type corrected struct {
	at     time.Time
	device string
	value  float64
	reason string
	ticket string
}

type asOfKey struct{}

func asOf(ctx context.Context, at time.Time) context.Context {
	return context.WithValue(ctx, asOfKey{}, at)
}

// as is a value as it is corrected as of the context's time.
func (w *world) as(ctx context.Context, device string, v float64) float64 {
	at, _ := ctx.Value(asOfKey{}).(time.Time)
	for _, c := range w.corrected {
		if c.device == device && !c.at.After(at) {
			v = c.value
		}
	}
	return v
}

// corrections are those of every day.
func (w *world) corrections(after, until time.Time, _ catalog.Period) (all []Correction) {
	for i, c := range w.corrected {
		if c.at.After(after) && !c.at.After(until) {
			all = append(all, Correction{ID: int64(i + 1), At: c.at, By: "王五", Reason: c.reason, Ticket: c.ticket, About: func(labels map[string]string) bool { return labels["device"] == c.device }})
		}
	}
	return all
}

// correct corrects a value an hour later, and notes it as the log of corrections
// does.
func (w *world) correct(device string, value float64, days ...time.Time) {
	w.t.Helper()
	w.now = w.now.Add(time.Hour)
	for _, day := range days {
		if err := w.touched.Corrected(device, day.UnixMilli(), day.UnixMilli(), w.now); err != nil {
			w.t.Fatal(err)
		}
	}
	w.corrected = append(w.corrected, corrected{w.now, device, value, "探头偏差", ""})
}

// came brings a sample of a device of a time, as the pipeline does.
func (w *world) came(device string, at time.Time) {
	w.t.Helper()
	if at.UnixMilli() < w.touched.Before(w.now) {
		w.touched.Came(device, at.UnixMilli())
	}
	if err := w.touched.Keep(); err != nil {
		w.t.Fatal(err)
	}
}

// told is why each version of a dataset was made, by its day.
func (w *world) told(id string) (all []string) {
	for _, d := range w.drafts[id] {
		all = append(all, strings.TrimSpace(dayName(d.Period)+" "+d.Reason.EN))
	}
	return all
}

func (w *world) day(back int) time.Time { return yesterday.From.AddDate(0, 0, 1-back) }

// A version that a correction leads to says which and by whom, and the version
// before is made again as it was; where data came late too, it says that as well.
func TestACorrectionIsWhyADayIsReleasedAgain(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.made(w.order("air"))
	w.correct("t1", 7)
	w.correct("away", 1) // of no series of the dataset
	w.made(w.order("air"))
	w.refused(w.order("air"), ErrSame)
	w.correct("t2", 8)
	w.samples["t3"] = 3
	w.made(w.order("air"))
	w.datasets["air"] = series("air")
	w.datasets["air"].Items = w.datasets["air"].Items[1:]
	w.datasets["air"].Source.By = nil
	w.made(w.order("air"))
	w.samples["t4"] = 4
	w.made(w.order("air"))
	w.correct("t3", 6)
	w.corrected[3].reason = "问过 13800138000"
	w.made(w.order("air"))
	w.correct("t4", 5)
	o := w.order("air")
	o.Reason.ZH = "核对无误"
	w.made(o)
	want := []string{"2026-11-20", "2026-11-20 correction 1: 探头偏差", "2026-11-20 correction 3: 探头偏差; late data came in", "2026-11-20 the dataset was changed", "2026-11-20 late data came in", "2026-11-20 correction 4", "2026-11-20 核对无误"}
	if diff := cmp.Diff(want, w.told("air")); diff != "" {
		t.Error(diff)
	}
	var ids [][]int64
	for _, d := range w.drafts["air"] {
		ids = append(ids, d.Corrections)
	}
	if diff := cmp.Diff([][]int64{nil, {1}, {3}, nil, nil, {4}, {5}}, ids); diff != "" {
		t.Error(diff)
	}
	if d := w.drafts["air"][1]; d.Reason.ZH != "更正 1：探头偏差" {
		t.Errorf("%q", d.Reason.ZH)
	}
}

// What was released before a correction is made again as it was then.
func TestAVersionBeforeACorrectionIsMadeAgain(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	w.made(w.order("air"))
	w.correct("t1", 7)
	w.made(w.order("air"))
	for version, want := range []float64{1, 7} {
		table, _, err := w.Rebuild(t.Context(), "air", int64(version+1))
		if err != nil || table.Columns[2].Numbers[0] != want {
			t.Errorf("version %d: %+v, %v", version+1, table, err)
		}
	}
	l, err := w.Lineage(t.Context(), "air", 1, 0)
	if err != nil || len(l.Corrections) != 0 {
		t.Errorf("%+v, %v", l, err)
	}
	l, err = w.Lineage(t.Context(), "air", 2, 0)
	if err != nil || len(l.Corrections) != 1 || l.Corrections[0].By != "王五" {
		t.Errorf("%+v, %v", l, err)
	}
	if l, err = w.Lineage(t.Context(), "air", 2, 1); err != nil || len(l.Corrections) != 0 {
		t.Errorf("of a row that it is not about: %+v, %v", l, err)
	}
}

// What changes behind the look-back is found by the next daily pass, also after the
// hub was killed, and once; days before the first release stay out.
func TestWhatChangesBehindTheLookBack(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"], w.datasets["other"] = series("air"), series("other")
	for back := 30; back >= 20; back-- {
		if back == 25 {
			continue // nothing came that day
		}
		o := w.order("air")
		o.Day = w.day(back)
		w.made(o)
	}
	before := len(w.drafts["air"])
	w.correct("t1", 7, w.day(22))
	w.came("t2", w.day(40))
	w.came("t2", w.day(25))
	w.came("t2", w.day(3)) // which the pass looks at anyway
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	w.open()
	w.Daily(t.Context())
	var again []string
	for _, s := range w.told("air")[before:] {
		if s < dayName(source.Day(w.day(8))) {
			again = append(again, s)
		}
	}
	// The value of the world is that of every day, so what is looked at is seen here.
	if diff := cmp.Diff([]string{dayName(source.Day(w.day(25))), dayName(source.Day(w.day(22))) + " correction 1: 探头偏差"}, again); diff != "" {
		t.Error(diff)
	}
	n := len(w.drafts["air"])
	w.samples["t1"]++
	w.corrected = nil
	w.Daily(t.Context())
	for _, s := range w.told("air")[n:] {
		if s < dayName(source.Day(w.day(8))) {
			t.Errorf("%s is looked at again", s)
		}
	}
	if len(w.touched.all()) != 0 {
		t.Errorf("%v is left", w.touched.all())
	}
}

// A dataset that is shut when its day is due has it made once it is open again.
func TestADueDayWaitsForItsDataset(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	o := w.order("air")
	o.Day = w.day(20)
	w.made(o)
	w.correct("t1", 7, w.day(20))
	w.datasets["air"].State = catalog.Suspended
	w.Daily(t.Context())
	if n := len(w.drafts["air"]); n != 1 {
		t.Fatalf("%d versions", n)
	}
	w.datasets["air"].State = catalog.Published
	w.Daily(t.Context())
	if d := w.drafts["air"]; len(d) < 2 || d[1].Period != d[0].Period || d[1].Replaces != 1 {
		t.Errorf("%v", w.told("air"))
	}
}

// A day that is kept no longer stays as it was.
func TestADueDayThatIsKeptNoLonger(t *testing.T) {
	w := newWorld(t)
	w.datasets["air"] = series("air")
	o := w.order("air")
	o.Day = w.day(20)
	w.made(o)
	w.datasets["air"].Retention = 10 * 24 * time.Hour
	w.correct("t1", 7, w.day(20))
	w.Daily(t.Context())
	if n := len(w.noted); n != 1+w.cfg.LookBack {
		t.Errorf("%d releases were made: %v", n, w.noted)
	}
}

// A hub that was off looks back over the days that it missed.
func TestDaysThatWereMissed(t *testing.T) {
	w := newWorld(t)
	w.Daily(t.Context()) // nothing is published
	w.datasets["air"] = series("air")
	w.now = w.now.AddDate(0, 0, 5)
	w.Daily(t.Context())
	if n, want := len(w.drafts["air"]), w.cfg.LookBack+4; n != want {
		t.Errorf("%d days are released, want %d: %v", n, want, w.told("air"))
	}
	w.now = w.now.AddDate(0, 0, 1)
	w.Daily(t.Context())
	if n, want := len(w.drafts["air"]), w.cfg.LookBack+5; n != want {
		t.Errorf("%d days are released, want %d", n, want)
	}
}

// Days of a device are few stretches, whatever comes: none is forgotten.
func TestStretchesOfDays(t *testing.T) {
	s := &stretches{}
	days := map[int64]bool{}
	for i := range int64(100) {
		n := i * i % 977
		days[n] = true
		s.add(n, n)
		if s.add(n, n) {
			t.Fatalf("day %d is new twice", n)
		}
	}
	if len(s.days) > maxStretches {
		t.Errorf("%d stretches", len(s.days))
	}
	for i := range s.days {
		if i > 0 && s.days[i][0] <= s.days[i-1][1]+1 {
			t.Errorf("%v are not apart", s.days)
		}
	}
	for n := range days {
		if s.add(n, n) {
			t.Errorf("day %d was forgotten", n)
		}
	}
	if got := dayNumber(dayBegin(20_000).UnixMilli()); got != 20_000 {
		t.Errorf("day %d", got)
	}
	if got := dayNumber(dayBegin(-3).UnixMilli() + 1); got != -3 {
		t.Errorf("day %d", got)
	}
}

// What could not be written down is refused, and written once that is possible.
func TestWhatIsTouchedIsOnDisk(t *testing.T) {
	w := newWorld(t)
	w.touched.Came("t1", w.day(50).UnixMilli())
	if err := w.db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.touched.Keep(); err == nil {
		t.Fatal("a write to a closed database succeeds")
	}
	lost := w.touched
	w.open()
	lost.records = w.db
	if err := errors.Join(lost.Keep(), lost.Keep()); err != nil {
		t.Fatal(err)
	}
	again, err := NewTouched(t.Context(), w.db, w.cfg, prometheus.NewRegistry())
	if err != nil || len(again.of["t1"].days) != 1 {
		t.Errorf("%+v, %v", again, err)
	}
}
