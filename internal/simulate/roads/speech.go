package roads

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/songhua-io/hub/internal/codec/v2x"
)

// Speech is the form and the topics in which a unit speaks.
type Speech string

// The speeches. What is no frame in any of them is JSON of T/ITS 0117-2020.
const (
	Frames  Speech = ""        // frames, each alone, on the topics of the hub
	Framed  Speech = "framed"  // framed uplinks on the topics of the hub
	TITS    Speech = "tits"    // JSON where it has a form, topics with dots
	OpenV2X Speech = "openv2x" // JSON where it has a form, topics with slashes
	Huawei  Speech = "huawei"  // framed uplinks on topics as of Huawei
)

// Speeches are all speeches, frames alone left out.
var Speeches = []Speech{Framed, TITS, OpenV2X, Huawei}

// topic is where a unit publishes a message; empty when its speech has none.
func (u *unit) topic(message string, frame bool) string {
	switch {
	case u.speech == Frames && frame:
		return "devices/" + u.device + "/v2x/uper"
	case u.speech == Framed && frame:
		return "devices/" + u.device + "/v2x/framed"
	case u.speech == OpenV2X && (message == "INFO" || message == "HB" || message == "BaseINFO" || message == "RunningInfo"):
		return "V2X/RSU/" + message + "/UP" // the serial number stands in the message
	case u.speech == OpenV2X:
		return "V2X/RSU/" + u.name + "/" + message + "/UP"
	case u.speech == Huawei && (message == "BaseINFO" || message == "RunningInfo"):
		return ""
	case u.speech == Huawei:
		return "v2x/v1/rsu/" + u.name + "/" + strings.ToLower(message) + "/up"
	}
	return "V2X.RSU." + u.name + "." + message + ".UP"
}

// packs reports whether frames of a type leave in framed uplinks.
func (u *unit) packs(message string) bool {
	switch u.speech {
	case Framed, Huawei:
		return true
	case TITS, OpenV2X:
		return message == "BSM"
	}
	return false
}

// speaksJSON reports whether the messages of the road that have a form in JSON
// leave in it.
func (u *unit) speaksJSON() bool { return u.speech == TITS || u.speech == OpenV2X }

// pack puts a frame into the uplink that is being made.
func (u *unit) pack(frame []byte) {
	u.uplink = binary.LittleEndian.AppendUint16(u.uplink, uint16(len(frame)))
	u.uplink = append(u.uplink, frame...)
	u.packed++
}

// flush sends the framed uplink of a type, when there is anything in it.
func (u *unit) flush(w *World, message string, send func(Uplink)) {
	if u.packed == 0 {
		return
	}
	u.framed = append(u.framed[:0], make([]byte, 8)...)
	copy(u.framed, u.name)
	u.framed = binary.LittleEndian.AppendUint64(u.framed, uint64(u.clock(w).UnixMilli()))
	if message == "BSM" {
		u.framed = append(u.framed, byte(u.packed))
	}
	u.framed = append(u.framed, u.uplink...)
	u.uplink, u.packed = u.uplink[:0], 0
	u.tell(message, true, u.framed, send)
}

// The JSON of a message says what its frame says.

// longitudeName is how a unit writes longitudes of participants.
func (u *unit) longitudeName() string {
	if u.speech == OpenV2X {
		return "long"
	}
	return "lon"
}

func (u *unit) rsmJSON(to []byte, m *v2x.RoadsideSafetyMessage) []byte {
	lon := u.longitudeName()
	to = fmt.Appendf(to, `{"seqNum":%d,"rsms":[{"refPos":{"lat":%d,%q:%d,"ele":%d},"participants":[`, m.MsgCnt, m.RefPos.Lat, lon, m.RefPos.Long, m.RefPos.Elevation.V)
	for i := range m.Participants {
		p := &m.Participants[i]
		if i > 0 {
			to = append(to, ',')
		}
		at := p.Pos.OffsetLL.PositionLatLon
		to = fmt.Appendf(to, `{"ptcType":%d,"ptcId":%d,"source":%d,"secMark":%d,"pos":{"lat":%d,%q:%d},"speed":%d,"heading":%d,"size":{"width":%d,"length":%d}}`,
			p.PtcType, p.PtcId, p.Source, p.SecMark, at.Lat, lon, at.Lon, p.Speed, p.Heading, p.Size.Width, p.Size.Length)
	}
	return append(to, "]}]}"...)
}

// lightNames are the lights as JSON has them.
var lightNames = map[v2x.LightState]string{v2x.LightStateRed: "red", v2x.LightStateProtectedGreen: "protected-green", v2x.LightStateYellow: "yellow"}

func (u *unit) spatJSON(to []byte, m *v2x.SPAT) []byte {
	to = fmt.Appendf(to, `{"name":%q,"intersections":[`, u.name)
	for i := range m.Intersections {
		x := &m.Intersections[i]
		if i > 0 {
			to = append(to, ',')
		}
		to = fmt.Appendf(to, `{"intersectionId":{"region":%d,"id":%d},"status":["fixedTimeOperation"],"moy":%d,"timeStamp":%d,"phases":[`,
			x.IntersectionId.Region.V, x.IntersectionId.ID, m.Moy.V, m.TimeStamp.V)
		for j := range x.Phases {
			p := &x.Phases[j]
			if j > 0 {
				to = append(to, ',')
			}
			s := &p.PhaseStates[0]
			to = fmt.Appendf(to, `{"phaseId":%d,"phaseStates":[{"light":%q,"timing":{"counting":{"startTime":%d,"likelyEndTime":%d}}}]}`,
				p.ID, lightNames[s.Light], s.Timing.V.Counting.StartTime, s.Timing.V.Counting.LikelyEndTime)
		}
		to = append(to, "]}"...)
	}
	return append(to, "]}"...)
}

func (u *unit) rsiJSON(to []byte, m *v2x.RoadSideInformation) []byte {
	e := &m.Rtes.V[0]
	at := e.EventPos.V.OffsetLL.PositionLatLon
	return fmt.Appendf(to, `{"rsiSourceType":"detection","rsiSourceId":%q,"rsi":{"alertID":"%d","duration":%d,"eventStatus":true,"timeStamp":%d,"eventType":%d,"eventSource":"detection","eventPosition":[{"lat":%d,"lon":%d}],"eventRadius":%d,"eventPriority":%d},"seqNum":"%d"}`,
		u.name, e.RteId, int(u.event.End.Sub(u.event.Start).Seconds()), u.event.Start.UnixMilli(), e.EventType, at.Lat, at.Lon, e.EventRadius.V, e.Priority.V[0]>>5, m.MsgCnt)
}
