// Package telemetry holds the nouns every other package speaks in: devices,
// samples, batches, series, rejects. It knows of no wire format, no clock, no
// network and no third-party library.
package telemetry

import "math"

// Sample is one value of one metric of one device at one time, as a codec
// found it in a message.
//
// Byte slices alias the message or the [Batch]'s own arena; they are valid
// until the batch is reset or the message's buffer is reused, whichever comes
// first. Whoever keeps a sample copies it.
type Sample struct {
	// Metric is the name under which the value is stored: valid UTF-8, checked
	// by ingest, not by the codec.
	Metric []byte
	// Tags are the sender's labels in the order sent, unsorted, reserved names
	// not yet removed.
	Tags []Tag
	// Unit is the sender's unit (a SenML or UCUM symbol), empty when none.
	Unit []byte
	// Time is the sample's own time in milliseconds since the Unix epoch.
	Time int64
	// Value is the measured value; booleans are 0 and 1.
	Value float64
	// Index is the record's position in its message, counted from 0. Several
	// samples share it when one record carries several fields.
	Index int32
}

// Tag is a label that the sender attached to a sample.
type Tag struct{ Name, Value []byte }

// State is a string that a device reported: no time series, but part of what
// is known of the device (a firmware version, an alarm text).
type State struct {
	Name, Value []byte
	Time        int64 // milliseconds since the Unix epoch
}

// Bounds of what a device may report as state.
const (
	MaxStates     = 64   // names of one device
	MaxStateName  = 128  // bytes
	MaxStateValue = 4096 // bytes
)

// Batch is what one or more messages were decoded to. It is reused: Reset
// keeps its memory. The zero value is ready.
type Batch struct {
	Samples []Sample
	States  []State
	// Rejects are the records that could not be read while the rest could.
	Rejects []Reject

	tags  []Tag
	arena []byte
}

// Reset empties the batch and keeps its memory for the next messages.
func (b *Batch) Reset() {
	b.Samples, b.States, b.Rejects = b.Samples[:0], b.States[:0], b.Rejects[:0]
	b.tags, b.arena = b.tags[:0], b.arena[:0]
}

// Trim gives back memory that one large message made the batch grow to, so that
// an idle connection does not keep it. To be called after Reset.
func (b *Batch) Trim() {
	if cap(b.Samples) > 1024 || cap(b.arena) > 64<<10 || cap(b.tags) > 4096 {
		*b = Batch{}
	}
}

// Bytes returns n bytes that stay valid until Reset, for names and values that
// do not stand in the message as they are (escapes, base names).
func (b *Batch) Bytes(n int) []byte {
	if cap(b.arena)-len(b.arena) < n {
		b.arena = make([]byte, 0, max(1024, 2*cap(b.arena), n))
	}
	at := len(b.arena)
	b.arena = b.arena[:at+n]
	return b.arena[at : at+n : at+n]
}

// Copy returns a copy of s that stays valid until Reset.
func (b *Batch) Copy(s []byte) []byte {
	c := b.Bytes(len(s))
	copy(c, s)
	return c
}

// AddTag adds a tag to the list that the next EndTags returns.
func (b *Batch) AddTag(name, value []byte) { b.tags = append(b.tags, Tag{name, value}) }

// Mark returns the position from which EndTags collects.
func (b *Batch) Mark() int { return len(b.tags) }

// EndTags returns the tags added since mark; nil when there are none.
func (b *Batch) EndTags(mark int) []Tag {
	if mark == len(b.tags) {
		return nil
	}
	return b.tags[mark:len(b.tags):len(b.tags)]
}

// Label is one name and value of a stored series.
type Label struct{ Name, Value string }

// SeriesID names a series towards the store that gave the id out. It is valid
// until it is given back or the process ends, and is never written to disk. 0
// is no series.
type SeriesID uint64

// Point is a sample whose series is resolved: what the store takes.
type Point struct {
	Series SeriesID
	Time   int64 // milliseconds since the Unix epoch
	Value  float64
}

// Write is a group of points that is committed and answered together.
type Write struct {
	Points []Point
	// Refused is filled by the store: points that it did not take, in rising
	// order of Index. All others are durable when the commit returns nil.
	Refused []Refusal
	// Repeated is filled by a store that can tell: points that it had already, in
	// no order. They count as taken.
	Repeated []int
}

// Refusal says why the point at Index was not stored.
type Refusal struct {
	Index  int
	Reason Reason
}

// Reset empties the write and keeps its memory.
func (w *Write) Reset() {
	w.Points, w.Refused, w.Repeated = w.Points[:0], w.Refused[:0], w.Repeated[:0]
}

// StaleMarker returns the value that ends a series: the NaN that Prometheus
// reserves for it (model/value.StaleNaN).
func StaleMarker() float64 { return math.Float64frombits(staleBits) }

// IsStaleMarker reports whether v ends a series.
func IsStaleMarker(v float64) bool { return math.Float64bits(v) == staleBits }

const staleBits = 0x7ff0000000000002
