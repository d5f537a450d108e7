package register

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

const soil = `
id: soil-moisture
title: {zh: 土壤墒情, en: Soil moisture (soil-moisture)}
abstract: {zh: 示范农场的土壤墒情, en: Soil moisture of a demonstration farm}
region: "220100"
provider: {name: {zh: 某市农业局}, code: 91220101MA00000000}
contact: {name: {zh: 张三}, phone: "0431-88888888"}
path: ["3", "01"]
items:
  - {name: time, title: {zh: 时间}, type: datetime}
  - {name: moisture, title: {zh: 含水量}, unit: "%"}
  - {name: salinity, title: {zh: 含盐量}, unit: "mS/cm"}
source: {kind: series, selector: "soil_moisture{region='220100'}", bin: 1h, function: avg, by: [device]}
share: {class: unconditional}
open: {class: unconditional}
licence: https://creativecommons.org/licenses/by/4.0/
cycle: {kind: periodic, period: 1h}
`

var law = []Law{{Title: Text{ZH: "吉林省大数据条例"}, Article: "第三十三条"}}

// bench is a register with a clock of its own.
type bench struct {
	*testing.T
	*Register
	db    *records.DB
	now   time.Time
	noted []string // what went on record
	// changed are the datasets that Changed was told of.
	changed []string
}

func start(t *testing.T) *bench {
	t.Helper()
	return again(t, t.TempDir(), time.Date(2026, 9, 18, 2, 0, 0, 0, time.UTC)) // a Friday
}

