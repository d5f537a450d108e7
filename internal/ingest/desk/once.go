package desk

import (
	"bytes"
	"crypto/sha256"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/songhua-io/hub/internal/ingest"
)

// once holds the key of each entry that KeepOnce kept, by what it is recognised
// by. A program that does not know the bucket leaves keys in it whose entries
// are gone; they count for nothing.
var once = []byte("once")

// KeepOnce keeps what may be rejected again without being sent again: what is on the
// desk already, with the same first reject, is not kept twice. They are on disk when
// it returns, as many as there are; with an error none of them is. A message without a
// payload cannot be recognised.
func (d *Desk) KeepOnce(at time.Time, all ...*ingest.Message) error {
	if len(all) == 0 {
		return nil
	}
	records := make([]record, 0, len(all))
	for _, m := range all {
		r := newRecord(at, m)
		if len(m.Payload) > 0 && len(m.Rejects) > 0 {
			r.Once = mark(m)
		}
		records = append(records, r)
	}
	return d.store(records)
}

// mark returns what a message is recognised by: 16 bytes of a hash.
func mark(m *ingest.Message) []byte {
	h := sha256.New()
	for _, part := range []string{m.Device, string(m.Rejects[0].Stage), string(m.Rejects[0].Reason)} {
		h.Write([]byte(part))
		h.Write([]byte{0})
	}
	h.Write([]byte{byte(m.Format)})
	h.Write(m.Payload)
	return h.Sum(nil)[:16]
}

// here tells whether an entry with this mark is kept.
func here(tx *bolt.Tx, by []byte) bool {
	if by == nil {
		return false
	}
	k := tx.Bucket(once).Get(by)
	return k != nil && tx.Bucket(headers).Get(k) != nil
}

// forget has the entry under k be recognised no more. One whose header is damaged
// has a mark that counts for nothing once the entry is gone.
func forget(tx *bolt.Tx, k, value []byte) error {
	var h header
	if cbor.Unmarshal(value, &h) != nil || h.Once == nil || !bytes.Equal(tx.Bucket(once).Get(h.Once), k) {
		return nil
	}
	return tx.Bucket(once).Delete(h.Once)
}

// forgetAll has entries that are about to be sent again be recognised no more:
// what is refused again before they leave the desk is an entry of its own then,
// and does not leave with them.
func (d *Desk) forgetAll(batch []again) error {
	if !slices.ContainsFunc(batch, func(a again) bool { return a.entry.once }) {
		return nil
	}
	return d.update(func(tx *bolt.Tx) error {
		for _, a := range batch {
			if h := tx.Bucket(headers).Get(a.key); h != nil {
				if err := forget(tx, a.key, h); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
