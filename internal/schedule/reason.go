package schedule

import (
	"fmt"
	"strings"
)

// Reason is one why, from a closed list. Args fill the code's text, in its order.
type Reason struct {
	Code Code
	Args []string
}

// Because makes a reason.
func Because(code Code, args ...any) Reason {
	r := Reason{Code: code, Args: make([]string, len(args))}
	for i, a := range args {
		r.Args[i] = fmt.Sprint(a)
	}
	return r
}

// Code names a reason in API, logs and metrics.
type Code string

// The codes: why a pool is no candidate, why a workload waits, why it ended.
const (
	FacilityNotReady  Code = "facility_not_ready"
	SecurityGradeLow  Code = "security_grade_low"
	DataGradeHigh     Code = "data_grade_high"
	RegionNotAllowed  Code = "region_not_allowed"
	FacilityExcluded  Code = "facility_excluded"
	PoolExcluded      Code = "pool_excluded"
	ArchDiffers       Code = "arch_differs"
	LabelDiffers      Code = "label_differs"
	NoAccelerator     Code = "no_accelerator"
	ModelDiffers      Code = "accelerator_model_differs"
	DeviceMemoryLow   Code = "accelerator_memory_low"
	NotShareable      Code = "accelerator_not_shareable"
	LatencyHigh       Code = "latency_high"
	LatencyUnknown    Code = "latency_unknown"
	NodeTooSmall      Code = "node_too_small"
	NoCapacityNow     Code = "no_capacity_now"
	Fragmented        Code = "fragmented"
	PowerCap          Code = "power_cap"
	BudgetExceeded    Code = "budget_exceeded"
	TenantBudget      Code = "tenant_budget_exceeded"
	DeadlineMissed    Code = "deadline_missed"
	GangIncomplete    Code = "gang_incomplete"
	ShapeFull         Code = "shape_full"
	QuotaExceeded     Code = "quota_exceeded"
	HeldForGang       Code = "held_for_gang"
	BehindOthers      Code = "behind_others"
	WaitsForEarliest  Code = "waits_for_earliest"
	WaitsForCarbon    Code = "waits_for_carbon"
	WaitsForPrice     Code = "waits_for_price"
	RunsInSegments    Code = "runs_in_segments"
	PausedForHours    Code = "paused_for_better_hours"
	ForecastChanged   Code = "forecast_changed"
	Rearranged        Code = "rearranged"
	PlaceChanged      Code = "planned_place_changed"
	ForecastStale     Code = "forecast_stale"
	PlannedTogether   Code = "planned_together"
	LiveValueStale    Code = "live_value_stale"
	LiveValueMissing  Code = "live_value_missing"
	NeverFits         Code = "never_fits"
	NoPool            Code = "no_pool"
	Chosen            Code = "chosen"
	LeaseExpired      Code = "lease_expired"
	FacilityLost      Code = "facility_lost"
	EngineRefused     Code = "engine_refused"
	PreemptedBy       Code = "preempted_by"
	ReclaimedBy       Code = "reclaimed_by"
	Preempts          Code = "preempts"
	WaitsForVictims   Code = "waits_for_victims"
	CancelledByCaller Code = "cancelled_by_caller"
	ExitCode          Code = "exit_code"
	TimeLimit         Code = "time_limit"
	NotBegun          Code = "not_begun"
	CapacityReduced   Code = "capacity_reduced"
)

