package province

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

func platform() *Destination {
	return &Destination{Name: "吉林省政务数据共享平台",
		Share: map[string]string{"unconditional": "01", "conditional": "02", "none": "03"}, Open: map[string]string{"unconditional": "1", "conditional": "2", "none": "0"},
		Cycle: map[string]string{"continuous": "实时", "24h": "每日", "never": "不更新"}, Type: map[string]string{"number": "N", "string": "C", "datetime": "T"},
		Format: map[string]string{"text/csv": "03", "application/json": "05"}, Grade: map[string]string{"general": "一般", "important": "重要"}}
}

func entry() *catalog.Entry {
	return &catalog.Entry{Dataset: &catalog.Dataset{ID: "road-temp", Code: "307001/000123", Title: catalog.Text{ZH: "路面温度监测数据"}, Abstract: catalog.Text{ZH: "十分钟均值"},
		Provider: catalog.Provider{Name: catalog.Text{ZH: "某市交通运输局"}, Code: "112200000000000005"}, Contact: catalog.Contact{Name: catalog.Text{ZH: "数据管理员"}, Phone: "0431-12345678"},
		Path: catalog.Path{"交通", "道路", "气象", "路面"}, Share: catalog.Terms{Class: catalog.Unconditional},
		Open:  catalog.Terms{Class: catalog.Conditional, Condition: catalog.Text{ZH: "经申请"}, Scope: catalog.Text{ZH: "全部"}, Purpose: catalog.Text{ZH: "研究"}, Basis: []catalog.Law{{Title: catalog.Text{ZH: "吉林省促进大数据发展应用条例"}, Article: "第三十三条"}}},
		Cycle: catalog.Cycle{Kind: catalog.Periodic, Period: 24 * time.Hour}, Grade: telemetry.General, State: catalog.Published, Published: time.Date(2026, 10, 31, 17, 0, 0, 0, time.UTC), Related: []string{"road-temp", "gone"},
		Items: []catalog.Item{{Name: "temperature", Title: catalog.Text{ZH: "温度"}, Type: catalog.Number, Unit: "Cel", Share: catalog.Unconditional, Open: catalog.Conditional, Grade: telemetry.General},
			{Name: "station", Title: catalog.Text{ZH: "站点"}, Type: catalog.String, Length: 20, Share: catalog.Unconditional, Open: catalog.Conditional, Grade: telemetry.General}}},
		Releases: []catalog.Release{{Version: 1, Files: []catalog.Distribution{{Name: "data.csv", MediaType: "text/csv"}, {Name: "again.csv", MediaType: "text/csv"}}}},
		Live:     []catalog.Distribution{{Name: "sensorthings", MediaType: "application/json", Service: "sta"}}}
}

func TestADatasetStandsInTheTemplateInThePlatformsCodes(t *testing.T) {
	all, ps := platform().Resources(catalog.NewSnapshot(1, []*catalog.Entry{entry()}, nil))
	if len(ps) > 0 {
		t.Fatal(ps)
	}
	want := Resource{Class: "交通", Order: "道路", Division: "气象", Detail: "路面", Name: "路面温度监测数据", Code: "307001/000123", Provider: "某市交通运输局", ProviderCode: "112200000000000005", Abstract: "十分钟均值",
		Formats: []string{"03", "05"}, Share: "01", ShareMethod: "接口、文件", Open: "2", OpenTerms: "条件：经申请；范围：全部；用途：研究", Cycle: "每日", Published: "2026-11-01", Related: []string{"307001/000123"},
		Grade: "一般", Basis: "《吉林省促进大数据发展应用条例》第三十三条", Contact: "数据管理员", Phone: "0431-12345678",
		Items: []Item{{Name: "温度", Field: "temperature", Type: "N", Unit: "Cel", Share: "01", Open: "2", Grade: "一般"}, {Name: "站点", Field: "station", Type: "C", Length: "20", Share: "01", Open: "2", Grade: "一般"}}}
	if diff := cmp.Diff([]Resource{want}, all); diff != "" {
		t.Error(diff)
	}
}

func TestWhatHasNoCodeIsRefusedWithFieldValueAndWayOut(t *testing.T) {
	e := entry()
	e.Dataset.Cycle.Period = 10 * time.Minute
	e.Dataset.Items[1].Type = catalog.Place
	e.Dataset.Grade = telemetry.Core
	e.Live[0].MediaType = "application/geo+json"
	sound := entry()
	sound.Dataset.ID = "sound"
	all, ps := platform().Resources(catalog.NewSnapshot(1, []*catalog.Entry{e, sound}, nil))
	if len(all) != 1 {
		t.Errorf("%d datasets are sent, not the sound one alone", len(all))
	}
	var paths []string
	for _, p := range ps {
		paths = append(paths, p.Path)
		for _, s := range []string{p.ZH, p.EN} {
			if !strings.Contains(s, "吉林省政务数据共享平台") || !strings.ContainsAny(s, `"`) || strings.Contains(s, "%!") {
				t.Error(s)
			}
		}
		if !strings.Contains(p.EN, "configuration") || !strings.Contains(p.ZH, "配置") {
			t.Errorf("no way out: %v", p)
		}
	}
	if want := []string{"road-temp.cycle", "road-temp.grade", "road-temp.format", "road-temp.items[1].type"}; !slices.Equal(paths, want) {
		t.Error(paths)
	}
}

