package source

import (
	"fmt"
	"strings"
)

// MetricsDoc is docs/formats/agent-metrics.md.
func MetricsDoc() []byte {
	var b strings.Builder
	b.WriteString(`# Metrics of the edge agent / 边缘代理的指标

Generated from internal/edge/source/metrics.go by ` + "`go generate ./internal/edge/source`" + `.

What the sources prometheus, snmp, modbus, exec, file, mqtt and http give is named by their senders or by the config. A label that the hub
sets itself (device, kind, site, region) becomes exported_device and so on when an exporter has it. Tags of the config are added to all.

prometheus、snmp、modbus、exec、file、mqtt、http 等数据源的指标由发送方或配置命名。导出器中与枢纽保留标签（device、kind、site、region）同名的标签会改名为 exported_device 等。配置中的标签加到全部样本上。

| metric | kind | unit | tags | is | 含义 |
|---|---|---|---|---|---|
`)
	for _, m := range Metrics() {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s | %s |\n", m.Name, m.Kind, m.Unit, m.Tags, m.EN, m.ZH)
	}
	b.WriteString(`
## State

` + "`edge_loss`" + ` is a string, not a series: the last entry of the loss ledger as JSON (every entry is in edge_loss_samples), ` + "`{\"from\": ms, \"to\": ms, \"blocks\": n, \"samples\": n, \"reason\": \"…\"}`" + `.
Times are milliseconds since the Unix epoch, 0 when not known. Reasons: full (the size bound of the spool), disk_full, age (its age bound),
damaged (the disk gave back something else), refused (the hub will never take it).

` + "`edge_loss`" + ` 是字符串状态而非时间序列：丢失台账的最近一条，JSON 格式（全部条目见 edge_loss_samples）。时间为 Unix 毫秒，未知为 0。原因：full（缓存达到容量上限）、disk_full（磁盘已满）、age（超过保存时限）、damaged（磁盘数据损坏）、refused（枢纽拒收）。
`)
	return []byte(b.String())
}
