package roads

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"time"

	"github.com/songhua-io/hub/internal/codec/v2x"
)

// Uplink is a message of a unit to the platform.
type Uplink struct {
	Unit string // its serial number
	// Message is what it is, as T/ITS 0117-2020 names it: BSM, RSM, SPAT, MAP and
	// RSI are frames or JSON, as the unit speaks; INFO, HB, BaseINFO and RunningInfo
	// are JSON.
	Message string
	Topic   string // of MQTT
	Payload []byte
}

// How often units report, in ticks.
const (
	everyBSM  = 1
	everyRSM  = 2
	everySPAT = 2
	everyMAP  = 10
	everyRSI  = 10
	everyBeat = 600
	slowBeat  = 1800
	everyInfo = 3000
	// rotate is how long a vehicle keeps its temporary id.
	rotate = 5 * time.Minute
	// seen is how far the sensors of a unit see, in metres before the stop line.
	seen = 250.0
)

// unit is a roadside unit.
type unit struct {
	name                string // serial number
	device              string
	speech              Speech
	node                *node
	fault               Fault
	rng                 *rand.Rand
	phase               int // of its reports, in ticks
	beats               int // of its heartbeats
	tracks              uint16
	counts              [5]uint8
	seq                 int       // of its messages about itself
	incident            *incident // on a link to the node; nil: none
	incidentAt          time.Time // when the next one may begin
	event               TrueEvent // that it tells of; its ID is 0 when there is none
	eventful            bool      // an event is followed by another one
	shows               [2]v2x.LightState
	truth               *TrueUnit
	topics              map[string]string
	frame               v2x.MessageFrame
	buf, uplink, framed []byte
	packed              int // frames in uplink
}

func newUnit(w *World, n *node, i int) *unit {
	u := &unit{name: serial(n), speech: w.cfg.Speech[i], node: n, fault: w.cfg.Faulty[i], rng: rand.New(rand.NewPCG(w.cfg.Seed, uint64(n.id))),
		phase: w.rng.IntN(everyMAP), topics: map[string]string{}}
	u.device = u.name
	if w.cfg.Device != nil {
		u.device = w.cfg.Device(i)
	}
	u.truth = &TrueUnit{Sent: map[string]int{}, Lost: map[string]int{}}
	w.truth.Units[u.name] = u.truth
	u.beats = u.rng.IntN(everyBeat)
	if u.eventful = w.rng.IntN(5) == 0 || u.fault == StaleEvent; u.eventful {
		u.begin(w, 1+int(n.id)%255)
	}
	return u
}

// begin begins an event.
func (u *unit) begin(w *World, id int) {
	start := w.now.Truncate(time.Minute)
	u.event = TrueEvent{Unit: u.name, ID: id, Type: []int{401, 501, 707, 903}[u.rng.IntN(4)], Start: start, End: start.Add(time.Duration(5+u.rng.IntN(20)) * time.Minute)}
	w.truth.Events = append(w.truth.Events, u.event)
}

// pause is how long after the end of an event another one begins.
const pause = 5 * time.Minute

func (u *unit) track() uint16 {
	u.tracks++
	return u.tracks
}

// count is the message counter of a type.
func (u *unit) count(of int) v2x.MsgCount {
	if u.fault != StuckCounter {
		u.counts[of] = (u.counts[of] + 1) % 128
	}
	return v2x.MsgCount(u.counts[of])
}

// clock is the time as the unit has it.
func (u *unit) clock(w *World) time.Time {
	if u.fault == ClockSkew {
		return w.now.Add(-90 * time.Second)
	}
	return w.now
}

// report sends what is due in this tick.
func (u *unit) report(w *World, send func(Uplink)) {
	due := func(every int) bool { return (w.ticks+u.phase)%every == 0 }
	if due(everyBSM) {
		for _, l := range u.node.in {
			u.bsms(w, l, send)
		}
		u.flush(w, "BSM", send)
	}
	if due(everyRSM) {
		u.rsm(w, send)
	}
	if due(everySPAT) {
		u.spat(w, send)
	}
	if due(everyMAP) {
		u.lanes(w, send)
	}
	if due(everyRSI) && u.event.ID != 0 {
		u.events(w, send)
	}
	u.status(w, send)
}

// events tells of the event, and begins the next one.
func (u *unit) events(w *World, send func(Uplink)) {
	switch {
	case u.fault == StaleEvent || w.now.Before(u.event.End):
		u.rsi(w, send)
	case !w.now.Before(u.event.End.Add(pause)):
		u.begin(w, 1+u.event.ID%255)
	}
}

