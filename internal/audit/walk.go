package audit

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"
)

// walk follows the entries one by one and holds them against the checkpoints.
type walk struct {
	last  Entry
	tree  frontier
	marks []Checkpoint // by size
	next  int          // the first mark that lies ahead
	fits  Checkpoint   // the newest mark that did fit
}

func newWalk(marks []Checkpoint) *walk {
	slices.SortStableFunc(marks, func(a, b Checkpoint) int { return cmp.Compare(a.Size, b.Size) })
	return &walk{marks: marks}
}

// linked reports whether an entry is what was written after the last.
func (w *walk) linked(e *Entry) bool {
	return e.Seq == w.last.Seq+1 && e.Prev == w.last.Hash && e.Hash == e.digest()
}

// take takes a linked entry and returns the hashes that the tree gains.
func (w *walk) take(e Entry) ([]tlog.Hash, *Finding) {
	gained := w.tree.push(e.Hash)
	w.last = e
	for ; w.next < len(w.marks) && w.marks[w.next].Size == e.Seq; w.next++ {
		c := w.marks[w.next]
		if c.Root != w.tree.root() {
			return nil, w.forged(c)
		}
		w.fits = c
	}
	return gained, nil
}

func (w *walk) forged(c Checkpoint) *Finding {
	first := w.fits.Size + 1
	return &Finding{Seq: first, How: Forged, Text: fmt.Sprintf(
		"entries %d to %d are not those that were signed at %s (%s): one of them was replaced, and all hashes after it computed anew",
		first, c.Size, c.At.Format(timeShown), c.From)}
}

// end reports the entries that checkpoints speak of and that did not come.
func (w *walk) end() *Finding {
	if w.next >= len(w.marks) {
		return nil
	}
	c := w.marks[len(w.marks)-1]
	return &Finding{Seq: w.last.Seq + 1, How: Truncated, Text: fmt.Sprintf(
		"entries %d to %d are gone from the end: the checkpoint of %s (%s) covers %d entries, and there are %d",
		w.last.Seq+1, c.Size, c.At.Format(timeShown), c.From, c.Size, w.last.Seq)}
}

func removed(from, to int64, found string) *Finding {
	which := fmt.Sprintf("entries %d to %d were removed", from, to)
	if from == to {
		which = fmt.Sprintf("entry %d was removed", from)
	}
	return &Finding{Seq: from, How: Removed, Text: which + ": " + found}
}

// place returns the number under which an entry was written, when it is another
// than the one it has; 0 when there is none up to most.
func (e Entry) place(most int64) int64 {
	own := e.Seq
	for n := int64(1); n <= most; n++ {
		if e.Seq = n; n != own && e.digest() == e.Hash {
			return n
		}
	}
	return 0
}

// beyond bounds how far behind the end of a record an entry's number is looked
// for.
const beyond = 1000

// around are the entries beside one that does not fit.
type around struct {
	last Entry  // before it, intact
	next *Entry // after it; nil for none
	// elsewhere reports whether another place than one has an entry of a hash.
	elsewhere func(hash [32]byte, than int64) bool
	newest    int64
}

// damage says what happened to an entry that does not follow the last one.
func (a around) damage(e Entry) *Finding {
	if e.Seq != a.last.Seq+1 {
		return removed(a.last.Seq+1, e.Seq-1, fmt.Sprintf("entry %d follows entry %d", e.Seq, a.last.Seq))
	}
	intact := e.Hash == e.digest()
	if !intact {
		if f := a.displaced(e); f != nil {
			return f
		}
		return &Finding{Seq: e.Seq, How: Changed, Text: fmt.Sprintf("entry %d (%s of %s by %s) was changed: its hash is not that of what it says", e.Seq, e.Action, e.Object, e.Actor)}
	}
	if a.last.Seq == 0 {
		return &Finding{Seq: e.Seq, How: Forged, Text: fmt.Sprintf("entry %d follows others that are gone, and was numbered anew", e.Seq)}
	}
	changed, other := a.last, e.Seq
	if a.next != nil && a.next.Prev != e.Hash {
		changed, other = e, a.next.Seq
	}
	return &Finding{Seq: changed.Seq, How: Changed, Text: fmt.Sprintf(
		"entry %d (%s of %s by %s) was changed together with its hash: entry %d continues another one", changed.Seq, changed.Action, changed.Object, changed.Actor, other)}
}

// displaced looks whether an entry, or the one after it, was written under
// another number.
func (a around) displaced(e Entry) *Finding {
	most := a.newest + beyond
	switch was := e.place(most); {
	case was > 0 && a.elsewhere(e.Hash, e.Seq):
		return inserted(e.Seq, e.Seq)
	case was > e.Seq:
		if a.elsewhere(e.Prev, a.last.Seq) {
			return &Finding{Seq: e.Seq, How: Reordered, Text: fmt.Sprintf("in the place of entry %d stands what was entry %d: entries were reordered", e.Seq, was)}
		}
		return removed(e.Seq, was-1, fmt.Sprintf("in its place stands what was entry %d, numbered anew", was))
	case was > 0:
		return inserted(was, e.Seq-1)
	}
	if a.next != nil && a.next.Prev == a.last.Hash && a.next.place(most) == e.Seq {
		return inserted(e.Seq, e.Seq)
	}
	return nil
}

func inserted(from, to int64) *Finding {
	return &Finding{Seq: from, How: Inserted, Text: fmt.Sprintf("entry %d was inserted, and what follows entry %d was numbered anew", from, to)}
}
