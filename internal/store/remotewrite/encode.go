package remotewrite

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// version is that of the protocol.
type version int32

const (
	unknown version = iota // 2 is tried first
	v1
	v2
)

// row names a point of a batch.
type row struct{ series, point int32 }

// encoder makes requests of parts of a batch. Its memory is used again, so that
// a point costs none.
type encoder struct {
	rows    []row             // what is to be sent: by series, each in order of time
	refused queue.Refused     // what need not be
	symbols map[string]uint32 // of the request in work
	table   []string
	refs    []uint32
	series  []byte // encoded series of version 2, which stand behind the symbols
	body    []byte
	packed  []byte
}

// lay makes the rows of a batch. Of points with one time the first counts;
// another one with the same value is stored with it, one with another value is a
// conflict.
func (e *encoder) lay(batch []queue.Series) {
	e.rows, e.refused.Points = e.rows[:0], nil
	for i, s := range batch {
		begin := len(e.rows)
		rising := true
		for j, p := range s.Points {
			rising = rising && (j == 0 || s.Points[j-1].Time < p.Time)
			e.rows = append(e.rows, row{int32(i), int32(j)})
		}
		if !rising {
			e.rows = e.rows[:begin+e.order(s.Points, e.rows[begin:])]
		}
	}
}

// order sorts the rows of a series by time, and returns how many differ in it.
func (e *encoder) order(points []telemetry.Point, rows []row) int {
	slices.SortStableFunc(rows, func(a, b row) int {
		switch ta, tb := points[a.point].Time, points[b.point].Time; {
		case ta < tb:
			return -1
		case ta > tb:
			return 1
		}
		return 0
	})
	n := 1
	for _, r := range rows[1:] {
		first, again := points[rows[n-1].point], points[r.point]
		switch {
		case first.Time != again.Time:
			rows[n] = r
			n++
		case math.Float64bits(first.Value) != math.Float64bits(again.Value):
			e.refused.Points = append(e.refused.Points, queue.RefusedPoint{Series: int(r.series), Point: int(r.point), Reason: telemetry.ReasonConflict,
				Detail: "the same request holds an earlier point of this time with another value"})
		}
	}
	return n
}

// encode returns the rows as an uncompressed request. It is valid until the next call.
func (e *encoder) encode(v version, batch []queue.Series, rows []row) []byte {
	if v == v1 {
		return e.encode1(batch, rows)
	}
	return e.encode2(batch, rows)
}

// eachSeries calls f with each series of rows and the part that is its.
func eachSeries(batch []queue.Series, rows []row, f func(s *queue.Series, rows []row)) {
	for len(rows) > 0 {
		n := 1
		for n < len(rows) && rows[n].series == rows[0].series {
			n++
		}
		f(&batch[rows[0].series], rows[:n])
		rows = rows[n:]
	}
}

// encode1 writes a WriteRequest of prompb/remote.proto.
func (e *encoder) encode1(batch []queue.Series, rows []row) []byte {
	e.body = e.body[:0]
	eachSeries(batch, rows, func(s *queue.Series, rows []row) {
		size := samplesSize(s.Points, rows)
		for _, l := range s.Labels {
			size += fieldSize(labelSize(l))
		}
		b := appendHead(e.body, 1, size)
		for _, l := range s.Labels {
			b = appendHead(b, 1, labelSize(l))
			b = append(appendHead(b, 1, len(l.Name)), l.Name...)
			b = append(appendHead(b, 2, len(l.Value)), l.Value...)
		}
		e.body = appendSamples(b, s.Points, rows)
	})
	return e.body
}

func labelSize(l telemetry.Label) int { return fieldSize(len(l.Name)) + fieldSize(len(l.Value)) }

// encode2 writes a Request of prompb/io/prometheus/write/v2/types.proto, with
// every text once.
func (e *encoder) encode2(batch []queue.Series, rows []row) []byte {
	if e.symbols == nil {
		e.symbols = map[string]uint32{}
	}
	clear(e.symbols)
	e.table, e.series = append(e.table[:0], ""), e.series[:0]
	eachSeries(batch, rows, func(s *queue.Series, rows []row) {
		e.refs = e.refs[:0]
		refs := 0
		for _, l := range s.Labels {
			name, value := e.symbol(l.Name), e.symbol(l.Value)
			e.refs = append(e.refs, name, value)
			refs += varintSize(uint64(name)) + varintSize(uint64(value))
		}
		b := appendHead(e.series, 5, fieldSize(refs)+samplesSize(s.Points, rows))
		b = appendHead(b, 1, refs)
		for _, r := range e.refs {
			b = binary.AppendUvarint(b, uint64(r))
		}
		e.series = appendSamples(b, s.Points, rows)
	})
	e.body = e.body[:0]
	for _, s := range e.table {
		e.body = append(appendHead(e.body, 4, len(s)), s...)
	}
	e.body = append(e.body, e.series...)
	return e.body
}

func (e *encoder) symbol(s string) uint32 {
	if s == "" {
		return 0
	}
	n, ok := e.symbols[s]
	if !ok {
		n = uint32(len(e.table))
		e.table = append(e.table, s)
		e.symbols[s] = n
	}
	return n
}

// A sample is the same in both versions: value 1, a double; timestamp 2.

func sampleSize(p *telemetry.Point) int { return 1 + 8 + 1 + varintSize(uint64(p.Time)) }

func samplesSize(points []telemetry.Point, rows []row) (n int) {
	for _, r := range rows {
		n += fieldSize(sampleSize(&points[r.point]))
	}
	return n
}

func appendSamples(b []byte, points []telemetry.Point, rows []row) []byte {
	for _, r := range rows {
		p := &points[r.point]
		b = appendHead(b, 2, sampleSize(p))
		b = binary.LittleEndian.AppendUint64(append(b, 1<<3|1), math.Float64bits(p.Value))
		b = binary.AppendUvarint(append(b, 2<<3), uint64(p.Time))
	}
	return b
}

// appendHead begins a field of bytes, of a number below 16.
func appendHead(b []byte, field byte, size int) []byte {
	return binary.AppendUvarint(append(b, field<<3|2), uint64(size))
}

// fieldSize is the size of a field of n bytes with its head.
func fieldSize(n int) int { return 1 + varintSize(uint64(n)) + n }

func varintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }
