package search

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

func entry(id, zh, en string, open catalog.Class, theme string, formats ...string) *catalog.Entry {
	e := &catalog.Entry{Dataset: &catalog.Dataset{
		ID: id, Title: catalog.Text{ZH: zh, EN: en}, State: catalog.Published, Path: catalog.Path{theme}, Open: catalog.Terms{Class: open}, Share: catalog.Terms{Class: catalog.Unconditional},
		Grade: telemetry.General, Cycle: catalog.Cycle{Kind: catalog.Periodic, Period: time.Hour}, Provider: catalog.Provider{Name: catalog.Text{ZH: "某局"}},
		Modified: time.Unix(1_800_000_000, 0),
	}}
	if len(formats) > 0 {
		r := catalog.Release{Version: 1}
		for i, f := range formats {
			r.Files = append(r.Files, catalog.Distribution{Name: fmt.Sprint("f", i), MediaType: f})
		}
		e.Releases = []catalog.Release{r}
	}
	return e
}

func library() *Index {
	soil := entry("soil-moisture", "示范农场土壤墒情", "Soil moisture of farms", catalog.Unconditional, "农业", "text/csv", "application/geo+json")
	soil.Dataset.Keywords = []catalog.Text{{ZH: "墒情", EN: "moisture"}}
	soil.Dataset.Data = time.Unix(1_800_000_500, 0)
	road := entry("road-flow", "道路流量与速度", "Flow and speed of roads", catalog.Conditional, "交通", "text/csv")
	road.Dataset.Abstract = catalog.Text{ZH: "各路段每十五分钟的车流量。", EN: "Vehicles of each link; soil beside the road is not part of it."}
	secret := entry("load", "算力设施负荷", "Load of compute", catalog.None, "算力", "text/csv")
	draft := entry("draft", "草稿", "Draft", catalog.None, "算力")
	draft.Dataset.State = catalog.Draft
	return New(catalog.NewSnapshot(1, []*catalog.Entry{road, soil, secret, draft}, nil))
}

func ids(f Found) (all []string) {
	for _, e := range f.Entries {
		all = append(all, e.Dataset.ID)
	}
	return all
}

func TestWhatIsTypedIsFound(t *testing.T) {
	x := library()
	for typed, want := range map[string][]string{
		"":                       {"soil-moisture", "load", "road-flow"},
		"  !? ":                  {"soil-moisture", "load", "road-flow"},
		"土壤":                     {"soil-moisture"},
		"土":                      {"soil-moisture"},
		"墒情 农场":                  {"soil-moisture"},
		"soil":                   {"soil-moisture", "road-flow"}, // a title says more than an abstract
		"Farm":                   {"soil-moisture"},
		"moist":                  {"soil-moisture"},
		"roads":                  {"road-flow"},
		"车流量":                    {"road-flow"},
		"流车":                     nil,
		"soil compute":           nil,
		"road-flow":              {"road-flow"},
		"草稿":                     nil,
		"CSV moisture of nobody": nil,
	} {
		if got := ids(x.Find(Query{Text: typed})); !slices.Equal(got, want) {
			t.Errorf("%q finds %v, not %v", typed, got, want)
		}
	}
}

func TestFacetsCountWhatWouldBeFound(t *testing.T) {
	x := library()
	f := x.Find(Query{Chosen: map[Facet][]string{Open: {"unconditional"}}})
	if got := ids(f); !slices.Equal(got, []string{"soil-moisture"}) {
		t.Errorf("found %v", got)
	}
	// the own facet counts what another choice would find, the others what is found
	if got := fmt.Sprint(f.Counts[Open]); got != "[{conditional 1} {none 1} {unconditional 1}]" {
		t.Errorf("classes %s", got)
	}
	if got := fmt.Sprint(f.Counts[Theme]); got != "[{农业 1}]" {
		t.Errorf("themes %s", got)
	}
	if got := fmt.Sprint(f.Counts[Format]); got != "[{application/geo+json 1} {text/csv 1}]" {
		t.Errorf("formats %s", got)
	}
	both := x.Find(Query{Text: "soil", Chosen: map[Facet][]string{Open: {"unconditional", "conditional"}, Theme: {"无"}}})
	if len(both.Entries) != 0 || fmt.Sprint(both.Counts[Theme]) != "[{交通 1} {农业 1} {无 0}]" {
		t.Errorf("%v, %v", ids(both), both.Counts[Theme])
	}
}

// TestWhatIsNotOpenedHasNoFormat: its files are not offered.
func TestWhatIsNotOpenedHasNoFormat(t *testing.T) {
	f := library().Find(Query{Chosen: map[Facet][]string{Open: {"none"}}})
	if len(f.Counts[Format]) != 0 {
		t.Errorf("formats %v", f.Counts[Format])
	}
}

func BenchmarkFind(b *testing.B) {
	var all []*catalog.Entry
	for i := range 10_000 {
		all = append(all, entry(fmt.Sprintf("road-%05d", i), fmt.Sprintf("第%d号路段温度监测", i), fmt.Sprintf("Temperature of road %d", i), catalog.Classes()[i%3], fmt.Sprint(i%12), "text/csv"))
	}
	x := New(catalog.NewSnapshot(1, all, nil))
	for _, typed := range []string{"", "路段温度", "road 7"} {
		b.Run(typed, func(b *testing.B) {
			for b.Loop() {
				x.Find(Query{Text: typed, Chosen: map[Facet][]string{Open: {"unconditional"}}})
			}
		})
	}
}
