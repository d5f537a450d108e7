package traffic

import (
	"slices"

	"github.com/songhua-io/hub/internal/road"
)

// The series of a unit as a whole.
const (
	Messages       Series = 1
	Bytes          Series = 2
	Late           Series = 3
	UnitLoad       Series = 4
	CoreUse        Series = 5
	MemoryUse      Series = 6
	DiskUse        Series = 7
	NetReceived    Series = 8
	NetSent        Series = 9
	ClockOffset    Series = 10
	ClockOffsetMax Series = 11
	BeatPeriod     Series = 12
	Lost           Series = 13
	CheckFaults    Series = 14
	Devices        Series = 15
	ModuleFault    Series = 16
	PositionError  Series = 17
	RatePeak       Series = 18
	RateLimit      Series = 19
	Latitude       Series = 20
	Longitude      Series = 21
	DeviationsOf   Series = 22
)

var unitSeries = map[Series]Definition{
	Messages:       {Name: "rsu_messages", Unit: "1", ZH: "每分钟各类消息数", EN: "messages of the minute, by kind", PartLabel: "type", Parts: kinds},
	Bytes:          {Name: "rsu_bytes", Unit: "By", ZH: "每分钟消息字节数", EN: "bytes of the messages of the minute"},
	Late:           {Name: "rsu_late_observations", Unit: "1", ZH: "所属分钟已结束、未计入的观测数", EN: "observations of a minute that was over, not counted in it"},
	UnitLoad:       {Name: "rsu_load", Unit: "1", ZH: "系统负载（按设备所报）", EN: "load, as the unit reports it", Form: Last},
	CoreUse:        {Name: "rsu_cpu_used_ratio", Unit: "1", ZH: "各核 CPU 使用率", EN: "use of each processor core", Form: Last, Subject: OfCore},
	MemoryUse:      {Name: "rsu_memory_used_ratio", Unit: "1", ZH: "内存使用率", EN: "share of the memory that is used", Form: Last},
	DiskUse:        {Name: "rsu_disk_used_ratio", Unit: "1", ZH: "磁盘使用率", EN: "share of the disk that is used", Form: Last},
	NetReceived:    {Name: "rsu_network_received_bytes_per_second", Unit: "By/s", ZH: "网络接收速率", EN: "bytes a second that the unit receives", Form: Last},
	NetSent:        {Name: "rsu_network_sent_bytes_per_second", Unit: "By/s", ZH: "网络发送速率", EN: "bytes a second that the unit sends", Form: Last},
	ClockOffset:    {Name: "rsu_clock_offset_seconds", Unit: "s", ZH: "报文时间减接收时间（均值，仅实时消息）", EN: "time of payloads minus that of arrival, mean, of live messages", Form: Mean},
	ClockOffsetMax: {Name: "rsu_clock_offset_max_seconds", Unit: "s", ZH: "报文时间与接收时间的最大差", EN: "greatest distance of the time of a payload from that of arrival", Form: Max},
	BeatPeriod:     {Name: "rsu_heartbeat_period_seconds", Unit: "s", ZH: "实测心跳周期", EN: "time from one heartbeat to the next, mean", Form: Mean},
	Lost:           {Name: "rsu_messages_lost", Unit: "1", ZH: "按消息序号推算的丢失数", EN: "messages that the counters leave out, by kind", PartLabel: "type", Parts: kinds},
	CheckFaults:    {Name: "rsu_check_faults", Unit: "1", ZH: "各项质量检查发现的问题数", EN: "findings of the minute, by check", PartLabel: "check", Parts: checkNames},
	Devices:        {Name: "rsu_devices", Unit: "1", ZH: "所接设备数，按状态", EN: "devices behind the unit, by state", Form: Last, PartLabel: "state", Parts: deviceStates},
	ModuleFault:    {Name: "rsu_module_fault", Unit: "1", ZH: "模块故障（1 为该分钟内报告过）", EN: "1 when the unit reported the fault of the module in the minute", Form: Max, Subject: OfModule, PartLabel: "fault", Parts: faultNames},
	PositionError:  {Name: "rsu_position_error_meters", Unit: "m", ZH: "上报位置与登记位置的距离", EN: "how far the unit says it is from where it was registered", Form: Last},
	RatePeak:       {Name: "rsu_message_rate_peak", Unit: "1/s", ZH: "各类消息每秒条数（10 秒窗口的最大值）", EN: "messages a second by kind, in the busiest 10 s", Form: Max, PartLabel: "type", Parts: kinds},
	Latitude:       {Name: "rsu_latitude_degrees", Unit: "deg", ZH: "上报的纬度（WGS 84）", EN: "latitude that the unit reports, WGS 84", Form: Last},
	Longitude:      {Name: "rsu_longitude_degrees", Unit: "deg", ZH: "上报的经度（WGS 84）", EN: "longitude that the unit reports, WGS 84", Form: Last},
	DeviationsOf:   {Name: "rsu_deviations", Unit: "1", ZH: "与标准不符的字段数（上一分钟的消息）", EN: "fields that were not as the standard has them, in messages of the minute before"},
	RateLimit:      {Name: "rsu_message_rate_limit", Unit: "1/s", ZH: "配置的上行限速", EN: "messages a second that the unit is configured to send at most", Form: Last, PartLabel: "type", Parts: kinds},
}

// kinds are the values of the label type; their order stands in records.
var kinds = []string{"other", string(road.KindBSM), string(road.KindRSM), string(road.KindSPAT), string(road.KindMap), string(road.KindRSI),
	string(road.KindInfo), string(road.KindHeartbeat), string(road.KindBase), string(road.KindRunning), string(road.KindAnswer), string(road.KindAck), string(road.KindDiagnostic)}

func partOf(k road.Kind) uint8 { return uint8(max(0, slices.Index(kinds, string(k)))) }
