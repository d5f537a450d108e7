package web

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/records"
)

// library is a register with datasets of every sort, and what lies beside them.
type library struct {
	*register.Register
	t        *testing.T
	now      time.Time
	snapshot *catalog.Snapshot
	broken   bool // rows, reports and qualities cannot be read
}

const everything, nothing, asked2, shut, dark, ended = "road-flow-changchun", "old-wells", "bus-signals", "substation-load", "river-gauge-lost", "snow-depth-old"

var basis = []register.Law{{Title: register.Text{ZH: "吉林省大数据条例", EN: "Big-data regulation of Jilin province"}, Article: "第三十三条第五款"}}

// newLibrary opens a register and fills it.
func newLibrary(t *testing.T, db *records.DB) *library {
	t.Helper()
	l := &library{t: t, now: time.Date(2026, 9, 18, 2, 0, 0, 0, time.UTC)} // a Friday
	var err error
	l.Register, err = register.Open(t.Context(), register.DefaultConfig(), register.Deps{
		Changed:   func(string) {},
		Records:   db,
		Noted:     func(ctx context.Context, _ access.Action, _, _ string, _, _ any) context.Context { return ctx },
		Selection: selectionOf,
		Series: func(_ context.Context, selector string, _ int) ([]register.Series, error) {
			if strings.Contains(selector, "wrong") {
				return nil, errors.New("nothing is selected")
			}
			return []register.Series{{Metric: "air_temperature_celsius", Labels: map[string]string{"device": "air-1", "region": "220100"}, Unit: "Cel", Period: time.Minute}}, nil
		},
		Metric: func(string) register.Metric {
			return register.Metric{Title: register.Text{ZH: "气温", EN: "Air temperature"}, Unit: "Cel"}
		},
		Seal:   func(plain []byte, binding string) []byte { return append([]byte(binding+"|"), plain...) },
		Unseal: func(sealed []byte, binding string) ([]byte, error) { return sealed[len(binding)+1:], nil },
		Log:    slog.New(slog.DiscardHandler), Clock: func() time.Time { return l.now }, Metrics: prometheus.NewRegistry(),
	})
	l.check(err)
	for _, d := range shelves() {
		l.publish(d)
	}
	l.take()
	return l
}

func (l *library) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

func selectionOf(s string) (all register.Selection, err error) {
	name, rest, _ := strings.Cut(s, "{")
	all = append(all, register.Matcher{Label: "__name__", Is: "=", Value: name})
	for pair := range strings.SplitSeq(strings.TrimSuffix(rest, "}"), ",") {
		if label, value, ok := strings.Cut(pair, "="); ok {
			all = append(all, register.Matcher{Label: label, Is: "=", Value: strings.Trim(value, `'"`)})
		}
	}
	return all, nil
}

func (l *library) publish(d register.Document) {
	l.t.Helper()
	ctx := access.WithCaller(l.t.Context(), access.Caller{Name: "steward", Role: access.Steward})
	r, err := l.Put(ctx, d, 0)
	l.check(err)
	if d.ID == "half-written" {
		return
	}
	_, err = l.Submit(ctx, r.ID, 0)
	l.check(err)
	if d.ID == "waits-for-review" {
		return
	}
	_, err = l.Sign(ctx, r.ID, 0, register.Signing{By: "李敏"})
	l.check(err)
	_, err = l.Publish(ctx, r.ID, 0)
	l.check(err)
	switch d.ID {
	case dark:
		_, err = l.Suspend(ctx, r.ID, 0, "水位计故障，数据待核实 · the gauge is faulty")
	case ended:
		_, err = l.Withdraw(ctx, r.ID, 0, "已并入新的积雪数据集 · it is part of another dataset now")
	}
	l.check(err)
}

