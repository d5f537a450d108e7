package query

import (
	"math"

	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// millis is a time in milliseconds since the Unix epoch, by its own name because
// vet takes a Seek of an int64 for a bad io.Seeker.
type millis = int64

// heldSeries is a series whose values stand for hold milliseconds. No marker
// is set after until.
type heldSeries struct {
	storage.Series
	hold, until int64
}

func (s *heldSeries) Iterator(reuse chunkenc.Iterator) chunkenc.Iterator {
	it, ok := reuse.(*heldIterator)
	if !ok {
		it = &heldIterator{Iterator: reuse}
	}
	*it = heldIterator{Iterator: s.Series.Iterator(it.Iterator), hold: s.hold, until: s.until}
	return it
}

// heldIterator gives the samples of a series and, after each that is followed
// by nothing for longer than hold, a stale marker at the end of the hold.
//
// Seek sets no marker after a sample it skips: who skips a sample holds no
// value that would have to end.
type heldIterator struct {
	chunkenc.Iterator // stands on the current sample, or on the next one while marking
	hold, until       int64

	kind    chunkenc.ValueType // of what is current
	t       int64              // its time
	v       float64            // its value, if it is a float
	marking bool               // it is a marker
	next    ahead              // while marking, the sample that follows
}

// ahead is the sample on which the samples stand while a marker is current.
type ahead struct {
	kind chunkenc.ValueType
	t    int64
	v    float64
}

// read returns the sample on which the samples stand. It asks once for time and
// value: PromQL reads both of every sample, and each asking goes through
// several layers of the store.
func (it *heldIterator) read(kind chunkenc.ValueType) (a ahead) {
	a.kind = kind
	switch kind {
	case chunkenc.ValNone:
	case chunkenc.ValFloat:
		a.t, a.v = it.Iterator.At()
	default:
		a.t = it.Iterator.AtT()
	}
	return a
}

func (it *heldIterator) Next() chunkenc.ValueType {
	if it.marking {
		return it.on(it.next)
	}
	a := it.read(it.Iterator.Next())
	if it.kind != chunkenc.ValNone && it.ends(a) {
		it.marking, it.next = true, a
		it.t, it.v, it.kind = it.t+it.hold, math.Float64frombits(value.StaleNaN), chunkenc.ValFloat
		return it.kind
	}
	return it.on(a)
}

// ends reports whether the current sample no longer stands when the next comes.
func (it *heldIterator) ends(next ahead) bool {
	if next.kind == chunkenc.ValNone {
		return it.t+it.hold <= it.until && it.Iterator.Err() == nil
	}
	return next.t-it.t > it.hold
}

// on makes a sample the current one.
func (it *heldIterator) on(a ahead) chunkenc.ValueType {
	it.kind, it.t, it.v, it.marking = a.kind, a.t, a.v, false
	return a.kind
}

func (it *heldIterator) Seek(t millis) chunkenc.ValueType {
	switch {
	case it.kind != chunkenc.ValNone && it.t >= t:
		return it.kind
	case it.marking && (it.next.kind == chunkenc.ValNone || it.next.t >= t):
		return it.on(it.next)
	}
	return it.on(it.read(it.Iterator.Seek(t)))
}

func (it *heldIterator) At() (int64, float64) { return it.t, it.v }

func (it *heldIterator) AtT() int64 { return it.t }

func (it *heldIterator) AtST() int64 {
	if it.marking {
		return 0
	}
	return it.Iterator.AtST()
}
