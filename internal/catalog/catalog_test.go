package catalog

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// sound is a dataset that may be submitted.
func sound() *Dataset {
	law := []Law{{Title: Text{ZH: "吉林省促进大数据发展应用条例"}, Article: "第二十九条"}}
	return &Dataset{
		ID: "road-temperature-220100", Title: Text{"路面温度监测数据", "Road temperature 220100"}, Abstract: Text{ZH: "路侧传感器路面温度，十分钟均值"},
		Provider: Provider{Text{ZH: "某市交通运输局"}, "112200000000000005"}, Contact: Contact{Name: Text{ZH: "数据管理员"}, Phone: "0431-12345678"},
		Path: Path{"交通", "道路", "气象", "路面"}, Cycle: Cycle{10 * time.Minute, Periodic}, Licence: "https://creativecommons.org/licenses/by/4.0/", Grade: telemetry.General,
		Items:  []Item{{Name: "temperature", Title: Text{ZH: "温度"}, Type: Number, Unit: "Cel", Share: Unconditional, Open: Conditional, Grade: telemetry.General}},
		Share:  Terms{Class: Unconditional},
		Open:   Terms{Class: Conditional, Condition: Text{ZH: "经申请"}, Scope: Text{ZH: "全部"}, Purpose: Text{ZH: "研究"}, Basis: law},
		Source: Source{Kind: SourceSeries, Selector: `road_temperature`, Bin: 10 * time.Minute, Function: Mean},
	}
}

func TestASoundDatasetMayBeSubmitted(t *testing.T) {
	d := sound()
	d.Provider.Code = withCheck("11220000MB0000000")
	if ps := d.Check(true); len(ps) > 0 {
		t.Error(ps)
	}
}

// withCheck adds the check character.
func withCheck(code string) CreditCode {
	for _, c := range creditAlphabet {
		if full := CreditCode(code + string(c)); full.Check() == nil {
			return full
		}
	}
	panic(code)
}

func TestWhatTheLawForbidsIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Dataset)
		at     string
	}{
		"opened further than shared":        {func(d *Dataset) { d.Share.Class, d.Share.Basis = None, d.Open.Basis }, "open.class"},
		"an item opened further":            {func(d *Dataset) { d.Items[0].Share = None }, "items[0].open"},
		"wider than its strictest item":     {func(d *Dataset) { d.Items[0].Open = None }, "open.class"},
		"conditional without a basis":       {func(d *Dataset) { d.Open.Basis = nil }, "open.basis"},
		"conditional without its condition": {func(d *Dataset) { d.Open.Condition = Text{} }, "open.condition.zh"},
		"live data for everybody, on no ground": {func(d *Dataset) {
			d.Open = Terms{Class: Unconditional}
			d.Items[0].Open, d.Source.Live = Unconditional, true
		}, "open.class"},
		"important data for everybody": {func(d *Dataset) {
			d.Open.Class, d.Items[0].Open, d.Grade = Unconditional, Unconditional, telemetry.Important
		}, "open.class"},
		"an item above its dataset":        {func(d *Dataset) { d.Items[0].Grade = telemetry.Core }, "items[0].grade"},
		"a grade below its harm":           {func(d *Dataset) { d.Harm = []Harm{{Persons, VerySerious}, {Economy, Serious}} }, "grade"},
		"a wrong check digit":              {func(d *Dataset) { d.Provider.Code = "11220000MB000000XX" }, "provider.code"},
		"no title":                         {func(d *Dataset) { d.Title.ZH = "" }, "title.zh"},
		"two items of one name":            {func(d *Dataset) { d.Items = append(d.Items, d.Items[0]) }, "items[1].name"},
		"a bin that does not divide a day": {func(d *Dataset) { d.Source.Bin = 7 * time.Minute }, "source.bin"},
	} {
		d := sound()
		d.Provider.Code = withCheck("11220000MB0000000")
		c.change(d)
		ps := d.Check(true)
		if !slices.ContainsFunc(ps, func(p Problem) bool { return p.Path == c.at && p.ZH != "" && p.EN != "" }) {
			t.Errorf("%s: %v", name, ps)
		}
	}
}

// Live data are conditional by default: a ground that is named opens them.
func TestAGroundOpensLiveData(t *testing.T) {
	d := sound()
	d.Provider.Code = withCheck("11220000MB0000000")
	d.Open = Terms{Class: Unconditional, Basis: d.Open.Basis}
	d.Items[0].Open, d.Source.Live = Unconditional, true
	if ps := d.Check(true); len(ps) > 0 || len(d.Open.Basis) == 0 {
		t.Error(ps)
	}
}

// Codes that are in use, and one character wrong at a time.
func TestCreditCodes(t *testing.T) {
	for _, code := range []CreditCode{"91350100M000100Y43", "91110000600037341L"} {
		if err := code.Check(); err != nil {
			t.Errorf("%s: %v", code, err)
			continue
		}
		for i := range code {
			for _, c := range creditAlphabet {
				if other := string(code[:i]) + string(c) + string(code[i+1:]); other != string(code) && CreditCode(other).Check() == nil {
					t.Errorf("%s passes", other)
				}
			}
		}
	}
	if err := CreditCode("91350100M000100I43").Check(); err == nil || !strings.Contains(err.Error(), "I") {
		t.Error(err)
	}
}

func TestWorkflow(t *testing.T) {
	if Withdrawn.May(Published) || !Submitted.May(Published) || Draft.May(Published) {
		t.Error("a dataset goes where it may not")
	}
}
