package traffic

import (
	"bytes"
	"slices"
	"time"
)

// Bounds of the raw messages that are kept as evidence.
const (
	evidenceAge     = 10 * time.Minute
	evidenceEach    = 4        // messages of a check of a unit
	evidenceMessage = 8 << 10  // octets; a longer one is not kept
	evidenceUnit    = 64 << 10 // octets of a unit
	evidenceTotal   = 64 << 20 // of all units
)

// evidence are the last raw messages that checks found fault with, the oldest
// first. They live in memory only.
type evidence struct {
	kept []Evidence
	size int
}

// keep keeps the raw message. Where there is no room the unit's oldest goes.
func (e *evidence) keep(b *Board, c Check, a *Arrival) {
	n := len(a.Raw)
	if n == 0 || n > evidenceMessage {
		return
	}
	e.expire(b, a.Received)
	first, of := -1, 0
	for i := range e.kept {
		if e.kept[i].Check == c {
			if of++; first < 0 {
				first = i
			}
		}
	}
	if of >= evidenceEach {
		e.drop(b, first)
	}
	for len(e.kept) > 0 && (e.size+n > evidenceUnit || b.evidence.Load()+int64(n) > evidenceTotal) {
		e.drop(b, 0)
	}
	if b.evidence.Add(int64(n)) > evidenceTotal {
		b.evidence.Add(-int64(n))
		return
	}
	e.size += n
	e.kept = append(e.kept, Evidence{Check: c, At: a.Received, Kind: a.Message.Kind, Raw: bytes.Clone(a.Raw)})
}

func (e *evidence) drop(b *Board, i int) {
	n := len(e.kept[i].Raw)
	e.size -= n
	b.evidence.Add(-int64(n))
	e.kept = slices.Delete(e.kept, i, i+1)
}

// expire forgets what is older than minutes.
func (e *evidence) expire(b *Board, now time.Time) {
	for len(e.kept) > 0 && now.Sub(e.kept[0].At) > evidenceAge {
		e.drop(b, 0)
	}
}

func (e *evidence) has(c Check, now time.Time) bool {
	return slices.ContainsFunc(e.kept, func(one Evidence) bool { return one.Check == c && now.Sub(one.At) <= evidenceAge })
}

// Evidence is the last raw messages that a check found fault with at a unit, the
// oldest first: a few, of the last ten minutes. They are as the unit sent them,
// ids of vehicles included.
func (b *Board) Evidence(unit string, c Check) (all []Evidence) {
	u := b.known(unit)
	if u == nil {
		return nil
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.evidence.expire(b, b.now())
	for _, one := range u.evidence.kept {
		if one.Check == c {
			all = append(all, one)
		}
	}
	return all
}
