package traffic

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/road"
)

// ReliefConfig says when roadside units are asked to send less.
type ReliefConfig struct {
	// Interval is how often the hub looks at its load.
	Interval time.Duration `yaml:"interval"`
	// Share of the machine's processors that reading V2X messages may take, 0 to 1. Above it the noisiest units are asked to send less (upLimit), and step by step what they sent before when it falls below 0.7 of it; 0 never asks.
	Share float64 `yaml:"share"`
	// CommitWait is how long messages may wait until they are durable before units are asked to send less.
	CommitWait time.Duration `yaml:"commit_wait"`
	// Floor is how many messages a second of a type a unit may send in any case.
	Floor float64 `yaml:"floor"`
}

// DefaultReliefConfig returns the settings of a hub without a config file.
func DefaultReliefConfig() ReliefConfig {
	return ReliefConfig{Interval: 10 * time.Second, Share: 0.5, CommitWait: 2 * time.Second, Floor: 1}
}

// Check returns every setting that makes no sense.
func (c ReliefConfig) Check(path string) []strict.Error {
	return slices.Concat(
		strict.Between(path, "interval", c.Interval, time.Second, time.Hour),
		strict.Between(path, "share", c.Share, 0, 1),
		strict.Between(path, "commit_wait", c.CommitWait, 10*time.Millisecond, time.Minute),
		strict.Between(path, "floor", c.Floor, 0.1, 1000),
	)
}

// Load is what V2X messages cost.
type Load struct {
	Share      float64       // of the machine's processors, 0 to 1
	CommitWait time.Duration // until messages are durable
}

// Stream are the messages of one kind that a unit sends.
type Stream struct {
	Unit string
	Kind road.Kind
	Rate float64 // messages a second
	// Limit is the unit's own, as it reports it; Unlimited when it has none.
	Limit float64
}

// Unlimited is the limit of a unit that has none.
const Unlimited = -1.0

// Bound is a limit that a unit is to have from now on.
type Bound struct {
	Unit  string
	Kind  road.Kind
	Limit float64 // messages a second
	// Before is what it had before the first bound.
	Before float64
	// More says that it may send more than until now, and Lifted that Limit is what
	// it had before.
	More, Lifted bool
}

// Relief decides which units are asked to send less while the hub is overloaded:
// the noisiest first, none below the floor, and when the load is gone all of them
// step by step what they sent before. It is pure: the same loads and rates lead to
// the same bounds. It is not safe for concurrent use.
type Relief struct {
	cfg    ReliefConfig
	bounds map[stream]bound // as many as units have streams
	rest   int              // looks until units have done what they were asked
	calm   int              // looks in a row without load
}

type stream struct {
	unit string
	kind road.Kind
}

type bound struct{ limit, before float64 }

// Bounds of one look, and the hysteresis between them.
const (
	maxLowered  = 50
	maxRestored = 10
	restLooks   = 2   // after units were asked, for them to do it
	calmLooks   = 3   // without load, before units may send more
	calmShare   = 0.7 // of the load that is too much
	obeyed      = 1.2 // of its bound: a unit that sends more does not heed it
	mostRate    = 1000
)

// NewRelief returns a controller that has asked nobody for anything.
func NewRelief(c ReliefConfig) *Relief { return &Relief{cfg: c, bounds: map[stream]bound{}} }

// Limited reports whether units have limits for messages of a kind.
func Limited(k road.Kind) bool {
	return k == road.KindBSM || k == road.KindRSM || k == road.KindSPAT
}

// Step takes the load and the streams of all units since the last look, and says
// what units are to be asked for.
func (r *Relief) Step(l Load, streams []Stream) []Bound {
	over, calm := r.excess(l)
	if r.rest > 0 {
		r.rest--
		return nil
	}
	switch {
	case over > 0:
		r.calm = 0
		out := r.lower(over, streams)
		if len(out) > 0 {
			r.rest = restLooks
		}
		return out
	case !calm:
		r.calm = 0
		return nil
	}
	if r.calm++; r.calm < calmLooks {
		return nil
	}
	out := r.restore(streams)
	if len(out) > 0 {
		r.rest, r.calm = restLooks, 0
	}
	return out
}

