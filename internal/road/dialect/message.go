package dialect

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

func (o object) text(name string) string {
	s, _ := o[name].(string)
	return s
}

// number returns NaN when the field is not there.
func (o object) number(name string) float64 {
	if f, ok := o[name].(float64); ok {
		return f
	}
	return math.NaN()
}

// whole returns less when the field is not there, or is no number of the type.
func (o object) whole(name string, less int) int {
	if f, ok := o[name].(float64); ok && math.Abs(f) < 1<<40 {
		return int(f)
	}
	return less
}

func (o object) time(name string) time.Time {
	t, _ := o[name].(time.Time)
	return t
}

// in returns an object; what is asked of nil is not there.
func (o object) in(name string) object {
	in, _ := o[name].(object)
	return in
}

func (o object) all(name string) (out []object) {
	list, _ := o[name].([]any)
	for _, e := range list {
		if one, ok := e.(object); ok {
			out = append(out, one)
		}
	}
	return out
}

// message makes a message of what was read.
func message(r Route, o object, received time.Time) (*road.Message, error) {
	m := &road.Message{Kind: r.Kind, Unit: r.ESN, Count: -1, At: o.time("timestamp")}
	if esn := o.text("rsuEsn"); m.Unit == "" {
		m.Unit = esn
	}
	switch r.Kind {
	case road.KindInfo, road.KindHeartbeat, road.KindBase, road.KindRunning, road.KindAnswer, road.KindDiagnostic:
		m.Status = status(m, o)
		if seq := o.text("seqNum"); r.Kind == road.KindAnswer && seq != "" {
			m.Ack = &road.Ack{Seq: seq}
		}
	case road.KindAck:
		m.Ack = &road.Ack{Seq: o.text("seqNum"), Code: o.whole("errorCode", 0), Description: o.text("errorDesc")}
	case road.KindRSM:
		for _, one := range o.all("rsms") {
			for _, p := range one.all("participants") {
				m.Participants = append(m.Participants, participant(p, received))
			}
		}
		for i := range m.Participants {
			if at := m.Participants[i].At; at.After(m.At) {
				m.At = at
			}
		}
	case road.KindSPAT:
		for _, x := range o.all("intersections") {
			m.Signals = append(m.Signals, intersection(x, m.At, received))
		}
		if m.At.IsZero() && len(m.Signals) > 0 {
			m.At = m.Signals[0].At
		}
	case road.KindRSI:
		e, err := rsi(o)
		if err != nil {
			return nil, err
		}
		m.Events = []road.Event{e} // its timeStamp is when the event began
	}
	return m, nil
}

func status(m *road.Message, o object) *road.Status {
	s := &road.Status{
		Name: o.text("rsuName"), Version: o.text("version"), State: o.text("rsuStatus"), ESN: o.text("rsuEsn"), IMEI: o.text("imei"),
		Firmware: o.text("SoftwareVersion"), Hardware: o.text("hardwareVersion"),
		At: road.Position{Lat: math.NaN(), Lon: math.NaN()}, Elevation: math.NaN(),
	}
	if s.Version == "" {
		s.Version = o.text("protocolVersion")
	}
	place := o.in("location")
	for _, names := range [][2]string{{"lat", "lon"}, {"Lat", "Lon"}} {
		if lat, lon := place.number(names[0]), place.number(names[1]); math.Abs(lat) <= 90 && math.Abs(lon) <= 180 {
			s.At = road.Position{Lat: lat, Lon: lon}
		}
	}
	s.Elevation = place.number("alt")
	for _, d := range o.all("deviceStatus") {
		one := road.Device{ID: d.text("deviceId"), Type: d.text("devicetype")}
		if is := d.all("Status"); len(is) > 0 {
			one.Powered, one.Runs, one.Network = is[0].whole("powerStatus", 0), is[0].whole("runStatus", 0), is[0].whole("networkStatus", 0)
		}
		s.Devices = append(s.Devices, one)
	}
	running(s, o.in("runningInfo"))
	limits(s, o.in("config"))
	if counts := o.in("InfoValue"); counts != nil {
		s.Counts = map[string]int64{}
		for name := range counts {
			s.Counts[strings.ToLower(name)] = int64(counts.whole(name, 0))
		}
	}
	if m.Kind == road.KindDiagnostic {
		m.At = o.in("base").time("tm")
		if m.Unit == "" {
			m.Unit = o.in("base").text("ID")
		}
		s.Faults = map[string]int{}
		for _, e := range o.all("errList") {
			for module := range e {
				s.Faults[module] = e.whole(module, 0)
			}
		}
	}
	return s
}

