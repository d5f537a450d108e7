package catalog

import (
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

// offered is an entry without fault.
func offered() *Entry {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	day := Period{From: at, To: at.Add(24 * time.Hour)}
	return &Entry{Dataset: &Dataset{ID: "road", State: Published, Open: Terms{Class: Conditional}},
		Releases:     []Release{{Version: 1, Period: day, Files: []Distribution{{Name: "data.csv", MediaType: "text/csv", Size: 1, Rows: 1}}}, {Version: 2, Period: day}},
		Live:         []Distribution{{Name: "sensorthings", MediaType: "application/json", Service: "sta", URL: "https://data.example/sta"}},
		Measurements: []Measurement{{Dimension: Completeness, Value: 1}}, Coverage: Coverage{Time: day, Area: &Box{125, 43, 126, 44}}}
}

func TestWhatIsOfferedIsChecked(t *testing.T) {
	if ps := offered().Check(); len(ps) > 0 {
		t.Error(ps)
	}
	for at, change := range map[string]func(*Entry){
		"releases[1].version":             func(e *Entry) { e.Releases[1].Version = 1 },
		"releases[0].period":              func(e *Entry) { e.Releases[0].Period.To = e.Releases[0].Period.From.Add(-1) },
		"releases[0].files[0].name":       func(e *Entry) { e.Releases[0].Files[0].Name = "../data.csv" },
		"releases[0].files[0].media_type": func(e *Entry) { e.Releases[0].Files[0].MediaType = "text/csv; charset=utf-8" },
		"releases[0].files[0].service":    func(e *Entry) { e.Releases[0].Files[0].Service = "sta" },
		"releases[0].files[0]":            func(e *Entry) { e.Releases[0].Files[0].Rows = -1 },
		"live[0].url":                     func(e *Entry) { e.Live[0].URL = "javascript:alert(1)" },
		"live[0].service":                 func(e *Entry) { e.Live[0].Service = "" },
		"live[1].name":                    func(e *Entry) { e.Live = append(e.Live, e.Live[0]) },
		"coverage.area":                   func(e *Entry) { e.Coverage.Area.West = math.NaN() },
		"measurements[0].dimension":       func(e *Entry) { e.Measurements[0].Dimension = "beauty" },
		"measurements[0].value":           func(e *Entry) { e.Measurements[0].Value = math.Inf(1) },
	} {
		e := offered()
		change(e)
		ps := e.Check()
		if !slices.ContainsFunc(ps, func(p Problem) bool {
			return p.Path == at && p.ZH != "" && p.EN != "" && !strings.Contains(p.ZH+p.EN, "%!")
		}) {
			t.Errorf("%s: %v", at, ps)
		}
	}
}

func TestNothingIsOfferedOfWhatIsNotOpened(t *testing.T) {
	e := offered()
	if r, live := e.Offered(); r == nil || r.Version != 2 || len(live) != 1 {
		t.Error(r, live)
	}
	again := e.Releases[0]
	again.Version, again.Replaces = 3, 1
	again.Period = Period{From: again.Period.From.AddDate(0, 0, -1), To: again.Period.From}
	e.Releases = append(e.Releases, again)
	if r, _ := e.Offered(); r.Version != 2 || e.Latest().Version != 3 {
		t.Errorf("offered is version %d: a day before that was made again is not the newest", r.Version)
	}
	e.Dataset.Open.Class = None
	if r, live := e.Offered(); r != nil || live != nil {
		t.Error(r, live)
	}
}

func TestASnapshotHasWhatIsPublishedInOrder(t *testing.T) {
	var entries []*Entry
	for id, state := range map[string]State{"c": Published, "a": Published, "b": Suspended, "d": Withdrawn, "e": Draft} {
		entries = append(entries, &Entry{Dataset: &Dataset{ID: id, State: state}})
	}
	s := NewSnapshot(1, entries, nil)
	if len(s.Entries) != 2 || s.Entries[0].Dataset.ID != "a" || s.Find("c") != s.Entries[1] || s.Find("b") != nil {
		t.Error(s.Entries)
	}
}

func TestAddressesBeginWithTheBaseAlone(t *testing.T) {
	for s, want := range map[string]string{
		"https://data.example/":           "https://data.example",
		"https://data.example/hub/../a//": "https://data.example/a",
		"https://数据.example/路":            "https://%E6%95%B0%E6%8D%AE.example/%E8%B7%AF",
		"data.example":                    "",
		"https://data.example?x=1":        "",
		"https://user:pass@data.example":  "",
		"ftp://data.example":              "",
		"https://[::1]:8080":              "",
		"https://":                        "",
	} {
		base, err := ParseBase(s)
		if string(base) != want || (err == nil) != (want != "") {
			t.Errorf("%s: %q, %v", s, base, err)
		}
	}
	base := Base("https://data.example")
	if got := base.Law(Law{Title: Text{ZH: "条例/甲"}, Article: ".."}); got != "https://data.example/catalog/law/%E6%9D%A1%E4%BE%8B%2F%E7%94%B2/%2E%2E" {
		t.Error(got)
	}
}

func TestALinkIsAnAddressOrNone(t *testing.T) {
	for s, want := range map[string]string{
		" https://a.example/x?q=水 1#<b> ": "https://a.example/x?q=%E6%B0%B4%201#%3Cb%3E",
		"http://a.example/../b":           "http://a.example/b",
		"javascript:alert(1)":             "", "": "", "//a.example": "", "https:a": "", "https://a/%zz": "",
	} {
		if got, ok := Link(s); got != want || ok != (want != "") {
			t.Errorf("%q: %q", s, got)
		}
	}
}