// excess is the part of what comes that is too much, 0 for none, and whether there
// is room for more.
func (r *Relief) excess(l Load) (part float64, calm bool) {
	if r.cfg.Share == 0 {
		return 0, true
	}
	times := max(l.Share/r.cfg.Share, float64(l.CommitWait)/float64(r.cfg.CommitWait))
	if times <= 1 {
		return 0, times < calmShare
	}
	return min(max(1-1/times, 0.1), 0.5), false
}

// lower asks the noisiest for half of what they send, until the excess is gone.
func (r *Relief) lower(part float64, streams []Stream) (out []Bound) {
	var all []Stream
	total := 0.0
	for _, s := range streams {
		total += s.Rate
		if Limited(s.Kind) && s.Rate > r.cfg.Floor {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(a, b Stream) int {
		return cmp.Or(cmp.Compare(b.Rate, a.Rate), cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Kind, b.Kind))
	})
	shed := total * part
	for _, s := range all {
		if shed <= 0 || len(out) == maxLowered {
			break
		}
		key, limit := stream{s.Unit, s.Kind}, max(r.cfg.Floor, math.Floor(s.Rate/2))
		had, bounded := r.bounds[key]
		if bounded && s.Rate > obeyed*had.limit || limit >= s.Rate {
			continue
		}
		if !bounded {
			had.before = s.Limit
		}
		r.bounds[key] = bound{limit, had.before}
		out = append(out, Bound{Unit: s.Unit, Kind: s.Kind, Limit: limit, Before: had.before})
		shed -= s.Rate - limit
	}
	return out
}

// restore lets the most bounded send twice as much, or what they sent before.
func (r *Relief) restore(streams []Stream) (out []Bound) {
	rates := map[stream]float64{}
	for _, s := range streams {
		rates[stream{s.Unit, s.Kind}] = s.Rate
	}
	keys := make([]stream, 0, len(r.bounds))
	for k := range r.bounds {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b stream) int {
		return cmp.Or(cmp.Compare(r.bounds[a].limit, r.bounds[b].limit), cmp.Compare(a.unit, b.unit), cmp.Compare(a.kind, b.kind))
	})
	for _, k := range keys[:min(len(keys), maxRestored)] {
		b := r.bounds[k]
		next := Bound{Unit: k.unit, Kind: k.kind, Limit: b.limit * 2, Before: b.before, More: true}
		// A bound that holds nothing back is of no use.
		if b.before >= 0 && next.Limit >= b.before || b.before < 0 && (rates[k] < b.limit/2 || next.Limit > mostRate) {
			next.Limit, next.Lifted = b.before, true
			delete(r.bounds, k)
		} else {
			r.bounds[k] = bound{next.Limit, b.before}
		}
		out = append(out, next)
	}
	return out
}

// Resume takes a bound over that was set before a restart.
func (r *Relief) Resume(b Bound) { r.bounds[stream{b.Unit, b.Kind}] = bound{b.Limit, b.Before} }

// Forget ends the bounds of a unit that is gone.
func (r *Relief) Forget(unit string) {
	for k := range r.bounds {
		if k.unit == unit {
			delete(r.bounds, k)
		}
	}
}

// Bounds lists the bounds of a unit that hold now; nil for none.
func (r *Relief) Bounds(unit string) (all map[road.Kind]float64) {
	for _, kind := range []road.Kind{road.KindBSM, road.KindRSM, road.KindSPAT} {
		if b, ok := r.bounds[stream{unit, kind}]; ok {
			if all == nil {
				all = map[road.Kind]float64{}
			}
			all[kind] = b.limit
		}
	}
	return all
}

// Len is how many streams are bounded now.
func (r *Relief) Len() int { return len(r.bounds) }
