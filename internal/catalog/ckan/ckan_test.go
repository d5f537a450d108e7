package ckan

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

const base catalog.Base = "https://data.example"

func entry(id, zh, en string, open catalog.Class) *catalog.Entry {
	at := time.Date(2026, 11, 1, 8, 0, 0, 0, time.UTC)
	return &catalog.Entry{
		Dataset: &catalog.Dataset{ID: id, Code: "307001/" + id, Title: catalog.Text{ZH: zh, EN: en}, Abstract: catalog.Text{ZH: "十分钟均值"}, Keywords: []catalog.Text{{ZH: "路面（温度）", EN: "x"}, {EN: "road"}, {ZH: "路面温度"}},
			Provider: catalog.Provider{Name: catalog.Text{ZH: "某市交通运输局"}, Code: "112200000000000005"}, Contact: catalog.Contact{Name: catalog.Text{ZH: "数据管理员"}, Phone: "0431-12345678", Email: "data@example.test"},
			Share: catalog.Terms{Class: catalog.Unconditional}, Open: catalog.Terms{Class: open, Condition: catalog.Text{ZH: "经申请"}, Basis: []catalog.Law{{Title: catalog.Text{ZH: "条例"}, Article: "第三十三条"}}},
			Grade: telemetry.General, Licence: "https://creativecommons.org/licenses/by/4.0/", State: catalog.Published, Created: at, Modified: at},
		Releases: []catalog.Release{{Version: 1, Files: []catalog.Distribution{{Name: "old.csv", MediaType: "text/csv"}}}, {Version: 2, Files: []catalog.Distribution{{Name: "data.csv", MediaType: "text/csv", Size: 99, Rows: 3}}}},
		Live:     []catalog.Distribution{{Name: "sensorthings", MediaType: "application/json", Service: "sta", URL: "https://data.example/sta/v1.1/Datastreams(1)"}},
	}
}

func TestAPackageHasANameOfASCIIAndTheAddressesOfTheCatalogue(t *testing.T) {
	d := Destination{Prefix: "songhua-", Organization: "traffic"}
	p := d.Push(entry("road-temp", "路面温度监测数据", "Road temperature", catalog.Unconditional), base)
	if p.Name != "songhua-road-temp" || p.Title != "路面温度监测数据" || p.OwnerOrg != "traffic" || p.ID != "" {
		t.Errorf("%+v", p)
	}
	if want := []Tag{{"路面温度"}, {"road"}}; !cmp.Equal(p.Tags, want) {
		t.Error(cmp.Diff(want, p.Tags))
	}
	var urls []string
	for _, r := range p.Resources {
		urls = append(urls, r.URL)
	}
	if want := []string{"https://data.example/catalog/dataset/road-temp/release/2/data.csv", "https://data.example/sta/v1.1/Datastreams(1)"}; !slices.Equal(urls, want) {
		t.Error(urls)
	}
}

func TestWhatIsNotOpenedToEverybodyLeadsToThePageToApplyOn(t *testing.T) {
	p := show(entry("road-temp", "路面温度", "", catalog.Conditional), base)
	if p.Resources[0].URL != "https://data.example/catalog/dataset/road-temp" {
		t.Error(p.Resources[0].URL)
	}
	if p := show(entry("road-temp", "路面温度", "", catalog.None), base); len(p.Resources) > 0 {
		t.Error(p.Resources)
	}
}

// apply does with a patch what package_patch does.
func apply(t *testing.T, is Package, patch Patch) Package {
	t.Helper()
	b, err := json.Marshal(patch)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, &is); err != nil {
		t.Fatal(err)
	}
	for i := range is.Resources {
		if is.Resources[i].ID == "" {
			is.Resources[i].ID = fmt.Sprint("new-", i)
		}
	}
	return is
}

func TestAPatchMakesWhatIsWantedAndASecondNothing(t *testing.T) {
	d := Destination{Prefix: "songhua-", Organization: "traffic"}
	is := d.Push(entry("road-temp", "路面温度", "Road temperature", catalog.Unconditional), base)
	is.ID, is.OwnerOrg, is.Organization = "0f", "1e", &Organization{ID: "1e", Name: "traffic"}
	is.Extras = append(is.Extras, Extra{"theirs", "kept"})
	is.Resources[1].ID = "resource-of-the-interface"
	e := entry("road-temp", "路面温度监测", "Road temperature", catalog.Conditional)
	e.Releases = append(e.Releases, catalog.Release{Version: 3, Files: []catalog.Distribution{{Name: "data.csv", MediaType: "text/csv", Size: 100}}})
	want := d.Push(e, base)
	patch := Diff(&is, &want)
	if got := []string{"title", "extras", "resources"}; !slices.Equal(patch.Fields, got) || patch.OwnerOrg != nil {
		t.Errorf("%v differ, not %v", patch.Fields, got)
	}
	now := apply(t, is, patch)
	if now.ID != "0f" || now.Title != "路面温度监测" || now.Resources[1].ID != "resource-of-the-interface" || !slices.Contains(now.Extras, Extra{"theirs", "kept"}) {
		t.Errorf("%+v", now)
	}
	if again := Diff(&now, &want); !again.Empty() {
		t.Errorf("%v differ still", again.Fields)
	}
}

