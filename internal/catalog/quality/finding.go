package quality

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
)

// Kind is what a finding is about.
type Kind string

// The kinds.
const (
	Incomplete   Kind = "incomplete"   // less came than what measures is to send
	Stale        Kind = "stale"        // older than the declared cycle
	Late         Kind = "late"         // comes later than the declared cycle
	Implausible  Kind = "implausible"  // out of range, jumps, flat lines
	Inconsistent Kind = "inconsistent" // repeated, contradicted, out of order, from the future
	Unreachable  Kind = "unreachable"  // an own address does not answer
	WrongUnit    Kind = "unit"         // measured in another unit than declared
	Copied       Kind = "copy"         // another device collects the same again
)

// Kinds lists the kinds.
func Kinds() []Kind {
	return []Kind{Incomplete, Stale, Late, Implausible, Inconsistent, Unreachable, WrongUnit, Copied}
}

// Finding is where what is measured is not what is declared, with the numbers and
// the way out.
type Finding struct {
	Dataset string `json:"dataset"`
	Kind    Kind   `json:"kind"`
	// About is a part of the dataset, or the other one; empty: all of it.
	About    string  `json:"about,omitempty"`
	Declared float64 `json:"declared"`
	Measured float64 `json:"measured"`
	ZH       string  `json:"zh"`
	EN       string  `json:"en"`
	// Since is the first day in a row that has it, Until the one that has it no
	// more; empty: it is open.
	Since Day `json:"since"`
	Until Day `json:"until,omitempty"`
}

// findings are those of a day.
func (c *Config) findings(d *catalog.Dataset, m *Measured) (all []Finding) {
	add := func(k Kind, about string, declared, measured float64, zh, en string, args ...any) {
		all = append(all, Finding{Dataset: m.Dataset, Kind: k, About: about, Declared: declared, Measured: measured, Since: m.Day, ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)})
	}
	// Of a day that began before it was public nothing is expected as a whole.
	whole := !m.From.After(m.Day.Begin())
	if v, ok := m.Share(catalog.Completeness); ok && v < c.Completeness && whole {
		add(Incomplete, "", c.Completeness, v,
			"%s 应到 %d 个样本，实到 %d（%s，低于 %s）；%d 条序列全天无数据。以 `hub dataset lineage %s` 查看设备，修复中断的设备，或在型号与设备登记中更正测量间隔。",
			"on %s %d samples were to come and %d did (%s, below %s); %d series were silent all day. See the devices with `hub dataset lineage %s`, mend those that are away, or correct the periods of their models and registrations.",
			m.Day, m.Expected, m.Received, percent(v), percent(c.Completeness), m.Silent, d.ID)
	}
	c.aging(d, m, add)
	if v, ok := m.Share(catalog.Validity); ok && v < c.Validity {
		add(Implausible, "", c.Validity, v,
			"%s 的 %d 个样本中 %d 个不可信（超出量程 %d、跳变 %d、长时间不变 %d；可信 %s，低于 %s）。检查传感器，或更正型号的 min、max、step。",
			"of %[2]d samples of %[1]s %[3]d are not plausible (%[4]d out of range, %[5]d jumps, %[6]d of flat lines; %[7]s are, below %[8]s). Look at the sensors, or correct min, max and step of their models.",
			m.Day, m.Samples, m.Invalid, m.Range, m.Jump, m.Flat, percent(v), percent(c.Validity))
	}
	if v, ok := m.Share(catalog.Consistency); ok && v < c.Consistency {
		a := m.Arrived
		add(Inconsistent, "", c.Consistency, v,
			"%s 到达的 %d 个样本中重复 %d、矛盾 %d、乱序 %d、早于采样时刻 %d、因时间拒收 %d（一致 %s，低于 %s）。检查设备的时钟与重发。",
			"of %[2]d samples that came on %[1]s %[3]d were repeated, %[4]d contradicted, %[5]d out of order, %[6]d from the future and %[7]d refused for their time (%[8]s are consistent, below %[9]s). Look at the clocks of the devices, and at what they send again.",
			m.Day, a.Samples+a.Refused, a.Repeated, a.Conflicts, a.Behind, a.Ahead, a.Refused, percent(v), percent(c.Consistency))
	}
	for _, p := range m.Probes {
		if !p.Good() {
			add(Unreachable, p.Path, 200, float64(p.Status),
				"地址 %s 未能打开（状态 %d，0 为无应答）；查看枢纽日志，以 `curl -I` 复核。", "the address %s does not open (status %d; 0: no answer); see the hub's log, and try it with `curl -I`.", p.Path, p.Status)
		}
	}
	return all
}

