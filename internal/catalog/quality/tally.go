package quality

import (
	"math"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Expected is what is known of a series before its samples are looked at.
type Expected struct {
	// Period is how often it is measured; 0: not known.
	Period time.Duration
	// Low and High bound a plausible value; infinite where nothing is known.
	Low, High float64
	// Step is the least difference that can be told; 0: not known.
	Step float64
	// Unit is what its values are in; empty: not known.
	Unit string
	// Since is when the device was registered. Gone ones are expected no more.
	Since time.Time
	Gone  bool
}

// Sampled is a sample of a series; Flagged: out of range when it came.
type Sampled struct {
	At      int64 // ms
	Value   float64
	Flagged bool
}

// settled is after how many values on another level a jump was a change.
const settled = 3

// tally counts one series of a window, a sample after the other in the order of
// time.
type tally struct {
	is       *Expected
	from, to int64 // ms; to is not of it
	period   int64 // ms
	flatLine int64 // ms; 0: not looked for

	n, missing       int64
	last             int64
	outOfRange, jump int64
	flat, invalid    int64
	good             float64 // the last plausible value
	goodAt           int64
	off              int // values in a row that jumped from it
	run              int64
	runFrom, runTo   int64
	runValue         float64
	runBad           int64 // of the run, counted as invalid for something else
	any              bool
}

// newTally begins a series. Bin is how often something is expected of one whose
// period is not known.
func newTally(is *Expected, from, to time.Time, bin, flatLine time.Duration) *tally {
	t := &tally{is: is, from: from.UnixMilli(), to: to.UnixMilli(), period: is.Period.Milliseconds()}
	if t.period <= 0 {
		t.period = max(bin, time.Minute).Milliseconds()
	}
	if is.Since.After(from) {
		t.from = min(is.Since.UnixMilli(), t.to)
	}
	if is.Step > 0 {
		t.flatLine = flatLine.Milliseconds()
	}
	return t
}

// expected is how many samples there were to be.
func (t *tally) expected() int64 { return (t.to - t.from) / t.period }

// received is how many of those there were: gaps count, and not samples, so that
// what is sent twice as often makes up for no gap.
func (t *tally) received() int64 {
	if !t.any {
		return 0
	}
	missing := t.missing + max(0, (t.to-t.last+t.period-1)/t.period-1)
	return min(max(t.expected()-missing, 0), t.expected())
}

// add takes the next sample.
func (t *tally) add(s Sampled) {
	if s.At < t.from || s.At >= t.to || telemetry.IsStaleMarker(s.Value) {
		return
	}
	t.n++
	if t.any {
		// A gap of a period and a half is one sample that did not come.
		t.missing += max(0, (2*(s.At-t.last)+t.period)/(2*t.period)-1)
	} else {
		t.any = true
		t.missing = (s.At - t.from) / t.period
	}
	t.last = s.At
	bad := t.implausible(s)
	t.flatten(s, bad)
	if bad {
		t.invalid++
	}
}

// implausible counts a value out of range, or one that no value before leads to:
// a jump by more than half of the range within two and a half periods. What stays
// on another level was a change.
func (t *tally) implausible(s Sampled) bool {
	if s.Flagged || s.Value < t.is.Low || s.Value > t.is.High || math.IsNaN(s.Value) {
		t.outOfRange++
		return true
	}
	most := (t.is.High - t.is.Low) / 2
	if t.goodAt != 0 && s.At-t.goodAt <= t.period*5/2*int64(1+t.off) && math.Abs(s.Value-t.good) > most && t.off < settled {
		t.off++
		t.jump++
		return true
	}
	t.good, t.goodAt, t.off = s.Value, s.At, 0
	return false
}

// flatten follows runs of one value. 0 may stand for nothing for days.
func (t *tally) flatten(s Sampled, bad bool) {
	if t.flatLine == 0 {
		return
	}
	if t.run == 0 || math.Float64bits(s.Value) != math.Float64bits(t.runValue) {
		t.endRun()
		t.runFrom, t.runValue = s.At, s.Value
	}
	t.run, t.runTo = t.run+1, s.At
	if bad {
		t.runBad++
	}
}

func (t *tally) endRun() {
	if t.run > 1 && t.runValue != 0 && t.runTo-t.runFrom >= t.flatLine {
		t.flat += t.run
		t.invalid += t.run - t.runBad
	}
	t.run, t.runBad = 0, 0
}

// end counts what is still open.
func (t *tally) end() { t.endRun() }