func TestEveryExtraOfOursIsKnownToBeOurs(t *testing.T) {
	e := entry("a", "甲", "a", catalog.Conditional)
	e.Dataset.Share.Condition, e.Dataset.Path, e.Dataset.Cycle = catalog.Text{ZH: "经审核"}, catalog.Path{"交通"}, catalog.Cycle{Kind: catalog.Periodic, Period: time.Hour}
	e.Releases[1].Replaces = 1
	var keys []string
	for _, x := range extras(e, base) {
		keys = append(keys, x.Key)
	}
	if !slices.Equal(keys, ours) {
		t.Error(cmp.Diff(ours, keys))
	}
}

func TestADestinationSaysWhatIsWrong(t *testing.T) {
	var paths []string
	for _, e := range (Destination{Prefix: "路"}).Check("ckan[0]") {
		paths = append(paths, e.Path)
	}
	if !slices.Equal(paths, []string{"ckan[0].prefix", "ckan[0].organization"}) {
		t.Error(paths)
	}
	if es := (Destination{Prefix: "songhua-", Organization: "traffic"}).Check(""); len(es) > 0 {
		t.Error(es)
	}
}

func index() *Index {
	late := entry("soil", "土壤墒情", "Soil moisture", catalog.Conditional)
	late.Dataset.Modified = late.Dataset.Modified.Add(time.Hour)
	draft := entry("draft", "草稿", "Draft", catalog.None)
	draft.Dataset.State = catalog.Draft
	return NewIndex(catalog.NewSnapshot(1, []*catalog.Entry{late, entry("road-temp", "路面温度监测数据", "Road temperature", catalog.Unconditional), entry("flow", "路段流量", "Flow of links", catalog.Unconditional), draft}, nil), base, nil)
}

// ask calls and reads the answer.
func ask(t *testing.T, action, query string, result any) (status int, message string) {
	t.Helper()
	q, err := url.ParseQuery(query)
	if err != nil {
		t.Fatal(err)
	}
	status, body := index().Call(action, q, "https://data.example/api/3/action/"+action)
	var a struct {
		Help    string
		Success bool
		Result  json.RawMessage
		Error   Fault
	}
	if err := json.Unmarshal(body, &a); err != nil {
		t.Fatal(err)
	}
	if a.Success != (status == 200) || a.Help == "" || (a.Error.Message == "") != a.Success {
		t.Errorf("%s %s: %d %s", action, query, status, body)
	}
	if a.Success {
		if err := json.Unmarshal(a.Result, result); err != nil {
			t.Fatal(err)
		}
	}
	return status, a.Error.Message
}

func TestSearchesFindWhatCKANWouldFind(t *testing.T) {
	for query, want := range map[string]string{
		"":                     "soil flow road-temp",
		"q=*:*&sort=name+asc":  "flow road-temp soil",
		"q=%E7%9B%91%E6%B5%8B": "road-temp",
		"q=temperature":        "road-temp",
		"q=Flow+AND+links":     "flow",
		`q="flow of"`:          "flow",
		"q=-temperature+-flow": "soil",
		"fq=open_class:unconditional&sort=name desc": "road-temp flow",
		"q=title:%E5%9C%9F%E5%A3%A4":                 "soil",
		"fq=%2Bstate:active -name:soil":              "flow road-temp",
		"fq=res_format:csv":                          "soil flow road-temp",
		"fq=tags:road&q=soil":                        "soil",
		"fq=organization:112200000000000005":         "soil flow road-temp",
		"q=nothing":                                  "",
		"rows=1&start=1&sort=title asc":              "flow",
		"rows=0":                                     "",
		"start=99":                                   "",
	} {
		var f Found
		if status, message := ask(t, "package_search", strings.ReplaceAll(query, " ", "+"), &f); status != 200 {
			t.Errorf("%s: %s", query, message)
		}
		var names []string
		for _, p := range f.Results {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s finds %q, not %q", query, got, want)
		}
	}
}

