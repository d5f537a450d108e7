// Package v2x speaks the Day-1 message set of the Chinese LTE-V2X (T/CSAE
// 53-2020, YD/T 3709-2020): MessageFrame and the five messages in it, in
// unaligned PER (ITU-T X.691). Art. 15(2)
//
//	messages.asn1  what is on the wire
//	types.go       the same in Go, made by gen: types, decoding, encoding
//	reader.go      bits in, writer.go bits out
//	frame.go       whole frames, and those of later editions
//	framed.go      how roadside units pack frames for a platform
//	tree.go        frames as JSON, and back
//	units.go       what the numbers mean
//
// A frame that is decoded into again keeps its memory, so that nothing is
// allocated on the way. Nothing is made for a length before its octets are there.
package v2x

import "fmt"

//go:generate go run ./gen messages.asn1 types.go

// Error says what is wrong with a frame, and where.
type Error struct {
	Path   string // of the field, such as bsmFrame.pos.lat
	Bit    int    // from 0, where the value begins
	Reason string
	named  bool
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s (bit %d): %s", e.Path, e.Bit, e.Reason) }

func (e *Error) within(name string) {
	switch {
	case e.Path == "":
		e.Path = name
	case e.Path[0] == '[':
		e.Path = name + e.Path
	default:
		e.Path = name + "." + e.Path
	}
	e.named = true
}

func (e *Error) element(i int) {
	at := fmt.Sprintf("[%d]", i)
	if e.Path != "" && e.Path[0] != '[' {
		at += "."
	}
	e.Path = at + e.Path
	e.named = true
}

// Opt is a value that may not be there; V means something while Ok is true.
type Opt[T any] struct {
	V  T
	Ok bool
}

// Some is a value that is there.
func Some[T any](v T) Opt[T] { return Opt[T]{v, true} }

// Bits is a bit string whose length may grow in a later edition: N bits, the
// first of them the highest of V.
type Bits struct {
	V uint64
	N uint8
}

// maxBits is how many bits are kept of a bit string of a later edition.
const maxBits = 48

// Has reports whether a bit is set.
func (b Bits) Has(bit int) bool {
	return bit >= 0 && bit < int(b.N) && b.V>>(int(b.N)-1-bit)&1 != 0
}

// Other is an alternative of a later edition: its index among the extensions,
// and its octets.
type Other struct {
	Index uint32
	Raw   []byte
}

func enumName(names []string, v uint8) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("ext:%d", int(v)-len(names))
}
