package dialect

import (
	"encoding/hex"
	"math"
	"strconv"
	"time"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/road"
)

// Frames reads frames of LTE-V2X into messages. It is not safe for concurrent
// use; its memory is used again, so that a message holds until the next one.
type Frames struct {
	frame v2x.MessageFrame
	// Octets is how long the frame was that was read last.
	Octets int
	road.Message
}

// Read reads one frame that was received at a time. An error is a *v2x.Error, or
// a *PersonalError: then Octets is how long the frame was; else it is 0.
func (f *Frames) Read(data []byte, received time.Time) (*road.Message, error) {
	f.Octets = 0
	n, unknown, err := f.frame.Decode(data)
	if err != nil {
		return nil, err
	}
	f.Octets = n
	f.Message = road.Message{Count: -1, Unknown: unknown,
		Participants: f.Participants[:0], Signals: f.Signals[:0], Nodes: f.Nodes[:0], Events: f.Events[:0], Signs: f.Signs[:0]}
	switch f.frame.Alt {
	case v2x.MessageFrameBsmFrame:
		f.bsm(&f.frame.BsmFrame, received)
	case v2x.MessageFrameRsmFrame:
		f.rsm(&f.frame.RsmFrame, received)
	case v2x.MessageFrameSpatFrame:
		f.spat(&f.frame.SpatFrame, received)
	case v2x.MessageFrameMapFrame:
		f.lanes(&f.frame.MapFrame, received)
	case v2x.MessageFrameRsiFrame:
		f.rsi(&f.frame.RsiFrame, received)
	default:
		f.Kind = road.KindOther
		f.Other = "ext:" + strconv.Itoa(int(f.frame.Other.Index))
		if l, ok := f.frame.Later(); ok {
			f.Other = l.Name()
		}
	}
	if err := f.refuse(); err != nil {
		return nil, err
	}
	return &f.Message, nil
}

// refuse looks for people in the texts of maps, events and signs.
func (f *Frames) refuse() error {
	for i := range f.Nodes {
		if err := refuseText(f.Nodes[i].Name); err != nil {
			return err
		}
		for j := range f.Nodes[i].Links {
			if err := refuseText(f.Nodes[i].Links[j].Name); err != nil {
				return err
			}
		}
	}
	for i := range f.Events {
		if err := refuseText(f.Events[i].Description); err != nil {
			return err
		}
	}
	for i := range f.Signs {
		if err := refuseText(f.Signs[i].Description); err != nil {
			return err
		}
	}
	return nil
}

// si is a number in SI units, NaN when not available.
func si[T interface{ SI() (float64, bool) }](v T) float64 {
	if x, ok := v.SI(); ok {
		return x
	}
	return math.NaN()
}

func (f *Frames) bsm(m *v2x.BasicSafetyMessage, received time.Time) {
	f.Kind, f.Count = road.KindBSM, int(m.MsgCnt)
	p := road.Participant{
		Type: road.Motor, Class: uint8(m.VehicleClass.Classification), ID: m.ID, HasID: true, Self: true, Source: 1,
		Lat: si(m.Pos.Lat), Lon: si(m.Pos.Long), Elevation: math.NaN(), Speed: si(m.Speed), Heading: si(m.Heading),
		Acceleration: si(m.AccelSet.Long), Width: si(m.Size.Width), Length: si(m.Size.Length),
	}
	if m.Pos.Elevation.Ok {
		p.Elevation = si(m.Pos.Elevation.V)
	}
	if e := &m.SafetyExt; e.Ok && e.V.Events.Ok {
		if b := e.V.Events.V; b.N >= 13 {
			p.Flags = uint16(b.V >> (b.N - 13))
		}
	}
	p.At, _ = road.OfMinute(int(m.SecMark), received)
	f.At = p.At
	f.Participants = append(f.Participants, p)
}

