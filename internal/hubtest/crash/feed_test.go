package crash

import (
	"bytes"
	"fmt"
	"slices"
	"time"
)

// report is what a writer sends at once: a span of one series, and perhaps the
// state seq, whose text is the span's last tick.
type report struct {
	metric string
	span
	state bool
	wrong bool // with other values than those that belong to the times
}

// value is what belongs to a tick.
func value(at int64) int64 { return at % 1_000_000 }

func (r report) value(at int64) int64 {
	if r.wrong {
		return value(at) + 1
	}
	return value(at)
}

// json writes a message of one sample.
func (r report) json() []byte {
	if r.state {
		return fmt.Appendf(nil, `{"ts":%d,%q:%d,"seq":"%d"}`, r.last*tick, r.metric, r.value(r.last), r.last)
	}
	return fmt.Appendf(nil, `{"ts":%d,%q:%d}`, r.last*tick, r.metric, r.value(r.last))
}

// lines writes a message as line protocol.
func (r report) lines() []byte {
	var b bytes.Buffer
	for at := r.first; at <= r.last; at++ {
		fmt.Fprintf(&b, "%s value=%d %d\n", r.metric, r.value(at), at*tick*1e6)
	}
	if r.state {
		fmt.Fprintf(&b, "seq value=\"%d\" %d\n", r.last, r.last*tick*1e6)
	}
	return b.Bytes()
}

// values is how many samples and states it holds.
func (r report) values() int64 {
	n := r.last - r.first + 1
	if r.state {
		n++
	}
	return n
}

// feed hands out reports of at most width samples; false when there is no more.
type feed func(width int64) (report, bool)

// Where the samples of a round lie: as they happen, an hour back in the same
// series (the out-of-order log), and beyond the out-of-order window of 30 days
// (the late part).
const (
	behind = time.Hour
	late   = 60 * 24 * time.Hour
)

// fresh feeds without end, from base on: half of it live, with a state now and
// then, a quarter behind and a quarter late.
func fresh(metric string, base time.Time) feed {
	next := [...]int64{base.UnixMilli() / tick, base.Add(-behind).UnixMilli() / tick, base.Add(-late).UnixMilli() / tick}
	turns := [...]int{0, 1, 0, 2}
	n := 0
	return func(width int64) (report, bool) {
		at := &next[turns[n%len(turns)]]
		m := report{metric: metric, span: span{*at, *at + width - 1}, state: n%32 == 2}
		*at += width
		n++
		return m, true
	}
}

// replay feeds the spans of a series once.
func replay(metric string, what spans) feed {
	what = slices.Clone(what)
	return func(width int64) (report, bool) {
		if len(what) == 0 {
			return report{}, false
		}
		m := report{metric: metric, span: what[0]}
		m.last = min(m.last, m.first+width-1)
		if what[0].first = m.last + 1; what[0].first > what[0].last {
			what = what[1:]
		}
		return m, true
	}
}
