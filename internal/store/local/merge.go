package local

import (
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/telemetry"
)

// mergeParts makes one series of those that the parts have with the same
// labels. Where two have a sample of one time, one of them is a marker, and
// the value counts.
func mergeParts(all ...storage.Series) storage.Series {
	if len(all) == 1 {
		return all[0]
	}
	return &storage.SeriesEntry{Lset: all[0].Labels(), SampleIteratorFn: func(chunkenc.Iterator) chunkenc.Iterator {
		u := &union{parts: make([]cursor, len(all))}
		for i, s := range all {
			u.parts[i].Iterator = s.Iterator(nil)
		}
		return u
	}}
}

// millis is a time. Seek takes it under a name of its own, or vet holds the
// method for a misspelt io.Seeker.
type millis = int64

// union runs over the samples of several iterators in the order of time, each
// time once.
type union struct {
	parts []cursor
	at    *cursor // where it stands; nil before the first and behind the last
	begun bool
}

// cursor is an iterator and where it stands; ValNone at its end.
type cursor struct {
	chunkenc.Iterator
	kind chunkenc.ValueType
}

func (c *cursor) marker() bool {
	if c.kind != chunkenc.ValFloat {
		return false
	}
	_, v := c.At()
	return telemetry.IsStaleMarker(v)
}

// Next implements [chunkenc.Iterator].
func (u *union) Next() chunkenc.ValueType {
	if !u.begun {
		u.begun = true
		for i := range u.parts {
			u.parts[i].kind = u.parts[i].Iterator.Next()
		}
		return u.choose()
	}
	if u.at == nil {
		return chunkenc.ValNone
	}
	t := u.at.AtT()
	for i := range u.parts {
		if c := &u.parts[i]; c.kind != chunkenc.ValNone && c.AtT() == t {
			c.kind = c.Iterator.Next()
		}
	}
	return u.choose()
}

// Seek implements [chunkenc.Iterator].
func (u *union) Seek(t millis) chunkenc.ValueType {
	if u.begun && (u.at == nil || u.at.AtT() >= t) {
		return u.kind()
	}
	for i := range u.parts {
		if c := &u.parts[i]; !u.begun || c.kind != chunkenc.ValNone {
			c.kind = c.Iterator.Seek(t)
		}
	}
	u.begun = true
	return u.choose()
}

// choose stands at the earliest sample of all parts.
func (u *union) choose() chunkenc.ValueType {
	u.at = nil
	for i := range u.parts {
		c := &u.parts[i]
		switch {
		case c.kind == chunkenc.ValNone:
		case u.at == nil, c.AtT() < u.at.AtT(), c.AtT() == u.at.AtT() && u.at.marker():
			u.at = c
		}
	}
	return u.kind()
}

func (u *union) kind() chunkenc.ValueType {
	if u.at == nil {
		return chunkenc.ValNone
	}
	return u.at.kind
}

// At implements [chunkenc.Iterator].
func (u *union) At() (int64, float64) { return u.at.At() }

// AtHistogram implements [chunkenc.Iterator].
func (u *union) AtHistogram(h *histogram.Histogram) (int64, *histogram.Histogram) {
	return u.at.AtHistogram(h)
}

// AtFloatHistogram implements [chunkenc.Iterator].
func (u *union) AtFloatHistogram(h *histogram.FloatHistogram) (int64, *histogram.FloatHistogram) {
	return u.at.AtFloatHistogram(h)
}

// AtT implements [chunkenc.Iterator].
func (u *union) AtT() int64 { return u.at.AtT() }

// AtST implements [chunkenc.Iterator].
func (u *union) AtST() int64 { return u.at.AtST() }

// Err implements [chunkenc.Iterator].
func (u *union) Err() error {
	for i := range u.parts {
		if err := u.parts[i].Err(); err != nil {
			return err
		}
	}
	return nil
}
