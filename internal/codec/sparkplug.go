package codec

import "github.com/songhua-io/hub/internal/telemetry"

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

// SparkplugTopic is a topic of Sparkplug B, spBv1.0/group/type/node[/device].
// The edge node is the device towards the hub; Device is a unit behind it.
type SparkplugTopic struct {
	Group, Node, Device string
	Type                SparkplugType
}

// ParseSparkplugTopic reads a Sparkplug B topic.
func ParseSparkplugTopic(topic string) (SparkplugTopic, error) {
	return SparkplugTopic{}, &Error{Format: Sparkplug, Reason: telemetry.ReasonUnsupported, Detail: "topic " + topic}
}

// SparkplugNote is what a transport learns of a message besides its samples.
type SparkplugNote struct {
	// Rebirth asks the transport to send the edge node an NCMD with
	// `Node Control/Rebirth` = true: it speaks of what no birth has announced.
	Rebirth bool
	// Missed is the number of messages that are missing before this one, by
	// its sequence number (0 to 255).
	Missed int
	// Died reports that this is the death of the current session.
	Died bool
}

// Session is what must be remembered of one Sparkplug edge node between its
// messages. The zero value is ready. One goroutine at a time uses it.
type Session struct{}

// Decode reads one Sparkplug message of the edge node and adds what it holds
// to b. It returns an *Error, and leaves b as it was, when the message as a
// whole cannot be read.
func (s *Session) Decode(b *telemetry.Batch, topic SparkplugTopic, in Input) (SparkplugNote, error) {
	return SparkplugNote{}, &Error{Format: Sparkplug, Reason: telemetry.ReasonUnsupported, Detail: "no payload"}
}
