package main

// nodesBoard shows compute nodes: those with an edge agent (host_ metrics) and
// those that report the same under plain names.
func nodesBoard(zh bool) *board {
	b := newBoard(zh, "songhua-nodes", text{"Songhua / Compute nodes", "松花 / 计算节点"},
		text{"CPU, memory, disk, network, temperature, accelerators and power of compute nodes.", "计算节点的处理器、内存、磁盘、网络、温度、加速卡与功率。"}, "30s")
	b.choose("region", text{"Region", "地区"}, `label_values(device_presence{kind="node"}, region)`, true)
	b.choose("device", text{"Node", "节点"}, `label_values(device_presence{kind="node"}, device)`, true)
	b.nodeNumbers()
	b.nodeLoad()
	b.nodeAccelerators()
	b.thisMachine()
	b.agents()
	for _, p := range b.Panels {
		if p.Type == "timeseries" {
			p.linked(b.toDevice("${__field.labels.device}"))
		}
	}
	return b
}

const node = `kind="node", device=~"$device"`

func (b *board) nodeNumbers() {
	b.stat(6, text{"Nodes online", "在线节点"}, text{"Nodes that report as they should.", "按周期上报的节点。"}, "short", query{"sum(device_presence{" + node + "} == bool 1)", ""})
	b.stat(6, text{"Mean CPU", "平均处理器"}, text{"Mean CPU load of the chosen nodes.", "所选节点的平均处理器负载。"}, "percent", query{"avg({__name__=~\"cpu_percent|host_cpu_percent\", " + node + "})", ""})
	b.stat(6, text{"Power", "功率"}, text{"Power of all chosen nodes together.", "所选节点的总功率。"}, "watt", query{"sum(power_watts{" + node + "})", ""})
	b.stat(6, text{"Accelerators busy", "加速卡占用"}, text{"Mean utilisation of accelerators.", "加速卡的平均利用率。"}, "percent", query{"avg(gpu_utilization_percent{" + node + "})", ""})
}

func (b *board) nodeLoad() {
	b.row(text{"Nodes", "节点"})
	b.chart(12, text{"CPU", "处理器"}, text{"Share of all cores in use.", "全部核的占用比例。"}, "percent", query{"cpu_percent{" + node + "}", "{{device}}"})
	b.chart(12, text{"Memory", "内存"}, text{"Share of memory in use.", "内存占用比例。"}, "percentunit", query{"memory_used_bytes{" + node + "} / memory_total_bytes{" + node + "}", "{{device}}"})
	b.chart(12, text{"Network received", "网络接收"}, text{"Bytes a second.", "每秒接收字节数。"}, "Bps", query{"sum by (device) (rate(network_receive_bytes_total{" + node + "}[$__rate_interval]))", "{{device}}"})
	b.chart(12, text{"Network sent", "网络发送"}, text{"Bytes a second.", "每秒发送字节数。"}, "Bps", query{"sum by (device) (rate(network_transmit_bytes_total{" + node + "}[$__rate_interval]))", "{{device}}"})
	b.chart(8, text{"Power", "功率"}, text{"Power at the wall, each node.", "各节点的输入功率。"}, "watt", query{"power_watts{" + node + "}", "{{device}}"})
	b.chart(8, text{"Temperatures", "温度"}, text{"Air that a node takes in, and the sensors that an edge agent reads where the machine has them; virtual machines have none.", "节点的进风温度，以及边缘代理读取的传感器温度；虚拟机没有传感器。"}, "celsius",
		query{`{__name__=~"inlet_temperature_celsius|host_temperature_celsius", ` + node + "}", "{{device}} {{sensor}}"})
	b.chart(8, text{"Disk", "磁盘"}, text{"Share of the disk in use.", "磁盘占用比例。"}, "percent", query{"disk_used_percent{" + node + "}", "{{device}}"})
}

