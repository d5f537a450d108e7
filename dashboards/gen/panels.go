package main

import "strings"

// text is what people read, in both languages.
type text struct{ en, zh string }

// board is a dashboard in the making: panels are placed from left to right
// and wrap at Grafana's 24 columns.
type board struct {
	dashboard
	zh      bool
	x, y, h int
}

func (b *board) say(t text) string {
	if b.zh {
		return t.zh
	}
	return t.en
}

func newBoard(zh bool, uid string, title, description text, refresh string) *board {
	b := &board{zh: zh}
	suffix, language := "", "en"
	if zh {
		suffix, language = "-zh", "zh"
	}
	b.dashboard = dashboard{
		UID: uid + suffix, Title: b.say(title), Description: b.say(description),
		Tags: []string{"songhua", "songhua-" + language}, GraphTooltip: 1, SchemaVersion: 39, Version: 1,
		Timezone: "browser", Refresh: refresh, Time: timeRange{"now-6h", "now"},
		Links: []link{{Title: b.say(text{"Songhua", "松花"}), Type: "dashboards", Tags: []string{"songhua-" + language}, KeepTime: true, IncludeVars: true}},
		Annotations: annotations{List: []annotation{{
			Name: "Annotations & Alerts", Datasource: source{"grafana", "-- Grafana --"}, Enable: true, Hide: true,
			IconColor: "rgba(0, 211, 255, 1)", Type: "dashboard", BuiltIn: 1,
		}, {
			Name: b.say(text{"Firing alerts", "触发的告警"}), Datasource: prometheus(), Enable: true,
			IconColor: "red", Expr: `ALERTS{alertstate="firing"}`,
		}}},
	}
	b.Templating.List = append(b.Templating.List, variable{
		Name: "datasource", Label: b.say(text{"Data source", "数据源"}), Type: "datasource", Query: "prometheus",
		Refresh: 1, Options: []selection{},
	})
	return b
}

// choose adds a variable whose values are those of a label.
func (b *board) choose(name string, label text, query string, all bool) {
	v := variable{
		Name: name, Label: b.say(label), Type: "query", Query: labelQuery{query, "PrometheusVariableQueryEditor-VariableQuery"},
		Datasource: ptr(prometheus()), Definition: query, Refresh: 2, Sort: 1, Options: []selection{},
	}
	if all {
		v.Multi, v.IncludeAll, v.AllValue, v.Current = true, true, ".*", selection{"All", "$__all"}
	}
	b.Templating.List = append(b.Templating.List, v)
}

func (b *board) place(p *panel, w, h int) *panel {
	if b.x+w > 24 {
		b.x, b.y, b.h = 0, b.y+b.h, 0
	}
	p.ID = len(b.Panels) + 1
	p.GridPos = gridPos{b.x, b.y, w, h}
	b.x, b.h = b.x+w, max(b.h, h)
	b.Panels = append(b.Panels, p)
	return p
}

// row begins a new section.
func (b *board) row(title text) {
	b.x = 24
	b.place(&panel{Type: "row", Title: b.say(title), Collapsed: ptr(false), Panels: &[]*panel{}}, 24, 1)
}

// query is a PromQL expression and how its series are called.
type query struct{ expr, legend string }

// distinguishing is the legend of series whose labels cannot be known: Grafana
// shows those labels in which they differ.
const distinguishing = "__auto"

func (b *board) panel(kind string, title, description text, unit string, queries ...query) *panel {
	p := &panel{
		Type: kind, Title: b.say(title), Description: b.say(description), Datasource: ptr(prometheus()),
		FieldConfig: &fieldConfig{Defaults: field{Unit: unit}, Overrides: []override{}},
	}
	for i, q := range queries {
		p.Targets = append(p.Targets, target{
			RefID: string(rune('A' + i)), Datasource: prometheus(), Expr: q.expr, LegendFormat: q.legend,
			Range: true, Format: "time_series", EditorMode: "code",
		})
	}
	return p
}

