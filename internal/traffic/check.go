package traffic

import (
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// The checks: a closed list.
const (
	CheckRate       Check = "rate"       // more or fewer messages than there should be
	CheckLimit      Check = "limit"      // more than the unit is configured to send
	CheckClock      Check = "clock"      // its time is not that of the hub
	CheckLoss       Check = "loss"       // message counters leave numbers out
	CheckCounter    Check = "counter"    // a message counter stands still while what it counts changes
	CheckTransition Check = "transition" // a light follows another that it may not follow
	CheckConflict   Check = "conflict"   // phases whose ways cross are green together
	CheckAlignment  Check = "alignment"  // the signals have phases or nodes that the map has not, or the other way round
	CheckCountdown  Check = "countdown"  // a light changes at another time than was announced
	CheckPastEnd    Check = "past_end"   // an event is told although its end has passed
	CheckBeat       Check = "heartbeat"  // its period is another than the configured one
	CheckPosition   Check = "position"   // the unit is not where it was registered
	CheckModule     Check = "module"     // the unit reports a fault of its radio or GNSS
	CheckFixedID    Check = "fixed_id"   // ids of vehicles that do not rotate
	CheckZeroID     Check = "zero_id"    // ids of vehicles that are zero
	CheckSharedID   Check = "shared_id"  // ids of vehicles that are at many units at once
)

// Checks are all checks. Their order stands in records: a new one goes last.
var Checks = []Check{CheckRate, CheckLimit, CheckClock, CheckLoss, CheckCounter, CheckTransition, CheckConflict, CheckAlignment, CheckCountdown,
	CheckPastEnd, CheckBeat, CheckPosition, CheckModule, CheckFixedID, CheckZeroID, CheckSharedID}

var checkNames = func() (names []string) {
	for _, c := range Checks {
		names = append(names, string(c))
	}
	return names
}()

// Text is something for people in Chinese and English.
type Text struct{ ZH, EN string }

// checkText is what people read of a check.
type checkText struct {
	name, fix Text
	// found says a finding with its numbers.
	found func(f *finding) Text
}

// say is a text whose numbers come in the same order in both languages.
func say(zh, en string, args ...any) Text {
	return Text{fmt.Sprintf(zh, args...), fmt.Sprintf(en, args...)}
}

var checkTexts = map[Check]checkText{
	CheckRate: {
		name: Text{"消息频率", "message rate"},
		fix:  Text{"检查该类消息的发送周期、上行限速配置和回传链路", "check how often the unit is set to send these, its caps, and its link"},
		found: func(f *finding) Text {
			return say("%s 消息 10 秒内 %.0f 条，应为 %.0f 条（容差 10%%）", "%s: %.0f messages in 10 s where %.0f should come, give or take a tenth", f.kind, f.is, f.want)
		},
	},
	CheckLimit: {
		name: Text{"超出限速", "above its cap"},
		fix:  Text{"重新下发配置；设备未执行 upLimit 时联系厂商", "send the configuration again; ask the maker when the unit does not keep to upLimit"},
		found: func(f *finding) Text {
			return say("%s 消息每秒 %.1f 条，配置上限 %.1f 条", "%s: %.1f messages a second, its cap is %.1f", f.kind, f.is, f.want)
		},
	},
	CheckClock: {
		name: Text{"时钟偏差", "clock offset"},
		fix:  Text{"检查设备的 GNSS 授时或 NTP 配置", "check the unit's GNSS time or its NTP servers"},
		found: func(f *finding) Text {
			return say("报文时间与接收时间相差 %+.1f 秒（中位数），允许 ±%.0f 秒", "its time is %+.1f s from that of arrival (median), ±%.0f s are allowed", f.is, f.want)
		},
	},
	CheckLoss: {
		name: Text{"消息丢失", "lost messages"},
		fix:  Text{"检查回传链路与设备负载；使用 QoS 1 上报", "check the link and the load of the unit; let it report with QoS 1"},
		found: func(f *finding) Text {
			return say("%s 消息序号缺 %.0f 条，占最近一轮的 %.1f%%", "%s: the counter leaves out %.0f messages, %.1f%% of its last round", f.kind, f.want, 100*f.is)
		},
	},
	CheckCounter: {
		name: Text{"序号停滞", "stuck counter"},
		fix:  Text{"升级设备固件：msgCnt 须随每条新内容递增", "have the firmware put right: msgCnt goes up with new content"},
		found: func(f *finding) Text {
			return say("%s 消息内容已变而序号仍为 %.0f", "%s: the content changes and the counter stays at %.0f", f.kind, f.is)
		},
	},
	CheckTransition: {
		name: Text{"灯色跳变", "illegal light"},
		fix:  Text{"核对信号机与路侧设备之间的灯色映射（GB 14886）", "check how the unit maps the lights of the controller (GB 14886)"},
		found: func(f *finding) Text {
			return Text{fmt.Sprintf("路口 %s 相位 %d 由%s变为%s", NodeName(f.node), f.phase, LightText(f.from).ZH, LightText(f.to).ZH),
				fmt.Sprintf("node %s, phase %d turned from %s to %s", NodeName(f.node), f.phase, LightText(f.from).EN, LightText(f.to).EN)}
		},
	},
	CheckConflict: {
		name: Text{"冲突绿灯", "conflicting greens"},
		fix:  Text{"立即核对现场灯色；核对地图中车道与相位的对应关系", "look at the lights on site at once; then at which phases the map gives the lanes"},
		found: func(f *finding) Text {
			return say("路口 %s 相位 %d 与 %d 的行驶方向交叉却同为绿灯", "node %s: phases %d and %d are green together and their ways cross", NodeName(f.node), f.phase, f.other)
		},
	},
	CheckAlignment: {
		name: Text{"地图与信号不符", "map and signals differ"},
		fix:  Text{"重新下发与信号配时一致的地图", "send a map that goes with the signal plan"},
		found: func(f *finding) Text {
			return say("路口 %s：%.0f 个相位只在 SPAT 中，%.0f 个只在 MAP 中", "node %s: %.0f phases are in SPAT only, %.0f in MAP only", NodeName(f.node), f.is, f.want)
		},
	},
	CheckCountdown: {
		name: Text{"倒计时误差", "countdown error"},
		fix:  Text{"核对信号机提供的剩余时间；感应控制时请给出最早与最迟结束时间", "check the time left that the controller tells; under actuated control tell the earliest and latest end"},
		found: func(f *finding) Text {
			return say("路口 %s 相位 %d 的倒计时平均误差 %.1f 秒，允许 %.0f 秒", "node %s, phase %d: the countdown is %.1f s off on average, %.0f s are allowed", NodeName(f.node), f.phase, f.is, f.want)
		},
	},
	CheckPastEnd: {
		name: Text{"事件过期仍播发", "event past its end"},
		fix:  Text{"撤销该事件，或由发布方延长其结束时间", "withdraw the event, or let who issued it extend its end"},
		found: func(f *finding) Text {
			name := EventText(int(f.want))
			return Text{fmt.Sprintf("事件 %s（%s）已结束 %.0f 分钟仍在播发", f.word, name.ZH, f.is),
				fmt.Sprintf("event %s (%s) ended %.0f minutes ago and is still told", f.word, name.EN, f.is)}
		},
	},
	CheckBeat: {
		name: Text{"心跳周期", "heartbeat period"},
		fix:  Text{"以 MNG 下发心跳周期 HBRate", "set HBRate by MNG"},
		found: func(f *finding) Text {
			return say("心跳每 %.0f 秒一次，配置为 %.0f 秒", "heartbeat every %.0f s, %.0f s configured", f.is, f.want)
		},
	},
	CheckPosition: {
		name: Text{"位置偏离", "off its position"},
		fix:  Text{"核对安装位置；偏差数百米多因上报了 GCJ-02 坐标而非 WGS 84", "check where it stands; hundreds of metres often mean GCJ-02 coordinates instead of WGS 84"},
		found: func(f *finding) Text {
			return say("上报位置距登记位置 %.0f 米，允许 %.0f 米", "it reports a place %.0f m from where it is registered, %.0f m are allowed", f.is, f.want)
		},
	},
	CheckModule: {
		name: Text{"模块故障", "module fault"},
		fix:  Text{"检查天线与模块，必要时重启或更换", "check aerial and module; restart or replace it"},
		found: func(f *finding) Text {
			m, c := ModuleText(f.word), FaultText(int(f.is))
			return Text{fmt.Sprintf("%s：%s（代码 %.0f）", m.ZH, c.ZH, f.is), fmt.Sprintf("%s: %s (code %.0f)", m.EN, c.EN, f.is)}
		},
	},
	CheckFixedID: {
		name: Text{"临时标识不轮换", "ids that do not rotate"},
		fix:  Text{"升级车载终端：临时标识须定期更换，以防跟踪", "have the on-board unit put right: temporary ids change, so that nobody is followed"},
		found: func(f *finding) Text {
			return say("车辆临时标识超过 %.0f 分钟未更换，可被跟踪", "a temporary id did not change for %.0f minutes: the vehicle can be followed", f.want)
		},
	},
	CheckZeroID: {
		name: Text{"临时标识全零", "ids that are zero"},
		fix:  Text{"升级车载终端：临时标识须为随机数", "have the on-board unit put right: temporary ids are random"},
		found: func(*finding) Text {
			return Text{"车辆消息的临时标识全为零", "a message of a vehicle has an id that is all zero"}
		},
	},
	CheckSharedID: {
		name: Text{"临时标识重复", "ids of several vehicles"},
		fix:  Text{"升级车载终端：临时标识须各自随机生成", "have the on-board units put right: each makes random ids of its own"},
		found: func(f *finding) Text {
			return say("同一临时标识在 %.0f 秒内出现在相距甚远的多个路侧单元", "one temporary id was at units far apart within %.0f s", f.want)
		},
	},
}

// Name is what people call a check.
func (c Check) Name() Text { return checkTexts[c].name }

// Fix is how what it finds is put right.
func (c Check) Fix() Text { return checkTexts[c].fix }

// finding are the numbers of a finding; the text of its check says what they are.
type finding struct {
	kind         road.Kind
	node         road.NodeID // zero: the unit as a whole
	phase, other uint8
	from, to     road.Light
	is, want     float64
	word         string
}

// faultHolds is how long after its last finding a check finds fault, where it
// does not see by itself that all is well again.
const faultHolds = 10 * time.Minute

type faultKey struct {
	check Check
	node  uint32
}

// fault is a check of a unit that finds fault.
type fault struct {
	since, last time.Time // of arrival
	count       int64
	latest      finding
}

// find notes n findings of a check. Those of history count in its minute, and
// raise nothing now.
func (u *unit) find(b *Board, a *Arrival, at time.Time, c Check, n int64, f finding) {
	u.add(at, Cell{Series: CheckFaults, Part: partOfCheck(c)}, float64(n))
	if !a.Live {
		return
	}
	k := faultKey{c, nodeCell(f.node)}
	s := u.faults[k]
	if s == nil {
		if u.faults == nil {
			u.faults = map[faultKey]*fault{}
		}
		if len(u.faults) >= len(Checks)*(1+b.cfg.MaxNodes) {
			return
		}
		s = &fault{since: a.Received}
		u.faults[k] = s
	}
	if !s.holds(a.Received) {
		*s = fault{since: a.Received}
	}
	s.count += n
	s.last, s.latest = a.Received, f
	u.evidence.keep(b, c, a)
}

// holds reports whether the check still finds fault.
func (s *fault) holds(now time.Time) bool {
	return s.count > 0 && now.Sub(s.last) <= faultHolds
}

// sound says that a check has seen that all is well.
func (u *unit) sound(c Check, node road.NodeID) { delete(u.faults, faultKey{c, nodeCell(node)}) }

func partOfCheck(c Check) uint8 {
	for i, one := range Checks {
		if one == c {
			return uint8(i)
		}
	}
	return 255
}

// faultsOf are those that hold, by check; of a node, or of all.
func (u *unit) faultsOf(now time.Time, node *road.NodeID) (all []Fault) {
	for _, c := range Checks {
		for k, s := range u.faults {
			if k.check != c || !s.holds(now) || node != nil && k.node != nodeCell(*node) {
				continue
			}
			said := checkTexts[c].found(&s.latest)
			all = append(all, Fault{Check: c, Node: s.latest.node, ZH: said.ZH, EN: said.EN, Since: s.since, Last: s.last, Count: s.count, Evidence: u.evidence.has(c, now)})
		}
	}
	return all
}
