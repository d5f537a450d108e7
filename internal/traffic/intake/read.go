package intake

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/road/dialect"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
)

// single is the index of a message that is all that was sent.
const single = -1

// arrived is a message of several, or the only one, as it came.
type arrived struct {
	index int
	raw   []byte
	// base is the time that its own times are resolved by; uplink the time in the
	// head of what it came in, ms, 0 without one.
	base   time.Time
	uplink int64
}

// Observe implements ingest.Roads.
func (in *Intake) Observe(o *ingest.RoadMessage) {
	s := in.shard(o.Device)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = s.record[:0]
	in.read(s, o)
	if len(s.record) > 0 {
		in.journal.append(chunkRecord, s.record)
	}
	s.arrival = traffic.Arrival{}
}

// read reads a payload in the form that its format names, or that it has.
func (in *Intake) read(s *shard, o *ingest.RoadMessage) {
	var kind road.Kind
	if o.Topic != "" {
		if r, ok := in.set.Route(o.Topic); ok {
			kind = r.Kind
		}
	}
	if o.Format == codec.V2X && isJSON(o.Payload) {
		in.json(s, o)
		return
	}
	if o.Format == codec.V2XFramed || o.Format == codec.V2X && headed(o.Payload) {
		uplink, err := framed(o.Payload, kind)
		if err == nil {
			in.framed(s, o, uplink)
			return
		}
		if o.Format == codec.V2XFramed {
			in.refuse(o, single, telemetry.StageDecode, telemetry.ReasonMalformed, described("uplink", o.Payload, err))
			return
		}
	}
	in.frames(s, o)
}

// isJSON reports whether a payload begins as an object or a list of JSON: no frame
// and no head of an uplink that a unit sends does.
func isJSON(p []byte) bool {
	p = bytes.TrimLeft(p, " \t\r\n")
	return len(p) > 0 && (p[0] == '{' || p[0] == '[')
}

// headed reports whether a payload may begin with the head of an uplink, by its
// time: between 2001 and 2248, which hardly a frame has there.
func headed(p []byte) bool {
	if len(p) < 16 {
		return false
	}
	ms := binary.LittleEndian.Uint64(p[8:])
	return ms > 1e12 && ms < 1<<43
}

// described is a message in the detail of a reject: its kind and length, and what
// is wrong with it, which holds nothing of it that names anybody.
func described[K ~string](kind K, raw []byte, why error) string {
	return fmt.Sprintf("%s of %d octets: %v", kind, len(raw), why)
}

func (in *Intake) refuse(o *ingest.RoadMessage, index int, stage telemetry.Stage, reason telemetry.Reason, detail string) {
	in.metrics.refused.WithLabelValues(string(reason)).Inc()
	o.Rejects = append(o.Rejects, telemetry.Reject{Index: index, Stage: stage, Reason: reason, Detail: detail})
}

// json reads a message as its topic, or what it holds, says.
func (in *Intake) json(s *shard, o *ingest.RoadMessage) {
	route, known := in.set.Route(o.Topic)
	if o.Topic == "" {
		route, known = in.set.Recognise(o.Payload)
	}
	if !known {
		in.refuse(o, single, telemetry.StageDecode, telemetry.ReasonUnsupported, fmt.Sprintf("JSON of %d octets: its fields are those of no message of T/ITS 0117; name its kind, such as ?kind=heartbeat", len(o.Payload)))
		return
	}
	m, findings, err := in.set.ReadJSON(route, o.Payload, o.Received)
	in.found(o, route.Kind, findings)
	if err != nil {
		in.refuse(o, single, telemetry.StageDecode, unreadable(err), described(route.Kind, o.Payload, err))
		return
	}
	if in.take(s, o, m, arrived{index: single, raw: o.Payload, base: o.Received}) && m.Kind == road.KindInfo && m.Status != nil {
		in.reports.put(o.Device, m.Status)
	}
}

// found tells how a message deviates.
func (in *Intake) found(o *ingest.RoadMessage, kind road.Kind, findings []dialect.Finding) {
	if in.deps.Found == nil {
		return
	}
	for _, f := range findings {
		zh, en := f.Text()
		in.deps.Found(o.Device, kind, string(f.Code), f.Path, zh, en, o.Received)
	}
}

// errTrailing says that octets are left where an uplink should end.
var errTrailing = errors.New("octets are left behind the last message")

// framed reads the head of an uplink, if all of it fits: with the count of
// messages, as uplinks of BSM have it, or without.
func framed(p []byte, kind road.Kind) (v2x.Framed, error) {
	counted := kind == road.KindBSM
	f, err := fits(p, counted)
	if err != nil {
		if other, no := fits(p, !counted); no == nil {
			return other, nil
		}
	}
	return f, err
}

func fits(p []byte, counted bool) (v2x.Framed, error) {
	f, err := v2x.ReadFramed(p, counted)
	if err != nil {
		return f, err
	}
	for walk := f; ; {
		frame, err := walk.Next()
		switch {
		case err != nil:
			return f, err
		case frame == nil && walk.Trailing() > 0:
			return f, errTrailing
		case frame == nil:
			return f, nil
		}
	}
}

