package main

// The boards of roads: the fleet of roadside units, one unit, one intersection,
// roads, and events. What is of a minute is asked for once a minute.

const (
	rsus  = `kind="rsu", region=~"$region", site=~"$site"`
	ofRSU = `device="$device"`
	links = `region=~"$region", site=~"$site"`
)

// basemap is where the browser finds the hub's tiles: Grafana fetches them from
// the data source of deploy/grafana, with its token.
const basemap = "/api/datasources/proxy/uid/songhua/basemap/{z}/{x}/{y}.png"

func rsuFleetBoard(zh bool) *board {
	b := newBoard(zh, "songhua-rsus", text{"Songhua / Roadside units", "松花 / 路侧单元"},
		text{"All roadside units: where they are, whether they are there, what they send, firmware, and what checks find.", "全部路侧单元：位置、在线、消息、固件与检查结果。"}, "1m")
	b.choose("region", text{"Region", "地区"}, `label_values(device_presence{kind="rsu"}, region)`, true)
	b.choose("site", text{"Site", "站点"}, `label_values(device_presence{kind="rsu", region=~"$region"}, site)`, true)
	b.stat(4, text{"Online rate", "在线率"}, text{"Share of units that report as they should, or are late.", "按周期上报或迟报的单元占比。"}, "percentunit", query{"avg(device_presence{" + rsus + "} > bool 0)", ""})
	p := b.stat(4, text{"Offline", "离线"}, text{"Units that are gone.", "已离线的单元。"}, "short", query{"sum(device_presence{" + rsus + "} == bool 0)", ""})
	p.FieldConfig.Defaults.Thresholds = limits("#0072B2", 1.0, "#D55E00")
	b.stat(4, text{"Messages", "消息"}, text{"Messages of all units in the last minute that is whole.", "上一完整分钟全部单元的消息数。"}, "short", query{"sum(rsu_messages{" + links + "})", ""})
	b.stat(4, text{"Lost", "丢失"}, text{"Messages that the counters leave out, in a minute.", "按消息序号推算每分钟丢失的消息。"}, "short", query{"sum(rsu_messages_lost{" + links + "})", ""})
	b.stat(4, text{"Findings", "问题"}, text{"What checks found in a minute.", "检查在一分钟内发现的问题数。"}, "short", query{"sum(rsu_check_faults{" + links + "})", ""})
	b.stat(4, text{"Deviations", "偏差"}, text{"Fields that were not as the standard has them, in a minute.", "一分钟内与标准不符的字段数。"}, "short", query{"sum(rsu_deviations{" + links + "})", ""})
	b.rsuMap()
	b.rsuPresence()
	b.rsuChecks()
	return b
}

type mapView struct {
	ID        string  `json:"id"`
	Lat       float64 `json:"lat"`
	Lon       float64 `json:"lon"`
	Zoom      int     `json:"zoom"`
	AllLayers bool    `json:"allLayers"`
}

type mapOptions struct {
	View     mapView    `json:"view"`
	Basemap  mapLayer   `json:"basemap"`
	Layers   []mapLayer `json:"layers"`
	Controls struct {
		ShowZoom       bool `json:"showZoom"`
		MouseWheelZoom bool `json:"mouseWheelZoom"`
		ShowScale      bool `json:"showScale"`
	} `json:"controls"`
	Tooltip struct {
		Mode string `json:"mode"`
	} `json:"tooltip"`
}

type mapLayer struct {
	Type     string       `json:"type"`
	Name     string       `json:"name"`
	Config   any          `json:"config"`
	Location *mapLocation `json:"location,omitempty"`
	Tooltip  bool         `json:"tooltip"`
}

type mapLocation struct {
	Mode      string `json:"mode"`
	Latitude  string `json:"latitude"`
	Longitude string `json:"longitude"`
}

type xyzConfig struct {
	URL         string `json:"url"`
	Attribution string `json:"attribution"`
	MinZoom     int    `json:"minZoom"`
	MaxZoom     int    `json:"maxZoom"`
}

type markerConfig struct {
	ShowLegend bool        `json:"showLegend"`
	Style      markerStyle `json:"style"`
}