// shelves are the documents of the library.
func shelves() (all []register.Document) {
	provider := func(zh, en, code string) register.Provider {
		return register.Provider{Name: register.Text{ZH: zh, EN: en}, Code: code}
	}
	traffic := provider("长春市公安局交通警察支队", "Changchun Traffic Police", "91220101MA00000000")
	farm := provider("吉林省农业农村厅", "Department of Agriculture of Jilin", creditCode("11220000MB1C5G1XX"))
	air := provider("长春市生态环境局", "Changchun Bureau of Environment", creditCode("11220100MB1234567"))
	power := provider("吉林省能源局", "Energy Bureau of Jilin", creditCode("11220000MB7654321"))
	text := func(zh, en string) register.Text { return register.Text{ZH: zh, EN: en} }
	open, asked := register.Terms{Class: "unconditional"}, func(class string) register.Terms {
		return register.Terms{Class: class, Condition: text("登记使用单位与用途", "The user and the use are on record"), Scope: text("实时接口，每分钟至多 60 次", "The live interface, at most 60 requests a minute"), Purpose: text("交通研究与出行服务", "Research and services for people on the road"), Basis: basis}
	}
	at := register.Item{Name: "time", Title: text("时间", "Time"), Type: "datetime"}
	key := func(name, zh, en string) register.Item {
		return register.Item{Name: name, Title: text(zh, en), Type: "string", Length: 64}
	}
	number := func(name, zh, en, unit string) register.Item {
		return register.Item{Name: name, Title: text(zh, en), Type: "number", Unit: unit, Empty: text("未测得", "not measured")}
	}
	place := register.Item{Name: "place", Title: text("位置", "Place"), Type: "geometry"}
	add := func(id, zh, en, about, aboutEN string, p register.Provider, path []string, region string, open, share register.Terms, bin, cycle string, items ...register.Item) *register.Document {
		if en != "" {
			en += " (" + id + ")"
		}
		d := register.Document{ID: id, Title: text(zh, en), Abstract: text(about, aboutEN), Region: region, Provider: p, Path: path, Open: open, Share: share, Items: items,
			Contact: register.Contact{Name: text("数据服务科", "Data office"), Phone: "0431-88888888", Email: "data@example.gov.cn"}, Licence: "https://creativecommons.org/licenses/by/4.0/",
			Source: register.Source{Kind: "series", Selector: strings.ReplaceAll(id, "-", "_") + `{region="` + region + `"}`, Bin: bin, Function: "avg", By: []string{"device"}}, Cycle: register.Cycle{Kind: "periodic", Period: cycle}, Retention: "43800h",
			Keywords: []register.Text{text(path[0], "")}}
		all = append(all, d)
		return &all[len(all)-1]
	}
	d := add(everything, "长春市主干路交通流量与速度", "Traffic flow and speed on Changchun's main roads", "各路段每十五分钟的车流量与平均车速，由路侧单元统计，经隐私门控发布：任一数值至少来自十辆不同的车。适用于交通规划、出行服务与学术研究。", "Vehicles and mean speed of each link every fifteen minutes, counted by roadside units and published through the privacy gate: every number is made of at least ten different vehicles. For planning, services on the road, and research.",
		traffic, []string{"交通", "道路运行"}, "220100", open, open, "15m", "24h", at, key("link", "路段", "Link"), number("flow", "流量", "Flow", "{vehicles}/h"), number("speed", "平均车速", "Mean speed", "km/h"), place)
	d.Source.Kind, d.Source.Selector, d.Related = "roads", "", []string{asked2, nothing}
	d.Keywords = []register.Text{text("车流量", "traffic flow"), text("车速", "speed"), text("路侧单元", "roadside units")}
	add("soil-moisture-farm", "示范农场土壤墒情", "Soil moisture of the demonstration farm", "示范农场各探头每小时的土壤含水量与温度。", "Water content and temperature of the soil, by the hour and probe.", farm, []string{"农业", "墒情"}, "220200", open, open, "1h", "24h", at, key("probe", "探头", "Probe"), number("moisture", "土壤含水量", "Soil moisture", "%"), number("temperature", "土壤温度", "Soil temperature", "Cel"))
	add("air-by-district", "分区空气质量小时值", "Hourly air quality by district", "各区每小时 PM2.5、PM10、臭氧与气温均值。", "Hourly means of PM2.5, PM10, ozone and temperature, by district.", air, []string{"环境", "空气质量"}, "220100", open, open, "1h", "1h", at, key("district", "区", "District"), number("pm25", "细颗粒物", "PM2.5", "ug/m3"), number("temperature", "气温", "Air temperature", "Cel"))
	d = add(asked2, "公交优先信号实时状态", "Live signals of the bus corridor", "人民大街公交走廊各路口信号灯的实时状态与倒计时。", "Lights and countdowns of the bus corridor, as they happen.", traffic, []string{"交通", "信号控制"}, "220100", asked("conditional"), asked("conditional"), "", "", at, key("phase", "相位", "Phase"), number("countdown", "倒计时", "Countdown", "s"))
	d.Source.Kind, d.Source.Selector, d.Source.Live, d.Cycle, d.Source.By = "signals", "", true, register.Cycle{Kind: "continuous"}, nil
	d = add(shut, "变电站负荷", "Load of substations", "重点变电站的负荷，仅供电力调度与应急部门共享使用。", "Load of substations, shared with those who run and protect the grid only.", power, []string{"能源", "电力"}, "22", register.Terms{Class: "none", Basis: basis}, asked("conditional"), "15m", "24h", at, key("station", "站", "Station"), number("load", "负荷", "Load", "MW"))
	d.Grade, d.Harm, d.Licence = "important", []register.Harm{{Interest: "economy", Degree: "serious"}}, ""
	d = add(nothing, "农村老井登记", "Register of old wells", "历史水井位置登记表。", "", farm, []string{"水利"}, "22", open, open, "", "", key("well", "井", "Well"))
	d.Cycle, d.Keywords, d.Source.Function = register.Cycle{Kind: "never"}, nil, ""
	add("compute-energy", "算力设施能耗与碳排放", "Energy and carbon of computing facilities", "各算力设施每小时的负荷、能耗与碳排放强度。", "Load, energy and carbon intensity of computing facilities, by the hour.", power, []string{"算力", "数据中心"}, "22", open, open, "1h", "24h", at, key("facility", "设施", "Facility"), number("energy", "能耗", "Energy", "kW.h"), number("carbon", "碳排放", "Carbon", "kg"))
	add("heat-stations", "供热站运行", "Operation of heating stations", "供热站的供回水温度。", "Flow and return temperatures of heating stations.", power, []string{"能源", "供热"}, "220100", asked("conditional"), open, "15m", "24h", at, key("station", "站", "Station"), number("supply", "供水温度", "Supply", "Cel"))
	add("road-surface", "路面温度与结冰", "Road surface temperature and ice", "国省道路面温度、湿滑与结冰状态。", "Temperature, wetness and ice of trunk roads.", traffic, []string{"交通", "道路运行"}, "22", open, open, "15m", "1h", at, key("site", "站点", "Site"), number("surface", "路面温度", "Surface temperature", "Cel"))
	add("river-level", "松花江水位", "Level of the Songhua river", "松花江干流各站水位。", "Level of the river at each gauge.", air, []string{"水利", "水质"}, "22", open, open, "1h", "1h", at, key("gauge", "站", "Gauge"), number("level", "水位", "Level", "m"))
	add("forest-weather", "长白山林区气象", "Weather of the Changbai forests", "林区气象站每小时观测。", "Hourly observations of stations in the forests.", farm, []string{"林业", "气象"}, "222400", open, open, "1h", "24h", at, key("station", "站", "Station"), number("wind", "风速", "Wind", "m/s"))
	add("parking-turnover", "公共停车场周转", "Turnover of public car parks", "公共停车场每小时进出车次。", "Cars in and out of public car parks, by the hour.", traffic, []string{"交通", "停车"}, "220100", open, open, "1h", "24h", at, key("park", "停车场", "Car park"), number("turnover", "进出车次", "Turnover", "{cars}"))
	add(dark, "辉发河水位", "Level of the Huifa river", "辉发河各站水位。", "Level of the Huifa river.", air, []string{"水利"}, "220500", open, open, "1h", "1h", at, key("gauge", "站", "Gauge"), number("huifa", "水位", "Level", "m"))
	add(ended, "积雪深度（旧）", "Depth of snow, old", "人工积雪观测。", "Snow as it was measured by hand.", farm, []string{"气象"}, "222400", open, open, "24h", "24h", at, number("snow", "雪深", "Depth", "cm"))
	add("waits-for-review", "隧道照明用电", "Power of tunnel lights", "隧道照明用电。", "Power of the lights in tunnels.", power, []string{"能源", "电力"}, "220100", open, open, "1h", "24h", at, key("tunnel", "隧道", "Tunnel"), number("power", "功率", "Power", "kW"))
	half := add("half-written", "桥梁应变", "", "", "", provider("", "", ""), []string{"交通"}, "220100", open, open, "1h", "", number("strain", "", "", "um/m"))
	half.Contact, half.Licence = register.Contact{}, ""
	for i := range all {
		if all[i].ID == nothing {
			all[i].Title.EN, all[i].Abstract.EN = "Wells ("+nothing+")", ""
			all[i].Items[0].Title.EN, all[i].Items[0].Length = "", 0
			all[i].Retention = ""
		}
	}
	return all
}

