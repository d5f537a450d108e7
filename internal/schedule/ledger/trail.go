package ledger

import (
	"context"
	"encoding/binary"
	"slices"

	"github.com/songhua-io/hub/internal/schedule"
)

// trail is which events are of a record and its leases: their sequence numbers,
// each as a varint of how far it is from the one before. So the story of one
// record is read from the few commits that tell it, and nothing is written for
// it besides the record.
//
// Versions of a record share memory: each is a beginning of the next.
type trail []byte

// trailAtFirst is the room of a trail, in bytes: most records have ten events.
const trailAtFirst = 24

// maxTrail bounds a trail, in bytes: some thousand events. Then the older half
// is forgotten.
const maxTrail = 4096

func (t trail) add(seq int64) trail {
	last := int64(0)
	if cap(t) == 0 {
		t = make(trail, 0, trailAtFirst)
	}
	t.each(func(one int64) { last = one })
	if len(t) > maxTrail {
		t = t.newer()
	}
	return binary.AppendUvarint(t, uint64(seq-last))
}

func (t trail) each(do func(seq int64)) {
	for seq, rest := int64(0), []byte(t); len(rest) > 0; {
		step, n := binary.Uvarint(rest)
		if n <= 0 {
			return // the document was checked when it was read
		}
		seq, rest = seq+int64(step), rest[n:]
		do(seq)
	}
}

func (t trail) newer() trail {
	all := t.after(0)
	var out trail
	last := int64(0)
	for _, seq := range all[len(all)/2:] {
		out = binary.AppendUvarint(out, uint64(seq-last))
		last = seq
	}
	return out
}

// after are the numbers above one.
func (t trail) after(since int64) (all []int64) {
	t.each(func(seq int64) {
		if seq > since {
			all = append(all, seq)
		}
	})
	return all
}

// EventsOf returns up to limit events of a workload or a reservation and of its
// leases after a sequence number, the oldest first, and whether there are more.
// Those that are not kept any more are left out.
func (l *Ledger) EventsOf(ctx context.Context, id string, since int64, limit int) (found []schedule.Event, more bool, err error) {
	r, err := l.find(ctx, id)
	if err != nil {
		return nil, false, err
	}
	for wanted := r.trail.after(since); len(wanted) > 0; {
		if len(found) == limit {
			return found, true, nil
		}
		n := 1 // what came in one go is read in one go
		for n < len(wanted) && n < limit-len(found) && wanted[n] == wanted[n-1]+1 {
			n++
		}
		some, err := l.run(ctx, wanted[0], n)
		if err != nil {
			return nil, false, err
		}
		found, wanted = append(found, some...), wanted[n:]
	}
	return found, false, nil
}

// run reads n events that follow one another, as far as they are kept.
func (l *Ledger) run(ctx context.Context, first int64, n int) ([]schedule.Event, error) {
	l.mu.RLock()
	some, ok := l.events.after(first-1, n)
	l.mu.RUnlock()
	if !ok {
		var err error
		if some, err = l.older(ctx, first-1, n); err != nil {
			return nil, err
		}
	}
	return slices.DeleteFunc(some, func(e schedule.Event) bool { return e.Seq >= first+int64(n) }), nil
}