type legendOptions struct {
	DisplayMode string   `json:"displayMode"`
	Placement   string   `json:"placement"`
	ShowLegend  bool     `json:"showLegend"`
	Calcs       []string `json:"calcs"`
}

type tooltipOptions struct {
	Mode string `json:"mode"`
	Sort string `json:"sort"`
}

type chartOptions struct {
	Legend  legendOptions  `json:"legend"`
	Tooltip tooltipOptions `json:"tooltip"`
}

// chart adds lines over time.
func (b *board) chart(w int, title, description text, unit string, queries ...query) *panel {
	p := b.panel("timeseries", title, description, unit, queries...)
	p.FieldConfig.Defaults.Color = &color{"palette-classic"}
	p.FieldConfig.Defaults.Custom = &custom{DrawStyle: "line", LineWidth: 1, FillOpacity: 8, ShowPoints: "auto", SpanNulls: ptr(false)}
	p.Options = chartOptions{legendOptions{"list", "bottom", true, []string{}}, tooltipOptions{"multi", "desc"}}
	return b.place(p, w, 8)
}

// everyMinute says that an edge agent reports itself only once a minute.
func everyMinute(p *panel) {
	for i := range p.Targets {
		p.Targets[i].Interval = "1m"
	}
}

// stacked makes a chart one of parts of a whole.
func stacked(p *panel) {
	p.FieldConfig.Defaults.Custom.Stacking = &stacking{"normal", "A"}
	p.FieldConfig.Defaults.Custom.FillOpacity = 35
}

type reduceOptions struct {
	Calcs  []string `json:"calcs"`
	Fields string   `json:"fields"`
	Values bool     `json:"values"`
}

type statOptions struct {
	ReduceOptions reduceOptions `json:"reduceOptions"`
	ColorMode     string        `json:"colorMode"`
	GraphMode     string        `json:"graphMode"`
	JustifyMode   string        `json:"justifyMode"`
	TextMode      string        `json:"textMode"`
	Orientation   string        `json:"orientation"`
}

// stat adds one number with its recent course.
func (b *board) stat(w int, title, description text, unit string, q query) *panel {
	p := b.panel("stat", title, description, unit, q)
	p.FieldConfig.Defaults.Color = &color{"thresholds"}
	p.FieldConfig.Defaults.Thresholds = limits("blue")
	p.Options = statOptions{reduceOptions{[]string{"lastNotNull"}, "", false}, "value", "area", "auto", "auto", "auto"}
	return b.place(p, w, 4)
}

// limits are colours from values on: limits("green", 1, "red").
func limits(base string, more ...any) *thresholds {
	t := &thresholds{Mode: "absolute", Steps: []step{{Color: base}}}
	for i := 0; i < len(more); i += 2 {
		t.Steps = append(t.Steps, step{more[i+1].(string), ptr(more[i].(float64))})
	}
	return t
}

type timelineOptions struct {
	MergeValues bool          `json:"mergeValues"`
	ShowValue   string        `json:"showValue"`
	RowHeight   float64       `json:"rowHeight"`
	Legend      legendOptions `json:"legend"`
}

// timeline adds presence over time, one row per device.
func (b *board) timeline(w, h int, title, description text, q query) *panel {
	p := b.panel("state-timeline", title, description, "short", q)
	p.FieldConfig.Defaults.Custom = &custom{LineWidth: 0, FillOpacity: 75}
	p.FieldConfig.Defaults.Color = &color{"thresholds"}
	p.FieldConfig.Defaults.Mappings = b.presence()
	p.Options = timelineOptions{true, "never", 0.85, legendOptions{"list", "bottom", true, []string{}}}
	return b.place(p, w, h)
}

// presence names the values of device_presence, in colours that the
// colour-blind can tell apart.
func (b *board) presence() []mapping {
	return []mapping{{Type: "value", Options: map[string]mappingValue{
		"1":   {b.say(text{"online", "在线"}), "#0072B2", 0},
		"0.5": {b.say(text{"late", "迟报"}), "#E69F00", 1},
		"0":   {b.say(text{"offline", "离线"}), "#D55E00", 2},
	}}}
}

