package main

// deviceBoard shows everything that one device reports, whatever it is.
func deviceBoard(zh bool) *board {
	b := newBoard(zh, "songhua-device", text{"Songhua / Device", "松花 / 单台设备"},
		text{"One device: its presence and every metric that it reports.", "单台设备的在线状态与全部指标。"}, "30s")
	b.choose("device", text{"Device", "设备"}, "label_values(device_presence, device)", false)
	b.choose("metric", text{"Metric", "指标"}, `label_values({device="$device", __name__!="device_presence"}, __name__)`, true)
	b.Templating.List[len(b.Templating.List)-1].AllValue = ""

	p := b.stat(6, text{"Presence", "状态"}, text{"Whether the device reports as it should.", "设备是否按周期上报。"}, "short", query{`device_presence{device="$device"}`, ""})
	p.FieldConfig.Defaults.Mappings = b.presence()
	b.stat(6, text{"Online in this time", "时段内在线率"}, text{"Share of the shown time in which the device was not offline.", "所示时段内设备未离线的时间占比。"}, "percentunit", query{`avg_over_time((device_presence{device="$device"} > bool 0)[$__range:1m])`, ""})
	b.stat(6, text{"Metrics", "指标数"}, text{"Different metrics that the device reports.", "设备上报的指标种数。"}, "short", query{`count(count by (__name__) ({device="$device"}))`, ""})
	b.stat(6, text{"Series", "序列数"}, text{"Time series of the device.", "设备的时间序列数。"}, "short", query{`count({device="$device"})`, ""})
	b.timeline(24, 4, text{"Presence over time", "在线历史"}, text{"When the device was online, late and offline.", "设备在线、迟报与离线的时段。"},
		query{`device_presence{device="$device"}`, "{{device}}"})

	p = b.chart(12, text{"$metric", "$metric"}, text{"Values as the device sent them, at its own times. Gaps are gaps.", "设备按自身时间上报的值，缺测处留空。"}, "short",
		query{`{__name__=~"${metric:regex}", device="$device"}`, distinguishing})
	p.Repeat, p.RepeatDirection, p.MaxPerRow = "metric", "h", 3
	b.chart(24, text{"Out of the model's range", "超出型号范围"}, text{"How many of its metrics the device reported last with a value beyond the bounds of its model; 0 where the model has none.", "最近一次上报值超出型号上下限的指标数；型号未设上下限则为 0。"}, "short",
		query{`sum({__name__=~".+_out_of_range", device="$device"}) or vector(0)`, b.say(text{"metrics", "指标"})})
	b.row(text{"Edge agent", "边缘代理"})
	everyMinute(b.chart(12, text{"Waiting in the spool", "缓存待送"}, text{"Blocks on the agent's disk that the hub has not acknowledged; 0 for a device without an edge agent.", "代理磁盘上枢纽尚未确认的数据块；没有边缘代理的设备为 0。"}, "short",
		query{`sum(edge_spool_blocks{device="$device"}) or vector(0)`, b.say(text{"blocks", "数据块"})}))
	everyMinute(b.chart(12, text{"Lost samples", "丢失的样本"}, text{"Samples that the agent will never deliver, as it counted them and as it told the hub; 0 for a device without an edge agent.", "代理无法送达的样本：代理自身的计数与上报给枢纽的丢失；没有边缘代理的设备为 0。"}, "short",
		query{`sum(increase(edge_spool_lost_samples_total{device="$device"}[$__rate_interval])) or vector(0)`, b.say(text{"counted", "计数"})},
		query{`sum by (reason) (sum_over_time(edge_loss_samples{device="$device"}[$__interval])) or vector(0)`, b.say(text{"told {{reason}}", "上报 {{reason}}"})}))
	b.row(text{"Last values", "最新值"})
	b.table(24, 12, text{"Last values", "最新值"}, text{"The last value of every series of the device.", "设备各序列的最新值。"},
		query{`{device="$device"}`, ""},
		column{"__name__", text{"Metric", "指标"}}, column{"Value", text{"Value", "值"}})
	return b
}
