package registry

import "time"

// PresenceState says whether a device is there.
type PresenceState string

// The states of presence.
const (
	Never   PresenceState = "never"   // nothing was ever heard of it
	Online  PresenceState = "online"  // connected, or heard within 1.5 periods
	Late    PresenceState = "late"    // silent for 1.5 to 2.5 periods
	Offline PresenceState = "offline" // silent for longer, or its connection broke
)

// PresenceStates lists the states in the order in which people are shown them.
func PresenceStates() []PresenceState { return []PresenceState{Online, Late, Offline, Never} }

// Reason says why a device came to its state.
type Reason string

// The reasons of presence.
const (
	ReasonConnected  Reason = "connected"
	ReasonTelemetry  Reason = "telemetry"     // live samples arrived
	ReasonDisconnect Reason = "disconnect"    // it said goodbye
	ReasonLost       Reason = "lost"          // the connection broke
	ReasonKeepAlive  Reason = "keep_alive"    // nothing came for 1.5 keep-alives
	ReasonLastWill   Reason = "last_will"     // its will said so
	ReasonDeath      Reason = "death"         // it announced its own (Sparkplug NDEATH)
	ReasonProtocol   Reason = "protocol"      // it broke the protocol or a limit
	ReasonSilent     Reason = "silent_period" // it missed its reporting period
	ReasonRevoked    Reason = "revoked"       // disabled, removed or rotated
	ReasonTakenOver  Reason = "taken_over"    // the same client id connected again
	ReasonShutdown   Reason = "shutdown"      // the hub stopped; says nothing of the device
)

// DefaultPeriod is the reporting period of a device that declared none and has
// not been learned yet.
const DefaultPeriod = 5 * time.Minute

// Silence after which a device is late and offline, in reporting periods. The
// same 2.5 periods bound how long a query holds its last value.
const (
	lateAfter    = 1.5
	offlineAfter = 2.5
)

// Standing is a device's presence and what was last heard of it.
type Standing struct {
	State  PresenceState
	Reason Reason    // empty for Never
	Since  time.Time // zero for Never
	// LastSeen is when live traffic last arrived; LastEvent the newest time
	// that its samples carry.
	LastSeen, LastEvent time.Time
	Samples             uint64
	Series              int
	// Period is the learned reporting period; 0 while unknown.
	Period time.Duration
}

// Seen is what the write path knows of a device since the hub started.
type Seen struct {
	LastReceived time.Time // by the hub's clock; live traffic only
	LastEvent    time.Time // the newest sample time
	Died         time.Time // when it announced its own death; zero when it did not
	Samples      uint64
	Series       int
	Period       time.Duration // learned; 0 while unknown
}

// track is the presence of one device as a state machine: inputs carry their
// time, and every method reports whether the state changed.
type track struct {
	Standing
	connections int
	goodbye     bool // the last connection ended with one
	// alive is the last sign of life, from which silence counts: a live
	// sample, a connect, or the start of a hub that may have missed some.
	alive time.Time
}

func (t *track) turn(to PresenceState, why Reason, at time.Time) bool {
	if t.State == to {
		return false
	}
	t.State, t.Reason, t.Since = to, why, at
	return true
}

func (t *track) connect(at time.Time) bool {
	t.connections++
	t.goodbye = false
	t.alive = later(t.alive, at)
	return t.turn(Online, ReasonConnected, at)
}

// leave ends one connection. While another one lives nothing changes; a broken
// one means offline at once; after a goodbye the reporting period decides,
// because many devices connect, send and leave.
func (t *track) leave(how Reason, at time.Time) bool {
	t.connections = max(0, t.connections-1)
	switch how {
	case ReasonRevoked:
		return t.State != Never && t.turn(Offline, how, at)
	case ReasonLost, ReasonKeepAlive, ReasonLastWill, ReasonProtocol:
		return t.connections == 0 && t.turn(Offline, how, at)
	case ReasonDisconnect:
		t.goodbye = t.connections == 0
	}
	return false
}

// see takes what the write path knows. Only live traffic that arrived after
// the last change brings a device back: what was received before its
// connection broke does not, nor does late history.
func (t *track) see(s Seen) bool {
	t.LastEvent = later(t.LastEvent, s.LastEvent)
	t.Samples, t.Series = s.Samples, s.Series
	if s.Period > 0 {
		t.Period = s.Period
	}
	if !s.LastReceived.After(t.LastSeen) {
		return false
	}
	t.LastSeen = s.LastReceived
	t.alive = later(t.alive, s.LastReceived)
	return s.LastReceived.After(t.Since) && t.turn(Online, ReasonTelemetry, s.LastReceived)
}

// die takes a death that the device announced; it stands until there is a later
// sign of life, though the connection may live on.
func (t *track) die(at time.Time) bool {
	return t.State != Never && at.After(t.Since) && t.turn(Offline, ReasonDeath, at)
}

// tick lets time pass. Who is connected is online however silent: the
// keep-alive watches the connection.
func (t *track) tick(now time.Time, period time.Duration) bool {
	if t.connections > 0 || t.State == Never || t.State == Offline {
		return false
	}
	silence := float64(now.Sub(t.alive)) / float64(period)
	switch {
	case silence > offlineAfter && t.State == Online && t.goodbye:
		return t.turn(Offline, ReasonDisconnect, now)
	case silence > offlineAfter:
		return t.turn(Offline, ReasonSilent, now)
	case silence > lateAfter:
		return t.turn(Late, ReasonSilent, now)
	}
	return false
}

// resume continues after a restart: the hub heard nothing while it was down,
// so silence counts from its start.
func (t *track) resume(at time.Time) { t.alive = later(t.alive, at) }

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