func (b *board) nodeAccelerators() {
	b.row(text{"Accelerators", "加速卡"})
	b.chart(8, text{"Utilisation", "利用率"}, text{"Utilisation of each accelerator.", "各加速卡的利用率。"}, "percent", query{"gpu_utilization_percent{" + node + "}", "{{device}} #{{gpu}}"})
	b.chart(8, text{"Memory in use", "显存占用"}, text{"Memory of each accelerator in use.", "各加速卡已用显存。"}, "bytes", query{"gpu_memory_used_bytes{" + node + "}", "{{device}} #{{gpu}}"})
	b.chart(8, text{"Temperature", "温度"}, text{"Temperature of each accelerator.", "各加速卡的温度。"}, "celsius", query{"gpu_temperature_celsius{" + node + "}", "{{device}} #{{gpu}}"})
}

// thisMachine shows what the edge agent reads of the machine it runs on.
func (b *board) thisMachine() {
	b.row(text{"Nodes with an edge agent", "装有边缘代理的节点"})
	b.chart(8, text{"CPU", "处理器"}, text{"Share of all cores in use, as the agent reads it.", "代理读取的处理器占用比例。"}, "percent", query{"host_cpu_percent{" + node + "}", "{{device}}"})
	b.chart(8, text{"Memory", "内存"}, text{"Memory in use.", "已用内存。"}, "bytes", query{"host_memory_used_bytes{" + node + "}", "{{device}}"})
	b.chart(8, text{"Disks", "磁盘"}, text{"Share of each file system in use.", "各文件系统的占用比例。"}, "percent", query{"host_disk_used_percent{" + node + "}", "{{device}} {{mount}}"})
	b.chart(8, text{"Network", "网络"}, text{"Bytes received and sent a second, all interfaces.", "全部网卡每秒收发字节数。"}, "Bps",
		query{"sum by (device) (rate(host_network_receive_bytes_total{" + node + "}[$__rate_interval]))", b.say(text{"{{device}} in", "{{device}} 收"})},
		query{"sum by (device) (rate(host_network_transmit_bytes_total{" + node + "}[$__rate_interval]))", b.say(text{"{{device}} out", "{{device}} 发"})})
	b.chart(8, text{"Disk traffic", "磁盘读写"}, text{"Bytes read and written a second, all disks.", "全部磁盘每秒读写字节数。"}, "Bps",
		query{"sum by (device) (rate(host_disk_read_bytes_total{" + node + "}[$__rate_interval]))", b.say(text{"{{device}} read", "{{device}} 读"})},
		query{"sum by (device) (rate(host_disk_written_bytes_total{" + node + "}[$__rate_interval]))", b.say(text{"{{device}} written", "{{device}} 写"})})
	b.chart(8, text{"Cores", "各核"}, text{"Share of each logical processor in use.", "各逻辑处理器的占用比例。"}, "percent",
		query{"host_cpu_core_percent{" + node + "}", "{{device}} cpu{{cpu}}"})
}

// agents shows whether the edge agents of nodes deliver what they read.
func (b *board) agents() {
	b.row(text{"Edge agents", "边缘代理"})
	everyMinute(b.chart(8, text{"Waiting in the spool", "缓存待送"}, text{"Blocks on an agent's disk that the hub has not acknowledged. It falls to nothing while the hub is there.", "代理磁盘上枢纽尚未确认的数据块，枢纽在线时应降至零。"}, "short",
		query{"edge_spool_blocks{" + node + "}", "{{device}}"}))
	everyMinute(b.chart(8, text{"Disk space of the spool", "缓存占用磁盘"}, text{"When the spool reaches its bound, its oldest blocks are lost.", "缓存达到上限时最旧的数据块会丢失。"}, "bytes",
		query{"edge_spool_bytes{" + node + "}", "{{device}}"}))
	everyMinute(b.chart(8, text{"Lost samples", "丢失的样本"}, text{"Samples that an agent will never deliver, as it counted them and as it told the hub, with the reason.", "代理无法送达的样本：代理自身的计数，以及上报给枢纽的丢失及原因。"}, "short",
		query{"sum by (device) (increase(edge_spool_lost_samples_total{" + node + "}[$__rate_interval]))", b.say(text{"{{device}} counted", "{{device}} 计数"})},
		query{"sum by (device, reason) (sum_over_time(edge_loss_samples{" + node + "}[$__interval])) or 0 * sum by (device) (edge_spool_blocks{" + node + "})", "{{device}} {{reason}}"}))
}
