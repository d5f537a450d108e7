package traffic

import (
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// UnitView is a unit as people look at it.
type UnitView struct {
	Unit   string // id of the device
	Status road.Status
	Heard  time.Time // when it last said something live; zero: never
	// Beat is the period of its heartbeat as measured; 0 when not known.
	Beat time.Duration
	// Offset is the time of its payloads minus that of their arrival, the median of
	// the last ones.
	Offset time.Duration
	// Rates are messages a second in the last 10 s, by kind.
	Rates map[road.Kind]float64
	Nodes []road.NodeID // in its map
	// Faults are checks that find fault now.
	Faults []Fault
	// Deviations are what its messages have that the standard has not.
	Deviations []Deviation
}

// Check names something that is looked at in every unit.
type Check string

// Fault is a check that finds fault.
type Fault struct {
	Check       Check
	ZH, EN      string // what is wrong, with the numbers
	Since, Last time.Time
	Count       int64
	// Evidence reports whether raw messages are kept.
	Evidence bool
}

// Deviation is one way in which messages of a unit are not as the standard has
// them.
type Deviation struct {
	Kind        road.Kind
	Code, Path  string
	ZH, EN      string
	First, Last time.Time
	Count       int64
}

// Evidence is a raw message that a check found fault with. It is kept for minutes,
// in memory, and holds what the unit sent, ids of vehicles included.
type Evidence struct {
	Check Check
	At    time.Time
	Kind  road.Kind
	Raw   []byte
}

// IntersectionView is the state of the signals of a node.
type IntersectionView struct {
	Node   road.NodeID
	Unit   string
	At     time.Time // of the newest state
	Status uint16    // IntersectionStatusObject
	Phases []PhaseView
	Faults []Fault
}

// PhaseView is a phase and what it shows.
type PhaseView struct {
	ID     uint8
	Light  road.Light
	Since  time.Time     // zero: not seen to change
	End    time.Time     // when it is announced to change; zero: not said
	Cycle  time.Duration // from green to green, the last one; 0: not known
	Greens float64       // share of green in the last cycle; NaN: not known
}

// LinkView is a road between two nodes.
type LinkView struct {
	From, To road.NodeID
	Name     string
	Unit     string // who reports it
	Points   []road.Position
	// At is the end of the minute that the numbers are of; zero: none yet.
	At time.Time
	// Source is who counted: sensor or vehicle.
	Source                string
	Flow                  float64 // vehicles in the minute
	MeanSpeed, P85        float64 // m/s; NaN
	Occupancy             float64 // 0 to 1; NaN
	Queue                 float64 // metres; NaN: not known
	Limit                 float64 // m/s; NaN
	FlowByType            map[road.ParticipantType]float64
	Observed, Conflicting int
}

// EventView is an event as all units tell it.
type EventView struct {
	Key         string // unit and id: it names the event
	Event       road.Event
	Unit        string
	AlsoBy      []string // other units that tell the same
	First, Last time.Time
	// Active is false when it has ended, or nobody tells it any more.
	Active bool
	// PastEnd says that it is told although its end has passed.
	PastEnd bool
}
