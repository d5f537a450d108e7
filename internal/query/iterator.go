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
	marking bool               // it is a marker
	next    chunkenc.ValueType // while marking, of the sample that follows
}

func (it *heldIterator) Next() chunkenc.ValueType {
	if it.marking {
		it.marking = false
		return it.on(it.next)
	}
	kind := it.Iterator.Next()
	if it.kind != chunkenc.ValNone {
		if end := it.t + it.hold; it.gap(kind, end) {
			it.marking, it.next = true, kind
			it.t, it.kind = end, chunkenc.ValFloat
			return it.kind
		}
	}
	return it.on(kind)
}

// gap reports whether nothing follows up to the end of a hold.
func (it *heldIterator) gap(next chunkenc.ValueType, end int64) bool {
	if next == chunkenc.ValNone {
		return end <= it.until && it.Iterator.Err() == nil
	}
	return it.Iterator.AtT() > end
}

// on makes the sample of this kind, on which the samples stand, the current one.
func (it *heldIterator) on(kind chunkenc.ValueType) chunkenc.ValueType {
	it.kind = kind
	if kind != chunkenc.ValNone {
		it.t = it.Iterator.AtT()
	}
	return kind
}

func (it *heldIterator) Seek(t millis) chunkenc.ValueType {
	if it.kind != chunkenc.ValNone && it.t >= t {
		return it.kind
	}
	if it.marking {
		it.marking = false
		if it.next == chunkenc.ValNone {
			return it.on(chunkenc.ValNone)
		}
	}
	return it.on(it.Iterator.Seek(t))
}

func (it *heldIterator) At() (int64, float64) {
	if it.marking {
		return it.t, math.Float64frombits(value.StaleNaN)
	}
	return it.Iterator.At()
}

func (it *heldIterator) AtT() int64 { return it.t }

func (it *heldIterator) AtST() int64 {
	if it.marking {
		return 0
	}
	return it.Iterator.AtST()
}
