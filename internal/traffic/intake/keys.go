package intake

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// keyLength is that of a key in octets.
const keyLength = 16

// keyLasts is how long after its hour a key is kept: as long as a minute of it may
// open (package traffic), and the hour itself.
const keyLasts = 26 * time.Hour

type key [keyLength]byte

// keys are those of the hashes by which a message that comes again is known: one
// for each hour of event time, so that the hash of a message is the same after a
// restart and across journals, and nobody can make it anew once the hour is
// written. Its bound is the hours that are kept.
type keys struct {
	mu  sync.RWMutex
	all map[int64]key // by hour since 1970
}

func newKeys() *keys { return &keys{all: map[int64]key{}} }

// hourOf is the hour of a time; event times before 1970 are refused before.
func hourOf(t time.Time) int64 { return t.Unix() / 3600 }

// of returns the key of an hour; made is told of one that is new, before anybody
// else has it.
func (k *keys) of(hour int64, made func(hour int64, is key)) key {
	k.mu.RLock()
	is, there := k.all[hour]
	k.mu.RUnlock()
	if there {
		return is
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if is, there = k.all[hour]; !there {
		rand.Read(is[:]) //nolint:errcheck // it never fails
		k.all[hour] = is
		made(hour, is)
	}
	return is
}

// forget destroys the keys of hours whose minutes cannot open any more.
func (k *keys) forget(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for hour := range k.all {
		if hour < hourOf(now.Add(-keyLasts)) {
			delete(k.all, hour)
		}
	}
}

func (k *keys) each(keep func(hour int64, is key) error) error {
	k.mu.RLock()
	defer k.mu.RUnlock()
	for hour, is := range k.all {
		if err := keep(hour, is); err != nil {
			return err
		}
	}
	return nil
}

// hash is the keyed hash of a message: of its bytes, and of the time of the uplink
// that it came in, in milliseconds.
func (s *shard) hash(is key, uplink int64, raw []byte) uint64 {
	s.hashed = binary.LittleEndian.AppendUint64(append(s.hashed[:0], is[:]...), uint64(uplink))
	s.hashed = append(s.hashed, raw...)
	sum := sha256.Sum256(s.hashed)
	clear(s.hashed)
	return binary.LittleEndian.Uint64(sum[:])
}

// A key as the journal has it: hour, 8 octets little endian, and the key.
func appendKey(to []byte, hour int64, is key) []byte {
	return append(binary.LittleEndian.AppendUint64(to, uint64(hour)), is[:]...)
}

func (k *keys) apply(data []byte) bool {
	if len(data) != 8+keyLength {
		return false
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.all[int64(binary.LittleEndian.Uint64(data))] = key(data[8:])
	return true
}