func running(s *road.Status, o object) {
	cpu, net := o.in("cpu"), o.in("net")
	s.Load, s.Received, s.Sent = cpu.number("load"), net.number("rxByte"), net.number("txByte")
	for _, part := range strings.Split(cpu.text("uti"), ",") {
		if use, err := strconv.ParseFloat(strings.TrimSpace(part), 64); err == nil && use >= 0 {
			s.Cores = append(s.Cores, use)
		}
	}
	s.Memory = road.Space{Total: o.in("mem").number("total"), Used: o.in("mem").number("used")}
	s.Disk = road.Space{Total: o.in("disk").number("total"), Used: o.in("disk").number("used")}
}

func limits(s *road.Status, o object) {
	if o == nil {
		return
	}
	s.Config, _ = json.Marshal(o) // it was read from JSON
	s.ETag = o.in("mapConfig").text("eTag")
	s.Limits = map[string]float64{}
	for name, kind := range map[string]road.Kind{"bsmConfig": road.KindBSM, "rsmConfig": road.KindRSM, "spatConfig": road.KindSPAT} {
		if limit := o.in(name).number("upLimit"); !math.IsNaN(limit) {
			s.Limits[string(kind)] = limit
		}
	}
}

// scaled is a number in the unit of the wire as SI; NaN for what stands for not
// available, or when it is not there.
func (o object) scaled(name string, scale, none float64) float64 {
	if v := o.number(name); v != none {
		return v * scale
	}
	return math.NaN()
}

// spot is a position in 1e-7 degrees.
func spot(o object) road.Position {
	return road.Position{Lat: o.scaled("lat", 1e-7, 900000001), Lon: o.scaled("lon", 1e-7, 1800000001)}
}

func participant(o object, received time.Time) road.Participant {
	at, size := spot(o.in("pos")), o.in("size")
	p := road.Participant{
		Lat: at.Lat, Lon: at.Lon, Elevation: o.in("pos").scaled("ele", 0.1, -4096), Speed: o.scaled("speed", 0.02, 8191), Heading: o.scaled("heading", 0.0125, 28800),
		Acceleration: o.in("accelSet").scaled("lon", 0.01, 2001), Width: size.scaled("width", 0.01, 0), Length: size.scaled("length", 0.01, 0),
		Class: uint8(o.whole("vehicleClass", 0)),
	}
	if n := o.whole("ptcId", -1); n >= 0 && n <= math.MaxUint16 {
		p.Track, p.HasTrack = uint16(n), true
	}
	if id := o.text("id"); id != "" {
		p.HasID = true
		copy(p.ID[:], id)
	}
	p.Type = kindOf(o.text("ptcType"))
	if n, err := strconv.Atoi(o.text("source")); err == nil && n >= 0 && n < 256 {
		p.Source = uint8(n)
	}
	if ms := o.whole("secMark", -1); ms >= 0 {
		p.At, _ = road.OfMinute(ms, received)
	}
	return p
}

// kindOf reads a type of participants by number or by name.
func kindOf(s string) road.ParticipantType {
	switch s {
	case "1", "motor":
		return road.Motor
	case "2", "non-motor":
		return road.NonMotor
	case "3", "pedestrian":
		return road.Pedestrian
	case "4", "rsu":
		return road.Unit
	}
	return road.UnknownType
}

// statusBits are the names of the status of intersections, the first bit first.
var statusBits = []string{"manualControlIsEnabled", "stopTimeIsActivated", "failureFlash", "preemptIsActive", "signalPriorityIsActive", "fixedTimeOperation",
	"trafficDependentOperation", "standbyOperation", "failureMode", "off"}

func node(o object) road.NodeID {
	return road.NodeID{Region: uint16(o.whole("region", 0)), ID: uint16(o.whole("id", 0))}
}