type markerStyle struct {
	Color struct {
		Field string `json:"field"`
		Fixed string `json:"fixed"`
	} `json:"color"`
	Opacity float64 `json:"opacity"`
	Size    struct {
		Fixed int `json:"fixed"`
		Min   int `json:"min"`
		Max   int `json:"max"`
	} `json:"size"`
	Symbol struct {
		Mode  string `json:"mode"`
		Fixed string `json:"fixed"`
	} `json:"symbol"`
}

// rsuMap shows units over the hub's own tiles. A fixed view: one that fits its
// data often stays zoomed out in Grafana.
func (b *board) rsuMap() {
	p := b.panel("geomap", text{"Where they are", "位置"}, text{"Units by presence, over the roads that they told. The tiles come from the hub, by the data source with the uid songhua; elsewhere change the address of the base layer.", "按在线状态显示单元，底图为其上报的路网。瓦片由枢纽经 uid 为 songhua 的数据源提供，其他数据源请修改底图地址。"}, "short",
		query{"device_presence{" + rsus + "}", ""}, query{"rsu_latitude_degrees{" + links + "}", ""}, query{"rsu_longitude_degrees{" + links + "}", ""})
	for i := range p.Targets {
		p.Targets[i].Format, p.Targets[i].Instant, p.Targets[i].Range = "table", true, false
	}
	p.FieldConfig.Defaults.Color = &color{"thresholds"}
	p.FieldConfig.Defaults.Mappings = b.presence()
	p.FieldConfig.Defaults.Thresholds = limits("#D55E00", 0.5, "#E69F00", 1.0, "#0072B2")
	p.linked(b.toRSU("${__data.fields.device}"))
	o := mapOptions{View: mapView{ID: "coords", Lat: 43.88, Lon: 125.32, Zoom: 11, AllLayers: true},
		Basemap: mapLayer{Type: "xyz", Name: b.say(text{"Roads", "路网"}), Config: xyzConfig{basemap, "Songhua", 3, 19}}}
	o.Controls.ShowZoom, o.Controls.MouseWheelZoom, o.Controls.ShowScale, o.Tooltip.Mode = true, true, true, "details"
	c := markerConfig{ShowLegend: true}
	c.Style.Color.Field, c.Style.Color.Fixed, c.Style.Opacity = "Value #A", "dark-green", .85
	c.Style.Size.Fixed, c.Style.Size.Min, c.Style.Size.Max = 6, 2, 15
	c.Style.Symbol.Mode, c.Style.Symbol.Fixed = "fixed", "img/icons/marker/circle.svg"
	o.Layers = []mapLayer{{Type: "markers", Name: b.say(text{"Units", "单元"}), Config: c, Tooltip: true, Location: &mapLocation{"coords", "Value #B", "Value #C"}}}
	p.Options = o
	p.Transformations = []transformation{{"joinByField", map[string]string{"byField": "device", "mode": "inner"}}}
	b.place(p, 14, 15)
}

func (b *board) toRSU(value string) dataLink {
	return b.to("songhua-rsu", text{"Show the unit", "查看单元"}, "device", value)
}

// to leads to another board with a variable set.
func (b *board) to(uid string, title text, variable, value string) dataLink {
	if b.zh {
		uid += "-zh"
	}
	return dataLink{Title: b.say(title), URL: "/d/" + uid + "?var-datasource=${datasource}&var-" + variable + "=" + value + "&${__url_time_range}"}
}

