package ledger

import (
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// keysLife is how long an idempotency key holds.
const keysLife = 7 * 24 * time.Hour

// key is one idempotency key with the digest of what it was used for, and the
// number of what came of it.
type key struct {
	name digest
	body digest
	num  uint64
}

type digest [16]byte

const keyBytes = 40

func newKey(tenant, name string, body [32]byte, num uint64) key {
	sum := sha256.Sum256([]byte(tenant + "\x00" + name))
	return key{digest(sum[:16]), digest(body[:16]), num}
}

func (k key) append(b []byte) []byte {
	b = append(append(b, k.name[:]...), k.body[:]...)
	return binary.BigEndian.AppendUint64(b, k.num)
}

func parseKey(b []byte) key {
	return key{digest(b[:16]), digest(b[16:32]), binary.BigEndian.Uint64(b[32:40])}
}

// keys are those of the last seven days, in memory.
type keys struct {
	used map[digest]use
	ages []age // the oldest first
}

type use struct {
	body digest
	num  uint64
}

// age is the keys of one second.
type age struct {
	at    int64 // Unix seconds
	names []digest
}

func newKeys() keys { return keys{used: map[digest]use{}} }

func (k *keys) len() int { return len(k.used) }

func (k *keys) get(name digest) (key, bool) {
	u, ok := k.used[name]
	return key{name, u.body, u.num}, ok
}

func (k *keys) put(one key, at time.Time) {
	k.used[one.name] = use{one.body, one.num}
	if n := len(k.ages); n == 0 || k.ages[n-1].at < at.Unix() {
		k.ages = append(k.ages, age{at: at.Unix()})
	}
	last := &k.ages[len(k.ages)-1]
	last.names = append(last.names, one.name)
}

// forget drops the keys from before a time, at most one second's, and reports
// whether there are more.
func (k *keys) forget(before time.Time) bool {
	if len(k.ages) == 0 || k.ages[0].at >= before.Unix() {
		return false
	}
	for _, name := range k.ages[0].names {
		delete(k.used, name)
	}
	k.ages = k.ages[1:]
	return len(k.ages) > 0 && k.ages[0].at < before.Unix()
}