type heatmapOptions struct {
	Calculate bool         `json:"calculate"`
	Color     heatmapColor `json:"color"`
	YAxis     heatmapAxis  `json:"yAxis"`
	CellGap   int          `json:"cellGap"`
}

type heatmapColor struct {
	Mode   string `json:"mode"`
	Scheme string `json:"scheme"`
	Steps  int    `json:"steps"`
}

type heatmapAxis struct {
	Unit string `json:"unit"`
}

// heatmap adds the distribution of a histogram over time.
func (b *board) heatmap(w int, title, description text, unit, expr string) *panel {
	p := b.panel("heatmap", title, description, unit, query{expr, "{{le}}"})
	p.Targets[0].Format = "heatmap"
	p.Options = heatmapOptions{false, heatmapColor{"scheme", "Cividis", 48}, heatmapAxis{unit}, 1}
	return b.place(p, w, 8)
}

type barOptions struct {
	DisplayMode   string        `json:"displayMode"`
	Orientation   string        `json:"orientation"`
	ShowUnfilled  bool          `json:"showUnfilled"`
	ReduceOptions reduceOptions `json:"reduceOptions"`
}

// bars adds one bar per series, of its last value.
func (b *board) bars(w, h int, title, description text, unit string, q query) *panel {
	p := b.panel("bargauge", title, description, unit, q)
	p.Targets[0].Instant, p.Targets[0].Range = true, false
	p.FieldConfig.Defaults.Color = &color{"continuous-BlPu"}
	p.FieldConfig.Defaults.Min = ptr(0.0)
	p.Options = barOptions{"basic", "horizontal", true, reduceOptions{[]string{"lastNotNull"}, "", false}}
	return b.place(p, w, h)
}

type tableOptions struct {
	ShowHeader bool   `json:"showHeader"`
	CellHeight string `json:"cellHeight"`
}

// column is a column of a table: the field, its heading, in this order.
type column struct {
	field string
	head  text
}

// table adds the last values with their labels.
func (b *board) table(w, h int, title, description text, q query, columns ...column) *panel {
	p := b.panel("table", title, description, "short", q)
	p.Targets[0].Format, p.Targets[0].Instant, p.Targets[0].Range = "table", true, false
	p.FieldConfig.Defaults.Custom = &custom{Align: "auto", CellOptions: &cell{"auto"}}
	o := organize{map[string]bool{"Time": true, "job": true}, map[string]int{}, map[string]string{}}
	if columns[0].field != "__name__" {
		o.ExcludeByName["__name__"] = true
	}
	for i, c := range columns {
		o.IndexByName[c.field], o.RenameByName[c.field] = i, b.say(c.head)
	}
	p.Options = tableOptions{true, "sm"}
	p.Transformations = []transformation{{"organize", o}}
	return b.place(p, w, h)
}

// toDevice makes a field lead to the device's own board.
func (b *board) toDevice(value string) dataLink {
	uid := "songhua-device"
	if b.zh {
		uid += "-zh"
	}
	return dataLink{Title: b.say(text{"Show the device", "查看设备"}), URL: "/d/" + uid + "?var-datasource=${datasource}&var-device=" + value + "&${__url_time_range}"}
}

func (p *panel) linked(l dataLink) { p.FieldConfig.Defaults.Links = []dataLink{l} }

// override sets properties of one field.
func (p *panel) override(name string, props ...property) {
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, override{matcher{"byName", name}, props})
}

// by is a quantile of a histogram over the range that the panel needs.
func quantile(q, metric, selector, by string) string {
	groups := strings.TrimPrefix(by+", le", ", ")
	return "histogram_quantile(" + q + ", sum by (" + groups + ") (rate(" + metric + "_bucket{" + selector + "}[$__rate_interval])))"
}

func ptr[T any](v T) *T { return &v }
