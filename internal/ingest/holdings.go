package ingest

import (
	"maps"
	"slices"
	"sync"

	"github.com/songhua-io/hub/internal/telemetry"
)

// holdings are the series whose ids the pipeline holds. An id that its source
// released goes back to the store when every flight that began before has
// ended: it may stand in one of them, and the store takes no point under an id
// that it was given back.
type holdings struct {
	store   Store
	most    int
	flights *flights

	mu    sync.Mutex // taken after a source's, before that of flights
	inUse int        // by sources, at most most
	// fresh were released since the round of flights began, stale before.
	fresh, stale map[telemetry.SeriesID]struct{}
}

func (h *holdings) init(store Store, most int, f *flights) {
	h.store, h.most, h.flights = store, most, f
	h.fresh, h.stale = map[telemetry.SeriesID]struct{}{}, map[telemetry.SeriesID]struct{}{}
}

// claim adds the series of these labels to those that a source has; false when
// as many are in use as may be. A released series is in use again.
func (h *holdings) claim(labels []telemetry.Label, has map[telemetry.SeriesID]struct{}) (telemetry.SeriesID, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.inUse >= h.most {
		return 0, false
	}
	id := h.store.Series(labels)
	delete(h.fresh, id)
	delete(h.stale, id)
	if _, known := has[id]; !known {
		has[id] = struct{}{}
		h.inUse++
	}
	return id, true
}

// release takes series that a source no longer uses.
func (h *holdings) release(ids map[telemetry.SeriesID]struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.inUse -= len(ids)
	maps.Copy(h.fresh, ids)
}

// giveBack forgets the released series that no flight can hold any more. It is
// called now and then; a series goes with the second call at the earliest.
func (h *holdings) giveBack() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.fresh)+len(h.stale) == 0 || !h.flights.turn() {
		return
	}
	if len(h.stale) > 0 {
		h.store.Forget(slices.Collect(maps.Keys(h.stale)))
		clear(h.stale)
	}
	h.fresh, h.stale = h.stale, h.fresh
}

func (h *holdings) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.inUse
}

// The stores that a pipeline commits to: one for all series, and one on an
// encrypted volume for those whose grade asks for it.
const (
	plainStore = iota
	sealedStore
	stores
)

// storeOf returns the store for data of a grade.
func storeOf(g telemetry.Grade) int {
	if g.Sealed() {
		return sealedStore
	}
	return plainStore
}

// flights are the deliveries under way, from before the first series of theirs
// is looked up until they are committed or refused. They are counted by the
// round in which they began: two rounds are enough to tell when all that began
// before a moment have ended, however many begin meanwhile.
type flights struct {
	mu    sync.Mutex
	round int // 0 or 1
	aloft [2]int
}

func (f *flights) begin() (round int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aloft[f.round]++
	return f.round
}

func (f *flights) end(round int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.aloft[round]--
}

// turn begins a new round if all flights of the one before the present have
// ended, and reports whether it did: then no flight is left that began before
// the last turn.
func (f *flights) turn() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.aloft[1-f.round] > 0 {
		return false
	}
	f.round = 1 - f.round
	return true
}
