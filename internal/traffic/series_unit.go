package traffic

import (
	"slices"

	"github.com/songhua-io/hub/internal/road"
)

// The series of a unit as a whole.
const (
	Messages Series = 1
	Bytes    Series = 2
	Late     Series = 3
)

var unitSeries = map[Series]Definition{
	Messages: {Name: "rsu_messages", Unit: "1", ZH: "每分钟各类消息数", EN: "messages of the minute, by kind", PartLabel: "type", Parts: kinds},
	Bytes:    {Name: "rsu_bytes", Unit: "By", ZH: "每分钟消息字节数", EN: "bytes of the messages of the minute"},
	Late:     {Name: "rsu_late_observations", Unit: "1", ZH: "所属分钟已结束、未计入的观测数", EN: "observations of a minute that was over, not counted in it"},
}

// kinds are the values of the label type; their order stands in records.
var kinds = []string{"other", string(road.KindBSM), string(road.KindRSM), string(road.KindSPAT), string(road.KindMap), string(road.KindRSI),
	string(road.KindInfo), string(road.KindHeartbeat), string(road.KindBase), string(road.KindRunning), string(road.KindAnswer), string(road.KindAck), string(road.KindDiagnostic)}

func partOf(k road.Kind) uint8 { return uint8(max(0, slices.Index(kinds, string(k)))) }
