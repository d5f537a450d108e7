package main

// fleetBoard shows all devices: who is there, what they send, what is refused.
func fleetBoard(zh bool) *board {
	b := newBoard(zh, "songhua-fleet", text{"Songhua / Fleet", "松花 / 设备群"},
		text{"All devices by presence, kind and region; what they report; who was away.", "按在线状态、类型与地区查看全部设备，及其上报情况。"}, "30s")
	b.choose("kind", text{"Kind", "类型"}, "label_values(device_presence, kind)", true)
	b.choose("region", text{"Region", "地区"}, "label_values(device_presence, region)", true)
	b.choose("site", text{"Site", "站点"}, `label_values(device_presence{region=~"$region"}, site)`, true)
	b.fleetNumbers()
	b.fleetPresence()
	b.fleetFlow()
	b.fleetMeasures()
	b.fleetTable()
	return b
}

const fleet = `kind=~"$kind", region=~"$region", site=~"$site"`

func (b *board) fleetNumbers() {
	for _, s := range []struct {
		title, description text
		expr, color        string
	}{
		{text{"Online", "在线"}, text{"Devices that report as they should.", "按周期上报的设备。"}, "== bool 1", "#0072B2"},
		{text{"Late", "迟报"}, text{"Devices whose report is overdue.", "逾期未报的设备。"}, "== bool 0.5", "#E69F00"},
		{text{"Offline", "离线"}, text{"Devices that are gone.", "已离线的设备。"}, "== bool 0", "#D55E00"},
	} {
		p := b.stat(5, s.title, s.description, "short", query{"sum(device_presence{" + fleet + "} " + s.expr + ")", ""})
		p.FieldConfig.Defaults.Thresholds = limits(s.color)
	}
	b.stat(5, text{"Samples", "样本"}, text{"Samples of all devices that became durable, a second.", "全部设备每秒落盘的样本。"}, "cps", query{`sum(rate(hub_ingest_samples_total[$__rate_interval]))`, ""})
	b.stat(4, text{"Rejects", "拒收"}, text{"What was not stored, a second.", "每秒未入库的数量。"}, "cps", query{`sum(rate(hub_ingest_rejects_total[$__rate_interval]))`, ""})
}

func (b *board) fleetPresence() {
	b.row(text{"Presence", "在线状态"})
	p := b.chart(12, text{"Devices by state", "各状态设备数"}, text{"How many devices were online, late and offline.", "在线、迟报与离线的设备数。"}, "short",
		query{"sum(device_presence{" + fleet + "} == bool 1)", b.say(text{"online", "在线"})},
		query{"sum(device_presence{" + fleet + "} == bool 0.5)", b.say(text{"late", "迟报"})},
		query{"sum(device_presence{" + fleet + "} == bool 0)", b.say(text{"offline", "离线"})})
	stacked(p)
	b.bars(6, 8, text{"Devices by kind", "各类型设备数"}, text{"Devices whose presence is known, by kind.", "按类型统计的设备数。"}, "short",
		query{"count by (kind) (device_presence{" + fleet + "})", "{{kind}}"})
	b.bars(6, 8, text{"Devices by region", "各地区设备数"}, text{"Devices by division code (GB/T 2260).", "按行政区划代码（GB/T 2260）统计的设备数。"}, "short",
		query{"count by (region) (device_presence{" + fleet + "})", "{{region}}"})
	p = b.timeline(24, 10, text{"Roadside units and nodes", "路侧单元与计算节点"}, text{"Presence of each over time; a click leads to the device.", "各设备的在线历史，点击查看设备。"},
		query{`device_presence{kind=~"rsu|node", region=~"$region", site=~"$site"}`, "{{device}}"})
	p.linked(b.toDevice("${__field.labels.device}"))
}

func (b *board) fleetFlow() {
	b.row(text{"What is sent", "上报"})
	stacked(b.chart(12, text{"Messages by format", "各格式消息数"}, text{"Messages of all devices, by format.", "全部设备按格式统计的消息数。"}, "cps",
		query{`sum by (format) (rate(hub_ingest_messages_total[$__rate_interval])) > 0`, "{{format}}"}))
	stacked(b.chart(12, text{"Rejects by reason", "拒收原因"}, text{"What was not stored, by reason.", "按原因统计未入库的数据。"}, "cps",
		query{`sum by (reason) (rate(hub_ingest_rejects_total[$__rate_interval]))`, "{{reason}}"}))
}

func (b *board) fleetMeasures() {
	b.row(text{"What is measured", "测量"})
	b.chart(12, text{"Out of range by metric", "各指标超出范围的设备数"}, text{"Devices whose last value is beyond the bounds that their model gives the metric.", "最新值超出型号上下限的设备数，按指标统计。"}, "short",
		query{`count by (metric) (label_replace({__name__=~".+_out_of_range", ` + fleet + `} == 1, "metric", "$1", "__name__", "(.+)_out_of_range")) or label_replace(vector(0), "metric", "-", "", "")`, "{{metric}}"})
	b.chart(12, text{"In another unit than the model's", "单位与型号不同的样本"}, text{"Samples a second of the whole hub in another unit than the model of their device says, by whether it can be converted.", "全枢纽每秒单位与设备型号不同的样本，按能否换算统计。"}, "cps",
		query{`sum by (convertible) (rate(hub_ingest_foreign_units_total[$__rate_interval]))`, "{{convertible}}"})
	b.chart(12, text{"Air temperature by region", "各地区气温"}, text{"Mean over the stations of a region.", "各地区测站的平均值。"}, "celsius",
		query{`avg by (region) (air_temperature_celsius{region=~"$region", site=~"$site"})`, "{{region}}"})
	b.chart(12, text{"PM2.5 by region", "各地区 PM2.5"}, text{"Median over the stations of a region, so that one bad sensor does not show.", "各地区测站的中位数，不受单个故障传感器影响。"}, "conμgm3",
		query{`quantile by (region) (0.5, pm2_5_ug_m3{region=~"$region", site=~"$site"})`, "{{region}}"})
	b.chart(12, text{"Messages of roadside units", "路侧单元消息"}, text{"Messages of a minute, by type.", "每分钟消息数，按类型统计。"}, "short",
		query{`sum by (type) (rsu_messages{region=~"$region", site=~"$site"})`, "{{type}}"})
	b.chart(12, text{"Soil moisture by site", "各站点土壤湿度"}, text{"Mean over the probes of a site; they report once an hour.", "各站点探头的平均值，每小时上报一次。"}, "percent",
		query{`avg by (site) (soil_moisture_percent{region=~"$region", site=~"$site"})`, "{{site}}"})
}

func (b *board) fleetTable() {
	b.row(text{"Devices", "设备"})
	p := b.table(24, 14, text{"Devices and their presence", "设备及其在线状态"}, text{"Every device that matches; a click on its name leads to it.", "符合条件的全部设备，点击编号查看。"},
		query{"device_presence{" + fleet + "}", ""},
		column{"device", text{"Device", "设备"}}, column{"kind", text{"Kind", "类型"}}, column{"site", text{"Site", "站点"}},
		column{"region", text{"Region", "地区"}}, column{"Value", text{"Presence", "状态"}})
	p.override(b.say(text{"Device", "设备"}), property{"links", []dataLink{b.toDevice("${__value.raw}")}})
	p.override(b.say(text{"Presence", "状态"}), property{"mappings", b.presence()}, property{"custom.cellOptions", cell{"color-text"}})
}