// aging is what the declared cycle promises of age and delay: two cycles, so that
// one that is under way is no finding.
func (c *Config) aging(d *catalog.Dataset, m *Measured, add func(Kind, string, float64, float64, string, string, ...any)) {
	cycle := d.Cycle.Period
	if d.Cycle.Kind != catalog.Periodic || cycle <= 0 {
		return
	}
	if public := m.Day.End().Sub(d.Published); public > 2*cycle && (m.AgeSeconds < 0 || m.AgeSeconds > (2*cycle).Seconds()) {
		add(Stale, "", cycle.Seconds(), m.AgeSeconds,
			"声明每 %v 更新，而 %s 结束时最新数据已 %[3]s；恢复采集，或以 `hub dataset apply` 更正 cycle。",
			"an update every %v is declared, and at the end of %s %[4]s; let it be collected again, or correct the cycle with `hub dataset apply`.",
			cycle, m.Day, ageZH(m.AgeSeconds), ageEN(m.AgeSeconds))
	}
	if p95, ok := m.Share(catalog.Timeliness); ok && p95 > cycle.Seconds() {
		add(Late, "", cycle.Seconds(), p95,
			"声明每 %v 更新，而 %s 有二十分之一的样本在测得 %v 之后才到达（中位 %v，百分之一超过 %v）；检查设备的链路与缓存，或更正 cycle。",
			"an update every %v is declared, and on %s one sample in twenty came more than %v after it was taken (median %v, one in a hundred more than %v); look at how the devices are connected, or correct the cycle.",
			cycle, m.Day, seconds(p95), seconds(m.Arrived.P50), seconds(m.Arrived.P99))
	}
}

func ageZH(s float64) string {
	if s < 0 {
		return "从未有过"
	}
	return "有 " + seconds(s).String()
}

func ageEN(s float64) string {
	if s < 0 {
		return "there never was any"
	}
	return "the newest of its data was " + seconds(s).String() + " old"
}

func seconds(s float64) time.Duration {
	return time.Duration(s * float64(time.Second)).Round(10 * time.Millisecond)
}

func percent(v float64) string { return fmt.Sprintf("%.2f %%", 100*v) }

// units are findings of items that are measured in another unit than declared.
func units(d *catalog.Dataset, day Day, measured map[string]string) (all []Finding) {
	for _, it := range d.Items {
		is := measured[it.Name]
		if it.Unit == "" || is == "" || is == it.Unit {
			continue
		}
		all = append(all, Finding{Dataset: d.ID, Kind: WrongUnit, About: it.Name, Since: day,
			ZH: fmt.Sprintf("字段 %s 声明的单位为 %s，而实测为 %s；更正数据集的 items，或更正型号的 unit。", it.Name, it.Unit, is),
			EN: fmt.Sprintf("item %s is declared in %s and measured in %s; correct the items of the dataset, or the unit of the model.", it.Name, it.Unit, is)})
	}
	return all
}

// copied is the finding of a series of a dataset and another one with its values.
func copied(day Day, of, by origin) Finding {
	at := "不属于任何已发布的数据集"
	in := "is of no published dataset"
	if by.dataset != "" {
		at, in = "属于数据集 "+by.dataset, "is of dataset "+by.dataset
	}
	return Finding{Dataset: of.dataset, Kind: Copied, About: by.name, Since: day, Declared: 0, Measured: 1,
		ZH: fmt.Sprintf("%s 的序列 %s（%s）的数值与本数据集的 %s 相同（允许平移与缩放）；按一数一源，应停止重复采集、改为申请使用，或说明其为另一来源。", day, by.name, at, of.name),
		EN: fmt.Sprintf("on %s the series %s, which %s, had the values of %s of this dataset (up to a shift and a scale); let it be collected once and used by a grant, or say that it is another source.", day, by.name, in, of.name)}
}

// key tells findings of a dataset apart.
func (f *Finding) key() string { return string(f.Kind) + "\x00" + f.About }

func sortFindings(all []Finding) {
	slices.SortFunc(all, func(a, b Finding) int {
		return strings.Compare(a.Dataset+"\x00"+a.key()+"\x00"+string(a.Since), b.Dataset+"\x00"+b.key()+"\x00"+string(b.Since))
	})
}