// creditCode adds the check character of GB 32100 to 17 others.
func creditCode(s string) string {
	for _, c := range "0123456789ABCDEFGHJKLMNPQRTUWXY" {
		if catalog.CreditCode(s+string(c)).Check() == nil {
			return s + string(c)
		}
	}
	return s
}

// take makes the snapshot of what the register has published.
func (l *library) take() {
	var entries []*catalog.Entry
	for _, d := range l.Published() {
		entries = append(entries, l.entry(d))
	}
	l.snapshot = catalog.NewSnapshot(7, entries, []catalog.Service{{ID: "sensorthings", Title: catalog.Text{ZH: "OGC SensorThings 1.1", EN: "OGC SensorThings 1.1"}, Endpoint: "https://data.example.gov.cn/sensorthings/v1.1/", Standard: "https://docs.ogc.org/is/18-088/18-088.html"}})
}

func (l *library) entry(d *catalog.Dataset) *catalog.Entry {
	e := &catalog.Entry{Dataset: d}
	if d.ID == nothing {
		return e
	}
	midnight := time.Date(2026, 9, 17, 16, 0, 0, 0, time.UTC)
	days := 3
	if d.ID == everything {
		days = 16
	}
	for i := range days {
		from := midnight.AddDate(0, 0, i-days)
		r := catalog.Release{Version: int64(i + 1), Period: catalog.Period{From: from, To: from.AddDate(0, 0, 1)}, Made: from.AddDate(0, 0, 1).Add(20 * time.Minute)}
		if i == days-1 && d.ID == everything {
			r.Replaces, r.Reason, r.Period = int64(days-1), catalog.Text{ZH: "三个路侧单元的数据迟到，补入后重新统计。", EN: "Data of three roadside units came late and were added."}, catalog.Period{From: from.AddDate(0, 0, -1), To: from}
		}
		rows := int64(960 + 7*i)
		for _, f := range []struct{ name, media string }{{"data.csv", "text/csv"}, {"data.parquet", "application/vnd.apache.parquet"}, {"data.geojson", "application/geo+json"}, {"data.csv-metadata.json", "application/csvm+json"}} {
			if f.name == "data.geojson" && d.ID != everything {
				continue
			}
			file := catalog.Distribution{Name: f.name, MediaType: f.media, SHA256: sha256.Sum256([]byte(d.ID + f.name)), Size: 12_345 * int64(1+len(f.name)), Rows: rows}
			if strings.HasSuffix(f.name, "json") && f.name != "data.geojson" {
				file.Rows, file.Size = 0, 1830
			}
			r.Files = append(r.Files, file)
		}
		e.Releases = append(e.Releases, r)
	}
	if d.Source.Live || d.ID == "air-by-district" {
		e.Live = []catalog.Distribution{{Name: "sensorthings", MediaType: "application/json", Service: "sensorthings", URL: "https://data.example.gov.cn/sensorthings/v1.1/Datastreams?$filter=startswith(name,'" + d.ID + "')"}}
	}
	e.Coverage = catalog.Coverage{Time: catalog.Period{From: midnight.AddDate(0, -3, 0), To: midnight}, Area: areaOf(d.Region)}
	for _, m := range l.history() {
		if m.At.After(midnight.Add(-25 * time.Hour)) {
			e.Measurements = append(e.Measurements, m)
		}
	}
	return e
}

