package simulate

import (
	"math/rand/v2"
	"strings"
	"time"
)

// Whether a device is there.
const (
	present   = iota
	unlinked  // it measures and remembers, but nothing gets through
	unpowered // it does not measure
)

// absence says whether the device is away at t: in one of four stretches of 24
// periods (at least four hours) it is for a while. The first minutes of a
// fleet are spared.
func (d *Device) absence(t time.Time) int {
	stretch := max(4*time.Hour, 24*d.Period)
	w, rng := d.window(t, stretch, 1)
	if rng.Float64() > 0.25 {
		return present
	}
	length := max(4*d.Period, 6*time.Minute) + time.Duration(rng.Float64()*float64(stretch)/10)
	from := w.Add(time.Duration(rng.Float64() * float64(stretch-length)))
	to := from.Add(length)
	if t.Before(from) || !t.Before(to) || from.Before(d.start.Add(StartGrace)) && to.After(d.start) {
		return present
	}
	if rng.Float64() < 0.5 {
		return unlinked
	}
	return unpowered
}

// window returns the beginning of the stretch that t lies in and the source of
// all that is random about it.
func (d *Device) window(t time.Time, stretch time.Duration, stream uint64) (time.Time, *rand.Rand) {
	n := t.UnixNano() / int64(stretch)
	return time.Unix(0, n*int64(stretch)), rand.New(rand.NewPCG(d.key^stream<<48, uint64(n)))
}

// fault is a metric that reads wrong for a while.
type fault struct {
	kind     int
	metric   int
	from, to time.Time
}

const (
	stuck = iota
	spikes
	drift
)

// faultAt returns the fault of the device at t; in one of six stretches of
// three hours (or 12 periods) there is one.
func (d *Device) faultAt(t time.Time, metrics int) (fault, bool) {
	stretch := max(3*time.Hour, 12*d.Period)
	w, rng := d.window(t, stretch, 2)
	if rng.Float64() > 1.0/6 {
		return fault{}, false
	}
	f := fault{kind: rng.IntN(3), metric: rng.IntN(metrics)}
	length := max(5*d.Period, 12*time.Minute) + time.Duration(rng.Float64()*float64(stretch)/8)
	f.from = w.Add(time.Duration(rng.Float64() * float64(stretch-length)))
	f.to = f.from.Add(length)
	return f, !t.Before(f.from) && t.Before(f.to)
}

// disturb applies the device's fault of the moment. Counters are left alone:
// theirs would be a reset, which is no fault of measurement.
func (d *Device) disturb(t time.Time, rs []Reading) {
	f, ok := d.faultAt(t, len(rs))
	if !ok || strings.HasSuffix(rs[f.metric].Metric, "_total") {
		return
	}
	v := &rs[f.metric].Value
	switch f.kind {
	case stuck:
		*v = d.read(d, f.from, nil)[f.metric].Value
	case spikes:
		if lattice(d.key, 60, t.Unix()) < 0.12 {
			*v *= 1.5 + 2*lattice(d.key, 61, t.Unix())
		}
	case drift:
		*v *= 1 + 0.35*float64(t.Sub(f.from))/float64(f.to.Sub(f.from))
	}
	if strings.HasSuffix(rs[f.metric].Metric, "_percent") {
		*v = clamp(*v, 0, 100)
	}
}

// wrongClock is how far ahead a bad clock is: more than the ten minutes that a
// hub lets pass.
const wrongClock = 14 * time.Minute

// clockAhead reports whether the device's clock is wrong at t: for the first
// three minutes in twelve, until it is set again.
func (d *Device) clockAhead(t time.Time) bool {
	return d.clock && t.Sub(d.start)%(12*time.Minute) < 3*time.Minute
}

// garbled reports whether the device's message of t is cut short: its first
// one, and one in thirty after it.
func (d *Device) garbled(t time.Time) bool {
	return d.garble && (t.Sub(d.start) < d.Period || lattice(d.key, 9, t.Unix()) < 1.0/30)
}
