package traffic

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync"
	"time"
)

// How long ids are known, and what is wrong with them.
const (
	// keyLife is how long ids are hashed by one key.
	keyLife = time.Hour
	// keyOverlap is how long the key before is kept, so that what is being tracked
	// goes on: as long as a track lives.
	keyOverlap = trackLife
	// fixedAfter is how long a vehicle may have one id.
	fixedAfter = 10 * time.Minute
	// fewUnits may hear one vehicle within togetherFor.
	fewUnits    = 2
	togetherFor = 10 * time.Second
	// generation is how often ids that nobody said any more are forgotten: after one
	// to two of them.
	generation = 15 * time.Minute
)

// key is one of SipHash.
type key [2]uint64

// keys hash ids. Nobody has them but this memory: each is written over when its
// time has passed, so that no hash can be traced back, or joined to one of another
// hour.
type keys struct {
	random func([]byte)

	mu          sync.RWMutex // held to read for as long as a key is used
	now, before key
	overlaps    bool // before is still a key
	turned      time.Time
}

func newKeys(random func([]byte)) *keys {
	if random == nil {
		random = func(p []byte) { _, _ = rand.Read(p) } // never fails: it ends the program
	}
	k := &keys{random: random}
	k.fill()
	return k
}

func (k *keys) fill() {
	var p [16]byte
	k.random(p[:])
	k.now = key{binary.LittleEndian.Uint64(p[:]), binary.LittleEndian.Uint64(p[8:])}
	clear(p[:])
}