func (b *board) rsuPresence() {
	b.bars(10, 15, text{"Firmware", "固件"}, text{"Units by the firmware or version that they report.", "按上报的固件或版本统计的单元数。"}, "short", query{"sum by (firmware) (hub_roads_units)", "{{firmware}}"})
	b.row(text{"What they send", "消息"})
	stacked(b.minutely(b.chart(12, text{"Messages by kind", "各类消息"}, text{"Messages of a minute, by kind.", "每分钟各类消息数。"}, "short", query{"sum by (type) (rsu_messages{" + links + "})", "{{type}}"})))
	b.minutely(b.chart(12, text{"Clock offset", "时钟偏差"}, text{"Time of payloads minus that of arrival: the units that are furthest off.", "报文时间减接收时间，偏差最大的单元。"}, "s",
		query{"topk(10, abs(rsu_clock_offset_seconds{" + links + "}))", "{{device}}"})).linked(b.toRSU("${__field.labels.device}"))
	p := b.bars(8, 10, text{"Flaps", "闪断"}, text{"How often units went from online to offline and back in the shown time: the ten most.", "所示时段内在线状态变化次数最多的十个单元。"}, "short",
		query{"topk(10, changes(device_presence{" + rsus + "}[$__range]))", "{{device}}"})
	p.linked(b.toRSU("${__field.labels.device}"))
	p = b.timeline(16, 10, text{"Presence", "在线历史"}, text{"When units were online, late and offline; a click leads to the unit.", "各单元的在线历史，点击查看。"}, query{"device_presence{" + rsus + "}", "{{device}}"})
	p.linked(b.toRSU("${__field.labels.device}"))
}

// minutely says that the numbers are of minutes.
func (b *board) minutely(p *panel) *panel {
	everyMinute(p)
	return p
}

func (b *board) rsuChecks() {
	b.row(text{"Quality", "质量"})
	stacked(b.minutely(b.chart(12, text{"Findings by check", "各项检查"}, text{"What checks found in a minute; docs/roads.md says what each means and what to do.", "各项检查每分钟发现的问题；含义与处理见 docs/roads.md。"}, "short",
		query{"sum by (check) (rsu_check_faults{" + links + "})", "{{check}}"})))
	b.bars(6, 8, text{"Units at fault now", "当前有问题的单元"}, text{"Units that a check finds fault with now.", "当前被各项检查认定有问题的单元数。"}, "short", query{"hub_roads_faulty_units", "{{check}}"})
	p := b.bars(6, 8, text{"Deviations", "偏差"}, text{"Units whose messages have most fields that are not as in the standard.", "与标准不符字段最多的单元。"}, "short", query{"topk(10, sum by (device) (sum_over_time(rsu_deviations{" + links + "}[$__range])))", "{{device}}"})
	p.linked(b.toRSU("${__field.labels.device}"))
}