// status tells of the unit itself: all that there is when it starts, which is
// within the first second, then each in its time.
func (u *unit) status(w *World, send func(Uplink)) {
	starts := w.ticks == 1+u.phase
	due := func(every int) bool { return starts || (w.ticks+u.beats)%every == 0 }
	if due(everyInfo) {
		u.info(w, send)
	}
	if due(everyBeat) && (u.fault != SlowBeat || due(slowBeat)) {
		u.beat(w, send)
	}
}

// send encodes the frame. What cannot be encoded is a fault of this program.
func (u *unit) send(w *World, message string, send func(Uplink)) {
	if u.loses(message) {
		return
	}
	var err error
	if u.buf, err = u.frame.AppendEncoded(u.buf[:0]); err != nil {
		panic(err)
	}
	if !u.packs(message) {
		u.tell(message, true, u.buf, send)
		return
	}
	u.pack(u.buf)
	if message != "BSM" { // those of a tick leave together
		u.flush(w, message, send)
	}
}

// loses reports whether a message of the road is lost on its way, and counts it.
func (u *unit) loses(message string) bool {
	if u.fault == Lossy && u.rng.IntN(10) == 0 {
		u.truth.Lost[message]++
		return true
	}
	u.truth.Sent[message]++
	return false
}

// tell hands over what was not lost, unless the unit has no topic for it.
func (u *unit) tell(message string, frame bool, payload []byte, send func(Uplink)) {
	topic, known := u.topics[message]
	if !known {
		topic = u.topic(message, frame)
		u.topics[message] = topic
	}
	if topic != "" {
		send(Uplink{Unit: u.name, Message: message, Topic: topic, Payload: payload})
	}
}

// id is the temporary id of a vehicle: it changes every five minutes, at times of
// its own.
func (u *unit) id(w *World, c *vehicle) (id [8]byte) {
	switch u.fault {
	case ZeroID:
		return id
	case FixedID:
		binary.BigEndian.PutUint64(id[:], mix(w.cfg.Seed, uint64(c.number), 0))
		return id
	}
	turn := (w.now.UnixNano() + int64(c.number)*int64(7*time.Second)) / int64(rotate)
	binary.BigEndian.PutUint64(id[:], mix(w.cfg.Seed, uint64(c.number), uint64(turn)))
	return id
}

// mix is a number that looks like none of those that it is made of (splitmix64).
func mix(parts ...uint64) uint64 {
	h := uint64(0x9e3779b97f4a7c15)
	for _, p := range parts {
		h ^= p
		h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
		h = (h ^ h>>27) * 0x94d049bb133111eb
		h ^= h >> 31
	}
	return h
}

func latitude(d float64) v2x.Latitude   { return v2x.Latitude(math.Round(d * 1e7)) }
func longitude(d float64) v2x.Longitude { return v2x.Longitude(math.Round(d * 1e7)) }

func (u *unit) reference() v2x.Position3D {
	lat, lon := degrees(u.node.x, u.node.y)
	return v2x.Position3D{Lat: latitude(lat), Long: longitude(lon), Elevation: v2x.Some(v2x.Elevation(2150))}
}

func secMark(t time.Time) v2x.DSecond {
	return v2x.DSecond(t.Second()*1000 + t.Nanosecond()/1e6)
}

func minuteOfYear(t time.Time) v2x.MinuteOfTheYear {
	return v2x.MinuteOfTheYear(t.Sub(time.Date(t.Year(), 1, 1, 0, 0, 0, 0, time.UTC)) / time.Minute)
}

func acceleration(a float64) v2x.Acceleration { return v2x.Acceleration(math.Round(a * 100)) }

// bsms are those of the connected vehicles on a link: each is heard once a
// second.
func (u *unit) bsms(w *World, l *link, send func(Uplink)) {
	if l == nil {
		return
	}
	for _, c := range l.cars {
		if !c.connected || (w.ticks+c.number)%10 != 0 {
			continue
		}
		lat, lon := l.place(c.s)
		u.frame.Alt = v2x.MessageFrameBsmFrame
		u.frame.BsmFrame = v2x.BasicSafetyMessage{
			MsgCnt: v2x.MsgCount(w.ticks / 10 % 128), ID: u.id(w, c), SecMark: secMark(w.now),
			Pos:          v2x.Position3D{Lat: latitude(lat), Long: longitude(lon), Elevation: v2x.Some(v2x.Elevation(2150))},
			Transmission: v2x.TransmissionStateForwardGears, Speed: v2x.Speed(math.Round(c.v * 50)), Heading: v2x.Heading(l.way.heading() * 80),
			AccelSet:     v2x.AccelerationSet4Way{Long: acceleration(c.a), Lat: 2001, Vert: -127},
			Size:         v2x.VehicleSize{Width: 180, Length: v2x.VehicleLength(c.length * 100)},
			VehicleClass: v2x.VehicleClassification{Classification: 10},
		}
		if !c.braked.IsZero() && w.now.Sub(c.braked) < 2*time.Second {
			flags := v2x.VehicleEventFlags{V: 1 << (12 - v2x.VehicleEventFlagsEventHardBraking), N: 13}
			u.frame.BsmFrame.SafetyExt = v2x.Some(v2x.VehicleSafetyExtensions{Events: v2x.Some(flags)})
		}
		u.send(w, "BSM", send)
	}
}

