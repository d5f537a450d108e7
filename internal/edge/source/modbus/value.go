package modbus

import (
	"encoding/binary"
	"math"
	"slices"
)

// isBit reports whether the register is a coil or a discrete input.
func (r Register) isBit() bool { return r.Table == "coil" || r.Table == "discrete" }

// function is the code that reads the register's table (Modbus Application
// Protocol 1.1b3, section 6).
func (r Register) function() byte {
	return byte(1 + slices.Index([]string{"coil", "discrete", "holding", "input"}, r.Table))
}

// words is how many addresses the value takes.
func (r Register) words() int {
	switch {
	case r.isBit():
		return 1
	case r.Type == "float64":
		return 4
	case r.Type == "int32" || r.Type == "uint32" || r.Type == "float32":
		return 2
	}
	return 1
}

// cut returns the register's part of an answer in which it is the at-th.
func (r Register) cut(data []byte, at int) []byte {
	if r.isBit() {
		return []byte{data[at/8] >> (at % 8) & 1}
	}
	return data[2*at : 2*(at+r.words())]
}

// value reads the register from the bytes of its words, in the order of the
// wire; of a bit, one byte of 0 or 1.
func (r Register) value(wire []byte) float64 {
	return r.raw(wire)*r.Scale + r.Offset
}

func (r Register) raw(wire []byte) float64 {
	if r.isBit() {
		return float64(wire[0])
	}
	b := slices.Clone(wire)
	if r.Order == "CDAB" || r.Order == "DCBA" {
		swapWords(b)
	}
	if r.Order == "BADC" || r.Order == "DCBA" {
		for i := 0; i < len(b); i += 2 {
			b[i], b[i+1] = b[i+1], b[i]
		}
	}
	switch r.Type {
	case "int16":
		return float64(int16(binary.BigEndian.Uint16(b)))
	case "int32":
		return float64(int32(binary.BigEndian.Uint32(b)))
	case "uint32":
		return float64(binary.BigEndian.Uint32(b))
	case "float32":
		return float64(math.Float32frombits(binary.BigEndian.Uint32(b)))
	case "float64":
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return float64(binary.BigEndian.Uint16(b))
}

func swapWords(b []byte) {
	for i, j := 0, len(b)-2; i < j; i, j = i+2, j-2 {
		b[i], b[i+1], b[j], b[j+1] = b[j], b[j+1], b[i], b[i+1]
	}
}