func rsuBoard(zh bool) *board {
	b := newBoard(zh, "songhua-rsu", text{"Songhua / Roadside unit", "松花 / 单台路侧单元"}, text{"One roadside unit: presence, messages, clock, machine and checks.", "单台路侧单元：在线、消息、时钟、主机与检查。"}, "1m")
	b.choose("device", text{"Unit", "单元"}, "label_values(rsu_messages, device)", false)
	p := b.stat(6, text{"Presence", "状态"}, text{"Whether the unit reports as it should.", "单元是否按周期上报。"}, "short", query{"device_presence{" + ofRSU + "}", ""})
	p.FieldConfig.Defaults.Mappings = b.presence()
	b.stat(6, text{"Online in this time", "时段内在线率"}, text{"Share of the shown time in which the unit was not offline.", "所示时段内未离线的时间占比。"}, "percentunit", query{"avg_over_time((device_presence{" + ofRSU + "} > bool 0)[$__range:1m])", ""})
	b.stat(6, text{"Clock offset", "时钟偏差"}, text{"Time of its payloads minus that of arrival.", "报文时间减接收时间。"}, "s", query{"rsu_clock_offset_seconds{" + ofRSU + "}", ""})
	b.stat(6, text{"Findings", "问题"}, text{"What checks found in the last whole minute.", "上一完整分钟检查发现的问题数。"}, "short", query{"sum(rsu_check_faults{" + ofRSU + "})", ""})
	b.timeline(24, 4, text{"Presence over time", "在线历史"}, text{"When the unit was online, late and offline.", "单元在线、迟报与离线的时段。"}, query{"device_presence{" + ofRSU + "}", "{{device}}"})
	stacked(b.minutely(b.chart(12, text{"Messages by kind", "各类消息"}, text{"Messages of a minute, by kind.", "每分钟各类消息数。"}, "short", query{"rsu_messages{" + ofRSU + "}", "{{type}}"})))
	b.minutely(b.chart(12, text{"Busiest ten seconds against the cap", "峰值频率与上限"}, text{"Messages a second in the busiest 10 s, and what the unit is configured to send at most.", "10 秒窗口的最大每秒条数，及配置的上行限速。"}, "cps",
		query{"rsu_message_rate_peak{" + ofRSU + "}", "{{type}}"}, query{"rsu_message_rate_limit{" + ofRSU + "}", b.say(text{"cap {{type}}", "上限 {{type}}"})}))
	b.minutely(b.chart(12, text{"Findings by check", "各项检查"}, text{"What checks found in a minute.", "各项检查每分钟发现的问题。"}, "short", query{"rsu_check_faults{" + ofRSU + "}", "{{check}}"}))
	b.minutely(b.chart(12, text{"Lost messages", "丢失的消息"}, text{"What the counters leave out, by kind.", "按消息序号推算的丢失数。"}, "short", query{"rsu_messages_lost{" + ofRSU + "}", "{{type}}"}))
	b.minutely(b.chart(8, text{"Processor, memory, disk", "处理器、内存、磁盘"}, text{"Shares in use, as the unit reports them.", "单元上报的使用率。"}, "percentunit",
		query{"rsu_cpu_used_ratio{" + ofRSU + "}", b.say(text{"core {{core}}", "核 {{core}}"})}, query{"rsu_memory_used_ratio{" + ofRSU + "}", b.say(text{"memory", "内存"})}, query{"rsu_disk_used_ratio{" + ofRSU + "}", b.say(text{"disk", "磁盘"})}))
	b.minutely(b.chart(8, text{"Network", "网络"}, text{"Bytes a second that the unit receives and sends.", "单元每秒收发字节数。"}, "Bps",
		query{"rsu_network_received_bytes_per_second{" + ofRSU + "}", b.say(text{"in", "收"})}, query{"rsu_network_sent_bytes_per_second{" + ofRSU + "}", b.say(text{"out", "发"})}))
	b.minutely(b.chart(8, text{"Ids of vehicles that are at fault", "车辆标识缺陷"}, text{"Temporary ids that do not rotate, are zero, or that several share; 0 while there is none.", "不轮换、全零或重复的临时标识；没有时为 0。"}, "short",
		query{"sum by (defect) (rsu_id_defects{" + ofRSU + "}) or 0 * sum(rsu_messages{" + ofRSU + "})", b.say(text{"ids {{defect}}", "标识 {{defect}}"})}))
	return b
}

const ofNode = `region=~"$region", node="$node"`