func (f *Frames) rsm(m *v2x.RoadsideSafetyMessage, received time.Time) {
	f.Kind, f.Count, f.Unit = road.KindRSM, int(m.MsgCnt), unitName(m.ID)
	for i := range m.Participants {
		d := &m.Participants[i]
		lat, lon := d.Pos.Resolve(&m.RefPos)
		p := road.Participant{
			Type: participantType(d.PtcType), ID: d.ID.V, HasID: d.ID.Ok, Track: d.PtcId, HasTrack: true, Source: uint8(d.Source),
			Lat: si(lat), Lon: si(lon), Elevation: math.NaN(), Speed: si(d.Speed), Heading: si(d.Heading),
			Acceleration: math.NaN(), Width: si(d.Size.Width), Length: si(d.Size.Length),
		}
		if d.VehicleClass.Ok {
			p.Class = uint8(d.VehicleClass.V.Classification)
		}
		if d.AccelSet.Ok {
			p.Acceleration = si(d.AccelSet.V.Long)
		}
		p.At, _ = road.OfMinute(int(d.SecMark), received)
		if p.At.After(f.At) {
			f.At = p.At
		}
		f.Participants = append(f.Participants, p)
	}
}

func participantType(t v2x.ParticipantType) road.ParticipantType {
	if t > v2x.ParticipantTypeRsu {
		return road.UnknownType
	}
	return road.ParticipantType(t)
}

// unitName is the id of a unit as text: what is printable, or hex.
func unitName(id [8]byte) string {
	n := len(id)
	for n > 0 && id[n-1] == 0 {
		n--
	}
	for _, c := range id[:n] {
		if c < '!' || c > '~' {
			return hex.EncodeToString(id[:])
		}
	}
	return string(id[:n])
}

func nodeID(n *v2x.NodeReferenceID) road.NodeID {
	id := road.NodeID{ID: uint16(n.ID)}
	if n.Region.Ok {
		id.Region = uint16(n.Region.V)
	}
	return id
}

func (f *Frames) spat(m *v2x.SPAT, received time.Time) {
	f.Kind, f.Count = road.KindSPAT, int(m.MsgCnt)
	f.At = moment(m.Moy, m.TimeStamp, received)
	for i := range m.Intersections {
		x := &m.Intersections[i]
		n := len(f.Signals)
		if n < cap(f.Signals) {
			f.Signals = f.Signals[:n+1] // with the phases that it has room for
		} else {
			f.Signals = append(f.Signals, road.Intersection{})
		}
		s := &f.Signals[n]
		*s = road.Intersection{Node: nodeID(&x.IntersectionId), Status: uint16(x.Status), At: moment(x.Moy, x.TimeStamp, received), Phases: s.Phases[:0]}
		if s.At.IsZero() {
			s.At = f.At
		}
		if f.At.IsZero() {
			f.At = s.At
		}
		now := s.At
		if now.IsZero() {
			now = received
		}
		for j := range x.Phases {
			s.Phases = phase(s.Phases, &x.Phases[j], now)
		}
	}
}

// moment resolves minutes of the year and milliseconds of the minute, of which
// either may be missing.
func moment(moy v2x.Opt[v2x.MinuteOfTheYear], ms v2x.Opt[v2x.DSecond], received time.Time) time.Time {
	var t time.Time
	switch {
	case moy.Ok && ms.Ok:
		t, _ = road.OfYear(int(moy.V), int(ms.V), received)
	case moy.Ok:
		t, _ = road.OfYear(int(moy.V), -1, received)
	case ms.Ok:
		t, _ = road.OfMinute(int(ms.V), received)
	}
	return t
}

func phase(to []road.Phase, p *v2x.Phase, now time.Time) []road.Phase {
	n := len(to)
	if n < cap(to) {
		to = to[:n+1]
	} else {
		to = append(to, road.Phase{})
	}
	out := &to[n]
	*out = road.Phase{ID: uint8(p.ID), States: out.States[:0]}
	holds := -1
	for i := range p.PhaseStates {
		s := state(&p.PhaseStates[i], now)
		if holds < 0 && !s.Start.IsZero() && !s.Start.After(now) && (s.End.IsZero() || s.End.After(now)) {
			holds = i
		}
		out.States = append(out.States, s)
	}
	out.Light = out.States[max(holds, 0)].Light
	return to
}

