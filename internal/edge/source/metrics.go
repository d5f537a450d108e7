package source

// Metric is a series that the agent makes by itself; what prometheus, snmp,
// modbus and the other sources give is named by their senders or the config.
type Metric struct {
	Source, Name string
	// Unit is a SenML or UCUM symbol: By is bytes, Cel degrees Celsius, 1 a
	// count or a truth value.
	Unit   string
	Kind   string // gauge or counter
	Tags   string
	EN, ZH string
}

// Metrics lists them in the order of docs/formats/agent-metrics.md, which is
// generated from here.
func Metrics() []Metric {
	return []Metric{
		{"host", "host_cpu_percent", "%", "gauge", "", "time that all processors together were busy since the reading before", "全部处理器自上次读取以来的忙碌比例"},
		{"host", "host_cpu_core_percent", "%", "gauge", "cpu", "the same of one logical processor", "单个逻辑处理器的忙碌比例"},
		{"host", "host_cpu_count", "1", "gauge", "", "logical processors", "逻辑处理器数"},
		{"host", "host_load1", "1", "gauge", "", "load average of one minute", "1 分钟平均负载"},
		{"host", "host_load5", "1", "gauge", "", "load average of five minutes", "5 分钟平均负载"},
		{"host", "host_load15", "1", "gauge", "", "load average of fifteen minutes", "15 分钟平均负载"},
		{"host", "host_memory_total_bytes", "By", "gauge", "", "memory installed", "内存总量"},
		{"host", "host_memory_used_bytes", "By", "gauge", "", "memory in use: total less what could be had at once", "已用内存：总量减去可立即使用的部分"},
		{"host", "host_memory_available_bytes", "By", "gauge", "", "memory that can be had without swapping", "不用交换即可使用的内存"},
		{"host", "host_swap_total_bytes", "By", "gauge", "", "swap space", "交换空间总量"},
		{"host", "host_swap_used_bytes", "By", "gauge", "", "swap space in use", "已用交换空间"},
		{"host", "host_disk_total_bytes", "By", "gauge", "mount", "size of a file system", "文件系统容量"},
		{"host", "host_disk_used_bytes", "By", "gauge", "mount", "used in a file system", "文件系统已用空间"},
		{"host", "host_disk_used_percent", "%", "gauge", "mount", "used part of what users may use", "用户可用空间的已用比例"},
		{"host", "host_disk_inodes_used_percent", "%", "gauge", "mount", "used part of the inodes", "索引节点已用比例"},
		{"host", "host_disk_read_bytes_total", "By", "counter", "disk", "read from a disk", "磁盘读取字节数"},
		{"host", "host_disk_written_bytes_total", "By", "counter", "disk", "written to a disk", "磁盘写入字节数"},
		{"host", "host_disk_reads_total", "1", "counter", "disk", "reads completed", "磁盘读取次数"},
		{"host", "host_disk_writes_total", "1", "counter", "disk", "writes completed", "磁盘写入次数"},
		{"host", "host_disk_io_seconds_total", "s", "counter", "disk", "time with a request under way", "磁盘有请求在处理的时间"},
		{"host", "host_network_receive_bytes_total", "By", "counter", "interface", "received by an interface", "网络接口接收字节数"},
		{"host", "host_network_transmit_bytes_total", "By", "counter", "interface", "sent by an interface", "网络接口发送字节数"},
		{"host", "host_network_receive_packets_total", "1", "counter", "interface", "packets received", "接收包数"},
		{"host", "host_network_transmit_packets_total", "1", "counter", "interface", "packets sent", "发送包数"},
		{"host", "host_network_receive_errors_total", "1", "counter", "interface", "receive errors", "接收错误数"},
		{"host", "host_network_transmit_errors_total", "1", "counter", "interface", "send errors", "发送错误数"},
		{"host", "host_network_receive_drops_total", "1", "counter", "interface", "packets dropped on receive", "接收丢包数"},
		{"host", "host_network_transmit_drops_total", "1", "counter", "interface", "packets dropped on send", "发送丢包数"},
		{"host", "host_temperature_celsius", "Cel", "gauge", "sensor", "temperature of a sensor", "传感器温度"},
		{"host", "host_uptime_seconds", "s", "gauge", "", "time since the machine started", "开机时长"},
		{"host", "host_processes", "1", "gauge", "", "processes", "进程数"},
		{"host", "host_energy_joules_total", "J", "counter", "domain", "energy used by a RAPL domain since the agent started", "RAPL 域自代理启动以来的能耗"},
		{"gpu", "gpu_utilization_percent", "%", "gauge", "gpu, model", "time that the accelerator was busy", "加速卡利用率"},
		{"gpu", "gpu_memory_utilization_percent", "%", "gauge", "gpu, model", "time that its memory was read or written", "显存读写利用率"},
		{"gpu", "gpu_memory_used_bytes", "By", "gauge", "gpu, model", "its memory in use", "显存已用"},
		{"gpu", "gpu_memory_total_bytes", "By", "gauge", "gpu, model", "its memory", "显存总量"},
		{"gpu", "gpu_temperature_celsius", "Cel", "gauge", "gpu, model", "its temperature", "加速卡温度"},
		{"gpu", "gpu_power_watts", "W", "gauge", "gpu, model", "its power draw", "加速卡功率"},
		{"gpu", "gpu_power_limit_watts", "W", "gauge", "gpu, model", "its power limit", "加速卡功率上限"},
		{"gpu", "gpu_clock_hertz", "Hz", "gauge", "gpu, model", "clock of its processors", "加速卡核心频率"},
		{"gpu", "gpu_fan_percent", "%", "gauge", "gpu, model", "fan speed", "风扇转速比例"},
		{"gpu", "gpu_energy_joules_total", "J", "counter", "gpu, model", "energy used since the driver was loaded (dcgm-exporter)", "驱动加载以来的能耗（dcgm-exporter）"},
		{"edge", "edge_source_up", "1", "gauge", "source", "1 when the source gave its last reading whole, else 0", "数据源最近一次读取完整为 1，否则为 0"},
		{"edge", "edge_source_age_seconds", "s", "gauge", "source", "time since the source last gave something", "距数据源上次给出数据的时间"},
		{"edge", "edge_source_samples_total", "1", "counter", "source", "samples kept since the agent started", "代理启动以来保存的样本数"},
		{"edge", "edge_source_failures_total", "1", "counter", "source", "failures since the agent started", "代理启动以来的失败次数"},
		{"edge", "edge_source_dropped_total", "1", "counter", "source", "datagrams and messages that came and could not be kept, and samples too large for a message, since the agent started", "代理启动以来收到但未能保存的数据报与消息，以及过大而无法发送的样本数"},
		{"edge", "edge_spool_blocks", "1", "gauge", "", "blocks that wait to be delivered", "待送达的数据块数"},
		{"edge", "edge_spool_bytes", "By", "gauge", "", "disk space of the spool", "本地缓存占用的磁盘空间"},
		{"edge", "edge_spool_lost_samples_total", "1", "counter", "", "samples that will never be delivered, since the spool was made", "自缓存建立以来无法送达的样本数"},
		{"edge", "edge_spool_lost_blocks_total", "1", "counter", "", "blocks that will never be delivered, since the spool was made", "自缓存建立以来无法送达的数据块数"},
		{"edge", "edge_loss_samples", "1", "gauge", "reason", "samples of one loss, at the time of the last sample lost; the sum over a time is what was lost in it", "一次丢失的样本数，时间为其中最后一个样本的时间；某时段内之和即该时段的丢失量"},
		{"edge", "edge_loss_from_seconds", "s", "gauge", "reason", "time of the first sample of that loss, in seconds since the Unix epoch; absent when not known", "该次丢失中第一个样本的时间（Unix 秒），未知时不上报"},
		{"edge", "edge_refused_samples_total", "1", "counter", "", "samples that the disk did not take, since the agent started", "代理启动以来因磁盘无法写入而未保存的样本数"},
		{"edge", "edge_rejected_samples_total", "1", "counter", "", "samples that reached the hub and were not stored, since the agent started; the log names each reason once", "代理启动以来送达枢纽但被拒收的样本数；每种原因在日志中记录一次"},
		{"edge", "edge_uplink_connections_total", "1", "counter", "", "connections to the hub since the agent started", "代理启动以来与枢纽建立的连接数"},
		{"edge", "edge_uplink_messages_total", "1", "counter", "", "messages that the hub acknowledged since the agent started", "代理启动以来枢纽已确认的消息数"},
		{"edge", "edge_config_version", "1", "gauge", "", "version of the wanted configuration in use; 0 when it goes by its own file", "正在使用的期望配置版本；0 表示只用本机配置文件"},
		{"edge", "edge_uptime_seconds", "s", "gauge", "", "time since the agent started", "代理运行时长"},
	}
}
