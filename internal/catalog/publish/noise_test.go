package publish

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/gate/attack"
	"github.com/songhua-io/hub/internal/catalog/source"
)

// noisy is a dataset of roads that asks for noise.
func noisy(id string) *catalog.Dataset {
	d := flows(id)
	d.Items = slices.DeleteFunc(d.Items, func(it catalog.Item) bool { return it.Name == "speed" })
	d.Privacy.Noise = &catalog.Noise{MicroEpsilon: 250_000, MicroBudget: 500_000, Bound: 2}
	return d
}

// traffic keeps passages of busy links of a day, all minutes at once.
func (w *world) traffic(links int, each func(link, minute int) int64) {
	w.t.Helper()
	var all []Minute
	for m := range 24 * 60 {
		one := Minute{Unit: "r1", Start: yesterday.From.Add(time.Duration(m) * time.Minute), Passages: map[string]source.Passages{}}
		for l := range links {
			n := each(l, m)
			one.Passages[fmt.Sprintf("%d>%d", l, l+1)] = source.Passages{Vehicles: n, SpeedSum: 11_000 * n}
		}
		all = append(all, one)
	}
	if err := w.passages.Keep(w.t.Context(), all); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) report(dataset string, version int) (r gate.Report) {
	w.t.Helper()
	text := w.drafts[dataset][version-1].Privacy
	if err := gate.VerifyReport(text, nil); err != nil {
		w.t.Fatal(err)
	}
	if err := json.Unmarshal(text, &r); err != nil {
		w.t.Fatal(err)
	}
	return r
}