func state(s *v2x.PhaseState, now time.Time) road.PhaseState {
	out := road.PhaseState{Light: road.LightUnavailable, Confidence: math.NaN()}
	if s.Light <= v2x.LightStateFlashingYellow {
		out.Light = road.Light(s.Light)
	}
	if !s.Timing.Ok {
		return out
	}
	// Tenths of a second from now, or of this hour or the next.
	mark := func(m v2x.TimeMark) (t time.Time) {
		if s.Timing.V.Alt == v2x.TimeChangeDetailsUtcTiming {
			t, _ = road.OfHour(int(m), now)
		} else if _, known := m.SI(); known {
			t = now.Add(time.Duration(m) * 100 * time.Millisecond)
		}
		return t
	}
	optional := func(m v2x.Opt[v2x.TimeMark]) (t time.Time) {
		if m.Ok {
			t = mark(m.V)
		}
		return t
	}
	switch s.Timing.V.Alt {
	case v2x.TimeChangeDetailsCounting:
		c := &s.Timing.V.Counting
		out.Start, out.End, out.MinEnd, out.MaxEnd = mark(c.StartTime), mark(c.LikelyEndTime), optional(c.MinEndTime), optional(c.MaxEndTime)
		if c.TimeConfidence.Ok {
			out.Confidence = si(c.TimeConfidence.V)
		}
	case v2x.TimeChangeDetailsUtcTiming:
		u := &s.Timing.V.UtcTiming
		out.Start, out.End, out.MinEnd, out.MaxEnd = mark(u.StartUTCTime), mark(u.LikelyEndUTCTime), optional(u.MinEndUTCTime), optional(u.MaxEndUTCTime)
		if u.TimeConfidence.Ok {
			out.Confidence = si(u.TimeConfidence.V)
		}
	}
	return out
}

func (f *Frames) lanes(m *v2x.MapData, received time.Time) {
	f.Kind, f.Count = road.KindMap, int(m.MsgCnt)
	f.At = moment(m.TimeStamp, v2x.Opt[v2x.DSecond]{}, received)
	for i := range m.Nodes {
		n := &m.Nodes[i]
		out := road.Node{ID: nodeID(&n.ID), Name: name(n.Name), At: position(n.RefPos.Lat, n.RefPos.Long)}
		for j := range n.InLinks.V {
			if n.InLinks.Ok {
				out.Links = append(out.Links, link(&n.InLinks.V[j], &n.RefPos))
			}
		}
		f.Nodes = append(f.Nodes, out)
	}
}

func name(n v2x.Opt[v2x.DescriptiveName]) string {
	if !n.Ok {
		return ""
	}
	return string(n.V)
}

func position(lat v2x.Latitude, lon v2x.Longitude) road.Position {
	return road.Position{Lat: si(lat), Lon: si(lon)}
}

func points(all v2x.Opt[v2x.PointList], from *v2x.Position3D) (out []road.Position) {
	if !all.Ok {
		return nil
	}
	for i := range all.V {
		out = append(out, position(all.V[i].PosOffset.Resolve(from)))
	}
	return out
}

// limit is the highest speed that is allowed to vehicles; NaN when none is said.
func limit(all v2x.Opt[v2x.SpeedLimitList]) float64 {
	highest := math.NaN()
	if !all.Ok {
		return highest
	}
	for _, l := range all.V {
		if l.Type == v2x.SpeedLimitTypeVehicleMaxSpeed {
			return si(l.Speed)
		}
	}
	return highest
}

func link(l *v2x.Link, from *v2x.Position3D) road.Link {
	out := road.Link{Name: name(l.Name), From: nodeID(&l.UpstreamNodeId), Width: math.NaN(), Limit: limit(l.SpeedLimits), Points: points(l.Points, from)}
	if l.LinkWidth.Ok {
		out.Width = si(l.LinkWidth.V)
	}
	if l.Movements.Ok {
		for i := range l.Movements.V {
			m := &l.Movements.V[i]
			out.Movements = append(out.Movements, road.Movement{To: nodeID(&m.RemoteIntersection), Phase: uint8(m.PhaseId.V), HasPhase: m.PhaseId.Ok})
		}
	}
	for i := range l.Lanes {
		out.Lanes = append(out.Lanes, lane(&l.Lanes[i], from))
	}
	return out
}

func lane(l *v2x.Lane, from *v2x.Position3D) road.Lane {
	out := road.Lane{ID: uint8(l.LaneID), Width: math.NaN(), Limit: limit(l.SpeedLimits), Points: points(l.Points, from), Maneuvers: uint16(l.Maneuvers.V)}
	if l.LaneWidth.Ok {
		out.Width = si(l.LaneWidth.V)
	}
	if kind := l.LaneAttributes.V.LaneType.Alt; l.LaneAttributes.Ok {
		out.NoMotor = kind != v2x.LaneTypeAttributesVehicle && kind != v2x.LaneTypeAttributesOther
	}
	if l.ConnectsTo.Ok {
		for i := range l.ConnectsTo.V {
			c := &l.ConnectsTo.V[i]
			out.To = append(out.To, road.Movement{To: nodeID(&c.RemoteIntersection), Phase: uint8(c.PhaseId.V), HasPhase: c.PhaseId.Ok})
		}
	}
	return out
}

