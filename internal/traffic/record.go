package traffic

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"
)

// A record is
//
//	entry: tag, 1 octet │ what the tag says
//	tagMessage  unit │ hash, 8 octets │ minute; the cells follow, then tagEnd
//	tagCell     minute │ series │ part │ A │ B │ value, 8 octets
//	tagWritten  unit │ minute
//	tagDocument unit │ kind, 1 octet │ key │ JSON
//
// with unit, key and JSON as length and octets, and whole numbers as varints.
const (
	tagMessage  = 1
	tagCell     = 2
	tagEnd      = 3
	tagWritten  = 4
	tagDocument = 5
)

// head is the begin of an entry.
type head struct {
	tag    byte
	unit   string
	hash   uint64
	minute int64
}

func appendText(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

func appendHead(to []byte, unit string, hash uint64, minute int64) []byte {
	to = appendText(append(to, tagMessage), unit)
	to = binary.LittleEndian.AppendUint64(to, hash)
	return binary.AppendVarint(to, minute)
}

func appendCell(to []byte, minute int64, c Cell, v float64) []byte {
	to = binary.AppendVarint(append(to, tagCell), minute)
	to = append(to, byte(c.Series), c.Part)
	to = binary.AppendUvarint(to, uint64(c.A))
	to = binary.AppendUvarint(to, uint64(c.B))
	return binary.LittleEndian.AppendUint64(to, math.Float64bits(v))
}

func appendEnd(to []byte) []byte { return append(to, tagEnd) }

func appendWritten(to []byte, unit string, minute int64) []byte {
	return binary.AppendVarint(appendText(append(to, tagWritten), unit), minute)
}

// cursor reads a record; after the first fault everything is zero.
type cursor struct {
	p   []byte
	bad bool
}

func (c *cursor) take(n int) []byte {
	if n < 0 || n > len(c.p) {
		c.bad, c.p = true, nil
		return nil
	}
	out := c.p[:n]
	c.p = c.p[n:]
	return out
}

func (c *cursor) octet() byte {
	if p := c.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (c *cursor) uvarint() uint64 {
	v, n := binary.Uvarint(c.p)
	if n <= 0 {
		c.take(-1)
		return 0
	}
	c.p = c.p[n:]
	return v
}

func (c *cursor) varint() int64 {
	v, n := binary.Varint(c.p)
	if n <= 0 {
		c.take(-1)
		return 0
	}
	c.p = c.p[n:]
	return v
}

// minute is one that there can be.
func (c *cursor) minute() int64 {
	m := c.varint()
	if m < 0 || m > math.MaxUint32 {
		c.take(-1)
		return 0
	}
	return m
}

func (c *cursor) text() string {
	n := c.uvarint()
	if n > uint64(len(c.p)) {
		n = math.MaxInt32
	}
	return string(c.take(int(n)))
}

func (c *cursor) fixed() uint64 {
	if p := c.take(8); p != nil {
		return binary.LittleEndian.Uint64(p)
	}
	return 0
}

func readHead(record []byte) (head, []byte, error) {
	c := cursor{p: record}
	h := head{tag: c.octet(), unit: c.text()}
	switch h.tag {
	case tagMessage:
		h.hash, h.minute = c.fixed(), c.minute()
	case tagWritten:
		h.minute = c.minute()
	case tagDocument:
	default:
		c.bad = true
	}
	if c.bad || h.unit == "" {
		return h, nil, fmt.Errorf("%.8x %w", record, ErrRecord)
	}
	return h, c.p, nil
}

// apply takes an entry again and returns what follows it.
func (u *unit) apply(b *Board, h head, rest []byte) ([]byte, error) {
	c := cursor{p: rest}
	switch h.tag {
	case tagWritten:
		u.written(h.minute)
		return rest, nil
	case tagDocument:
		return u.applyDocument(b, rest)
	}
	w := u.reopen(h.minute)
	counted := w != nil && w.first(h.hash)
	for !c.bad {
		switch c.octet() {
		case tagEnd:
			return c.p, nil
		case tagCell:
			m := c.minute()
			cell := Cell{Series(c.octet()), c.octet(), uint32(c.uvarint()), uint32(c.uvarint())}
			v := math.Float64frombits(c.fixed())
			if !counted || c.bad {
				continue
			}
			if w := u.reopen(m); w != nil {
				w.add(cell, v)
			}
		default:
			c.bad = true
		}
	}
	return nil, ErrRecord
}

// reopen is the window of a minute that is not written.
func (u *unit) reopen(m int64) *window {
	w := u.at(m)
	if w == nil && !u.isShut(m) {
		w = u.open(m)
	}
	return w
}

// snapshot appends all that a restart needs of a unit.
func (u *unit) snapshot(to []byte) []byte {
	for m := u.newest - int64(len(u.shut)*64) + 1; m <= u.newest; m++ {
		if u.isShut(m) {
			to = appendWritten(to, u.id, m)
		}
	}
	for _, w := range u.windows {
		to = appendWindow(to, u.id, w)
	}
	return u.appendDocuments(to)
}

// appendWindow tells a window as messages of which the last one adds all cells.
func appendWindow(to []byte, unit string, w *window) []byte {
	n := 0
	for hash := range w.seen.all {
		to = appendHead(to, unit, hash, w.minute)
		if n++; n == w.seen.len() {
			for c, v := range w.cells.all {
				to = appendCell(to, w.minute, c, v)
			}
		}
		to = appendEnd(to)
	}
	if n == 0 && w.cells.n > 0 {
		to = appendHead(to, unit, 0, w.minute)
		for c, v := range w.cells.all {
			to = appendCell(to, w.minute, c, v)
		}
		to = appendEnd(to)
	}
	return to
}

// Restored says that all records were applied: what is open now closes by
// silence from this time on.
func (b *Board) Restored(now time.Time) {
	b.advance(now)
	for _, u := range b.all() {
		u.mu.Lock()
		for _, w := range u.windows {
			w.touched = now
			u.event = later(u.event, time.Unix(w.minute*60, 0))
		}
		u.events.resume(now)
		u.mu.Unlock()
	}
}
