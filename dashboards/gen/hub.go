package main

// hubBoard shows the hub itself: what comes in, how long each stage takes, what
// is refused, and what it costs.
func hubBoard(zh bool) *board {
	b := newBoard(zh, "songhua-hub", text{"Songhua / Hub", "松花 / 枢纽"},
		text{"The hub's own health: samples, latencies by stage, rejects, fsync, connections, series, memory.", "枢纽自身状况：样本、各阶段延迟、拒收、落盘、连接、序列与内存。"}, "10s")
	b.choose("job", text{"Job", "作业"}, "label_values(hub_ingest_samples_total, job)", true)
	b.hubNumbers()
	b.hubWay()
	b.hubDoors()
	b.hubStore()
	b.hubCost()
	return b
}

const self = `job=~"$job"`

func rate(by, metric, selector string) string {
	r := "rate(" + metric + "{" + selector + "}[$__rate_interval])"
	if by == "" {
		return "sum(" + r + ")"
	}
	return "sum by (" + by + ") (" + r + ")"
}

func (b *board) hubNumbers() {
	b.stat(4, text{"Samples", "样本"}, text{"Samples and states that became durable, a second.", "每秒落盘的样本与状态。"}, "cps", query{rate("", "hub_ingest_samples_total", self), ""})
	p := b.stat(4, text{"Rejects", "拒收"}, text{"What was not stored, a second. The desk `hub rejects` keeps each with its reason.", "每秒未入库的数量。`hub rejects` 保存每条及其原因。"}, "cps", query{rate("", "hub_ingest_rejects_total", self), ""})
	p.FieldConfig.Defaults.Thresholds = limits("blue", 1.0, "orange", 100.0, "red")
	p = b.stat(4, text{"Acknowledged within (p99)", "确认延迟（p99）"}, text{"Ninety-nine of a hundred deliveries are durable and acknowledged within this time.", "百分之九十九的消息在此时间内落盘并确认。"}, "s", query{quantile("0.99", "hub_ingest_commit_wait_seconds", self, ""), ""})
	p.FieldConfig.Defaults.Thresholds = limits("blue", 0.1, "orange", 1.0, "red")
	b.stat(4, text{"Series in use", "活跃序列"}, text{"Time series that devices write to.", "设备正在写入的时间序列。"}, "short", query{"sum(hub_ingest_series{" + self + "})", ""})
	b.stat(4, text{"Devices heard", "已上报设备"}, text{"Devices that sent something since the hub started.", "枢纽启动以来上报过的设备。"}, "short", query{"sum(hub_ingest_devices{" + self + "})", ""})
	b.stat(4, text{"Up for", "已运行"}, text{"Time since the hub's process started.", "进程启动至今的时间。"}, "s", query{"max(time() - process_start_time_seconds{" + self + "})", ""})
}

func (b *board) hubWay() {
	b.row(text{"The way of a sample", "样本之路"})
	b.chart(12, text{"Messages by format", "各格式消息数"}, text{"Messages read, by the format they were written in.", "按书写格式统计的消息数。"}, "cps",
		query{rate("format", "hub_ingest_messages_total", self) + " > 0", "{{format}}"})
	b.chart(12, text{"Time in each stage (p99)", "各阶段耗时（p99）"}, text{"Time of one delivery in each stage before the commit; see the list of stages in internal/ingest.", "一次投递在提交前各阶段的耗时。"}, "s",
		query{quantile("0.99", "hub_ingest_stage_seconds", self, "stage"), "{{stage}}"})
	b.heatmap(12, text{"Time until durable", "落盘所需时间"}, text{"Distribution of the time a delivery waits until its samples are on disk.", "一次投递等待样本落盘的时间分布。"}, "s",
		"sum by (le) (increase(hub_ingest_commit_wait_seconds_bucket{"+self+"}[$__rate_interval]))")
	p := b.chart(12, text{"Rejects by stage and reason", "各阶段拒收及原因"}, text{"What was not stored. docs/rejects.md explains each reason.", "未入库的数据，各原因见 docs/rejects.md。"}, "cps",
		query{rate("stage, reason", "hub_ingest_rejects_total", self), "{{stage}}: {{reason}}"})
	stacked(p)
	b.chart(12, text{"Waiting for the store", "等待入库"}, text{"Samples that wait for a commit. At the bound, doors refuse instead of dropping.", "等待提交的样本；达到上限时入口拒绝而不丢弃。"}, "short",
		query{"sum(hub_ingest_pending_samples{" + self + "})", b.say(text{"waiting", "等待"})})
	b.chart(12, text{"Deliveries turned away", "被推回的投递"}, text{"Deliveries refused because the store was behind, and what was refused because a quota was used up (docs/quotas.md); nothing of it was acknowledged.", "因存储繁忙而被拒的投递，以及因配额用尽而被拒者（见 docs/quotas.md），均未确认。"}, "cps",
		query{rate("", "hub_ingest_busy_total", self), b.say(text{"hub busy", "枢纽繁忙"})},
		query{rate("of, quota", "hub_quota_refused_total", self), "{{of}} {{quota}}"})
}