func again(t *testing.T, dir string, now time.Time) *bench {
	t.Helper()
	b := &bench{T: t, now: now}
	var err error
	if b.db, err = records.Open(t.Context(), filepath.Join(dir, "records.db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.db.Close() })
	b.Register, err = Open(t.Context(), DefaultConfig(), Deps{
		Records: b.db,
		Noted: func(ctx context.Context, action access.Action, object, _ string, before, after any) context.Context {
			return records.Also(ctx, func(*sql.Tx) error {
				b.noted = append(b.noted, fmt.Sprintf("%s %s %s %s", action, object, asJSON(before), asJSON(after)))
				return nil
			})
		},
		Selection: selection,
		Series:    func(context.Context, string, int) ([]Series, error) { return nil, nil },
		Metric:    func(string) Metric { return Metric{} },
		Seal:      func(plain []byte, binding string) []byte { return append([]byte(binding+"|"), plain...) },
		Unseal:    func(sealed []byte, binding string) ([]byte, error) { return sealed[len(binding)+1:], nil },
		Changed:   func(id string) { b.changed = append(b.changed, id) },
		Log:       slog.New(slog.DiscardHandler), Clock: func() time.Time { return b.now }, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// selection reads name{label='value',…}, enough for tests.
func selection(s string) (all Selection, err error) {
	name, rest, _ := strings.Cut(s, "{")
	if name != "" {
		all = append(all, Matcher{"__name__", "=", name})
	}
	for pair := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
		for _, is := range []string{"=~", "!=", "="} {
			if label, value, ok := strings.Cut(pair, is); ok {
				all = append(all, Matcher{label, is, strings.Trim(value, "'")})
				break
			}
		}
	}
	if len(all) == 0 {
		err = errors.New("it selects everything")
	}
	return all, err
}

func (b *bench) doc(changes ...string) Document {
	b.Helper()
	text := soil
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(text, changes[i]) {
			b.Fatalf("%q is not in the document", changes[i])
		}
		text = strings.Replace(text, changes[i], changes[i+1], 1)
	}
	d, err := Parse([]byte(text))
	if err != nil {
		b.Fatal(err)
	}
	return *d
}

// ok fails the test on an error.
func ok[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func (b *bench) publish(d Document) *Record {
	b.Helper()
	do, ctx := ok[*Record](b), b.Context()
	do(b.Put(ctx, d, 0))
	do(b.Submit(ctx, d.ID, 0))
	do(b.Sign(ctx, d.ID, 0, Signing{By: "李四"}))
	return do(b.Publish(ctx, d.ID, 0))
}

func (b *bench) fails(err, kind error, says ...string) {
	b.Helper()
	if !errors.Is(err, kind) {
		b.Errorf("%v, want %v", err, kind)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			b.Errorf("no %q in %v", s, err)
		}
	}
}

func TestADatasetBecomesPublicAndATombstone(t *testing.T) {
	b := start(t)
	do, ctx := ok[*Record](t), t.Context()
	d := b.doc()
	do(b.Put(ctx, d, 0))
	if same := do(b.Put(ctx, d, 0)); same.Version != 1 {
		t.Errorf("what changes nothing makes version %d", same.Version)
	}
	_, err := b.Publish(ctx, d.ID, 0)
	b.fails(err, ErrState, "hub dataset submit")
	do(b.Submit(ctx, d.ID, 1))
	_, err = b.Publish(ctx, d.ID, 0)
	b.fails(err, ErrState, "nobody has signed")
	do(b.GiveBack(ctx, d.ID, 0, "摘要不全"))
	do(b.Submit(ctx, d.ID, 0))
	do(b.Sign(ctx, d.ID, 0, Signing{By: "李四"}))
	first := do(b.Publish(ctx, d.ID, 0))
	if first.Code != "3-01/000001" || first.State != catalog.Published || b.Open(d.ID, "moisture") != nil {
		t.Errorf("%+v", first)
	}

	// a change leaves what is published until it is published itself
	changed := b.doc("示范农场的土壤墒情", "两个农场的土壤墒情")
	do(b.Put(ctx, changed, 0))
	if r := do(b.Get(d.ID)); r.State != catalog.Published || !strings.HasPrefix(r.Document.Abstract.ZH, "示范") || r.Change.Signed == "" {
		t.Errorf("%+v", r)
	}
	do(b.Submit(ctx, d.ID, 0))
	if r := do(b.Publish(ctx, d.ID, 0)); r.Change != nil || !strings.HasPrefix(r.Document.Abstract.ZH, "两个") || r.Code != first.Code || !r.Published.Equal(first.Published) {
		t.Errorf("%+v", r)
	}
	_, err = b.Put(ctx, b.doc(`["3", "01"]`, `["4"]`), 0)
	b.fails(err, ErrState, "no code is ever changed")

	_, err = b.Withdraw(ctx, d.ID, 0, " ")
	b.fails(err, ErrReason)
	do(b.Withdraw(ctx, d.ID, 0, "传感器已拆除"))
	b.fails(b.Open(d.ID, ""), ErrShut, "传感器已拆除")
	_, err = b.Put(ctx, d, 0)
	b.fails(err, ErrState, "never given again")
	if next := b.publish(b.doc("id: soil-moisture", "id: soil-moisture-2")); next.Code != "3-01/000002" {
		t.Errorf("code %s is not the next one", next.Code)
	}

	history := ok[[]Version](t)(b.History(ctx, d.ID, 0, 100))
	var acts []string
	for _, v := range history {
		acts = append(acts, v.Act)
	}
	if want := "withdraw publish submit put publish sign submit return submit put"; strings.Join(acts, " ") != want {
		t.Errorf("%v", acts)
	}
	if v := history[1]; v.Before == nil || v.Before.Version+1 != v.After.Version || v.Actor != "hub" || v.At.IsZero() {
		t.Errorf("%+v", v)
	}
	if len(b.noted) != len(history)+4 {
		t.Errorf("%d changes on record", len(b.noted))
	}
}

func TestARaisedGradeShutsAtOnce(t *testing.T) {
	b := start(t)
	ctx := t.Context()
	b.publish(b.doc())
	reader, release, err := b.Hold(ctx, "soil-moisture", []string{"moisture"}, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	r := ok[*Record](t)(b.Sign(ctx, "soil-moisture", 0, Signing{By: "王五", Items: map[string]string{"moisture": "important"}}))
	if r.State != catalog.Suspended || r.Dataset().Grade != telemetry.Important || r.Signed != "王五" {
		t.Errorf("%+v", r)
	}
	if reader.Err() == nil || !errors.Is(context.Cause(reader), ErrShut) {
		t.Errorf("who reads goes on: %v", context.Cause(reader))
	}
	b.fails(b.Open("soil-moisture", "salinity"), ErrShut)
	var bad *Invalid
	if _, err := b.Publish(ctx, "soil-moisture", 0); !errors.As(err, &bad) || !strings.Contains(err.Error(), "cannot be opened unconditionally") {
		t.Errorf("%v", err)
	}
	narrowed := b.doc("open: {class: unconditional}", "open: {class: none, basis: [{title: {zh: 条例}, article: 第三十三条}]}", "licence", "grade: important\nlicence")
	narrowed.Items[1].Grade = "important"
	do := ok[*Record](t)
	do(b.Put(ctx, narrowed, 0))
	do(b.Submit(ctx, "soil-moisture", 0))
	if r := do(b.Get("soil-moisture")); r.Change.Signed == "" {
		do(b.Sign(ctx, "soil-moisture", 0, Signing{By: "王五"}))
	}
	if r := do(b.Publish(ctx, "soil-moisture", 0)); r.State != catalog.Published || b.Open("soil-moisture", "moisture") != nil {
		t.Errorf("%+v", r)
	}
	_, err = b.Sign(ctx, "soil-moisture", 0, Signing{By: "王五", Grade: "general", Items: map[string]string{"moisture": "general"}})
	b.fails(err, ErrState, "lowered by a change")
	_, err = b.Sign(ctx, "soil-moisture", 0, Signing{})
	b.fails(err, ErrReason)
	if _, err := b.Sign(ctx, "soil-moisture", 0, Signing{By: "王五", Grade: "core"}); !errors.As(err, &bad) || !strings.Contains(err.Error(), "catalog.core") {
		t.Errorf("core data are taken: %v", err)
	}
}

// What a change raises of what stands is shut by writing the change already.
func TestAChangeThatRaisesTheGradeShuts(t *testing.T) {
	b := start(t)
	b.publish(b.doc())
	higher := b.doc("open: {class: unconditional}", "open: {class: none, basis: [{title: {zh: 条例}, article: 第三十三条}]}", "licence", "grade: important\nlicence")
	if r := ok[*Record](t)(b.Put(t.Context(), higher, 0)); r.State != catalog.Suspended || r.Change.Signed != "" {
		t.Errorf("%+v", r)
	}
	b2 := start(t)
	b2.publish(b2.doc())
	added := b2.doc("open: {class: unconditional}", "open: {class: none, basis: [{title: {zh: 条例}, article: 第三十三条}]}",
		"source:", "  - {name: owner_count, title: {zh: 户数}, grade: important}\nsource:")
	if r := ok[*Record](t)(b2.Put(t.Context(), added, 0)); r.State != catalog.Published {
		t.Errorf("an item that is new suspends what stands: %+v", r)
	}
}

func TestWhatOneSharesNobodyCollectsAgain(t *testing.T) {
	b := start(t)
	b.publish(b.doc())
	for what, c := range map[string]struct {
		changes []string
		again   bool
	}{
		"the same":              {nil, true},
		"another order":         {[]string{"soil_moisture{region='220100'}", "{region='220100',__name__='soil_moisture'}"}, true},
		"a part of it":          {[]string{"{region='220100'}", "{region='220100',site='farm'}"}, true},
		"one item of it":        {[]string{"  - {name: salinity, title: {zh: 含盐量}, unit: \"mS/cm\"}\n", ""}, true},
		"fewer labels":          {[]string{"by: [device]", "by: []"}, true},
		"another region":        {[]string{"{region='220100'}", "{region='220200'}"}, false},
		"a wider selection":     {[]string{"soil_moisture{region='220100'}", "soil_moisture"}, false},
		"another bin":           {[]string{"bin: 1h", "bin: 15m"}, false},
		"another function":      {[]string{"function: avg", "function: max"}, false},
		"more labels":           {[]string{"by: [device]", "by: [device, depth]"}, false},
		"another kind":          {[]string{"kind: series", "kind: roads"}, false},
		"nothing in common":     {[]string{"name: moisture", "name: ph", "name: salinity", "name: lime"}, false},
		"what is not mentioned": {[]string{"function: avg, ", ""}, true}, // the mean is meant
	} {
		d := b.doc(append([]string{"id: soil-moisture", "id: mine"}, c.changes...)...)
		_, err := b.Put(t.Context(), d, 0)
		var shared *Shared
		if errors.As(err, &shared) != c.again || !c.again && err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if c.again && (shared.By.ID != "soil-moisture" || !strings.Contains(shared.Error(), "soil-moisture") || !strings.Contains(shared.ZH(), "一数一源")) {
			t.Errorf("%s: %v", what, shared)
		}
		if err == nil {
			ok[*Record](t)(b.Withdraw(t.Context(), "mine", 0, "x"))
			b.mu.Lock()
			delete(b.byID, "mine")
			b.mu.Unlock()
			if err := b.db.Tx(t.Context(), func(tx *sql.Tx) error {
				_, err := tx.Exec("DELETE FROM dataset_versions WHERE dataset = 'mine'; DELETE FROM datasets WHERE id = 'mine'")
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
	}
	ok[*Record](t)(b.Suspend(t.Context(), "soil-moisture", 0, "x")) // what is not to be had may be collected
	ok[*Record](t)(b.Put(t.Context(), b.doc("id: soil-moisture", "id: mine"), 0))
	b.publish(b.doc("id: soil-moisture", "id: mine"))
	if _, err := b.Publish(t.Context(), "soil-moisture", 0); !errors.As(err, new(*Shared)) {
		t.Errorf("two share the same: %v", err)
	}
}

// TestTheWorkflowHolds takes any steps in any order and looks at what must always
// be true, from memory and after a restart.
func TestTheWorkflowHolds(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		b := start(t)
		defer b.db.Close()
		b.walk(rt)
	})
}

func (b *bench) walk(rt *rapid.T) {
	ctx := b.Context()
	codes, versions := map[string]string{}, map[string]int64{}
	gone := map[string]bool{}
	for range rapid.IntRange(1, 25).Draw(rt, "steps") {
		id := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "id")
		before, _ := b.Get(id)
		var err error
		var rec *Record
		switch act := rapid.SampledFrom([]string{"put", "raise", "submit", "return", "publish", "suspend", "withdraw", "sign"}).Draw(rt, "act"); act {
		case "put", "raise":
			d := b.doc("id: soil-moisture", "id: "+id, "region='220100'", "region='"+id+"'", "示范", rapid.SampledFrom([]string{"甲", "乙", "丙"}).Draw(rt, "text"))
			if act == "raise" {
				d.Grade, d.Open = "important", Terms{Class: "none", Basis: law}
			}
			rec, err = b.Put(ctx, d, 0)
		case "submit":
			rec, err = b.Submit(ctx, id, 0)
		case "return":
			rec, err = b.GiveBack(ctx, id, 0, "x")
		case "publish":
			rec, err = b.Publish(ctx, id, 0)
		case "suspend":
			rec, err = b.Suspend(ctx, id, 0, "x")
		case "withdraw":
			rec, err = b.Withdraw(ctx, id, 0, "x")
		case "sign":
			s := Signing{By: "李四", Grade: rapid.SampledFrom([]string{"", "general", "important"}).Draw(rt, "grade")}
			rec, err = b.Sign(ctx, id, 0, s)
		}
		if err != nil {
			if now, _ := b.Get(id); now != before {
				rt.Fatalf("a step that failed changed %s: %v", id, err)
			}
			if !errors.Is(err, ErrState) && !errors.Is(err, ErrUnknown) && !errors.As(err, new(*Invalid)) {
				rt.Fatal(err)
			}
			continue
		}
		if before != nil && before.State != rec.State && !before.State.May(rec.State) && (before.State != catalog.Suspended || rec.State != catalog.Published) {
			rt.Fatalf("%s went from %s to %s", id, before.State, rec.State)
		}
		if gone[id] {
			rt.Fatalf("%s came back", id)
		}
		gone[id] = rec.State == catalog.Withdrawn
		if rec.State == catalog.Published {
			if bad := b.ready(&rec.Edition); bad != nil || rec.Signed == "" || rec.Code == "" {
				rt.Fatalf("%s is public and not ready: %v", id, bad)
			}
			if other := codes[rec.Code]; other != "" && other != id {
				rt.Fatalf("%s is the code of %s and %s", rec.Code, other, id)
			}
			codes[rec.Code] = id
		}
		if (b.Open(id, "") == nil) != (rec.State == catalog.Published) {
			rt.Fatalf("%s is %s, and Open says %v", id, rec.State, b.Open(id, ""))
		}
		if rec != before && rec.Version != versions[id]+1 {
			rt.Fatalf("version %d follows %d", rec.Version, versions[id])
		}
		versions[id] = rec.Version
	}
	err := b.db.Each(ctx, func(rows *sql.Rows) error { // what is on disk is what memory has
		rec := &Record{}
		if err := scanJSON(rows, rec); err != nil {
			return err
		}
		now, err := b.Get(rec.ID)
		if err != nil || string(asJSON(now)) != string(asJSON(rec)) || now.Version != versions[rec.ID] {
			rt.Fatalf("%s on disk is %s", rec.ID, asJSON(rec))
		}
		history, err := b.History(ctx, rec.ID, 0, 1000)
		if err != nil || int64(len(history)) != rec.Version {
			rt.Fatalf("%d versions of %d: %v", len(history), rec.Version, err)
		}
		return nil
	}, "SELECT record FROM datasets")
	if err != nil {
		rt.Fatal(err)
	}
}

func TestWorkingDays(t *testing.T) {
	cal, err := newCalendar(DefaultConfig().Calendar)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		from string
		n    int
		due  string // the day at whose end it is due
		sure bool
	}{
		{"2026-09-18T10:00:00+08:00", 1, "2026-09-20", true},  // Friday; Sunday the 20th is worked
		{"2026-09-24T10:00:00+08:00", 1, "2026-09-28", true},  // before Mid-Autumn
		{"2026-09-30T23:59:00+08:00", 2, "2026-10-09", true},  // before the week of October
		{"2026-09-30T23:59:00+08:00", 3, "2026-10-10", true},  // a Saturday that is worked
		{"2026-02-13T17:00:00Z", 1, "2026-02-24", true},       // that is the 14th in China
		{"2026-12-31T10:00:00+08:00", 1, "2027-01-04", false}, // the table ends
		{"2027-02-04T10:00:00+08:00", 1, "2027-02-09", false}, // statutory days alone
	} {
		from, err := time.Parse(time.RFC3339, c.from)
		if err != nil {
			t.Fatal(err)
		}
		due, sure := cal.after(from, c.n)
		if day := due.In(china).Add(-time.Second).Format(time.DateOnly); day != c.due || sure != c.sure || due.In(china).Hour() != 0 {
			t.Errorf("%d days after %s: %s %v, want %s %v", c.n, c.from, due, sure, c.due, c.sure)
		}
	}
	faults := Calendar{Holidays: []string{"2026-01-01", "2026-01-01..2026-01-02", "x", "2026-03-02..2026-03-01"}, Workdays: []string{"2026-01-05"}, Until: "y"}.Check("c")
	if len(faults) != 5 || !strings.Contains(faults[3].Msg, "Monday") {
		t.Errorf("%v", faults)
	}
	if f := (Config{CheckDays: -1}).Check("catalog"); len(f) != 7 {
		t.Errorf("%v", f)
	}
}

// conditional is a published dataset of which one item is for everybody.
func (b *bench) conditional() {
	b.Helper()
	d := b.doc("share: {class: unconditional}", "share: {class: conditional, condition: {zh: 履职}, scope: {zh: 全省}, purpose: {zh: 防灾}, basis: [{title: {zh: 条例}, article: 第二十九条}]}",
		"open: {class: unconditional}", "open: {class: none, basis: [{title: {zh: 条例}, article: 第三十三条}]}")
	d.Items[2].Share = "unconditional"
	b.publish(d)
}

func asking(name string) context.Context {
	return access.WithCaller(context.Background(), access.Caller{Name: name, Role: access.Reader})
}

var body = Provider{Text{ZH: "某市气象局"}, "91220101MA00000000"}

func TestApplications(t *testing.T) {
	b := start(t)
	b.conditional()
	do, ctx := ok[*Grant](t), asking("applicant")
	a := Application{Dataset: "soil-moisture", Way: Sharing, Body: body, Purpose: "墒情预报"}

	var bad *Invalid
	_, err := b.Apply(ctx, Application{Dataset: "soil-moisture", Way: "x", Scope: Scope{Items: []string{"none"}, Area: "11", Rate: -1}, Until: b.now})
	if !errors.As(err, &bad) || len(bad.Problems) != 8 {
		t.Errorf("%v", err)
	}

	free := a
	free.Scope.Items = []string{"salinity"}
	if g := do(b.Apply(ctx, free)); g.State != Granted || g.Decision.By != "hub" || !g.Expires.Equal(b.now.Add(b.cfg.MaxGrant)) {
		t.Errorf("unconditional: %+v", g)
	}
	shut := a
	shut.Way = Opening
	if g := do(b.Apply(ctx, shut)); g.State != Refused || g.Decision.Reason.ZH == "" || g.Decision.Law[0].Article != "第三十三条" {
		t.Errorf("none: %+v", g)
	}

	g := do(b.Apply(ctx, a))
	if g.State != Applied || g.Applicant != "applicant" || !g.Sure || g.Due.In(china).Format(time.DateOnly) != "2026-09-25" {
		t.Errorf("%+v", g)
	}
	_, err = b.Decide(ctx, g.ID(), 0, Verdict{Grant: true, Reason: Text{ZH: "可"}})
	b.fails(err, ErrState, "check its form")
	b.now = g.Due.Add(time.Minute)
	if late := ok[[]*Grant](t)(b.Grants(ctx, GrantQuery{Overdue: true, Limit: 10})); len(late) != 1 || late[0].Number != g.Number {
		t.Errorf("overdue: %v", late)
	}
	if n := b.metric("hub_catalog_overdue"); n["grant"] != 1 {
		t.Errorf("overdue: %v", n)
	}
	_, err = b.Checked(ctx, g.ID(), 0, false, Text{})
	b.fails(err, ErrReason)
	do(b.Checked(ctx, g.ID(), g.Version, true, Text{}))
	do(b.Review(ctx, g.ID(), 0, "用途相符"))
	_, err = b.Decide(ctx, g.ID(), 0, Verdict{Reason: Text{ZH: "不可"}})
	b.fails(err, ErrReason, "law")
	_, err = b.Decide(ctx, g.ID(), 0, Verdict{Law: law})
	b.fails(err, ErrReason)
	_, err = b.Decide(ctx, g.ID(), 1, Verdict{})
	b.fails(err, ErrStale)
	g = do(b.Decide(ctx, g.ID(), 0, Verdict{Grant: true, Reason: Text{ZH: "符合条件"}, Law: law, Items: []string{"moisture"}, Until: b.now.Add(time.Hour)}))
	if g.State != Granted || !slices.Equal(g.Scope.Items, []string{"moisture"}) || len(g.Opinions) != 1 {
		t.Errorf("%+v", g)
	}

	// the grant opens its scope and no more, until it ends
	for _, items := range [][]string{nil, {"salinity"}, {"moisture", "salinity"}} {
		_, _, err = b.Hold(ctx, "soil-moisture", items, g.Number)
		b.fails(err, ErrShut)
	}
	reader, release, err := b.Hold(ctx, "soil-moisture", []string{"moisture"}, g.Number)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	b.now = g.Expires
	if err := b.expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !errors.Is(context.Cause(reader), ErrShut) {
		t.Error("an expired grant is still read by")
	}
	if g := do(b.Grant(ctx, g.ID())); g.State != Expired || g.Ended == nil {
		t.Errorf("%+v", g)
	}
}

func TestRevocationReachesWhoReads(t *testing.T) {
	b := start(t)
	b.conditional()
	do, ctx := ok[*Grant](t), asking("applicant")
	a := Application{Dataset: "soil-moisture", Way: Sharing, Body: body, Purpose: "墒情预报", Scope: Scope{Items: []string{"salinity"}}}
	first, second := do(b.Apply(ctx, a)), do(b.Apply(ctx, a))
	hold := func(n int64) context.Context {
		c, release, err := b.Hold(ctx, "soil-moisture", []string{"salinity"}, n)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(release)
		return c
	}
	one, other := hold(first.Number), hold(second.Number)
	_, err := b.Revoke(ctx, first.ID(), 0, Text{}, nil)
	b.fails(err, ErrReason)
	do(b.Revoke(ctx, first.ID(), 0, Text{ZH: "用于他途"}, law))
	select {
	case <-one.Done():
	default:
		t.Error("what was revoked is still read by")
	}
	if other.Err() != nil {
		t.Error("another grant ended")
	}
	_, _, err = b.Hold(ctx, "soil-moisture", []string{"salinity"}, first.Number)
	b.fails(err, ErrShut)

	ok[*Record](t)(b.Withdraw(ctx, "soil-moisture", 0, "撤销"))
	if g := do(b.Grant(ctx, second.ID())); other.Err() == nil || g.State != Revoked || !strings.Contains(g.Ended.Reason.ZH, "撤销") {
		t.Errorf("%+v", g)
	}
	_, err = b.Apply(ctx, a)
	b.fails(err, ErrShut)
}

func TestTicketsAreOfWhoFiledThem(t *testing.T) {
	b := start(t)
	b.publish(b.doc())
	ctx := asking("steward")
	_, _, err := b.File(ctx, Filing{Kind: WrongData, Text: "x"})
	if !errors.As(err, new(*Invalid)) {
		t.Errorf("an objection to nothing: %v", err)
	}
	filed, secret, err := b.File(ctx, Filing{Kind: WrongData, Dataset: "soil-moisture", Contact: "赵六 13800000000", Text: "九月三日的数值有误"})
	if err != nil || filed.Region != "220100" || !filed.Sure || secret == "" {
		t.Fatalf("%+v %v", filed, err)
	}
	_, err = b.TicketOf(ctx, filed.ID(), "wrong")
	b.fails(err, ErrUnknown)
	do := ok[*Ticket](t)
	if seen := do(b.TicketOf(ctx, filed.ID(), secret)); len(seen.Thread) != 1 || seen.Thread[0].By != "" {
		t.Errorf("%+v", seen)
	}
	if answered := do(b.Answer(ctx, filed.ID(), 0, "已核实，正在更正")); answered.State != Answered || !answered.Due.IsZero() {
		t.Errorf("%+v", answered)
	}
	if again := do(b.AddTo(ctx, filed.ID(), secret, "四日也有误")); again.State != Filed || again.Due.IsZero() {
		t.Errorf("%+v", again)
	}
	_, err = b.Close(ctx, filed.ID(), 0, Rejected, "不成立", nil)
	b.fails(err, ErrReason, "law")
	closed := do(b.Close(ctx, filed.ID(), 3, Corrected, "已更正", nil))
	if len(closed.Thread) != 4 || closed.Thread[1].By != "steward" || closed.Closed.IsZero() {
		t.Errorf("%+v", closed)
	}
	_, err = b.AddTo(ctx, filed.ID(), secret, "x")
	b.fails(err, ErrState)

	_, _, err = b.File(ctx, Filing{Kind: SeeOwn, Region: "2201", Contact: "钱七", Text: "贵处有我的何种数据"})
	if err != nil {
		t.Fatal(err)
	}
	b.now = b.now.AddDate(0, 2, 0)
	if n := b.metric("hub_catalog_overdue"); n["subject"] != 1 || n["objection"] != 0 {
		t.Errorf("overdue: %v", n)
	}
	late := ok[[]*Ticket](t)(b.Tickets(ctx, TicketQuery{Region: "22", Overdue: true, Limit: 10}))
	if len(late) != 1 || late[0].Contact != "" {
		t.Errorf("%+v", late)
	}
	for _, line := range b.noted {
		for _, private := range []string{"赵六", "钱七", "数值有误", "何种数据", secret} {
			if strings.Contains(line, private) {
				t.Errorf("%q is on record: %s", private, line)
			}
		}
	}
}

func (b *bench) metric(name string) map[string]float64 {
	b.Helper()
	reg := prometheus.NewRegistry()
	reg.MustRegister(newGauges(b.Register))
	families, err := reg.Gather()
	if err != nil {
		b.Fatal(err)
	}
	all := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.Metric {
			all[m.Label[0].GetValue()] = m.Gauge.GetValue()
		}
	}
	return all
}

func TestEverythingIsThereAfterARestart(t *testing.T) {
	dir, now := t.TempDir(), time.Date(2026, 9, 18, 2, 0, 0, 0, time.UTC)
	b := again(t, dir, now)
	b.conditional()
	ctx := asking("applicant")
	g := ok[*Grant](t)(b.Apply(ctx, Application{Dataset: "soil-moisture", Way: Sharing, Body: body, Purpose: "墒情预报", Scope: Scope{Items: []string{"salinity"}}}))
	filed, secret, err := b.File(ctx, Filing{Kind: Omission, Dataset: "soil-moisture", Text: "x"})
	if err != nil {
		t.Fatal(err)
	}
	b.db.Close()
	after := again(t, dir, now)
	if _, release, err := after.Hold(ctx, "soil-moisture", []string{"salinity"}, g.Number); err != nil {
		t.Error(err)
	} else {
		release()
	}
	if _, err := after.TicketOf(ctx, filed.ID(), secret); err != nil {
		t.Error(err)
	}
	if _, err := after.Put(ctx, after.doc("id: soil-moisture", "id: other"), 0); !errors.As(err, new(*Shared)) {
		t.Errorf("what is shared is forgotten: %v", err)
	}
	if next := ok[*Grant](t)(after.Apply(ctx, g.Application)); next.Number != g.Number+1 {
		t.Errorf("grant %d follows %d", next.Number, g.Number)
	}
}

func TestADraftSaysWhatIsMeasured(t *testing.T) {
	b := start(t)
	b.deps.Series = func(context.Context, string, int) ([]Series, error) {
		return []Series{
			{Metric: "soil_temperature", Labels: map[string]string{"device": "p1", "kind": "sensor", "region": "220100"}, Unit: "Cel", Grade: 1, Period: time.Minute},
			{Metric: "soil_temperature", Labels: map[string]string{"device": "p2", "kind": "sensor", "region": "220200", "depth": "10"}, Grade: 1, Period: time.Minute},
			{Metric: "soil_moisture", Labels: map[string]string{"device": "p1", "kind": "sensor", "region": "220100"}, Unit: "%", Grade: 1},
		}, nil
	}
	b.deps.Metric = func(name string) Metric {
		return map[string]Metric{"soil_temperature": {Title: Text{"土壤温度", "Soil temperature"}, Unit: "Cel"}}[name]
	}
	d := ok[*Document](t)(b.Draft(t.Context(), "", "{kind='sensor'}"))
	if _, err := Parse(asJSON(d)); err != nil {
		t.Errorf("a draft cannot be applied: %v", err)
	}
	if d.ID != "soil-moisture-22" || d.Region != "22" || len(d.Items) != 4 || d.Items[3].Title.ZH != "土壤温度" || d.Items[3].Unit != "Cel" || d.Items[2].Unit != "%" {
		t.Errorf("%s", asJSON(d))
	}
	for _, part := range []string{"2 台设备的 3 条序列", "土壤温度", "1m0s"} {
		if !strings.Contains(d.Abstract.ZH, part) {
			t.Errorf("no %q in %s", part, d.Abstract.ZH)
		}
	}
	ok[*Record](t)(b.Put(t.Context(), *d, 0))
	l := ok[*Lineage](t)(b.Lineage(t.Context(), d.ID))
	if len(l.Devices) != 2 || !slices.Equal(l.Devices[0].Series, []string{"soil_moisture", "soil_temperature"}) || l.Devices[1].Series[0] != `soil_temperature{depth="10"}` {
		t.Errorf("%+v", l)
	}
}

func TestEverythingWrongIsSaidAtOnce(t *testing.T) {
	for text, says := range map[string][]string{
		"id: a\ntitel: {}\nshare: {clas: x}": {"titel: unknown key; did you mean \"title\"?", "share.clas", "line 2"},
		"id: A\nsource: {kind: x, bin: 7}\nshare: {class: none}\nopen: {class: unconditional}\nitems: [{name: 1}]\ngrade: secret\nharm: [{interest: x, degree: y}]\npath: [a/b]": {
			"id:", "source.kind", "source.bin", "share.basis", "open", "items[0].name", "grade", "harm[0]", "path[0]"},
	} {
		_, err := Parse([]byte(text))
		var bad *Invalid
		if !errors.As(err, &bad) {
			t.Fatal(err)
		}
		for _, s := range says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("no %q in %v", s, err)
			}
		}
	}
	var d Document
	if err := json.Unmarshal(asJSON(d), &d); err != nil {
		t.Error(err)
	}
}

