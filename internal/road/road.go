// Package road holds what roadside units say, whatever form they say it in: one
// model behind frames of LTE-V2X and the JSON of T/ITS 0117-2020 and its
// products. Art. 15(2)
//
// Degrees are WGS 84, speeds m/s, headings degrees clockwise from north, lengths
// metres; NaN stands for what is not known.
package road

import "time"

// Kind is what a message is about.
type Kind string

// The kinds of messages.
const (
	KindBSM        Kind = "bsm"        // vehicles of themselves
	KindRSM        Kind = "rsm"        // participants that the unit's sensors see
	KindSPAT       Kind = "spat"       // signals
	KindMap        Kind = "map"        // lanes
	KindRSI        Kind = "rsi"        // events and signs
	KindInfo       Kind = "info"       // who the unit is, and its configuration
	KindHeartbeat  Kind = "heartbeat"  // that it lives
	KindBase       Kind = "base"       // its devices and versions
	KindRunning    Kind = "running"    // its processor, memory, disk and network
	KindAnswer     Kind = "answer"     // to what the platform asked
	KindAck        Kind = "ack"        // of what the platform sent
	KindDiagnostic Kind = "diagnostic" // faults of radio and GNSS
	KindOther      Kind = "other"      // of a later edition, or nobody's yet
)

// Message is one message of a roadside unit. Of the parts, those of its kind are
// there.
type Message struct {
	Kind Kind
	// Unit is what the roadside unit calls itself; empty when the form says
	// nothing.
	Unit string
	// Count is the message counter modulo 128; -1 when there is none.
	Count int
	// At is the time of the payload; zero when it has none, or none that can be
	// resolved.
	At time.Time
	// Unknown is how many extensions of later editions were skipped.
	Unknown int

	Participants []Participant
	Signals      []Intersection
	Nodes        []Node
	Events       []Event
	Signs        []Sign
	Status       *Status
	Ack          *Ack
	// Other is the name of a message that is not read any further.
	Other string
}

// ParticipantType is what takes part in traffic.
type ParticipantType uint8

// The types of participants.
const (
	UnknownType ParticipantType = iota
	Motor
	NonMotor
	Pedestrian
	Unit // a roadside unit
)

var participantNames = [...]string{"unknown", "motor", "non_motor", "pedestrian", "rsu"}

// String returns the name, as in labels.
func (t ParticipantType) String() string {
	if int(t) < len(participantNames) {
		return participantNames[t]
	}
	return participantNames[UnknownType]
}

// Participant is somebody on the road, at one time.
type Participant struct {
	Type ParticipantType
	// Class is BasicVehicleClass; 0 when not known.
	Class uint8
	// ID is the temporary id; it lives in memory only, and never as it is.
	ID    [8]byte
	HasID bool
	// Track is the number that the unit's sensors give; it means something at
	// this unit only.
	Track    uint16
	HasTrack bool
	// Self says that a vehicle speaks of itself.
	Self bool
	// Source is SourceType: 3 video, 4 radar, 5 loop, 6 lidar, 7 several.
	Source uint8

	At                  time.Time // zero when not resolved
	Lat, Lon, Elevation float64
	Speed, Heading      float64
	Acceleration        float64 // along the way
	Width, Length       float64
	// Flags are VehicleEventFlags, the first bit the highest of 13.
	Flags uint16
}

// The flags of participants that are hazards.
const (
	FlagHazardLights     uint16 = 1 << 12
	FlagStopLine         uint16 = 1 << 11
	FlagABS              uint16 = 1 << 10
	FlagTractionLoss     uint16 = 1 << 9
	FlagStabilityControl uint16 = 1 << 8
	FlagHazardousGoods   uint16 = 1 << 7
	FlagHardBraking      uint16 = 1 << 5
	FlagFlatTire         uint16 = 1 << 2
	FlagDisabled         uint16 = 1 << 1
	FlagAirbag           uint16 = 1 << 0
)

// NodeID names a node of the road net, such as an intersection. Region is 0 where
// none is said.
type NodeID struct{ Region, ID uint16 }

// Light is the state of a signal.
type Light uint8

// The lights, as LightState.
const (
	LightUnavailable Light = iota
	Dark
	FlashingRed
	Red
	FlashingGreen
	PermissiveGreen
	ProtectedGreen
	Yellow
	FlashingYellow
)

var lightNames = [...]string{"unavailable", "dark", "flashing_red", "red", "flashing_green", "permissive_green", "protected_green", "yellow", "flashing_yellow"}