func (f *Frames) rsi(m *v2x.RoadSideInformation, received time.Time) {
	f.Kind, f.Count, f.Unit = road.KindRSI, int(m.MsgCnt), unitName(m.ID)
	f.At = moment(m.Moy, v2x.Opt[v2x.DSecond]{}, received)
	if m.Rtes.Ok {
		for i := range m.Rtes.V {
			f.Events = append(f.Events, event(&m.Rtes.V[i], &m.RefPos, received))
		}
	}
	if m.Rtss.Ok {
		for i := range m.Rtss.V {
			f.Signs = append(f.Signs, sign(&m.Rtss.V[i], &m.RefPos, received))
		}
	}
}

func event(e *v2x.RTEData, from *v2x.Position3D, received time.Time) road.Event {
	out := road.Event{ID: strconv.Itoa(int(e.RteId)), Type: int(e.EventType), Source: e.EventSource.String(), At: place(e.EventPos, from), Radius: math.NaN(),
		Description: description(e.Description), Priority: priority(e.Priority), Confidence: math.NaN(), Links: links(e.ReferenceLinks)}
	out.Start, out.End = span(e.TimeDetails, received)
	if e.EventRadius.Ok {
		out.Radius = si(e.EventRadius.V)
	}
	if e.EventConfidence.Ok {
		out.Confidence = si(e.EventConfidence.V)
	}
	if e.ReferencePaths.Ok {
		for i := range e.ReferencePaths.V {
			var path []road.Position
			for j := range e.ReferencePaths.V[i].ActivePath {
				path = append(path, position(e.ReferencePaths.V[i].ActivePath[j].Resolve(from)))
			}
			out.Paths = append(out.Paths, path)
		}
	}
	return out
}

func sign(s *v2x.RTSData, from *v2x.Position3D, received time.Time) road.Sign {
	out := road.Sign{ID: strconv.Itoa(int(s.RtsId)), Type: int(s.SignType), At: place(s.SignPos, from), Description: description(s.Description),
		Priority: priority(s.Priority), Links: links(s.ReferenceLinks)}
	out.Start, out.End = span(s.TimeDetails, received)
	return out
}

func place(p v2x.Opt[v2x.PositionOffsetLLV], from *v2x.Position3D) road.Position {
	if !p.Ok {
		return road.Position{Lat: math.NaN(), Lon: math.NaN()}
	}
	return position(p.V.Resolve(from))
}

func span(t v2x.Opt[v2x.RSITimeDetails], received time.Time) (start, end time.Time) {
	if t.Ok && t.V.StartTime.Ok {
		start, _ = road.Date(int(t.V.StartTime.V), received)
	}
	if t.Ok && t.V.EndTime.Ok {
		end, _ = road.Date(int(t.V.EndTime.V), received)
	}
	return start, end
}

func priority(p v2x.Opt[v2x.RSIPriority]) int {
	if !p.Ok {
		return -1
	}
	return p.V.Level()
}

func description(d v2x.Opt[v2x.Description]) string {
	switch {
	case d.Ok && d.V.Alt == v2x.DescriptionTextString:
		return string(d.V.TextString)
	case d.Ok && d.V.Alt == v2x.DescriptionTextGB2312:
		text, err := simplifiedchinese.GBK.NewDecoder().Bytes(d.V.TextGB2312)
		if err == nil {
			return string(text)
		}
	}
	return ""
}

func links(all v2x.Opt[v2x.ReferenceLinkList]) (out []road.EventLink) {
	if !all.Ok {
		return nil
	}
	for i := range all.V {
		l := &all.V[i]
		one := road.EventLink{From: nodeID(&l.UpstreamNodeId), To: nodeID(&l.DownstreamNodeId)}
		if l.ReferenceLanes.Ok {
			one.Lanes = uint16(l.ReferenceLanes.V)
		}
		out = append(out, one)
	}
	return out
}
