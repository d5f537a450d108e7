// Package series gives ids to label sets, and keeps with each what an engine
// remembers of the series.
package series

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/telemetry"
)

// Entry is what a SeriesID stands for. Labels are written before the id is given
// out and stay until it is recycled; State belongs to the committing goroutine.
type Entry[T any] struct {
	Labels labels.Labels
	State  T
	hash   uint32
	// generation tells apart the ids that a slot stood for; it is 0 while the
	// slot never stood for any.
	generation atomic.Uint32
}

const chunkSlots = 1024

type chunk[T any] [chunkSlots]Entry[T]

// Table gives ids to label sets. An id is a slot in its low half and the
// slot's generation in its high half.
//
// It costs 24 bytes a series besides its state, and 6 to 11 for the index.
type Table[T any] struct {
	fresh  T
	chunks atomic.Pointer[[]*chunk[T]] // grows by copy; read without a lock

	mu      sync.RWMutex // guards all below, and labels and hash of unused slots
	index   []uint32     // open addressing: slot+1, 0 is empty; the length is a power of two
	live    int
	slots   uint32   // slots ever used
	free    []uint32 // slots that stand for nothing
	retired []uint32 // forgotten since the last commit began
	leaving []uint32 // forgotten before: recycled when the running commit ends

	builders sync.Pool // *labels.ScratchBuilder
}

// NewTable returns an empty table whose series begin with the state fresh.
func NewTable[T any](fresh T) *Table[T] {
	t := &Table[T]{fresh: fresh, index: make([]uint32, 1024)}
	t.chunks.Store(new([]*chunk[T]))
	t.builders.New = func() any { b := labels.NewScratchBuilder(16); return &b }
	return t
}

// ID returns the id of a label set: the same until Forget. The labels are not kept.
func (t *Table[T]) ID(ls []telemetry.Label) telemetry.SeriesID {
	b := t.builders.Get().(*labels.ScratchBuilder)
	defer t.builders.Put(b)
	b.Reset()
	for _, l := range ls {
		b.Add(l.Name, l.Value)
	}
	var view labels.Labels // aliases the builder
	b.Overwrite(&view)
	hash := fold(view.Hash())

	t.mu.RLock()
	slot, ok := t.find(hash, view)
	t.mu.RUnlock()
	if ok {
		return t.idOf(slot)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if slot, ok = t.find(hash, view); !ok {
		slot = t.insert(hash, b.Labels())
	}
	return t.idOf(slot)
}

func fold(h uint64) uint32 { return uint32(h) ^ uint32(h>>32) }

func (t *Table[T]) idOf(slot uint32) telemetry.SeriesID {
	return telemetry.SeriesID(uint64(t.at(slot).generation.Load())<<32 | uint64(slot))
}

func (t *Table[T]) at(slot uint32) *Entry[T] {
	return &(*t.chunks.Load())[slot/chunkSlots][slot%chunkSlots]
}

// Get returns the series of an id; nil when the id was never given out or is
// recycled.
func (t *Table[T]) Get(id telemetry.SeriesID) *Entry[T] {
	chunks := *t.chunks.Load()
	slot, generation := uint32(id), uint32(id>>32)
	if int(slot/chunkSlots) >= len(chunks) || generation == 0 {
		return nil
	}
	s := &chunks[slot/chunkSlots][slot%chunkSlots]
	if s.generation.Load() != generation {
		return nil
	}
	return s
}

func (t *Table[T]) find(hash uint32, ls labels.Labels) (uint32, bool) {
	mask := uint32(len(t.index) - 1)
	for i := hash & mask; t.index[i] != 0; i = (i + 1) & mask {
		slot := t.index[i] - 1
		if s := t.at(slot); s.hash == hash && labels.Equal(s.Labels, ls) {
			return slot, true
		}
	}
	return 0, false
}

func (t *Table[T]) insert(hash uint32, ls labels.Labels) uint32 {
	if (t.live+1)*4 > len(t.index)*3 {
		t.grow()
	}
	slot := t.take()
	s := t.at(slot)
	s.Labels, s.hash, s.State = ls, hash, t.fresh
	s.generation.Add(1)
	if s.generation.Load() == 0 { // wrapped: 0 stands for "never"
		s.generation.Store(1)
	}
	t.place(slot, hash)
	t.live++
	return slot
}

// take returns a slot that stands for nothing.
func (t *Table[T]) take() uint32 {
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		return slot
	}
	if chunks := *t.chunks.Load(); int(t.slots) == len(chunks)*chunkSlots {
		grown := append(chunks[:len(chunks):len(chunks)], new(chunk[T]))
		t.chunks.Store(&grown)
	}
	t.slots++
	return t.slots - 1
}

func (t *Table[T]) place(slot, hash uint32) {
	mask := uint32(len(t.index) - 1)
	i := hash & mask
	for t.index[i] != 0 {
		i = (i + 1) & mask
	}
	t.index[i] = slot + 1
}

func (t *Table[T]) grow() {
	old := t.index
	t.index = make([]uint32, 2*len(old))
	for _, e := range old {
		if e != 0 {
			t.place(e-1, t.at(e-1).hash)
		}
	}
}

// Forget takes ids out of the index. Points under them are still taken in the
// next commit to begin, so that what was on its way is not lost.
func (t *Table[T]) Forget(ids []telemetry.SeriesID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if s := t.Get(id); s != nil && t.remove(uint32(id), s.hash) {
			t.live--
			t.retired = append(t.retired, uint32(id))
		}
	}
}

// remove empties the index entry of a slot and closes the gap behind it.
func (t *Table[T]) remove(slot, hash uint32) bool {
	mask := uint32(len(t.index) - 1)
	i := hash & mask
	for t.index[i] != slot+1 {
		if t.index[i] == 0 {
			return false
		}
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; t.index[j] != 0; j = (j + 1) & mask {
		home := t.at(t.index[j]-1).hash & mask
		if (j-home)&mask >= (j-i)&mask { // its home lies at or before the gap
			t.index[i] = t.index[j]
			i = j
		}
	}
	t.index[i] = 0
	return true
}

// Begin and End enclose a commit: slots that were forgotten before Begin are
// recycled at End.
func (t *Table[T]) Begin() {
	t.mu.Lock()
	t.leaving, t.retired = t.retired, t.leaving[:0]
	t.mu.Unlock()
}

// End ends what Begin began.
func (t *Table[T]) End() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, slot := range t.leaving {
		s := t.at(slot)
		s.generation.Add(1)
		s.Labels = labels.EmptyLabels()
		t.free = append(t.free, slot)
	}
	t.leaving = t.leaving[:0]
}

// Count returns how many series have an id.
func (t *Table[T]) Count() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.live
}