func areaOf(region string) *catalog.Box {
	switch region {
	case "220100":
		return &catalog.Box{West: 125.18, South: 43.78, East: 125.48, North: 43.98}
	case "222400":
		return &catalog.Box{West: 127.45, South: 41.98, East: 130.2, North: 43.7}
	case "220200":
		return &catalog.Box{West: 126.51, South: 43.80, East: 126.512, North: 43.801}
	}
	return &catalog.Box{West: 121.7, South: 40.9, East: 131.2, North: 46.2}
}

func (l *library) history() (all []catalog.Measurement) {
	midnight := time.Date(2026, 9, 17, 16, 0, 0, 0, time.UTC)
	for i := range 30 {
		at, x := midnight.AddDate(0, 0, i-29), float64(i)
		for d, v := range map[catalog.Dimension]float64{
			catalog.Completeness: .985 + .012*math.Sin(x/3), catalog.Timeliness: 40 + 25*math.Sin(x/5) + x, catalog.Validity: .9991, catalog.Consistency: .996 + .003*math.Cos(x), catalog.Accessibility: 1,
		} {
			if i == 12 && d == catalog.Completeness {
				v = .81
			}
			all = append(all, catalog.Measurement{Dimension: d, Value: v, At: at})
		}
	}
	return all
}

