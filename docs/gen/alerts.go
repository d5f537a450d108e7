package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/songhua-io/hub/deploy/alerts"
	"github.com/songhua-io/hub/internal/rules"
)

// alertsReference lists the alerts that are shipped by the files that hold them.
func alertsReference() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(alertsPreface)
	files, err := fs.Glob(alerts.Files, "*.yaml")
	if err != nil {
		return nil, err
	}
	for _, file := range files {
		text, err := alerts.Files.ReadFile(file)
		if err != nil {
			return nil, err
		}
		groups, faults := rules.Parse(file, text, rules.Defaults{Interval: time.Minute})
		if len(faults) > 0 {
			return nil, faults[0]
		}
		head := strings.SplitN(string(text), "\n", 3)
		fmt.Fprintf(&b, "\n## %s · %s\n\n`deploy/alerts/%s`\n\n| alert · 告警 | severity · 级别 | for | is raised when · 触发 | 说明 | runbook · 手册 |\n|---|---|---|---|---|---|\n", strings.TrimPrefix(head[0], "# "), strings.TrimPrefix(head[1], "# "), file)
		for _, g := range groups {
			for _, r := range g.Rules {
				fmt.Fprintf(&b, "| <a id=\"%[1]s\"></a>`%[1]s` | %[2]s | %[3]s | %[4]s | %[5]s | [en](runbooks/en/%[1]s.md) · [zh](runbooks/zh/%[1]s.md) |\n",
					r.Alert, r.Labels.Get("severity"), hold(r.For), named(r.Annotations.Get("summary")), named(r.Annotations.Get("summary_zh")))
			}
		}
	}
	return b.Bytes(), nil
}

func hold(d time.Duration) string {
	if d == 0 {
		return "–"
	}
	return strings.NewReplacer("m0s", "m", "h0m0s", "h").Replace(d.String())
}

// named is a summary with its templates as words: {{ $labels.site }} is SITE, the
// value is N.
func named(summary string) string {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(summary, "{{")
		b.WriteString(before)
		if !found {
			return strings.ReplaceAll(b.String(), "|", "\\|")
		}
		inside, after, _ := strings.Cut(rest, "}}")
		word := "N"
		if _, label, ok := strings.Cut(inside, "$labels."); ok {
			label, _, _ = strings.Cut(strings.TrimSpace(label), " ")
			word = strings.ToUpper(label)
		}
		b.WriteString(word)
		summary = after
	}
}

const alertsPreface = `# Alerts · 告警

Generated from ` + "`deploy/alerts`" + ` by ` + "`go generate ./...`" + `. The hub evaluates these rules by default (` + "`rules.shipped`" + `; ` + "`rules.off`" + ` leaves single ones out), by the time that samples carry.
Each has a runbook: what it means for people, how to see it, likely causes, what to do, whom to call. The hub serves them without signing in at ` + "`/runbooks`" + `, and an alert's annotation ` + "`runbook_url`" + ` leads there where ` + "`pages.public_url`" + ` is set.

由 ` + "`deploy/alerts`" + ` 生成。枢纽默认按样本自带的时间评估这些规则（` + "`rules.shipped`" + `，` + "`rules.off`" + ` 可逐条排除）。每条告警附中英文处置手册：含义、如何查看、可能原因、处理步骤、通知何人；枢纽在 ` + "`/runbooks`" + ` 免登录提供，告警注解 ` + "`runbook_url`" + ` 指向该页。

| severity · 级别 | asks for · 要求 |
|---|---|
| page | wake who is on duty: people are in danger, or data are being lost · 叫醒值班人员：人身危险或数据正在丢失 |
| warning | somebody looks within the working day · 当个工作日处理 |
| info | when there is time; nobody is told by phone · 有空时处理，不打电话 |

**With another evaluator.** The files are those of Prometheus (2.42 or later), vmalert and Grafana: ask the hub at ` + "`http://HUB:8080/prometheus`" + ` with a token of role reader (` + "`--grade`" + ` for devices of grade important or core), or scrape ` + "`/metrics`" + ` under the job ` + "`hub`" + `.
Set the external URL of the evaluator (` + "`-external.url`" + ` of vmalert) to that of the hub, so that ` + "`runbook_url`" + ` leads to it. A hub that is down raises nothing: let somebody else ask ` + "`/readyz`" + `.
其他求值程序（Prometheus、vmalert、Grafana）可直接使用这些文件。枢纽停机时不会告警，请由外部探测 ` + "`/readyz`" + `。

**Change them.** ` + "`hub rules check FILE…`" + ` names every error with its key path; ` + "`hub rules test FILE…`" + ` runs tests in the format of ` + "`promtool test rules`" + `; those of the shipped rules are in ` + "`deploy/alerts/tests`" + `, a series that raises each alert and one that does not.
Copy a rule into a file of ` + "`rules.dir`" + `, change its threshold there, and name the shipped one under ` + "`rules.off`" + `.

**Names of sensors.** Rules of the environment go by ` + "`pm2_5_ug_m3`, `pm10_ug_m3`, `air_temperature_celsius`, `soil_moisture_percent` (by volume), `water_level_m`, `water_flow_m3_s`, `battery_percent`, `inlet_temperature_celsius`" + `: let devices use these names, or record them from yours.
环境类规则依上述指标名；设备用其他名称时，请以记录规则转换。
`
