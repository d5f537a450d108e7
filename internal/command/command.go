// Package command is what the hub asks of devices: each command has an end, a
// promise of how often it is delivered, and a state that survives any crash.
// What a state says is on disk before anybody is told.
//
//	issue ─► queued ─► sent ─► received ─► done | failed
//	            └────────┴────────┴──────► expired
//
// How a command reaches its device is the doors' business (ingest.Mail).
package command

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

// State is how far a command has come.
type State string

// The states. The last three are ends.
const (
	Queued   State = "queued"   // waits for its device to listen
	Sent     State = "sent"     // handed to a door
	Received State = "received" // the device confirmed that it has it
	Done     State = "done"
	Failed   State = "failed"
	Expired  State = "expired"
)

// States lists every state in the order of a command's life.
func States() []State { return []State{Queued, Sent, Received, Done, Failed, Expired} }

// Ended reports whether a command goes no further.
func (s State) Ended() bool { return s == Done || s == Failed || s == Expired }

// Reason says why a command or a rollout ended without being done.
type Reason string

// The reasons.
const (
	ByDevice        Reason = "device"          // the device answered that it failed
	Canceled        Reason = "canceled"        // somebody took it back
	TooLate         Reason = "expired"         // no end came before its expiry
	TooManyFailures Reason = "failures"        // more of the rollout failed than may
	RolloutStopped  Reason = "rollout_stopped" // its rollout ended before its turn
)

// Command is something that a device is asked to do.
type Command struct {
	ID, Device string
	Rollout    string // id of the rollout it belongs to; empty for none
	Name       string // what is to be done, such as reboot
	Params     json.RawMessage
	// Once commands are delivered at most once, and perhaps never: they are on
	// record as sent before they are. Others are delivered again until the
	// device confirms them.
	Once  bool
	State State
	// Reason and Result say how it ended: why not, and what the device answered.
	Reason Reason
	Result json.RawMessage
	// Actor is who asked.
	Actor    string
	Attempts int // how often it was handed to a door
	// TTL is the time from its release to its expiry.
	TTL                                     time.Duration
	Created, Expires, Sent, Received, Ended time.Time
}

// Request is a command as people ask for it.
type Request struct {
	Name   string
	Params json.RawMessage // a JSON value, or empty
	Once   bool
	TTL    time.Duration // 0: DefaultTTL
	Actor  string
}

// Bounds of commands.
const (
	DefaultTTL = 5 * time.Minute
	MinTTL     = time.Second
	MaxTTL     = 30 * 24 * time.Hour
	MaxParams  = 16 << 10 // bytes
	MaxResult  = 16 << 10 // bytes
	maxName    = 64
)

// Errors, wrapped with the thing they are about.
var (
	ErrInvalid = errors.New("is not valid")
	ErrUnknown = errors.New("is not known")
	ErrFull    = errors.New("has as many open commands as it may")
	ErrEnded   = errors.New("has ended")
)

// check fills in what was left out and reports what cannot be asked for.
func (r *Request) check() error {
	if r.TTL == 0 {
		r.TTL = DefaultTTL
	}
	switch {
	case r.Name == "" || len(r.Name) > maxName || telemetry.CheckDeviceID(r.Name) != nil:
		return fmt.Errorf("command name %.70q %w: it has 1 to %d of A-Z a-z 0-9 . _ : - and starts with a letter or digit, such as reboot", r.Name, ErrInvalid, maxName)
	case r.TTL < MinTTL || r.TTL > MaxTTL:
		return fmt.Errorf("expires_in %s %w: it is between %s and %s", r.TTL, ErrInvalid, MinTTL, MaxTTL)
	case len(r.Params) > MaxParams:
		return fmt.Errorf("params of %d bytes %w: at most %d are sent; let the device fetch what is larger", len(r.Params), ErrInvalid, MaxParams)
	case len(r.Params) > 0 && !json.Valid(r.Params):
		return fmt.Errorf("params %.40q %w: they are a JSON value", r.Params, ErrInvalid)
	}
	return nil
}

// to returns the command that asks a device for r.
func (r Request) to(device, rollout string, now time.Time) *Command {
	c := &Command{
		ID: newID(commandPrefix, now), Device: device, Rollout: rollout, Name: r.Name, Params: r.Params, Once: r.Once,
		State: Queued, Actor: r.Actor, TTL: r.TTL, Created: now,
	}
	if rollout == "" {
		c.Expires = now.Add(r.TTL)
	}
	return c
}

const commandPrefix = "c-"

// idAlphabet keeps the order of the bytes.
var idAlphabet = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

// newID returns an id whose order is that of time: 48 bit of milliseconds and
// 40 bit of chance.
func newID(prefix string, now time.Time) string {
	var b [11]byte
	putMillis(&b, now.UnixMilli())
	rand.Read(b[6:])
	return prefix + idAlphabet.EncodeToString(b[:])
}

func putMillis(b *[11]byte, ms int64) {
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
}

// message is what the device reads.
func (c *Command) message() []byte {
	b, err := json.Marshal(struct {
		ID       string          `json:"id"`
		Name     string          `json:"name"`
		Params   json.RawMessage `json:"params,omitempty"`
		Delivery string          `json:"delivery"`
		Created  time.Time       `json:"created"`
		Expires  time.Time       `json:"expires"`
	}{c.ID, c.Name, c.Params, c.Delivery(), c.Created, c.Expires})
	if err != nil {
		panic(err) // params were checked to be JSON
	}
	return b
}

// The names of what is promised about delivery.
const (
	AtMostOnce  = "at_most_once"
	AtLeastOnce = "at_least_once"
)

// Delivery names what is promised.
func (c *Command) Delivery() string {
	if c.Once {
		return AtMostOnce
	}
	return AtLeastOnce
}

// answer is what a device says about a command.
type answer struct {
	State  State           `json:"state"`
	Result json.RawMessage `json:"result"`
	Error  string          `json:"error"`
}

// readAnswer reads a device's answer: {"state": "received"|"done"|"failed",
// "result": any, "error": "text"}. Without a state it is done, or failed when
// there is an error.
func readAnswer(payload []byte) (answer, error) {
	var a answer
	if len(payload) > MaxResult {
		return a, fmt.Errorf("answer of %d bytes %w: at most %d are kept", len(payload), ErrInvalid, MaxResult)
	}
	if err := json.Unmarshal(payload, &a); err != nil || !utf8.Valid(payload) {
		return a, fmt.Errorf("answer %.40q %w: it is a JSON object such as {\"state\": \"done\", \"result\": 1}", payload, ErrInvalid)
	}
	switch {
	case a.State == "" && a.Error == "":
		a.State = Done
	case a.State == "":
		a.State = Failed
	case a.State != Received && a.State != Done && a.State != Failed:
		return a, fmt.Errorf("state %.20q of an answer %w: it is received, done or failed", a.State, ErrInvalid)
	}
	if a.Error != "" && len(a.Result) == 0 {
		a.Result, _ = json.Marshal(map[string]string{"error": strings.ToValidUTF8(a.Error, "")}) // strings always have a JSON form
	}
	return a, nil
}

// advance takes a command to a later state; false when it is there or beyond.
func (c *Command) advance(to State, at time.Time) bool {
	switch {
	case c.State.Ended():
		return false
	case to == Received && c.State != Received:
		c.Received = at
	case to.Ended():
		c.Ended = at
	default:
		return false
	}
	c.State = to
	return true
}