func intersectionBoard(zh bool) *board {
	b := newBoard(zh, "songhua-intersection", text{"Songhua / Intersection", "松花 / 路口"}, text{"The signals of one intersection: lights, cycle, split, violations, countdown. The page /roads of the hub has them live.", "单个路口的信号：灯色、周期、绿信比、违规与倒计时；实时状态见枢纽的 /roads 页面。"}, "1m")
	b.choose("region", text{"Region", "地区"}, `label_values(signal_continuity_ratio, region)`, true)
	b.choose("node", text{"Intersection", "路口"}, `label_values(signal_continuity_ratio{region=~"$region"}, node)`, false)
	b.stat(6, text{"Illegal transitions", "违规跳变"}, text{"Lights that followed another that they may not follow, in the shown time.", "所示时段内违反灯色顺序的次数。"}, "short", query{"sum(sum_over_time(signal_illegal_transitions{" + ofNode + "}[$__range]))", ""})
	b.stat(6, text{"Conflicting greens", "冲突绿灯"}, text{"Times that phases whose ways cross became green together.", "行驶方向交叉的相位同时变绿的次数。"}, "short", query{"sum(sum_over_time(signal_conflicts{" + ofNode + "}[$__range]))", ""})
	b.stat(6, text{"Continuity", "连续率"}, text{"States that came over those that were to come.", "实收与应收状态之比。"}, "percentunit", query{"min(signal_continuity_ratio{" + ofNode + "})", ""})
	b.stat(6, text{"Longest gap", "最长间隔"}, text{"Longest time from one state to the next.", "相邻两次状态的最长间隔。"}, "s", query{"max(signal_gap_max_seconds{" + ofNode + "})", ""})
	b.lights()
	b.minutely(b.chart(12, text{"Cycle", "周期"}, text{"Length of the cycles that ended in the minute, from green to green.", "该分钟内结束的周期时长。"}, "s", query{"avg by (phase) (signal_cycle_seconds{" + ofNode + "})", b.say(text{"phase {{phase}}", "相位 {{phase}}"})}))
	b.minutely(b.chart(12, text{"Green split", "绿信比"}, text{"Share of green in those cycles.", "上述周期的绿灯占比。"}, "percentunit", query{"avg by (phase) (signal_green_ratio{" + ofNode + "})", b.say(text{"phase {{phase}}", "相位 {{phase}}"})}))
	b.minutely(b.chart(12, text{"Countdown error", "倒计时误差"}, text{"Mean absolute error of the countdown in the half minute before a change.", "变灯前半分钟倒计时的平均绝对误差。"}, "s", query{"max by (phase) (signal_countdown_error_seconds{" + ofNode + "})", b.say(text{"phase {{phase}}", "相位 {{phase}}"})}))
	b.minutely(b.chart(12, text{"Violations", "违规"}, text{"Illegal transitions by phase, and seconds of conflicting greens.", "各相位的违规跳变次数，及冲突绿灯的秒数。"}, "short",
		query{"sum by (phase) (signal_illegal_transitions{" + ofNode + "})", b.say(text{"phase {{phase}}", "相位 {{phase}}"})}, query{"sum(signal_conflict_seconds{" + ofNode + "}) or 0 * sum(signal_conflicts{" + ofNode + "})", b.say(text{"conflict, s", "冲突（秒）"})}))
	stacked(b.minutely(b.chart(12, text{"Mode of control", "控制方式"}, text{"Seconds of the minute in each mode; flashing and dark are modes of failure.", "一分钟内各控制方式的秒数。"}, "s", query{"sum by (mode) (signal_mode_seconds{" + ofNode + "})", "{{mode}}"})))
	b.minutely(b.chart(12, text{"Phases without counterpart", "未对齐的相位"}, text{"Phases that are in SPAT only, or in MAP only.", "只在 SPAT 或只在 MAP 中的相位数。"}, "short", query{"max by (only) (signal_misaligned_phases{" + ofNode + "})", b.say(text{"only in {{only}}", "仅 {{only}}"})}))
	return b
}

// lights shows which light each phase showed most of in each minute.
func (b *board) lights() {
	p := b.panel("state-timeline", text{"Share of green by minute", "各分钟绿灯占比"}, text{"How much of each minute a phase was green: dark is never, bright is always. The page of the intersection (/roads) shows each light.", "各相位每分钟的绿灯占比；逐次灯色见 /roads 的路口页面。"}, "percentunit",
		query{`sum by (phase) (signal_light_seconds{` + ofNode + `, light=~".*green"}) / sum by (phase) (signal_light_seconds{` + ofNode + `})`, b.say(text{"phase {{phase}}", "相位 {{phase}}"})})
	b.minutely(p)
	p.FieldConfig.Defaults.Custom = &custom{LineWidth: 0, FillOpacity: 80}
	p.FieldConfig.Defaults.Color = &color{"thresholds"}
	p.FieldConfig.Defaults.Thresholds = limits("#7b8784", .01, "#b7d9c9", .25, "#6cbf9d", .4, "#2a9d6f", .6, "#0f6b48")
	p.Options = timelineOptions{true, "auto", .85, legendOptions{"list", "bottom", true, []string{}}}
	b.place(p, 14, 8)
	q := b.panel("timeseries", text{"Lights", "灯色"}, text{"Seconds of each minute that phases showed each light.", "各相位每分钟各灯色的秒数。"}, "s", query{`sum by (phase, light) (signal_light_seconds{` + ofNode + `})`, "{{phase}} {{light}}"})
	b.minutely(q)
	q.FieldConfig.Defaults.Color = &color{"palette-classic"}
	q.FieldConfig.Defaults.Custom = &custom{DrawStyle: "bars", LineWidth: 0, FillOpacity: 70, ShowPoints: "never", Stacking: &stacking{"normal", "A"}, SpanNulls: ptr(false)}
	q.Options = chartOptions{legendOptions{"list", "bottom", true, []string{}}, tooltipOptions{"multi", "none"}}
	b.place(q, 10, 8)
}