var errBroken = errors.New("the disk is gone")

// catalogue is what the pages are given.
func (l *library) catalogue() Catalogue {
	return Catalogue{
		Steps: stepsOf, Classes: map[string]catalog.Text{"交通-停车": {ZH: "停车场", EN: "Car parks"}},
		Register: l.Register, Snapshot: func() *catalog.Snapshot { return l.snapshot }, Base: "https://data.example.gov.cn",
		Rows: func(_ context.Context, dataset string, _ int64) (*release.Table, error) {
			if l.broken {
				return nil, errBroken
			}
			return l.table(dataset), nil
		},
		Privacy: func(_ context.Context, dataset string, version int64) ([]byte, error) {
			if l.broken {
				return nil, errBroken
			}
			if dataset != everything {
				return nil, nil
			}
			return l.report(dataset, version)
		},
		Quality: func(_ context.Context, dataset string) (*Quality, error) {
			if l.broken {
				return nil, errBroken
			}
			if dataset == nothing {
				return nil, nil
			}
			q := &Quality{History: l.history(), Compared: []Comparison{
				{What: catalog.Text{ZH: "更新周期", EN: "Update cycle"}, Declared: catalog.Text{ZH: "每天", EN: "daily"}, Measured: catalog.Text{ZH: "24 小时 20 分", EN: "24 h 20 min"}, Holds: true},
				{What: catalog.Text{ZH: "信息项数量", EN: "Items"}, Declared: catalog.Text{ZH: "5", EN: "5"}, Measured: catalog.Text{ZH: "5", EN: "5"}, Holds: true},
			}}
			if dataset == everything {
				q.Compared = append(q.Compared, Comparison{What: catalog.Text{ZH: "时间粒度", EN: "Resolution"}, Declared: catalog.Text{ZH: "15 分钟", EN: "15 min"}, Measured: catalog.Text{ZH: "2 个路段为 30 分钟", EN: "30 min on 2 links"}, Since: l.now.AddDate(0, 0, -2)})
			}
			return q, nil
		},
		Between: func(_ context.Context, _ string, before, after int64, g *register.Grant) (*Difference, error) {
			switch {
			case before == 1:
				return nil, errBroken
			case g != nil:
				return &Difference{Added: 3, Removed: 2, Same: 43, Unkeyed: true}, nil
			}
			return &Difference{Changed: 24, Same: 936, NewItems: []string{"wet"}, Examples: []ChangedValue{{"2026-09-16 08:15 · 人民大街北段", "flow", "412", "431"}}}, nil
		},
		Granted: func(g *register.Grant) []GrantedRelease {
			day := release.Period{From: l.now.AddDate(0, 0, -1), To: l.now}
			return []GrantedRelease{
				{&release.Manifest{Dataset: g.Dataset, Version: 9, Period: day, Cut: &release.Cut{Items: g.Scope.Items, Area: "220102"}, Columns: []release.ColumnInfo{{Name: "time"}}, Files: []release.File{{Name: "data.csv", MediaType: "text/csv"}}}, false},
				{&release.Manifest{Dataset: g.Dataset, Version: 8, Period: day, Key: []string{"time"}, Cut: &release.Cut{Area: "220102"}, Columns: []release.ColumnInfo{{Name: "time"}, {Name: "phase"}}, Files: []release.File{{Name: "data.parquet", MediaType: "application/vnd.apache.parquet", Size: 2048, Rows: 7, SHA256: strings.Repeat("cd", 32)}}}, true},
				{&release.Manifest{Dataset: g.Dataset, Version: 7, Period: day, Files: []release.File{{Name: "data.csv", MediaType: "text/csv", Size: 4096, Rows: 70, SHA256: strings.Repeat("ab", 32)}}}, true},
			}
		},
		Difference: func(_ context.Context, dataset string, _ int64) (*Difference, error) {
			if l.broken {
				return nil, errBroken
			}
			return &Difference{Added: 12, Changed: 34, Examples: []ChangedValue{{"2026-09-16 08:15 · 人民大街北段", "flow", "412", "431"}, {"2026-09-16 08:30 · 人民大街北段", "flow", "", "455"}, {"2026-09-16 08:15 · 自由大路", "speed", "31.2", "30.8"}}}, nil
		},
	}
}

