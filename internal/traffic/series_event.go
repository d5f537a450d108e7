package traffic

// The series of events.
const (
	EventActive   Series = 120
	EventCount    Series = 121
	EventsStarted Series = 122
	EventAge      Series = 123
	EventPastEnd  Series = 124
	EventShared   Series = 125
	EventsRefused Series = 126
)

var eventSeries = map[Series]Definition{
	EventActive: {Name: "road_event_active", Unit: "1", ZH: "该类事件是否正在播发（1 是，0 否）", EN: "1 while the unit tells of an event of the type, 0 for a day after",
		Form: Max, Subject: OfEventType},
	EventCount:    {Name: "road_events", Unit: "1", ZH: "正在播发的事件数，按类型", EN: "events that the unit tells of, by type", Form: Max, Subject: OfEventType},
	EventsStarted: {Name: "road_events_started", Unit: "1", ZH: "该分钟内开始的事件数", EN: "events that began in the minute", Subject: OfEventType},
	EventAge:      {Name: "road_event_age_seconds", Unit: "s", ZH: "最早的事件已持续的秒数", EN: "age of the oldest event of the type", Form: Max, Subject: OfEventType},
	EventPastEnd:  {Name: "road_events_past_end", Unit: "1", ZH: "已过结束时间仍在播发的事件数", EN: "events that are told although their end has passed", Form: Max, Subject: OfEventType},
	EventShared:   {Name: "road_events_shared", Unit: "1", ZH: "其他设备也在播发的事件数", EN: "events that other units near by tell of, too", Form: Max, Subject: OfEventType},
	EventsRefused: {Name: "road_events_refused", Unit: "1", ZH: "超出每台设备事件数上限、未收录的次数", EN: "times that an event was one more than a unit may tell of"},
}