func roadsBoard(zh bool) *board {
	b := newBoard(zh, "songhua-roads", text{"Songhua / Roads", "松花 / 道路"}, text{"Flow, speed, occupancy and queues of links between intersections, by the minute.", "路段每分钟的流量、车速、占有率与排队。"}, "1m")
	b.choose("region", text{"Region", "地区"}, "label_values(road_vehicles, region)", true)
	b.choose("site", text{"Site", "站点"}, `label_values(road_vehicles{region=~"$region"}, site)`, true)
	b.stat(6, text{"Vehicles", "车辆"}, text{"Motor vehicles that passed a detector in the last whole minute, by sensors.", "上一完整分钟通过检测断面的机动车（传感器）。"}, "short", query{`sum(road_vehicles{` + links + `, source="sensor", type="motor"})`, ""})
	b.stat(6, text{"Mean speed", "平均车速"}, text{"Mean of the links, by sensors.", "各路段平均（传感器）。"}, "velocitykmh", query{`avg(road_speed_mean{` + links + `, source="sensor"}) * 3.6`, ""})
	b.stat(6, text{"Longest queue", "最长排队"}, text{"Longest queue before a stop line.", "停车线前最长排队。"}, "lengthm", query{"max(road_queue_length_max{" + links + "})", ""})
	b.stat(6, text{"Hazards", "险情"}, text{"Vehicles that told of a hazard, such as hard braking, in the shown time.", "所示时段内上报险情的车辆数。"}, "short", query{"sum(sum_over_time(road_hazards{" + links + "}[$__range])) or vector(0)", ""})
	top := func(w int, title, description text, unit, expr string) {
		b.minutely(b.chart(w, title, description, unit, query{expr, "{{from}} → {{to}}"}))
	}
	top(12, text{"Flow by link", "各路段流量"}, text{"Motor vehicles of a minute that passed the detector: the busiest links.", "每分钟通过检测断面的机动车数，最繁忙的路段。"}, "short", `topk(20, sum by (from, to) (road_vehicles{`+links+`, source="sensor", type="motor"}))`)
	top(12, text{"Speed by link", "各路段车速"}, text{"Mean speed at the detector: the slowest links.", "检测断面平均车速，最慢的路段。"}, "velocitykmh", `bottomk(20, avg by (from, to) (road_speed_mean{`+links+`, source="sensor"})) * 3.6`)
	top(12, text{"Occupancy by link", "各路段占有率"}, text{"Share of the minute in which a vehicle is over the detector.", "检测断面时间占有率。"}, "percentunit", `topk(20, avg by (from, to) (road_occupancy{`+links+`}))`)
	top(12, text{"Queue by link", "各路段排队"}, text{"Longest queue of the minute before the stop line.", "停车线前每分钟最长排队。"}, "lengthm", `topk(20, max by (from, to) (road_queue_length_max{`+links+`}))`)
	b.minutely(b.chart(12, text{"Quantiles of speed", "车速分位数"}, text{"Speeds that 15, 50 and 85 % of the vehicles do not exceed, mean of the links.", "第 15、50、85 百分位车速，各路段平均。"}, "velocitykmh", query{`avg by (quantile) (road_speed{` + links + `, source="sensor"}) * 3.6`, "p{{quantile}}"}))
	stacked(b.minutely(b.chart(12, text{"Participants", "交通参与者"}, text{"Participants that were seen on links, by type.", "路段上的交通参与者，按类型。"}, "short", query{`sum by (type) (road_participants{` + links + `, source="sensor"})`, "{{type}}"})))
	p := b.table(24, 12, text{"Links", "路段"}, text{"Vehicles of the last whole minute, by link.", "各路段上一完整分钟的车辆数。"}, query{`road_vehicles{` + links + `, source="sensor", type="motor"}`, ""},
		column{"from", text{"From", "起点"}}, column{"to", text{"To", "终点"}}, column{"device", text{"Unit", "单元"}}, column{"site", text{"Site", "站点"}}, column{"Value", text{"Vehicles", "车辆"}})
	p.override(b.say(text{"Unit", "单元"}), property{"links", []dataLink{b.toRSU("${__value.raw}")}})
	p.override(b.say(text{"To", "终点"}), property{"links", []dataLink{b.to("songhua-intersection", text{"Show the intersection", "查看路口"}, "node", "${__value.raw}")}})
	return b
}

