package codec

import (
	"fmt"
	"strings"

	"github.com/songhua-io/hub/internal/telemetry"
)

// SparkplugType is the kind of a Sparkplug message, as its topic names it.
type SparkplugType string

// The Sparkplug messages that carry telemetry.
const (
	NBirth SparkplugType = "NBIRTH"
	NData  SparkplugType = "NDATA"
	NDeath SparkplugType = "NDEATH"
	DBirth SparkplugType = "DBIRTH"
	DData  SparkplugType = "DDATA"
	DDeath SparkplugType = "DDEATH"
)

// SparkplugTopic is a topic of Sparkplug B, spBv1.0/group/type/node[/device]
// (Sparkplug 3.0 §4.1). The edge node is the device towards the hub; Device is
// a unit behind it.
type SparkplugTopic struct {
	Group, Node, Device string
	Type                SparkplugType
}

// ParseSparkplugTopic reads the topic of a Sparkplug B message that carries
// telemetry; an *Error says why it is none.
func ParseSparkplugTopic(topic string) (SparkplugTopic, error) {
	levels := strings.Split(topic, "/")
	wrong := func(reason telemetry.Reason, why string) (SparkplugTopic, error) {
		return SparkplugTopic{}, &Error{Format: Sparkplug, Reason: reason, Detail: fmt.Sprintf("topic %q %s", clip([]byte(topic)), why)}
	}
	if levels[0] != "spBv1.0" {
		return wrong(telemetry.ReasonUnsupported, "is not one of Sparkplug B, which begin with spBv1.0/")
	}
	if len(levels) > 1 && levels[1] == "STATE" {
		return wrong(telemetry.ReasonUnsupported, "tells the state of a host application and carries no telemetry")
	}
	if len(levels) < 4 || len(levels) > 5 || levels[1] == "" || levels[3] == "" || levels[len(levels)-1] == "" {
		return wrong(telemetry.ReasonMalformed, "is not of the form spBv1.0/<group>/<type>/<edge node>[/<device>]")
	}
	t := SparkplugTopic{Group: levels[1], Type: SparkplugType(levels[2]), Node: levels[3]}
	if len(levels) == 5 {
		t.Device = levels[4]
	}
	switch t.Type {
	case NBirth, NData, NDeath:
		if t.Device != "" {
			return wrong(telemetry.ReasonMalformed, "names a device, but "+levels[2]+" is a message of the edge node")
		}
	case DBirth, DData, DDeath:
		if t.Device == "" {
			return wrong(telemetry.ReasonMalformed, "names no device, but "+levels[2]+" is a message of one")
		}
	case "NCMD", "DCMD":
		return wrong(telemetry.ReasonUnsupported, "is a command to an edge node, not telemetry")
	default:
		return wrong(telemetry.ReasonUnsupported, "has an unknown message type; NBIRTH, NDATA, NDEATH, DBIRTH, DDATA and DDEATH are read")
	}
	return t, nil
}

// SparkplugNote is what a transport learns of a message besides its samples.
type SparkplugNote struct {
	// Rebirth asks the transport to send the edge node an NCMD with
	// `Node Control/Rebirth` = true: it speaks of what no birth has announced,
	// or messages are missing.
	Rebirth bool
	// Missed is the number of messages that are missing before this one, by
	// its sequence number (0 to 255).
	Missed int
	// Died reports that this is the death of the current session.
	Died bool
}

// MaxSparkplugMetrics bounds the metrics that one edge node may announce for
// itself and its devices together.
const MaxSparkplugMetrics = 20_000

// Session is what must be remembered of one Sparkplug edge node between its
// messages: which metric an alias stands for, and where the sequence is. The
// zero value is ready. One goroutine at a time uses it.
type Session struct {
	born   bool
	bdSeq  uint64 // birth/death sequence number of the current session
	seq    uint64 // of the last message
	alias  map[uint64]*sparkplugMetric
	byName map[sparkplugName]*sparkplugMetric
}

type sparkplugName struct{ device, name string }

// sparkplugMetric is a metric as its birth announced it.
type sparkplugMetric struct {
	key      sparkplugName
	name     []byte
	unit     []byte
	datatype uint64
	alias    uint64
	aliased  bool
}

// Metrics is the number of metrics that the session remembers.
func (s *Session) Metrics() int { return len(s.byName) }

// Decode reads one Sparkplug message of the edge node and adds what it holds
// to b. Samples of a device behind the node carry its name in the tag
// sparkplug_device. Decode returns an *Error, and leaves b and the session as
// they were, when the message as a whole cannot be read.
func (s *Session) Decode(b *telemetry.Batch, topic SparkplugTopic, in Input) (SparkplugNote, error) {
	in.bound()
	if n := len(topic.Device); n > in.MaxValue {
		return SparkplugNote{}, &Error{Sparkplug, 0, telemetry.ReasonLabelInvalid,
			fmt.Sprintf("the device %q of the topic has a name of %d bytes; at most %d are allowed", clip([]byte(topic.Device)), n, in.MaxValue)}
	}
	payload, err := readSparkplug(in.Payload, in.MaxSamples)
	if err != nil {
		return SparkplugNote{}, err
	}
	var note SparkplugNote
	switch topic.Type {
	case NDeath:
		note.Died = s.die(payload)
		return note, nil
	case NBirth:
		s.reset(payload)
	default:
		note.Missed = s.advance(payload)
		note.Rebirth = !s.born || note.Missed > 0
		if topic.Type == DBirth || topic.Type == DDeath {
			s.forget(topic.Device)
		}
	}
	m := sparkplugMessage{session: s, b: b, in: in, topic: topic, payload: payload}
	m.read()
	note.Rebirth = note.Rebirth || m.rebirth
	return note, nil
}

// die ends the session if the death belongs to it: a late death of an earlier
// session does not (Sparkplug 3.0 §6.4.3).
func (s *Session) die(p sparkplugPayload) bool {
	if !s.born || p.hasBDSeq && p.bdSeq != s.bdSeq {
		return false
	}
	*s = Session{}
	return true
}

func (s *Session) reset(p sparkplugPayload) {
	*s = Session{
		born: true, bdSeq: p.bdSeq, seq: p.seq,
		alias: map[uint64]*sparkplugMetric{}, byName: map[sparkplugName]*sparkplugMetric{},
	}
}

// advance takes over the sequence number and returns how many messages are
// missing. The number of the last message again is a re-delivery.
func (s *Session) advance(p sparkplugPayload) (missed int) {
	if !s.born || !p.hasSeq || p.seq == s.seq {
		return 0
	}
	missed = int((p.seq - s.seq - 1) & 0xff)
	s.seq = p.seq
	return missed
}

// forget drops what a device announced.
func (s *Session) forget(device string) {
	for key, m := range s.byName {
		if key.device == device {
			s.drop(m)
		}
	}
}

func (s *Session) drop(m *sparkplugMetric) {
	delete(s.byName, m.key)
	if m.aliased && s.alias[m.alias] == m {
		delete(s.alias, m.alias)
	}
}

// announce remembers a metric of a birth; false when there are too many.
func (s *Session) announce(m *sparkplugMetric) bool {
	if old := s.byName[m.key]; old != nil {
		s.drop(old)
	}
	if len(s.byName) >= MaxSparkplugMetrics {
		return false
	}
	s.byName[m.key] = m
	if m.aliased {
		if old := s.alias[m.alias]; old != nil {
			s.drop(old)
		}
		s.alias[m.alias] = m
	}
	return true
}