// texts are what the codes say; {0} is the first argument.
var texts = map[Code]Text{
	FacilityNotReady:  {"设施处于 {0} 状态，不接收新任务", "the facility is {0} and takes no new work"},
	SecurityGradeLow:  {"设施等保为 {0} 级，任务要求至少 {1} 级", "the facility has security grade {0}, and {1} is the least"},
	DataGradeHigh:     {"任务处理 {0} 级数据，设施最高可存放 {1} 级", "the work is on data of grade {0}, and the facility may hold {1} at most"},
	RegionNotAllowed:  {"设施位于 {0}，不在允许的区划内", "the facility is in {0}, which is not among the regions allowed"},
	FacilityExcluded:  {"任务的亲和性排除了该设施", "the affinity of the workload leaves this facility out"},
	PoolExcluded:      {"任务的亲和性排除了该资源池", "the affinity of the workload leaves this pool out"},
	ArchDiffers:       {"架构为 {0}，任务要求 {1}", "its architecture is {0}, and {1} is asked for"},
	LabelDiffers:      {"标签 {0} 为 {1}，任务要求 {2}", "its label {0} is {1}, and {2} is asked for"},
	NoAccelerator:     {"没有加速卡", "it has no accelerator"},
	ModelDiffers:      {"加速卡型号为 {0}，任务接受 {1}", "its accelerator is {0}, and {1} will do"},
	DeviceMemoryLow:   {"每卡显存 {0} MiB，任务要求 {1} MiB", "a device has {0} MiB, and {1} MiB is asked for"},
	NotShareable:      {"加速卡不可共享，任务只要 {0} 千分之一", "a device cannot be shared, and {0} thousandths are asked for"},
	LatencyHigh:       {"到 {0} 的往返时延 {1} 毫秒，上限 {2} 毫秒", "the round trip from {0} takes {1} ms, and {2} ms is the most"},
	LatencyUnknown:    {"到 {0} 的时延未知", "the round trip from {0} is not known"},
	NodeTooSmall:      {"最大的节点有 {1} {0}，每个成员要 {2}", "its largest node has {1} {0}, and a member needs {2}"},
	NoCapacityNow:     {"{0} 空闲 {1}，每个成员要 {2}", "{1} {0} is free, and a member needs {2}"},
	Fragmented:        {"总量足够，但没有一个节点能容纳一个成员（{0}）", "there is enough in all, but no single node can take a member ({0})"},
	PowerCap:          {"设施功率上限 {0} W，已用 {1} W，还需 {2} W", "the facility may draw {0} W, draws {1} W, and {2} W more is needed"},
	BudgetExceeded:    {"将花费 {1} {0}，预算 {2}", "it would cost {1} {0}, and the budget is {2}"},
	TenantBudget:      {"租户 {0} 本月预算 {3} {1}，已用 {2}，还需 {4}", "tenant {0} may spend {3} {1} this month, has spent {2}, and this needs {4}"},
	DeadlineMissed:    {"将于 {0} 结束，晚于截止时间 {1}", "it would end at {0}, after the deadline {1}"},
	GangIncomplete:    {"只能放下 {0} 个成员，至少需要 {1} 个", "{0} members find a place, and {1} is the least"},
	ShapeFull:         {"按 {0} 布局，没有其他设施能再容纳成员", "by the shape {0} no other facility can take a further member"},
	QuotaExceeded:     {"队列 {0} 的 {1} 配额已用完", "the quota of queue {0} for {1} is used up"},
	HeldForGang:       {"空闲容量留给等待最久的组任务 {0}", "what is free is held for gang {0}, which waits longest"},
	BehindOthers:      {"前面还有 {0} 个任务", "{0} workloads are ahead"},
	WaitsForEarliest:  {"最早 {0} 开始", "it may start at {0} at the earliest"},
	WaitsForCarbon:    {"推迟到 {0}，可少排放 {1} kg", "it waits until {0} and saves {1} kg of CO2"},
	WaitsForPrice:     {"推迟到 {0}，可节省 {1} 元", "it waits until {0} and saves {1} yuan"},
	RunsInSegments:    {"分 {0} 段运行，每次中断至多重做 {1}", "it runs in {0} segments, and loses at most {1} of work with each pause"},
	PausedForHours:    {"暂停到 {0}，等待更绿色或更便宜的时段", "it pauses until {0} for greener or cheaper hours"},
	ForecastChanged:   {"预测更新，由 {0} 改到 {1}", "a forecast was issued anew, and it moves from {0} to {1}"},
	Rearranged:        {"与其他推迟的任务一起重新安排，由 {0} 改到 {1}", "all that is deferred was arranged anew, and it moves from {0} to {1}"},
	PlaceChanged:      {"原定资源池 {0} 的容量有变，由 {1} 改到 {2}", "the capacity of pool {0} changed, and it moves from {1} to {2}"},
	ForecastStale:     {"{1} 区的 {0} 预测已过期，不作推迟", "the forecast of {0} for zone {1} is out of date, so nothing is deferred for it"},
	PlannedTogether:   {"与其他 {0} 个任务统一安排于 {1} 开始；总费用至多比下界 {2} 元高 {3}%", "it is planned for {1}, together with {0} others that cost at most {3} % more than the bound of {2} yuan"},
	LiveValueStale:    {"实时值 {0} 已 {1} 未更新，采用申报值", "the live value of {0} is {1} old, so what was declared counts"},
	LiveValueMissing:  {"实时值 {0} 从未收到，采用申报值", "no live value of {0} has come, so what was declared counts"},
	NeverFits:         {"现有资源池即使全部空闲也容纳不下（按申报）", "no pool could take it even with nothing else running, as declared"},
	NoPool:            {"没有资源池", "there is no pool"},
	Chosen:            {"综合费用最低：{0} 元", "it costs least in all: {0} yuan"},
	LeaseExpired:      {"租约在开始前到期", "the lease ended before the work began"},
	FacilityLost:      {"设施 {0} 失联", "facility {0} is lost"},
	EngineRefused:     {"引擎拒绝：{0}", "the engine refused: {0}"},
	PreemptedBy:       {"被优先级更高的 {0} 抢占", "{0} has a higher priority and took its place"},
	ReclaimedBy:       {"借用的容量由 {0} 收回，队列 {1} 对其有份额", "{0} takes back what was borrowed: queue {1} has a claim to it"},
	Preempts:          {"{0} 个任务为其让路，损失的工作计 {1} 元", "{0} workloads gave way to it; the work that is lost counts {1} yuan"},
	WaitsForVictims:   {"等待 {0} 个让路的任务停止", "it waits until {0} workloads that give way have stopped"},
	CancelledByCaller: {"由提交方取消", "its owner cancelled it"},
	TimeLimit:         {"运行超过时限 {0}，已被终止", "it ran longer than its limit of {0} and was ended"},
	NotBegun:          {"引擎无法启动：{0}", "the engine could not begin it: {0}"},
	ExitCode:          {"退出码 {0}", "it ended with exit code {0}"},
	CapacityReduced:   {"资源池 {0} 的容量减少", "the capacity of pool {0} was reduced"},
}

// Codes returns every code with its text.
func Codes() map[Code]Text {
	all := make(map[Code]Text, len(texts))
	for c, t := range texts {
		all[c] = t
	}
	return all
}

// Text says the reason in both languages.
func (r Reason) Text() Text {
	t := texts[r.Code]
	return Text{ZH: r.fill(t.ZH), EN: r.fill(t.EN)}
}

func (r Reason) fill(s string) string {
	for i, a := range r.Args {
		s = strings.ReplaceAll(s, fmt.Sprintf("{%d}", i), a)
	}
	return s
}
