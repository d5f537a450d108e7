package traffic

import (
	"maps"
	"math/rand/v2"
	"testing"
	"time"
)

// The tables are what maps are.
func TestTablesAreMaps(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var c cells
	var h hashes
	var tr tracks
	wantCells, wantHashes, wantTracks := map[Cell]float64{}, map[uint64]bool{}, map[uint64]int64{}
	never := func() uint64 { return 0 }
	for i := range 20_000 {
		cell := Cell{Series(1 + rng.IntN(5)), uint8(rng.IntN(4)), uint32(rng.IntN(20)), uint32(rng.IntN(20))}
		e := c.place(cell)
		e.Cell = cell
		e.v++
		wantCells[cell]++

		hash := rng.Uint64N(8000)
		if h.add(hash) == wantHashes[hash] {
			t.Fatalf("%d: %x is there: %v", i, hash, wantHashes[hash])
		}
		wantHashes[hash] = true

		hash = 1 + rng.Uint64N(900)
		if e := tr.find(hash); e != nil && e.hash == hash && rng.IntN(2) == 0 {
			if e.last != wantTracks[hash] {
				t.Fatalf("%d: track %d is %d, not %d", i, hash, e.last, wantTracks[hash])
			}
			tr.remove(e)
			delete(wantTracks, hash)
		} else if e := tr.get(hash, never, 10_000, int64(i)); e.last != wantTracks[hash] {
			t.Fatalf("%d: track %d is %d, not %d", i, hash, e.last, wantTracks[hash])
		} else {
			e.last = int64(i)
			wantTracks[hash] = int64(i)
		}
	}
	got := map[Cell]float64{}
	for cell, v := range c.all {
		got[cell] = v
	}
	if !maps.Equal(got, wantCells) || c.n != len(wantCells) || c.has(Cell{9, 0, 0, 0}) || c.get(Cell{9, 0, 0, 0}) != 0 {
		t.Errorf("%d cells of %d", len(got), len(wantCells))
	}
	n := 0
	for hash := range h.all {
		if n++; !wantHashes[hash] {
			t.Errorf("%x was not added", hash)
		}
	}
	if n != len(wantHashes) || h.len() != n {
		t.Errorf("%d hashes of %d", n, len(wantHashes))
	}
	if tr.n != len(wantTracks) {
		t.Errorf("%d tracks of %d", tr.n, len(wantTracks))
	}
	for hash, last := range wantTracks {
		if e := tr.find(hash); e.hash != hash || e.last != last {
			t.Errorf("track %d is lost", hash)
		}
	}
}

// Tracks that are dead make room, and the table shrinks.
func TestDeadTracksMakeRoom(t *testing.T) {
	var tr tracks
	never := func() uint64 { return 0 }
	add := func(from, n uint64, at int64) (added int) {
		for i := range n {
			if e := tr.get((from+i)*0x9e3779b97f4a7c15, never, 1000, at); e != nil {
				e.last = at
				added++
			}
		}
		return added
	}
	later := 1 + 2*trackLife.Microseconds()
	if n := add(1, 1200, 1); n != 1000 {
		t.Errorf("%d tracks in room for 1000", n)
	}
	if n := add(5000, 10, later); n != 10 || len(tr.at) > 64 || tr.n != 10 {
		t.Errorf("%d of 10, %d places", n, len(tr.at))
	}
}

// A minute takes so many messages, and no more.
func TestAMinuteIsBounded(t *testing.T) {
	b := newBoard()
	for i := range uint64(maxSeen + 10) {
		_, err := b.Take(heartbeat("r1", noon.Add(time.Duration(i)*time.Millisecond/2), i+1), nil)
		if (err != nil) != (i >= maxSeen) {
			t.Fatalf("message %d: %v", i, err)
		}
	}
}