func (l *library) report(dataset string, version int64) ([]byte, error) {
	r := gate.Report{Format: gate.ReportFormat, Dataset: dataset, Version: version, At: "2026-09-17T16:20:00Z", Reviewer: "李敏", Bound: 8,
		Method: gate.Text{ZH: "按贡献者数门限和最大占比隐藏单元格；再补充隐藏，使被隐藏的单元格无法由合计、历次版本和相关数据集推出。", EN: "Cells below the threshold of contributors, or dominated by one, are withheld, and others with them, so that none follows from totals, earlier versions or overlapping datasets."},
		Policy: gate.ReportPolicy{Name: "vehicle-flow", K: 10, MaxSharePercent: 50, MinBin: 900, Delay: 900, Zones: 3}, Cells: gate.ReportCells{Total: 960, Shown: 911, Withheld: 49, WithheldPermille: 52, SmallestK: 11},
		Noise: &gate.ReportNoise{Distribution: "two_sided_geometric", MicroEpsilon: 500_000, Days: 1, Covers: 8, Spent: 750_000, Budget: 1_000_000}, Table: strings.Repeat("ab", 32),
		Attacks: []gate.Finding{{Attack: "below_k", Tried: 911, Detail: gate.Text{ZH: "检查所有发布的单元", EN: "looks at every shown cell"}}, {Attack: "differencing", Tried: 13_665, Detail: gate.Text{ZH: "与先前的发布相减", EN: "subtracts earlier tables"}}, {Attack: "unicity", Tried: 5_000}}}
	r.Checks.Earlier, r.Checks.Proven = 15, 98
	var err error
	if r.SHA256, err = gate.Hash(&r); err != nil {
		return nil, err
	}
	return gate.Canonical(&r)
}