// spent is what stands in the ledger of a dataset, by day.
func (w *world) spent(dataset string) map[string]int64 {
	w.t.Helper()
	l, err := w.ledger(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	all := map[string]int64{}
	for _, e := range l.Entries {
		if e.Dataset == dataset {
			all[gate.DayName(e.Day)] += e.MicroEpsilon
		}
	}
	return all
}

// rebuilt fails where a version does not come out byte by byte as it was released.
func (w *world) rebuilt(dataset string, version int) {
	w.t.Helper()
	d := w.drafts[dataset][version-1]
	table, report, err := w.Rebuild(w.t.Context(), dataset, int64(version))
	if err != nil || string(report) != string(d.Privacy) || hashTable(table) != hashTable(d.Table) {
		w.t.Errorf("version %d of %s comes out as something else, %v", version, dataset, err)
	}
}

// numbers are the vehicles of a release by link, district, bin and time.
func numbers(d *Draft) map[string]int64 {
	column := func(name string) int {
		return slices.IndexFunc(d.Dataset.Items, func(it catalog.Item) bool { return it.Name == name })
	}
	all := map[string]int64{}
	for r := range d.Table.Rows {
		if v := &d.Table.Columns[column("vehicles")]; v.Has(r) {
			all[fmt.Sprintf("%s %s %d", d.Table.Columns[column("link")].Strings[r], d.Table.Columns[column("bin")].Strings[r], d.Table.Columns[column("time")].Integers[r])] = v.Integers[r]
		}
	}
	return all
}

// A dataset asks for noise, pays for each version once, and is refused where its
// budget ends, before anything is out. Whoever asks again, for versions, or for a
// second dataset of the same roads, has the same numbers.
func TestNoiseIsPaidForOnce(t *testing.T) {
	w := newWorld(t)
	w.datasets["flow"] = noisy("flow")
	w.traffic(3, func(int, int) int64 { return 30 })
	w.made(w.order("flow"))
	if r := w.report("flow", 1); r.Noise == nil || r.Noise.MicroEpsilon != 250_000 || r.Noise.Spent != 250_000 || r.Noise.Budget != 500_000 || r.Noise.Covers != 2 || r.Bound != 0 {
		t.Errorf("the report says %+v", r.Noise)
	}
	for range 3 { // repeated queries
		w.refused(w.order("flow"), ErrSame)
		w.rebuilt("flow", 1)
	}
	w.datasets["again"] = noisy("again")
	w.made(w.order("again"))
	first := numbers(&w.drafts["flow"][0])
	if len(first) != 3*(96+24+1)+96+24+1 {
		t.Fatalf("%d numbers are shown", len(first))
	}
	exact := 0
	for name, v := range numbers(&w.drafts["again"][0]) {
		if first[name] != v {
			t.Fatalf("%s is %d in one dataset and %d in another: that is a second draw", name, first[name], v)
		}
		if strings.Contains(name, "15m") && v == 450 {
			exact++
		}
	}
	if exact > 96*3/4 {
		t.Errorf("%d quarters of an hour are exact; is there noise?", exact)
	}

	w.traffic(3, func(l, m int) int64 { return 30 + int64(20*(1-min(1, l+m/15))) }) // one quarter of one link
	if r := w.made(w.order("flow")); r.Version != 2 {
		t.Errorf("%+v", r)
	}
	changed := 0
	for name, v := range numbers(&w.drafts["flow"][1]) {
		if first[name] != v {
			changed++
		}
	}
	if changed > 6 {
		t.Errorf("one quarter changed, and %d numbers of six that hold it did", changed)
	}
	if r := w.report("flow", 2); r.Noise.Spent != 500_000 {
		t.Errorf("the second version says that %d is spent", r.Noise.Spent)
	}

	w.traffic(3, func(int, int) int64 { return 60 })
	_, err := w.Make(t.Context(), w.order("flow"))
	var over *gate.Overdraw
	if !errors.As(err, &over) {
		t.Fatalf("a third version of ε 0.25 of a budget of 0.5: %v", err)
	}
	for _, say := range []string{"dataset flow", "2026-11-20", "ε 0.5 is spent", "0.25 is asked for", "budget is 0.5", "privacy.noise.budget"} {
		if !strings.Contains(err.Error(), say) {
			t.Errorf("%q does not say %q", err, say)
		}
	}
	if n := len(w.drafts["flow"]); n != 2 {
		t.Errorf("%d versions are out", n)
	}
	if got := w.spent("flow"); len(got) != 1 || got["2026-11-20"] != 500_000 {
		t.Errorf("the ledger has %v", got)
	}
	for v := range 2 { // beside all that was spent since
		w.rebuilt("flow", v+1)
	}

	w.datasets["flow"].Privacy.Noise.MicroBudget = 1_000_000 // a person signed that
	w.made(w.order("flow"))
	w.rebuilt("flow", 2)
}

// A day keeps the noise that it began with, and none where it began without: exact
// numbers would undo it.
func TestADayKeepsItsNoise(t *testing.T) {
	for _, begins := range []*catalog.Noise{{MicroEpsilon: 250_000, MicroBudget: 500_000, Bound: 2}, nil} {
		w := newWorld(t)
		w.datasets["flow"] = noisy("flow")
		for version, noise := range []*catalog.Noise{begins, {MicroEpsilon: 100_000, MicroBudget: 100_000, Bound: 1}} {
			if begins != nil && version == 1 {
				noise = nil
			}
			w.datasets["flow"] = noisy("flow") // a dataset that was published never changes
			w.datasets["flow"].Privacy.Noise = noise
			w.traffic(2, func(int, int) int64 { return int64(30 * (1 + version)) })
			w.made(w.order("flow"))
		}
		for version := range 2 {
			if r := w.report("flow", version+1); (r.Noise == nil) != (begins == nil) || r.Noise != nil && r.Noise.Covers != 2 {
				t.Errorf("version %d of a day that began with %+v says %+v", version+1, begins, r.Noise)
			}
			w.rebuilt("flow", version+1)
		}
	}
}

// All datasets together have a budget too, where it is set.
func TestTheBudgetOfADayIsShared(t *testing.T) {
	w := newWorld(t)
	w.cfg.DayBudget = 0.3
	w.datasets["one"], w.datasets["two"] = noisy("one"), noisy("two")
	w.traffic(2, func(int, int) int64 { return 30 })
	w.made(w.order("one"))
	_, err := w.Make(t.Context(), w.order("two"))
	var over *gate.Overdraw
	if !errors.As(err, &over) || !over.Shared || !strings.Contains(err.Error(), "releases.day_budget") || !strings.Contains(over.ZH(), "0.25") {
		t.Errorf("a second dataset of 0.25 of a budget of 0.3: %v", err)
	}
	if len(w.drafts["two"]) > 0 || len(w.spent("two")) > 0 {
		t.Error("something of it is out")
	}
}

// Exact numbers undo noise, in whichever order they come.
func TestNoiseAndExactNumbersExcludeEachOther(t *testing.T) {
	for _, order := range [][2]string{{"exact", "hidden"}, {"hidden", "exact"}} {
		w := newWorld(t)
		w.datasets["exact"], w.datasets["hidden"] = flows("exact"), noisy("hidden")
		w.traffic(2, func(int, int) int64 { return 30 })
		w.made(w.order(order[0]))
		w.refused(w.order(order[1]), ErrShut)
		if len(w.drafts[order[1]]) > 0 || len(w.spent(order[1])) > 0 {
			t.Errorf("%s is out after %s", order[1], order[0])
		}
	}
}

// What is out minus what passed is noise as it is declared; totals are what their
// parts add up to, and their error is no larger than that of as many parts.
func TestNoiseThatIsOutHasItsShape(t *testing.T) {
	w := newWorld(t)
	w.datasets["flow"] = noisy("flow")
	rng := rand.New(rand.NewPCG(3, 4))
	const links = 24
	var truth [links][24 * 60]int64
	for l := range truth {
		for m := range truth[l] {
			truth[l][m] = 20 + rng.Int64N(20)
		}
	}
	w.traffic(links, func(l, m int) int64 { return truth[l][m] })
	w.made(w.order("flow"))
	out := numbers(&w.drafts["flow"][0])
	var noise []int64
	var sum, square float64
	for l := range links {
		total := int64(0)
		for q := range 96 {
			want := int64(0)
			for _, n := range truth[l][15*q : 15*q+15] {
				want += n
			}
			v, shown := out[fmt.Sprintf("%d>%d 15m %d", l, l+1, yesterday.From.Add(time.Duration(q)*source.Quarter).UnixMilli())]
			if !shown {
				t.Fatalf("quarter %d of link %d is not shown", q, l)
			}
			x := v - want
			total, noise = total+v, append(noise, x)
			sum, square = sum+float64(x), square+float64(x*x)
		}
		if v := out[fmt.Sprintf("%d>%d 24h %d", l, l+1, yesterday.From.UnixMilli())]; v != total {
			t.Errorf("the day of link %d is %d, and its quarters are %d", l, v, total)
		}
	}
	scale := gate.Scale{T: 8, S: 1} // two passages of a vehicle, ε 0.25
	if f := attack.Shape(scale, noise); f.Recovered > 0 {
		t.Error("the noise that is out has another shape than is declared")
	}
	n := float64(len(noise))
	a := math.Exp(-1.0 / 8)
	if deviation, want := math.Sqrt(square/n), math.Sqrt(2*a)/(1-a); math.Abs(sum/n) > 5*want/math.Sqrt(n) || math.Abs(deviation/want-1) > 0.1 {
		t.Errorf("the noise is %.2f on average and deviates by %.2f; 0 and %.2f are declared", sum/n, deviation, want)
	}
	if f := attack.Shape(gate.Scale{T: 6, S: 1}, noise); f.Recovered == 0 {
		t.Error("noise of another scale would not be noticed")
	}
}