// TestTheDocumentedExampleIsTaken holds docs/formats/dataset.md to the code.
func TestTheDocumentedExampleIsTaken(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "formats", "dataset.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```yaml\n")
	text, _, _ = strings.Cut(text, "```")
	d, err := Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	b := start(t)
	if r := b.publish(*d); r.State != catalog.Published {
		t.Errorf("%+v", r)
	}
}

// A crash between the withdrawal and the end of its grants is made up for.
func TestGrantsThatACrashLeftEnd(t *testing.T) {
	b := start(t)
	b.conditional()
	ctx := asking("applicant")
	g := ok[*Grant](t)(b.Apply(ctx, Application{Dataset: "soil-moisture", Way: Sharing, Body: body, Purpose: "墒情预报"}))
	ok[*Record](t)(b.alter(ctx, "soil-moisture", 0, actWithdraw, "撤销", func(rec *Record) error { return rec.withdraw("撤销") }))
	if err := b.expire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if g := ok[*Grant](t)(b.Grant(ctx, g.ID())); g.State != Returned || g.Decision == nil || len(b.openGrants()) != 0 {
		t.Errorf("%+v", g)
	}
}

// TestOnlyAnEditOfWhatStandsMovesWhatThePublicSees: who writes a change beside it
// tells nobody.
func TestOnlyAnEditOfWhatStandsMovesWhatThePublicSees(t *testing.T) {
	b := start(t)
	do, ctx := ok[*Record](t), t.Context()
	first := b.publish(b.doc())
	b.now = b.now.Add(time.Hour)
	beside := do(b.Put(ctx, b.doc("示范农场的土壤墒情", "示范农场各地块的土壤墒情"), 0))
	if !beside.Dataset().Modified.Equal(first.Dataset().Modified) || beside.Modified.Equal(first.Modified) {
		t.Errorf("a change beside it: modified %v, the record %v", beside.Dataset().Modified, beside.Modified)
	}
	do(b.Submit(ctx, "soil-moisture", 0))
	if rec := do(b.Sign(ctx, "soil-moisture", 0, Signing{By: "李四"})); !rec.Dataset().Modified.Equal(first.Dataset().Modified) {
		t.Errorf("signed: modified %v", rec.Dataset().Modified)
	}
	if rec := do(b.Publish(ctx, "soil-moisture", 0)); !rec.Dataset().Modified.Equal(b.now) {
		t.Errorf("published: modified %v", rec.Dataset().Modified)
	}
	if n := len(b.changed); n < 7 || b.changed[n-1] != "soil-moisture" {
		t.Errorf("told of %v", b.changed)
	}
}