// table is rows for the items of a dataset: a day of some places.
func (l *library) table(dataset string) *release.Table {
	rec, err := l.Get(dataset)
	if err != nil {
		return nil
	}
	d := rec.Dataset()
	names := []string{"人民大街北段", "自由大路", "解放大路", "卫星路", "南湖大路", "亚泰大街", "工农大路", "西安大路"}
	t := &release.Table{}
	start := time.Date(2026, 9, 16, 16, 0, 0, 0, time.UTC)
	for _, it := range d.Items {
		c := release.Column{Item: it}
		for step := range 96 {
			for k, name := range names {
				h := float64(step) / 4
				v := 300 + 60*float64(k) + 500*math.Exp(-math.Pow(h-8, 2)/4) + 450*math.Exp(-math.Pow(h-17.5, 2)/5) - 220*math.Exp(-math.Pow(h-3, 2)/8)
				if strings.Contains(it.Name, "speed") || it.Unit == "Cel" || it.Unit == "%" {
					v = 52 - v/30 + 2*float64(k%3)
				}
				absent := k == 2 && step > 40 && step < 52
				switch it.Type {
				case catalog.Instant:
					c.Integers, absent = append(c.Integers, start.Add(time.Duration(step)*15*time.Minute).UnixMilli()), false
				case catalog.String:
					c.Strings, absent = append(c.Strings, name), false
				case catalog.Place:
					x, y := 125.22+.03*float64(k), 43.82+.017*float64(k%4)
					c.Strings, absent = append(c.Strings, fmt.Sprintf(`{"type":"LineString","coordinates":[[%.5f,%.5f],[%.5f,%.5f]]}`, x, y, x+.03, y+.01*float64(k%3))), false
				default:
					if absent {
						v = 0
					}
					c.Numbers = append(c.Numbers, math.Round(10*v)/10)
				}
				c.Absent = append(c.Absent, absent)
			}
		}
		t.Columns, t.Rows = append(t.Columns, c), 96*len(names)
	}
	return t
}

func (l *library) clock() time.Time { return l.now }

func containsQuery(path string) bool { return strings.Contains(path, "?") }

// ask files applications and objections: one late, one under review, one granted,
// an objection with an answer and one that nobody has answered.
func (l *library) ask(t *testing.T) {
	t.Helper()
	ctx := access.WithCaller(t.Context(), access.Caller{Name: "ops", Role: access.Admin})
	a := register.Application{Dataset: asked2, Way: register.Opening, Body: register.Provider{Name: register.Text{ZH: "吉林大学交通学院", EN: "Jilin University, school of transport"}, Code: "91220101MA00000000"}, Purpose: "信号优先对公交准点率影响的研究\n第二期课题。"}
	for i := range 3 {
		_, err := l.Apply(ctx, a)
		l.check(err)
		if i == 0 {
			l.now = noon.Add(-48 * time.Hour)
		}
	}
	_, err := l.Checked(ctx, "g-2", 0, true, register.Text{})
	l.check(err)
	_, err = l.Review(ctx, "g-2", 0, "用途明确，建议限定每分钟 60 次。")
	l.check(err)
	_, err = l.Checked(ctx, "g-3", 0, true, register.Text{})
	l.check(err)
	_, err = l.Decide(ctx, "g-3", 0, register.Verdict{Grant: true, Reason: register.Text{ZH: "符合开放条件。", EN: "It meets the conditions."}, Law: basis})
	l.check(err)
	for _, text := range []string{"9 月 16 日 08:15 人民大街北段的流量明显偏低。", "自由大路缺少晚高峰数据。"} {
		_, _, err := l.File(ctx, register.Filing{Kind: register.WrongData, Dataset: everything, Contact: "0431-12345678", Text: text})
		l.check(err)
	}
	_, err = l.Answer(ctx, "t-1", 0, "已核实，路侧单元数据迟到，正在补入并将发布新版本。")
	l.check(err)
}

// contrast is that of two colours by WCAG 2.1.
func contrast(a, b string) float64 {
	x, y := luminance(a), luminance(b)
	return (max(x, y) + .05) / (min(x, y) + .05)
}

func luminance(hex string) (l float64) {
	hex = strings.TrimPrefix(hex, "#")
	if len(hex) == 3 {
		hex = string([]byte{hex[0], hex[0], hex[1], hex[1], hex[2], hex[2]})
	}
	for i, weight := range []float64{.2126, .7152, .0722} {
		var v int
		fmt.Sscanf(hex[2*i:2*i+2], "%x", &v)
		c := float64(v) / 255
		if c <= .03928 {
			l += weight * c / 12.92
		} else {
			l += weight * math.Pow((c+.055)/1.055, 2.4)
		}
	}
	return l
}
