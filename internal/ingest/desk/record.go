package desk

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/fxamacker/cbor/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// header is what stands on disk of an entry besides its payload, as CBOR with
// numbers for names. Filters read headers only.
type header struct {
	Time    int64              `cbor:"1,keyasint"` // milliseconds since the Unix epoch
	Device  string             `cbor:"2,keyasint"`
	Format  uint8              `cbor:"3,keyasint"`
	Size    int                `cbor:"4,keyasint"` // of the message as it came
	Cut     bool               `cbor:"5,keyasint"`
	Fixed   bool               `cbor:"6,keyasint"` // needs its connection's memory to be read
	Rejects []telemetry.Reject `cbor:"7,keyasint"`
	Count   int                `cbor:"8,keyasint"`           // of rejects, the ones not kept included
	Once    []byte             `cbor:"9,keyasint,omitempty"` // by what it is recognised, of KeepOnce
}

// record is an entry before it is written.
type record struct {
	header
	payload []byte
}

// newRecord copies of a message what is kept.
func newRecord(at time.Time, m *ingest.Message) record {
	size := min(len(m.Payload), maxPayload)
	return record{
		header: header{
			Time: at.UnixMilli(), Device: m.Device, Format: uint8(m.Format), Size: len(m.Payload),
			Cut: size < len(m.Payload), Fixed: m.Decode != nil || m.Format == codec.Sparkplug,
			Rejects: slices.Clone(m.Rejects[:min(len(m.Rejects), maxRejects)]), Count: len(m.Rejects),
		},
		payload: slices.Clone(m.Payload[:size]),
	}
}

// Entry is a rejected message.
type Entry struct {
	ID      string
	Time    time.Time // when it came
	Device  string
	Format  codec.Format
	Payload []byte // the first 64 KiB; of List only when asked for
	Size    int    // bytes of the whole message
	// Rejects are the first hundred of RejectCount.
	Rejects     []telemetry.Reject
	RejectCount int
	// Replayable is false when the payload was cut or never kept, or when it
	// cannot be read apart from the connection on which it came.
	Replayable bool
	once       bool // it is recognised when it comes again
}

// key is the time in milliseconds and a sequence number, six bytes each: keys
// are in the order of time, so since and until need no search.
type key [12]byte

func keyAt(ms int64, sequence uint64) key {
	var k key
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(max(ms, 0)))
	copy(k[:6], b[2:])
	binary.BigEndian.PutUint64(b[:], sequence)
	copy(k[6:], b[2:])
	return k
}

// ErrID is what Filter.ID and Query.Cursor get that cannot be one.
var ErrID = errors.New("is no id of the desk")

func parseID(id string) (key, error) {
	var k key
	if b, err := hex.DecodeString(id); err != nil || copy(k[:], b) != len(k) || len(b) != len(k) {
		return k, fmt.Errorf("%q %w; take one from a list", id, ErrID)
	}
	return k, nil
}

var (
	headers  = []byte("headers")
	payloads = []byte("payloads")
	// format holds one key: the version of the form of entries. Files of the first
	// hubs have none, and are of version 1.
	format     = []byte("format")
	versionKey = []byte("version")
)

const version = "1"

// ErrNewer is wrapped by the error of a desk that a newer program wrote.
var ErrNewer = errors.New("a newer version wrote it")

// readable refuses what another form has.
func readable(tx *bolt.Tx) error {
	if f := tx.Bucket(format); f != nil && string(f.Get(versionKey)) != version {
		return fmt.Errorf("%w: its entries have the form %.20q, and this program knows %s; run the version that wrote it or a newer one, or restore a backup from before the upgrade", ErrNewer, f.Get(versionKey), version)
	}
	return nil
}

// load makes the buckets and counts what is there.
func (d *Desk) load(tx *bolt.Tx) error {
	if err := readable(tx); err != nil {
		return err
	}
	if f, err := tx.CreateBucketIfNotExists(format); err != nil {
		return err
	} else if err := f.Put(versionKey, []byte(version)); err != nil {
		return err
	}
	for _, name := range [][]byte{headers, payloads, once} {
		if _, err := tx.CreateBucketIfNotExists(name); err != nil {
			return err
		}
	}
	return d.recount(tx)
}

func (d *Desk) recount(tx *bolt.Tx) error {
	var entries, bytes int64
	for _, name := range [][]byte{headers, payloads} {
		entries = 0
		err := tx.Bucket(name).ForEach(func(_, v []byte) error {
			entries++
			bytes += int64(len(v))
			return nil
		})
		if err != nil {
			return err
		}
	}
	d.entries.Store(entries)
	d.bytes.Store(bytes)
	return nil
}

func (d *Desk) put(tx *bolt.Tx, r *record) error {
	if here(tx, r.Once) {
		return nil
	}
	sequence, err := tx.Bucket(headers).NextSequence()
	if err != nil {
		return err
	}
	k := keyAt(r.Time, sequence)
	h, err := cbor.Marshal(&r.header)
	if err != nil {
		return err
	}
	if err := tx.Bucket(headers).Put(k[:], h); err != nil {
		return err
	}
	if r.Once != nil {
		if err := tx.Bucket(once).Put(r.Once, k[:]); err != nil {
			return err
		}
	}
	d.entries.Add(1)
	d.bytes.Add(int64(len(h) + len(r.payload)))
	return tx.Bucket(payloads).Put(k[:], r.payload)
}

// remove takes one entry out.
func (d *Desk) remove(tx *bolt.Tx, k []byte) error {
	h, p := tx.Bucket(headers).Get(k), tx.Bucket(payloads).Get(k)
	if h == nil {
		return nil
	}
	d.entries.Add(-1)
	d.bytes.Add(-int64(len(h) + len(p)))
	if err := forget(tx, k, h); err != nil {
		return err
	}
	if err := tx.Bucket(headers).Delete(k); err != nil {
		return err
	}
	return tx.Bucket(payloads).Delete(k)
}

// trim lets the oldest entries go until the bounds hold.
func (d *Desk) trim(tx *bolt.Tx) error {
	oldest := keyAt(d.deps.Clock().Add(-d.cfg.MaxAge).UnixMilli(), 0)
	c := tx.Bucket(headers).Cursor()
	for k, _ := c.First(); k != nil; k, _ = c.First() {
		if d.entries.Load() <= int64(d.cfg.MaxEntries) && d.bytes.Load() <= d.cfg.MaxBytes && string(k) >= string(oldest[:]) {
			return nil
		}
		if err := d.remove(tx, append([]byte(nil), k...)); err != nil {
			return err
		}
		d.metrics.evicted.Inc()
	}
	return nil
}

// entry reads what stands under a key.
func entry(k, value, payload []byte) (Entry, error) {
	var h header
	if err := cbor.Unmarshal(value, &h); err != nil {
		return Entry{}, fmt.Errorf("entry %x of the desk is damaged: %w", k, err)
	}
	return Entry{
		ID: hex.EncodeToString(k), Time: time.UnixMilli(h.Time), Device: h.Device, Format: codec.Format(h.Format),
		Payload: append([]byte(nil), payload...), Size: h.Size, Rejects: h.Rejects, RejectCount: h.Count, Replayable: h.Size > 0 && !h.Cut && !h.Fixed, once: h.Once != nil,
	}, nil
}