// rsm tells of all that the sensors of the unit see, up to 16 in a message.
func (u *unit) rsm(w *World, send func(Uplink)) {
	m := &u.frame.RsmFrame
	m.Participants = m.Participants[:0]
	flush := func() {
		if len(m.Participants) == 0 {
			return
		}
		u.frame.Alt = v2x.MessageFrameRsmFrame
		m.MsgCnt, m.RefPos = u.count(0), u.reference()
		copy(m.ID[:], u.name)
		switch {
		case !u.speaksJSON():
			u.send(w, "RSM", send)
		case !u.loses("RSM"):
			u.buf = u.rsmJSON(u.buf[:0], m)
			u.tell("RSM", false, u.buf, send)
		}
		m.Participants = m.Participants[:0]
	}
	for _, l := range u.node.in {
		if l == nil {
			continue
		}
		for _, c := range l.cars {
			if l.length-c.s > seen {
				continue
			}
			m.Participants = append(m.Participants, u.sight(w, l, c, l.way))
			if len(m.Participants) == 16 {
				flush()
			}
		}
	}
	if i := u.incident; i != nil && i.wrong != nil {
		m.Participants = append(m.Participants, u.sight(w, i.on, i.wrong, i.on.way.turned(2)))
	}
	flush()
}

// sight is what the sensors of the unit see of a vehicle on a link.
func (u *unit) sight(w *World, l *link, c *vehicle, way direction) v2x.ParticipantData {
	lat, lon := l.place(c.s)
	return v2x.ParticipantData{
		PtcType: v2x.ParticipantTypeMotor, PtcId: c.track, Source: v2x.SourceTypeVideo, SecMark: secMark(u.clock(w)),
		Pos: v2x.PositionOffsetLLV{OffsetLL: v2x.PositionOffsetLL{Alt: v2x.PositionOffsetLLPositionLatLon,
			PositionLatLon: v2x.PositionLLmD64b{Lat: latitude(lat), Lon: longitude(lon)}}},
		PosConfidence: v2x.PositionConfidenceSet{Pos: v2x.PositionConfidenceA1m},
		Speed:         v2x.Speed(math.Round(c.v * 50)), Heading: v2x.Heading(way.heading() * 80),
		Size: v2x.VehicleSize{Width: 180, Length: v2x.VehicleLength(c.length * 100)},
	}
}

// spat tells of the signals.
func (u *unit) spat(w *World, send func(Uplink)) {
	now := u.clock(w)
	u.frame.Alt = v2x.MessageFrameSpatFrame
	m := &u.frame.SpatFrame
	*m = v2x.SPAT{MsgCnt: u.count(1), Moy: v2x.Some(minuteOfYear(now)), TimeStamp: v2x.Some(secMark(now)), Intersections: m.Intersections[:0]}
	x := v2x.IntersectionState{IntersectionId: nodeRef(u.node), Status: 1 << (15 - v2x.IntersectionStatusObjectFixedTimeOperation)}
	before := u.shows
	for i, phase := range []int{phaseNorthSouth, phaseEastWest} {
		is, until := u.node.light(phase, w.now)
		shown := [...]v2x.LightState{red: v2x.LightStateRed, green: v2x.LightStateProtectedGreen, yellow: v2x.LightStateYellow}[is]
		switch {
		case u.fault == NoYellow && is == yellow:
			shown = v2x.LightStateRed
		case u.fault == BothGreen && w.now.Second() < 10:
			shown = v2x.LightStateProtectedGreen
		}
		u.shows[i] = shown
		left := v2x.TimeMark(until.Sub(w.now) / (100 * time.Millisecond))
		x.Phases = append(x.Phases, v2x.Phase{ID: v2x.PhaseID(phase), PhaseStates: v2x.PhaseStateList{{
			Light: shown,
			Timing: v2x.Some(v2x.TimeChangeDetails{Alt: v2x.TimeChangeDetailsCounting,
				Counting: v2x.TimeCountingDown{LikelyEndTime: left, TimeConfidence: v2x.Some(v2x.Confidence(200))}}),
		}}})
	}
	if u.truth.Sent["SPAT"] > 0 {
		u.truth.shown(before, u.shows)
	}
	m.Intersections = append(m.Intersections, x)
	switch {
	case !u.speaksJSON():
		u.send(w, "SPAT", send)
	case !u.loses("SPAT"):
		u.buf = u.spatJSON(u.buf[:0], m)
		u.tell("SPAT", false, u.buf, send)
	}
}