func TestWhatIsNotUnderstoodIsRefusedWithAWayOut(t *testing.T) {
	for query, want := range map[string]string{
		"q=colour:red":                    "there is no field",
		"q=a OR b":                        "not supported",
		"q=name:[a TO b]":                 "not supported",
		"q=te*":                           "not supported",
		`q="open`:                         "not closed",
		"q=title:":                        "no value",
		"rows=-1":                         "whole number",
		"start=x":                         "whole number",
		"sort=colour asc":                 "there are name",
		"sort=name up":                    "asc or desc",
		"q=" + strings.Repeat("a ", 33):   "more than 32",
		"fq=" + strings.Repeat("a", 1001): "more than 1000",
	} {
		if status, message := ask(t, "package_search", strings.ReplaceAll(query, " ", "+"), nil); status != 409 || !strings.Contains(message, want) {
			t.Errorf("%.40s: %d %s", query, status, message)
		}
	}
}

func TestPackagesAndResourcesAreShownByIdAndName(t *testing.T) {
	var names []string
	ask(t, "package_list", "offset=1&limit=1", &names)
	if !slices.Equal(names, []string{"road-temp"}) {
		t.Error(names)
	}
	var p, same Package
	ask(t, "package_show", "id=road-temp", &p)
	ask(t, "package_show", "id="+p.ID, &same)
	if !cmp.Equal(p, same) || p.Name != "road-temp" || p.NumResources != 2 {
		t.Error(cmp.Diff(p, same))
	}
	var r Resource
	ask(t, "resource_show", "id="+p.Resources[0].ID, &r)
	if !cmp.Equal(r, p.Resources[0]) || r.PackageID != p.ID {
		t.Error(cmp.Diff(p.Resources[0], r))
	}
	for _, c := range [][2]string{{"package_show", "id=draft"}, {"resource_show", "id=x"}, {"package_create", ""}} {
		if status, message := ask(t, c[0], c[1], nil); status != 404 || message == "" {
			t.Errorf("%v: %d %s", c, status, message)
		}
	}
}

// The example of RFC 9562, appendix A.4, has another namespace: this one was
// made by another implementation.
func TestAnIDIsAUUIDOfVersionFive(t *testing.T) {
	if got := ID("https://data.example/catalog/dataset/road-temp"); got != "4c1ceb34-0bc6-5048-8c4e-bc2595bf5f01" {
		t.Error(got)
	}
}

func FuzzSearch(f *testing.F) {
	for _, s := range []string{"", `title:"a b" -x +y AND z`, "*:*", "-*:*", `"`, "a:b:c", "+", "-", "AND ", "title:*"} {
		f.Add(s)
	}
	x := index()
	f.Fuzz(func(t *testing.T, s string) {
		for _, q := range []url.Values{{"q": {s}}, {"fq": {s}}, {"sort": {s}}, {"rows": {s}}} {
			if status, body := x.Call("package_search", q, ""); status != 200 && status != 409 || !json.Valid(body) {
				t.Errorf("%d %s", status, body)
			}
		}
	})
}

// A package says why its newest release replaces another, and which version was the
// last to do so where that is of another day.
func TestAPackageSaysWhatWasCorrected(t *testing.T) {
	e := entry("a", "甲", "a", catalog.Unconditional)
	day := func(n int) catalog.Period {
		from := time.Date(2026, 11, n, 16, 0, 0, 0, time.UTC)
		return catalog.Period{From: from, To: from.AddDate(0, 0, 1)}
	}
	files := []catalog.Distribution{{Name: "data.csv", MediaType: "text/csv", Size: 10, Rows: 2}}
	e.Releases = []catalog.Release{{Version: 1, Period: day(1), Files: files}, {Version: 2, Period: day(2), Files: files},
		{Version: 3, Period: day(1), Replaces: 1, Reason: catalog.Text{ZH: "更正 7（工单 t-1）", EN: "correction 7 (ticket t-1)"}, Files: files}}
	p := of(e, base)
	if want := (Extra{"last_correction", "第 3 版 / version 3, 2026-11-01T16:00:00Z；替代第 1 版 / replaces version 1: 更正 7（工单 t-1） / correction 7 (ticket t-1)"}); !slices.Contains(p.Extras, want) {
		t.Errorf("%+v", p.Extras)
	}
	if d := p.Resources[0].Description; d != "2 行 / 2 rows" {
		t.Errorf("the newest day was not corrected: %s", d)
	}
	e.Releases[2].Period = day(2)
	if d := of(e, base).Resources[0].Description; d != "2 行 / 2 rows；替代第 1 版 / replaces version 1: 更正 7（工单 t-1） / correction 7 (ticket t-1)" {
		t.Errorf("%s", d)
	}
	e.Dataset.Open.Class = catalog.None
	for _, x := range of(e, base).Extras {
		if x.Key == "last_correction" {
			t.Errorf("of what is not opened: %+v", x)
		}
	}
}