// turn destroys keys whose time has passed.
func (k *keys) turn(now time.Time) {
	k.mu.RLock()
	since := now.Sub(k.turned)
	due := k.turned.IsZero() || since >= keyLife || k.overlaps && since >= keyOverlap
	k.mu.RUnlock()
	if !due {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	switch since := now.Sub(k.turned); {
	case k.turned.IsZero():
		k.turned = now
	case since >= keyLife:
		k.before, k.overlaps, k.turned = k.now, true, now
		k.fill()
	case k.overlaps && since >= keyOverlap:
		k.before, k.overlaps = key{}, false
	}
}

// hash is SipHash-2-4 of three words; never 0, which marks a free place.
func (k *key) hash(a, b, c uint64) uint64 {
	v0, v1, v2, v3 := k[0]^0x736f6d6570736575, k[1]^0x646f72616e646f6d, k[0]^0x6c7967656e657261, k[1]^0x7465646279746573
	for _, m := range [...]uint64{a, b, c, 24 << 56} { // the last has the length
		v3 ^= m
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
		v0 ^= m
	}
	v2 ^= 0xff
	for range 4 {
		v0, v1, v2, v3 = sipRound(v0, v1, v2, v3)
	}
	return max(1, v0^v1^v2^v3)
}

func sipRound(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	return v0, v1, bits.RotateLeft64(v2, 32), v3
}

// What a hash is of: the second word of what is hashed has the link, the third
// this.
const (
	ofID    = 1 // an id that vehicles say
	ofTrack = 2 // a number that sensors give
	// ofFacing is such a number of one that drives against the direction of the link.
	ofFacing = 3
)

// idDefect is what is wrong with the id of a vehicle.
type idDefect uint8

const (
	fixedID  idDefect = iota // it does not change
	zeroID                   // it is zero
	sharedID                 // it is at many units at once
)

// idDefects are the values of the label defect; their order stands in records.
var idDefects = []string{"fixed", "zero", "shared"}

// saidID is what is known of an id, for as long as it is said. It is never
// stored.
type saidID struct {
	hash        uint64
	first, last int64 // Unix seconds
	units       [fewUnits]struct {
		unit uint32
		last int64
	}
	told [3]bool // by idDefect, that it was counted
}

// saidIDs are the ids that all units hear of, in two generations of bounded
// length.
type saidIDs struct {
	limit int

	mu    sync.Mutex
	young map[uint64]*saidID
	old   map[uint64]*saidID
	born  time.Time // when young was
}

func newSaidIDs(limit int) *saidIDs { return &saidIDs{limit: limit, young: map[uint64]*saidID{}} }

// said notes that a unit heard an id at a time, and returns what is wrong with it
// that was not told before. full says that ids were forgotten before their time.
func (s *saidIDs) said(k *keys, id uint64, unit uint32, at int64) (wrong []idDefect, full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.entry(k, id)
	if e == nil {
		full = s.room()
		e = &saidID{hash: k.now.hash(id, 0, ofID), first: at, last: at}
		s.young[e.hash] = e
	}
	e.first, e.last = min(e.first, at), max(e.last, at)
	if e.last-e.first > int64(fixedAfter/time.Second) && !e.told[fixedID] {
		e.told[fixedID] = true
		wrong = append(wrong, fixedID)
	}
	if e.at(unit, at) && !e.told[sharedID] {
		e.told[sharedID] = true
		wrong = append(wrong, sharedID)
	}
	return wrong, full
}

// entry finds an id, under the key before if need be, and makes it young.
func (s *saidIDs) entry(k *keys, id uint64) *saidID {
	hash := k.now.hash(id, 0, ofID)
	if e := s.young[hash]; e != nil {
		return e
	}
	e := s.old[hash]
	if e == nil && k.overlaps {
		before := k.before.hash(id, 0, ofID)
		if e = s.young[before]; e == nil {
			e = s.old[before]
		}
		delete(s.young, before)
	}
	if e == nil || len(s.young) >= s.limit {
		return e
	}
	delete(s.old, e.hash)
	e.hash = hash
	s.young[hash] = e
	return e
}

// room makes room for one more, and reports whether ids went for it that were
// young.
func (s *saidIDs) room() (full bool) {
	if full = len(s.young) >= s.limit; full {
		s.old, s.young = s.young, map[uint64]*saidID{}
	}
	return full
}

// age forgets ids that nobody says any more.
func (s *saidIDs) age(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.born.IsZero() {
		s.born = now
	}
	if now.Sub(s.born) >= generation {
		s.old, s.young, s.born = s.young, map[uint64]*saidID{}, now
	}
}

// at notes a unit that hears an id, and reports whether it is one more than few.
func (e *saidID) at(unit uint32, now int64) bool {
	free := -1
	for i := range e.units {
		u := &e.units[i]
		if u.unit == unit {
			u.last = max(u.last, now)
			return false
		}
		if u.unit == 0 || now-u.last > int64(togetherFor/time.Second) {
			free = i
		}
	}
	if free < 0 {
		return true
	}
	e.units[free].unit, e.units[free].last = unit, now
	return false
}

// saysID looks at the id that a vehicle says, and reports whether it tells
// vehicles apart.
func (u *unit) saysID(b *Board, a *Arrival, id uint64, at time.Time) bool {
	if id == 0 {
		u.defect(b, a, zeroID, at)
		return false
	}
	wrong, full := b.ids.said(b.keys, id, u.number, at.Unix())
	for _, d := range wrong {
		u.defect(b, a, d, at)
	}
	if full {
		u.limit(at, limitIDs)
	}
	return true
}

// idChecks are the checks that find the defects of ids, with the bound that they
// tell.
var idChecks = [...]struct {
	check Check
	want  float64
}{fixedID: {CheckFixedID, fixedAfter.Minutes()}, zeroID: {CheckZeroID, 0}, sharedID: {CheckSharedID, togetherFor.Seconds()}}

func (u *unit) defect(b *Board, a *Arrival, d idDefect, at time.Time) {
	u.add(at, Cell{Series: IDDefects, Part: uint8(d)}, 1)
	c := idChecks[d]
	u.find(b, a, at, c.check, 1, finding{kind: a.Message.Kind, want: c.want})
}