func (b *board) hubDoors() {
	b.row(text{"Doors", "入口"})
	b.chart(8, text{"MQTT connections", "MQTT 连接"}, text{"Open MQTT connections.", "当前 MQTT 连接数。"}, "short",
		query{"sum(hub_mqtt_connections{" + self + "})", b.say(text{"connections", "连接"})})
	b.chart(8, text{"CoAP requests", "CoAP 请求"}, text{"CoAP requests answered, by code.", "按响应码统计的 CoAP 请求。"}, "reqps",
		query{rate("code", "hub_coap_requests_total", self), "{{code}}"})
	b.chart(8, text{"HTTP requests of devices", "设备 HTTP 请求"}, text{"HTTP requests of devices answered, by route and status.", "按路由与状态码统计的设备 HTTP 请求。"}, "reqps",
		query{rate("route, code", "hub_http_requests_total", self), "{{route}} {{code}}"})
	b.chart(12, text{"MQTT messages by quality of service", "各 QoS 的 MQTT 消息"}, text{"PUBLISH packets received, by QoS.", "按 QoS 统计收到的 PUBLISH。"}, "cps",
		query{rate("qos", "hub_mqtt_messages_total", self), "QoS {{qos}}"})
	b.chart(12, text{"Presence changes", "在线状态变化"}, text{"Devices that changed between online, late and offline, a second.", "每秒在线、迟报、离线之间的变化次数。"}, "cps",
		query{rate("to", "hub_registry_presence_transitions_total", self), "{{to}}"})
}

func (b *board) hubStore() {
	b.row(text{"Store and queries", "存储与查询"})
	b.chart(12, text{"Commit and fsync", "提交与落盘"}, text{"Time of a group commit and of the fsync within it.", "一次组提交及其 fsync 的耗时。"}, "s",
		query{quantile("0.5", "hub_store_commit_seconds", self, ""), b.say(text{"commit p50", "提交 p50"})},
		query{quantile("0.99", "hub_store_commit_seconds", self, ""), b.say(text{"commit p99", "提交 p99"})},
		query{quantile("0.99", "hub_store_fsync_seconds", self, ""), "fsync p99"})
	b.chart(12, text{"Points stored", "入库点数"}, text{"Points that commits took, late ones apart, and points refused.", "提交写入的点、迟到的点与被拒的点。"}, "cps",
		query{rate("", "hub_store_points_total", self), b.say(text{"stored", "入库"})},
		query{rate("", "hub_store_late_total", self), b.say(text{"late", "迟到"})},
		query{rate("reason", "hub_store_refused_total", self), "{{reason}}"})
	b.chart(12, text{"Samples that shared a commit (p50)", "每次提交的样本数（p50）"}, text{"How many samples one fsync covers: the more under load, the better grouping works.", "一次 fsync 覆盖的样本数。"}, "short",
		query{quantile("0.5", "hub_ingest_commit_samples", self, ""), "p50"}, query{quantile("0.99", "hub_ingest_commit_samples", self, ""), "p99"})
	b.chart(12, text{"Query time (p95)", "查询耗时（p95）"}, text{"Time from a request of the Prometheus API to the end of its answer.", "Prometheus 接口从请求到应答完成的时间。"}, "s",
		query{quantile("0.95", "hub_query_duration_seconds", self, "endpoint"), "{{endpoint}}"})
}

func (b *board) hubCost() {
	b.row(text{"What it costs", "资源占用"})
	b.chart(8, text{"Memory", "内存"}, text{"Resident memory of the process and the heap in use.", "进程常驻内存与堆内存。"}, "bytes",
		query{"sum(process_resident_memory_bytes{" + self + "})", b.say(text{"resident", "常驻"})},
		query{"sum(go_memstats_heap_inuse_bytes{" + self + "})", b.say(text{"heap", "堆"})})
	b.chart(8, text{"CPU", "处理器"}, text{"Cores that the process uses.", "进程占用的核数。"}, "short",
		query{rate("", "process_cpu_seconds_total", self), b.say(text{"cores", "核"})})
	b.chart(8, text{"Goroutines and files", "协程与文件"}, text{"Goroutines and open files of the process.", "进程的协程数与打开文件数。"}, "short",
		query{"sum(go_goroutines{" + self + "})", b.say(text{"goroutines", "协程"})},
		query{"sum(process_open_fds{" + self + "})", b.say(text{"open files", "打开文件"})})
}