// framed takes the messages of an uplink. Its head says when they were: what is
// sent again later is read as of then.
func (in *Intake) framed(s *shard, o *ingest.RoadMessage, uplink v2x.Framed) {
	if reason, detail := outside(o, uplink.At); reason != "" {
		in.refuse(o, single, telemetry.StageObserve, reason, described("uplink", o.Payload, errors.New(detail)))
		return
	}
	for i := 0; ; i++ {
		raw, err := uplink.Next()
		if raw == nil || err != nil {
			return // it was walked before
		}
		a := arrived{index: i, raw: raw, base: uplink.At, uplink: uplink.At.UnixMilli()}
		if m, ok := in.frame(s, o, &a); ok {
			in.take(s, o, m, a)
		}
	}
}

// frames takes frames that stand one behind the other.
func (in *Intake) frames(s *shard, o *ingest.RoadMessage) {
	left := o.Payload
	for i := 0; i == 0 || len(left) > 0; i++ {
		a := arrived{index: i, raw: left, base: o.Received}
		m, ok := in.frame(s, o, &a)
		if s.frames.Octets == 0 {
			return // where the next one begins is not known
		}
		a.raw, left = left[:s.frames.Octets], left[s.frames.Octets:]
		if !ok {
			continue
		}
		if i == 0 && len(left) == 0 {
			a.index = single
		}
		in.take(s, o, m, a)
	}
}

// frame reads one frame.
func (in *Intake) frame(s *shard, o *ingest.RoadMessage, a *arrived) (*road.Message, bool) {
	m, err := s.frames.Read(a.raw, a.base)
	if err == nil {
		return m, true
	}
	if n := s.frames.Octets; n > 0 {
		a.raw = a.raw[:n]
	}
	index := a.index
	if len(a.raw) == len(o.Payload) {
		index = single
	}
	in.refuse(o, index, telemetry.StageDecode, unreadable(err), described("frame", a.raw, err))
	return nil, false
}

// unreadable is why a message is not read.
func unreadable(err error) telemetry.Reason {
	if person := (*dialect.PersonalError)(nil); errors.As(err, &person) {
		return telemetry.ReasonPersonalData
	}
	return telemetry.ReasonMalformed
}

// outside says why a time is not taken.
func outside(o *ingest.RoadMessage, at time.Time) (telemetry.Reason, string) {
	switch {
	case at.After(o.Newest):
		return telemetry.ReasonTimeFuture, fmt.Sprintf("its time is %s; accepted until %s", stamp(at), stamp(o.Newest))
	case at.Before(o.Oldest):
		return telemetry.ReasonTimePast, fmt.Sprintf("its time is %s; accepted from %s", stamp(at), stamp(o.Oldest))
	}
	return "", ""
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z") }

// take gives a message to the board, and reports whether that took it. What stands
// still and has no time of its own is of its uplink's, or of when it came.
func (in *Intake) take(s *shard, o *ingest.RoadMessage, m *road.Message, a arrived) bool {
	if m.At.IsZero() && a.uplink != 0 && m.Kind != road.KindBSM && m.Kind != road.KindRSM && m.Kind != road.KindSPAT {
		m.At = a.base
	}
	event := m.At
	if event.IsZero() {
		event = o.Received
	} else if reason, detail := outside(o, event); reason != "" {
		in.refuse(o, a.index, telemetry.StageObserve, reason, described(m.Kind, a.raw, errors.New(detail)))
		return false
	}
	live := !event.Before(o.Received.Add(-o.LiveFor))
	s.arrival = traffic.Arrival{Unit: o.Device, Message: m, Raw: a.raw, Received: o.Received, Live: live, Again: o.Again}
	in.identify(s, o, event, &a)
	var err error
	if s.record, err = in.deps.Board.Take(&s.arrival, s.record); err != nil {
		in.refuse(o, a.index, telemetry.StageObserve, reasonOf(err), described(m.Kind, a.raw, err))
		return false
	}
	in.metrics.message(m.Kind)
	o.Taken++
	o.Live = o.Live || live
	if event.After(o.At) {
		o.At = event
	}
	return true
}

// identify says by what the message is known when it comes again. What is too old
// for a minute to open has no hash: the board refuses it. A map, or events and
// signs, are sent again and again as they are: where no uplink tells one time from
// another, that of the arrival does, and the packet identifier of MQTT tells a
// message from the same that its sender delivers again.
func (in *Intake) identify(s *shard, o *ingest.RoadMessage, event time.Time, a *arrived) {
	if event.Before(o.Received.Add(-keyLasts)) {
		return
	}
	is := in.keys.of(hourOf(event), func(hour int64, is key) { in.journal.append(chunkKey, appendKey(nil, hour, is)) })
	sent, kind := a.uplink, s.arrival.Message.Kind
	if sent == 0 && (kind == road.KindMap || kind == road.KindRSI) {
		sent = o.First.UnixMilli()
		if o.Packet != 0 {
			s.arrival.Delivery = s.hash(is, -int64(o.Packet), a.raw)
		}
	}
	s.arrival.Hash = s.hash(is, sent, a.raw)
}

func reasonOf(err error) telemetry.Reason {
	if r := (*traffic.Refused)(nil); errors.As(err, &r) {
		switch r.Reason {
		case traffic.TimeUnresolved:
			return telemetry.ReasonTimeUnresolved
		case traffic.WindowClosed:
			return telemetry.ReasonWindowClosed
		case traffic.TooMany:
			return telemetry.ReasonTooMany
		}
	}
	return telemetry.ReasonMalformed
}
