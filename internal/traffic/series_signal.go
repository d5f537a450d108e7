package traffic

import "github.com/songhua-io/hub/internal/road"

// The series of signals.
const (
	SignalTime         Series = 40
	SignalCycle        Series = 41
	SignalSplit        Series = 42
	SignalIllegal      Series = 43
	SignalConflicts    Series = 44
	SignalConflictTime Series = 45
	SignalCountdown    Series = 46
	SignalCountdownMax Series = 47
	SignalContinuity   Series = 48
	SignalGap          Series = 49
	SignalMode         Series = 50
	SignalMisaligned   Series = 51
)

var signalSeries = map[Series]Definition{
	SignalTime: {Name: "signal_light_seconds", Unit: "s", ZH: "一分钟内各灯色持续的秒数（由此得绿信比、黄闪与灭灯时间）", EN: "seconds of the minute that a phase showed each light",
		Subject: OfPhase, PartLabel: "light", Parts: lightLabels},
	SignalCycle: {Name: "signal_cycle_seconds", Unit: "s", ZH: "周期时长（相邻两次绿灯起始之间，均值）", EN: "length of the cycles that ended in the minute, from green to green, mean", Form: Mean, Subject: OfPhase},
	SignalSplit: {Name: "signal_green_ratio", Unit: "1", ZH: "绿信比（该分钟内结束的周期，均值）", EN: "share of green in the cycles that ended in the minute, mean", Form: Mean, Subject: OfPhase},
	SignalIllegal: {Name: "signal_illegal_transitions", Unit: "1", ZH: "违反灯色顺序的跳变次数（GB 14886）", EN: "times that a light followed another that it may not follow (GB 14886)",
		Subject: OfPhase},
	SignalConflicts: {Name: "signal_conflicts", Unit: "1", ZH: "冲突相位同时放行的次数", EN: "times that phases whose ways cross became green together", Subject: OfNode},
	SignalConflictTime: {Name: "signal_conflict_seconds", Unit: "s", ZH: "一分钟内冲突相位同为绿灯的秒数", EN: "seconds of the minute that phases whose ways cross were green together",
		Subject: OfNode},
	SignalCountdown:    {Name: "signal_countdown_error_seconds", Unit: "s", ZH: "倒计时平均绝对误差（变灯前半分钟）", EN: "mean absolute error of the countdown in the half minute before a change", Form: Mean, Subject: OfPhase},
	SignalCountdownMax: {Name: "signal_countdown_error_max_seconds", Unit: "s", ZH: "倒计时最大误差", EN: "greatest error of the countdown", Form: Max, Subject: OfPhase},
	SignalContinuity:   {Name: "signal_continuity_ratio", Unit: "1", ZH: "SPAT 连续率（实收与应收之比）", EN: "states that came over those that were to come", Form: Mean, Subject: OfNode},
	SignalGap:          {Name: "signal_gap_max_seconds", Unit: "s", ZH: "相邻两次状态之间的最长间隔", EN: "longest time from one state to the next", Form: Max, Subject: OfNode},
	SignalMode: {Name: "signal_mode_seconds", Unit: "s", ZH: "一分钟内各控制方式持续的秒数", EN: "seconds of the minute in each mode of control", Subject: OfNode,
		PartLabel: "mode", Parts: modeLabels},
	SignalMisaligned: {Name: "signal_misaligned_phases", Unit: "1", ZH: "只在 SPAT 或只在 MAP 中出现的相位数", EN: "phases that are in SPAT only, or in MAP only", Form: Last, Subject: OfNode,
		PartLabel: "only", Parts: []string{"spat", "map"}},
}

// lightLabels are the values of the label light; their order stands in records.
var lightLabels = func() (all []string) {
	for l := range road.FlashingYellow + 1 {
		all = append(all, l.String())
	}
	return all
}()

// modeBits are those of the status of an intersection, and modeLabels the values
// of the label mode; their order stands in records.
var (
	modeBits = [...]uint16{road.StatusManual, road.StatusFailureFlash, road.StatusPreempted, road.StatusPriority, road.StatusFixedTime,
		road.StatusDependent, road.StatusStandby, road.StatusFailureMode, road.StatusOff}
	modeLabels = []string{"manual", "failure_flash", "preempted", "priority", "fixed_time", "traffic_dependent", "standby", "failure", "off"}
)
