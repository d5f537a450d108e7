package local

import (
	"math"
	"sync"
	"sync/atomic"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/telemetry"
)

// series is what a SeriesID stands for. labels and hash are written before the
// id is given out and stay until it is recycled; ref, lastT and lastV belong to
// the committing goroutine.
type series struct {
	labels labels.Labels
	ref    storage.SeriesRef
	// (lastT, lastV) is a point that is stored, or part of the running commit.
	// Points before it are looked up before they are taken.
	lastT int64
	lastV float64
	hash  uint32
	// generation tells apart the ids that a slot stood for; it is 0 while the
	// slot never stood for any.
	generation atomic.Uint32
}

// learn notes a point that is appended.
func (s *series) learn(ref storage.SeriesRef, t int64, v float64) {
	s.ref = ref
	if t > s.lastT {
		s.lastT, s.lastV = t, v
	}
}

// noTime is the lastT of a series of which no point was seen yet.
const noTime = math.MinInt64

const chunkSlots = 1024

type chunk [chunkSlots]series

// table gives ids to label sets. An id is a slot in its low half and the
// slot's generation in its high half.
//
// It costs 48 bytes a series and 6 to 11 for the index; the label string is
// shared with the TSDB's head while the series is live there.
type table struct {
	chunks atomic.Pointer[[]*chunk] // grows by copy; read without a lock

	mu      sync.RWMutex // guards all below, and labels and hash of unused slots
	index   []uint32     // open addressing: slot+1, 0 is empty; the length is a power of two
	live    int
	slots   uint32   // slots ever used
	free    []uint32 // slots that stand for nothing
	retired []uint32 // forgotten since the last commit began
	leaving []uint32 // forgotten before: recycled when the running commit ends

	builders sync.Pool // *labels.ScratchBuilder
}

func newTable() *table {
	t := &table{index: make([]uint32, 1024)}
	t.chunks.Store(new([]*chunk))
	t.builders.New = func() any { b := labels.NewScratchBuilder(16); return &b }
	return t
}

// id returns the id of a label set.
func (t *table) id(ls []telemetry.Label) telemetry.SeriesID {
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

func (t *table) idOf(slot uint32) telemetry.SeriesID {
	return telemetry.SeriesID(uint64(t.at(slot).generation.Load())<<32 | uint64(slot))
}

func (t *table) at(slot uint32) *series {
	return &(*t.chunks.Load())[slot/chunkSlots][slot%chunkSlots]
}

// get returns the series of an id; nil when the id was never given out or is
// recycled.
func (t *table) get(id telemetry.SeriesID) *series {
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

func (t *table) find(hash uint32, ls labels.Labels) (uint32, bool) {
	mask := uint32(len(t.index) - 1)
	for i := hash & mask; t.index[i] != 0; i = (i + 1) & mask {
		slot := t.index[i] - 1
		if s := t.at(slot); s.hash == hash && labels.Equal(s.labels, ls) {
			return slot, true
		}
	}
	return 0, false
}

func (t *table) insert(hash uint32, ls labels.Labels) uint32 {
	if (t.live+1)*4 > len(t.index)*3 {
		t.grow()
	}
	slot := t.take()
	s := t.at(slot)
	s.labels, s.hash = ls, hash
	s.ref, s.lastT = 0, noTime
	s.generation.Add(1)
	if s.generation.Load() == 0 { // wrapped: 0 stands for "never"
		s.generation.Store(1)
	}
	t.place(slot, hash)
	t.live++
	return slot
}

// take returns a slot that stands for nothing.
func (t *table) take() uint32 {
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		return slot
	}
	if chunks := *t.chunks.Load(); int(t.slots) == len(chunks)*chunkSlots {
		grown := append(chunks[:len(chunks):len(chunks)], new(chunk))
		t.chunks.Store(&grown)
	}
	t.slots++
	return t.slots - 1
}

func (t *table) place(slot, hash uint32) {
	mask := uint32(len(t.index) - 1)
	i := hash & mask
	for t.index[i] != 0 {
		i = (i + 1) & mask
	}
	t.index[i] = slot + 1
}

func (t *table) grow() {
	old := t.index
	t.index = make([]uint32, 2*len(old))
	for _, e := range old {
		if e != 0 {
			t.place(e-1, t.at(e-1).hash)
		}
	}
}

// forget takes ids out of the index. Points under them are still taken in the
// next commit to begin, so that what was on its way is not lost.
func (t *table) forget(ids []telemetry.SeriesID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, id := range ids {
		if s := t.get(id); s != nil && t.remove(uint32(id), s.hash) {
			t.live--
			t.retired = append(t.retired, uint32(id))
		}
	}
}

// remove empties the index entry of a slot and closes the gap behind it.
func (t *table) remove(slot, hash uint32) bool {
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

// begin and end enclose a commit: slots that were forgotten before begin are
// recycled at end.
func (t *table) begin() {
	t.mu.Lock()
	t.leaving, t.retired = t.retired, t.leaving[:0]
	t.mu.Unlock()
}

func (t *table) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, slot := range t.leaving {
		s := t.at(slot)
		s.generation.Add(1)
		s.labels = labels.EmptyLabels()
		t.free = append(t.free, slot)
	}
	t.leaving = t.leaving[:0]
}

func (t *table) count() float64 {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return float64(t.live)
}