// String returns the name, as in labels.
func (l Light) String() string {
	if int(l) < len(lightNames) {
		return lightNames[l]
	}
	return lightNames[LightUnavailable]
}

// Intersection is the state of the signals of a node.
type Intersection struct {
	Node NodeID
	At   time.Time // zero when not resolved
	// Status is IntersectionStatusObject, the first bit the highest of 16.
	Status uint16
	Phases []Phase
}

// The bits of the status of an intersection.
const (
	StatusManual       uint16 = 1 << 15
	StatusFailureFlash uint16 = 1 << 13
	StatusPreempted    uint16 = 1 << 12
	StatusPriority     uint16 = 1 << 11
	StatusFixedTime    uint16 = 1 << 10
	StatusDependent    uint16 = 1 << 9
	StatusStandby      uint16 = 1 << 8
	StatusFailureMode  uint16 = 1 << 7
	StatusOff          uint16 = 1 << 6
)

// Phase is what a group of signals shows now.
type Phase struct {
	ID    uint8
	Light Light
	// States are all states that are announced, the one that holds among them.
	States []PhaseState
}

// PhaseState is a light with its time.
type PhaseState struct {
	Light Light
	// Start, End and the earliest and latest end; zero when they are not known.
	Start, End, MinEnd, MaxEnd time.Time
	// Confidence in the end, 0 to 1; NaN when not known.
	Confidence float64
}

// Position is a place.
type Position struct{ Lat, Lon float64 }

// Node is a place where links meet, with the links that lead to it.
type Node struct {
	ID    NodeID
	Name  string
	At    Position
	Links []Link
}

// Link is a road from one node to another.
type Link struct {
	Name      string
	From      NodeID
	Width     float64
	Limit     float64 // of speed; NaN
	Points    []Position
	Movements []Movement
	Lanes     []Lane
}

// Movement is a way on from a link, and the phase that lets it go.
type Movement struct {
	To       NodeID
	Phase    uint8
	HasPhase bool
}

// Lane is one of a link.
type Lane struct {
	ID     uint8
	Width  float64
	Limit  float64
	Points []Position
	To     []Movement
	// Maneuvers is AllowedManeuvers, the first bit the highest of 12.
	Maneuvers uint16
	// NoMotor says that it is not for motor vehicles that drive: of bicycles, people
	// or trams, between lanes, or for parking.
	NoMotor bool
}

// Event is something on the road that others are told of.
type Event struct {
	// ID is that of the unit that tells: it means something there only.
	ID          string
	Type        int // GB/T 29100
	Source      string
	At          Position // NaN when it has no place
	Radius      float64
	Description string
	Start, End  time.Time // zero: not said
	Priority    int       // 0 to 7; -1 when not said
	Confidence  float64   // 0 to 1
	Paths       [][]Position
	Links       []EventLink
	// Over says that it has ended.
	Over bool
}

// EventLink is a road that an event is on.
type EventLink struct {
	From, To NodeID
	// Lanes is ReferenceLanes, the first bit the highest of 16.
	Lanes uint16
}

// Sign is a traffic sign that is told.
type Sign struct {
	ID          string
	Type        int // GB 5768
	At          Position
	Description string
	Start, End  time.Time
	Priority    int
	Links       []EventLink
}

// Status is what a unit says of itself.
type Status struct {
	Name, Version, Hardware, Firmware, State string
	ESN, IMEI                                string
	At                                       Position
	Elevation                                float64
	Devices                                  []Device
	// Load and Cores are the load and the use of each core in percent.
	Load           float64
	Cores          []float64
	Memory, Disk   Space
	Received, Sent float64 // bytes a second
	// Faults by module, such as ltev or gps, with the code of the unit.
	Faults map[string]int
	// Counts of messages by type, since the day or the start.
	Counts map[string]int64
	// Limits are the messages a second of each type that it is configured to
	// send; -1 without bound.
	Limits map[string]float64
	// ETag is that of the map that it has.
	ETag string
	// Config are the blocks of its configuration as JSON with the names of the
	// standard; nil when it said nothing of it.
	Config []byte
}

// Space is what there is and what of it is used, in the unit that the sender
// uses; NaN.
type Space struct{ Total, Used float64 }

// Device is one behind a roadside unit.
type Device struct {
	ID, Type               string
	Powered, Runs, Network int // as sent; 0 when not said
}

// Ack answers something that was sent to a unit.
type Ack struct {
	Seq         string
	Code        int // 0 done, 1 a parameter is wrong, 2 the unit has failed
	Description string
}