func intersection(o object, sent, received time.Time) road.Intersection {
	x := road.Intersection{Node: node(o.in("intersectionId")), At: sent}
	moy, ms := o.whole("moy", -1), o.whole("timeStamp", -1)
	switch {
	case moy >= 0:
		x.At, _ = road.OfYear(moy, ms, received)
	case ms >= 0:
		x.At, _ = road.OfMinute(ms, received)
	}
	names, _ := o["status"].([]any)
	for _, name := range names {
		for i, bit := range statusBits {
			if name == bit {
				x.Status |= 1 << (15 - i)
			}
		}
	}
	now := x.At
	if now.IsZero() {
		now = received
	}
	for _, p := range o.all("phases") {
		out := road.Phase{ID: uint8(p.whole("phaseId", 0))}
		holds := -1
		for i, s := range p.all("phaseStates") {
			one := stateOf(s, now)
			if holds < 0 && !one.Start.IsZero() && !one.Start.After(now) && (one.End.IsZero() || one.End.After(now)) {
				holds = i
			}
			out.States = append(out.States, one)
		}
		if len(out.States) > 0 {
			out.Light = out.States[max(holds, 0)].Light
		}
		x.Phases = append(x.Phases, out)
	}
	return x
}

// lights are the names of lights, by number.
var lights = []string{"unavailable", "dark", "flashing-red", "red", "flashing-green", "permissive-green", "protected-green", "yellow", "flashing-yellow"}

func stateOf(o object, now time.Time) road.PhaseState {
	out := road.PhaseState{Confidence: math.NaN()}
	for i, name := range lights {
		if light := o.text("light"); light == name || light == strconv.Itoa(i) {
			out.Light = road.Light(i)
		}
	}
	timing := o.in("timing")
	if c := timing.in("counting"); c != nil {
		mark := func(name string) time.Time {
			if n := c.whole(name, -1); n >= 0 && n < 36_000 {
				return now.Add(time.Duration(n) * 100 * time.Millisecond)
			}
			return time.Time{}
		}
		out.Start, out.End, out.MinEnd, out.MaxEnd = mark("startTime"), mark("likelyEndTime"), mark("minEndTime"), mark("maxEndTime")
		out.Confidence = c.scaled("timeConfidence", 0.005, -1)
	}
	if u := timing.in("utcTiming"); u != nil {
		mark := func(name string) (t time.Time) {
			if n := u.whole(name, -1); n >= 0 {
				t, _ = road.OfHour(n, now)
			}
			return t
		}
		out.Start, out.End, out.MinEnd, out.MaxEnd = mark("startUTCTime"), mark("likelyEndUTCTime"), mark("minEndUTCTime"), mark("maxEndUTCTime")
		out.Confidence = u.scaled("timeConfidence", 0.005, -1)
	}
	return out
}

// rsi reads an event. Its alertID names it from one message to the next.
func rsi(o object) (e road.Event, err error) {
	in := o.in("rsi")
	e = road.Event{
		ID: in.text("alertID"), Type: in.whole("eventType", -1), Source: in.text("eventSource"), Radius: in.scaled("eventRadius", 0.1, -1),
		Description: in.text("eventDescription"), Start: in.time("timeStamp"), Priority: in.whole("eventPriority", -1), Confidence: in.scaled("eventConfidence", 0.005, -1),
		At: road.Position{Lat: math.NaN(), Lon: math.NaN()},
	}
	if e.ID == "" || e.Type < 0 {
		return e, fmt.Errorf("has no alertID or no eventType")
	}
	if source := o.text("rsiSourceId"); source != "" {
		e.ID = source + "/" + e.ID
	}
	if e.Source == "" {
		e.Source = o.text("rsiSourceType")
	}
	if places := in.all("eventPosition"); len(places) > 0 {
		e.At = spot(places[0])
	}
	if d := in.number("duration"); d >= 0 && d < 1e9 && !e.Start.IsZero() {
		e.End = e.Start.Add(time.Duration(d * float64(time.Second)))
	}
	if going, ok := in["eventStatus"].(bool); ok {
		e.Over = !going
	}
	for _, path := range in.all("referencePaths") {
		var points []road.Position
		for _, p := range path.all("active_path") {
			points = append(points, spot(p))
		}
		e.Paths = append(e.Paths, points)
	}
	for _, l := range in.all("referenceLinks") {
		e.Links = append(e.Links, road.EventLink{From: node(l.in("upstreamNodeId")), To: node(l.in("downstreamNodeId"))})
	}
	return e, nil
}