func roadEventsBoard(zh bool) *board {
	b := newBoard(zh, "songhua-road-events", text{"Songhua / Road events", "松花 / 道路事件"}, text{"Events that roadside units tell: active, started, age, past their end, told by several. Types are those of GB/T 29100; /roads has the events themselves.", "路侧单元上报的事件：进行中、新发、持续时间、过期与重复。类型见 GB/T 29100，事件明细见 /roads。"}, "1m")
	b.choose("region", text{"Region", "地区"}, "label_values(rsu_messages, region)", true)
	b.choose("site", text{"Site", "站点"}, `label_values(rsu_messages{region=~"$region"}, site)`, true)
	for _, s := range []struct {
		title, description text
		expr, unit         string
	}{
		{text{"Active", "进行中"}, text{"Events that are told now; one that several units tell counts for each.", "正在播发的事件；多个单元播发的重复计数。"}, "sum(road_events{" + links + "})", "short"},
		{text{"Started", "新发"}, text{"Events that began in the shown time.", "所示时段内开始的事件数。"}, "sum(sum_over_time(road_events_started{" + links + "}[$__range]))", "short"},
		{text{"Past their end", "已过期"}, text{"Events that are told although their end has passed.", "已过结束时间仍在播发的事件。"}, "sum(road_events_past_end{" + links + "})", "short"},
		{text{"Oldest", "最久"}, text{"Age of the oldest event.", "持续最久的事件。"}, "max(road_event_age_seconds{" + links + "})", "s"},
	} {
		b.stat(6, s.title, s.description, s.unit, query{s.expr, ""})
	}
	stacked(b.minutely(b.chart(12, text{"Active events by type", "各类进行中的事件"}, text{"Events that are told, by type.", "正在播发的事件，按类型。"}, "short", query{"sum by (type) (road_events{" + links + "})", "{{type}}"})))
	stacked(b.minutely(b.chart(12, text{"Begun by type", "各类新发事件"}, text{"Events that began in a minute, by type.", "每分钟开始的事件，按类型。"}, "short", query{"sum by (type) (road_events_started{" + links + "})", "{{type}}"})))
	p := b.panel("state-timeline", text{"Events by unit", "各单元的事件"}, text{"When units told of events, by type; 0 for a day after.", "各单元播发事件的时段，按类型。"}, "short", query{"max by (device, type) (road_event_active{" + links + "})", "{{device}} {{type}}"})
	b.minutely(p)
	p.FieldConfig.Defaults.Custom = &custom{LineWidth: 0, FillOpacity: 75}
	p.FieldConfig.Defaults.Color = &color{"thresholds"}
	p.FieldConfig.Defaults.Thresholds = limits("#9aa5a1", 1.0, "#E69F00")
	p.FieldConfig.Defaults.Mappings = []mapping{{Type: "value", Options: map[string]mappingValue{"1": {b.say(text{"told", "播发中"}), "#E69F00", 0}, "0": {b.say(text{"over", "已结束"}), "#9aa5a1", 1}}}}
	p.Options = timelineOptions{true, "never", .85, legendOptions{"list", "bottom", true, []string{}}}
	b.place(p, 24, 10)
	b.minutely(b.chart(12, text{"Age", "持续时间"}, text{"Age of the oldest event of each type.", "各类最久事件的持续时间。"}, "s", query{"max by (type) (road_event_age_seconds{" + links + "})", "{{type}}"}))
	b.minutely(b.chart(12, text{"Told by several", "多个单元播发"}, text{"Events that other units near by tell, too, by type.", "邻近单元也在播发的事件，按类型。"}, "short", query{"sum by (type) (road_events_shared{" + links + "})", "{{type}}"}))
	return b
}