func TestCodesForWhatDoesNotExistAreFaultsOfTheConfiguration(t *testing.T) {
	d := platform()
	d.Name, d.Share["some"], d.Cycle["daily"], d.Grade["core"] = "", "09", "1", " "
	var paths []string
	for _, e := range d.Check("catalog.destinations[0]") {
		paths = append(paths, strings.TrimPrefix(e.Path, "catalog.destinations[0]."))
	}
	if want := []string{"name", "share.some", "cycle.daily", "grade.core"}; !slices.Equal(paths, want) {
		t.Error(paths)
	}
	if es := platform().Check(""); len(es) > 0 {
		t.Error(es)
	}
}

var cell = rapid.OneOf(rapid.SampledFrom([]string{"", "路面", "a,b", "line\nfeed", `"quoted"`, " space ", "\uFEFF", "=1+1"}), rapid.StringMatching(`[ -~\p{Han}]{0,12}`))

// aResource is one that can be made: codes have no separator within, and what is
// not there is an empty list.
var aResource = rapid.Custom(func(t *rapid.T) Resource {
	code := rapid.StringMatching(`[0-9A-Z\p{Han}]{1,4}`)
	r := Resource{Class: cell.Draw(t, "class"), Name: cell.Draw(t, "name"), Code: rapid.StringMatching(`[0-9]{6}/[0-9]{6}`).Draw(t, "code"), Abstract: cell.Draw(t, "abstract"), ShareTerms: cell.Draw(t, "terms"), Phone: cell.Draw(t, "phone"),
		Formats: rapid.SliceOfN(code, 0, 3).Draw(t, "formats"), Related: rapid.SliceOfN(code, 0, 3).Draw(t, "related"), Items: []Item{}}
	for range rapid.IntRange(0, 3).Draw(t, "items") {
		r.Items = append(r.Items, Item{Name: cell.Draw(t, "item"), Field: "x" + cell.Draw(t, "field"), Type: code.Draw(t, "type"), Unit: cell.Draw(t, "unit")})
	}
	return r
})

func TestWhatIsWrittenReadsBackAsItWas(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfNDistinct(aResource, 0, 4, func(r Resource) string { return r.Code }).Draw(t, "resources")
		b, err := JSON(all)
		if err != nil {
			t.Fatal(err)
		}
		var back []Resource
		if err := json.Unmarshal(b, &back); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, back); diff != "" {
			t.Fatalf("JSON: %s", diff)
		}
		if b, err = CSV(all); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(all, readCSV(t, b)); diff != "" {
			t.Fatalf("CSV: %s", diff)
		}
	})
}

// readCSV reads the template as a platform does, by the names of its columns.
func readCSV(t *rapid.T, b []byte) []Resource {
	rest, marked := bytes.CutPrefix(b, []byte("\uFEFF"))
	if !marked {
		t.Fatal("there is no byte order mark")
	}
	rows, err := csv.NewReader(bytes.NewReader(rest)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	all := []Resource{}
	for _, row := range rows[1:] {
		get := func(name string) string { return row[slices.Index(rows[0], name)] }
		list := func(name string) []string {
			if get(name) == "" {
				return []string{}
			}
			return strings.Split(get(name), separator)
		}
		r := Resource{Class: get("类"), Order: get("项"), Division: get("目"), Detail: get("细目"), Name: get("信息资源名称"), Code: get("信息资源代码"), Provider: get("信息资源提供方"), ProviderCode: get("信息资源提供方代码"), Abstract: get("信息资源摘要"),
			Formats: list("信息资源格式"), Share: get("共享类型"), ShareTerms: get("共享条件"), ShareMethod: get("共享方式"), Open: get("是否向社会开放"), OpenTerms: get("开放条件"), Cycle: get("更新周期"), Published: get("发布日期"), Related: list("关联资源代码"),
			Grade: get("数据分级"), Basis: get("依据"), Contact: get("咨询"), Phone: get("联系电话"), Items: []Item{}}
		if len(all) == 0 || all[len(all)-1].Code != r.Code {
			all = append(all, r)
		}
		it := Item{Name: get("信息项名称"), Field: get("信息项英文名称"), Type: get("数据类型"), Length: get("数据长度"), Unit: get("计量单位"), Share: get("信息项共享类型"), Open: get("信息项是否向社会开放"), Grade: get("信息项数据分级")}
		if it != (Item{}) {
			last := &all[len(all)-1]
			last.Items = append(last.Items, it)
		}
	}
	return all
}