func nodeRef(n *node) v2x.NodeReferenceID {
	return v2x.NodeReferenceID{Region: v2x.Some(v2x.RoadRegulatorID(Region)), ID: v2x.NodeID(n.id)}
}

// lanes tells of the lanes that lead to the node.
func (u *unit) lanes(w *World, send func(Uplink)) {
	u.frame.Alt = v2x.MessageFrameMapFrame
	n := v2x.Node{ID: nodeRef(u.node), RefPos: u.reference()}
	var links v2x.LinkList
	for _, l := range u.node.in {
		if l == nil {
			continue
		}
		point := func(s float64) v2x.RoadPoint {
			lat, lon := l.place(s)
			return v2x.RoadPoint{PosOffset: v2x.PositionOffsetLLV{OffsetLL: v2x.PositionOffsetLL{Alt: v2x.PositionOffsetLLPositionLatLon,
				PositionLatLon: v2x.PositionLLmD64b{Lat: latitude(lat), Lon: longitude(lon)}}}}
		}
		line := v2x.PointList{point(0), point(l.length)}
		lane := v2x.Lane{LaneID: 1, LaneWidth: v2x.Some(v2x.LaneWidth(laneWidth * 100)), Points: v2x.Some(line)}
		var connects v2x.ConnectsToList
		for _, out := range u.node.out {
			if out != nil && out.way != l.way.turned(2) {
				connects = append(connects, v2x.Connection{RemoteIntersection: nodeRef(out.to), PhaseId: v2x.Some(v2x.PhaseID(phaseOf(l.way)))})
			}
		}
		if len(connects) > 0 {
			lane.ConnectsTo = v2x.Some(connects)
		}
		links = append(links, v2x.Link{
			UpstreamNodeId: nodeRef(l.from), LinkWidth: v2x.Some(v2x.LaneWidth(laneWidth * 100)), Points: v2x.Some(line), Lanes: v2x.LaneList{lane},
			SpeedLimits: v2x.Some(v2x.SpeedLimitList{{Type: v2x.SpeedLimitTypeVehicleMaxSpeed, Speed: 833}}),
		})
	}
	if len(links) > 0 {
		n.InLinks = v2x.Some(links)
	}
	now := u.clock(w)
	u.frame.MapFrame = v2x.MapData{MsgCnt: u.count(2), TimeStamp: v2x.Some(minuteOfYear(now)), Nodes: v2x.NodeList{n}}
	u.send(w, "MAP", send)
}

// rsi tells of the event.
func (u *unit) rsi(w *World, send func(Uplink)) {
	u.frame.Alt = v2x.MessageFrameRsiFrame
	var id [8]byte
	copy(id[:], u.name)
	lat, lon := u.eventPlace()
	u.frame.RsiFrame = v2x.RoadSideInformation{MsgCnt: u.count(3), Moy: v2x.Some(minuteOfYear(u.clock(w))), ID: id, RefPos: u.reference(),
		Rtes: v2x.Some(v2x.RTEList{{
			RteId: uint8(u.event.ID), EventType: v2x.EventType(u.event.Type), EventSource: v2x.EventSourceDetection, EventRadius: v2x.Some(v2x.Radius(500)),
			EventPos: v2x.Some(v2x.PositionOffsetLLV{OffsetLL: v2x.PositionOffsetLL{Alt: v2x.PositionOffsetLLPositionLatLon,
				PositionLatLon: v2x.PositionLLmD64b{Lat: latitude(lat), Lon: longitude(lon)}}}),
			TimeDetails: v2x.Some(v2x.RSITimeDetails{StartTime: v2x.Some(minuteOfYear(u.event.Start)), EndTime: v2x.Some(minuteOfYear(u.event.End))}),
			Priority:    v2x.Some(v2x.RSIPriority{5 << 5}),
		}})}
	if !w.now.Before(u.event.End.Add(time.Minute)) {
		u.truth.PastEnd++
	}
	switch {
	case !u.speaksJSON():
		u.send(w, "RSI", send)
	case !u.loses("RSI"):
		u.buf = u.rsiJSON(u.buf[:0], &u.frame.RsiFrame)
		u.tell("RSI", false, u.buf, send)
	}
}

// eventPlace is where the event is: on a link to the node.
func (u *unit) eventPlace() (lat, lon float64) {
	for i := range u.node.in {
		if l := u.node.in[(u.event.ID+i)%len(u.node.in)]; l != nil {
			return l.place(l.length - float64(20+u.event.ID%80))
		}
	}
	return degrees(u.node.x, u.node.y)
}
