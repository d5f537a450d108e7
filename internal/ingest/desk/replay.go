package desk

import (
	"context"
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// What goes through ingest, and leaves the desk, at once: one commit and one
// transaction for all of it.
const (
	maxBatch      = 256 // entries
	maxBatchBytes = 1 << 20
)

// Replay sends what the filter chooses through ingest again, the oldest first,
// with the time at which it came for samples without one. What is accepted
// whole leaves the desk and is counted in n; what is rejected again stays, with
// the reasons of this time. Entries that are not replayable are left alone. An
// error of ingest (busy, rate) ends the replay; what was sent until then is done.
func (d *Desk) Replay(ctx context.Context, f Filter, feed func(*ingest.Delivery) error) (n int, err error) {
	d.replay.Lock()
	defer d.replay.Unlock()
	keys, err := d.choose(ctx, f)
	if err != nil {
		return 0, err
	}
	slices.Reverse(keys)
	for len(keys) > 0 {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		batch, taken, err := d.batch(keys)
		if err != nil {
			return n, err
		}
		accepted, err := d.replayBatch(batch, feed)
		if n += accepted; err != nil {
			return n, fmt.Errorf("replay %d entries from %x: %w", len(batch), keys[0], err)
		}
		keys = keys[taken:]
	}
	return n, nil
}

// again is an entry on its way.
type again struct {
	key   []byte
	entry Entry
}

// batch reads the replayable ones of the first taken keys.
func (d *Desk) batch(keys [][]byte) (batch []again, taken int, err error) {
	size := 0
	err = d.db.View(func(tx *bolt.Tx) error {
		for _, k := range keys {
			h := tx.Bucket(headers).Get(k)
			if h == nil {
				taken++ // let go meanwhile
				continue
			}
			e, err := entry(k, h, tx.Bucket(payloads).Get(k))
			if err != nil {
				return err
			}
			if e.Replayable {
				if size += len(e.Payload); len(batch) == maxBatch || len(batch) > 0 && size > maxBatchBytes {
					return nil
				}
				batch = append(batch, again{k, e})
			}
			taken++
		}
		return nil
	})
	return batch, taken, err
}

// replayBatch returns how many entries were accepted whole.
func (d *Desk) replayBatch(batch []again, feed func(*ingest.Delivery) error) (accepted int, err error) {
	if len(batch) == 0 {
		return 0, nil
	}
	var delivery ingest.Delivery
	here := make(map[*byte]bool, len(batch))
	for _, a := range batch {
		m := delivery.Add(a.entry.Device, a.entry.Format, a.entry.Payload)
		m.Decode = func(b *telemetry.Batch, in codec.Input) error {
			in.Now = a.entry.Time.UnixMilli()
			return codec.Decode(b, a.entry.Format, in)
		}
		here[&a.entry.Payload[0]] = true
	}
	if err := d.forgetAll(batch); err != nil {
		return 0, err
	}
	d.replayed.Store(&here)
	err = feed(&delivery)
	d.replayed.Store(nil)
	if err != nil {
		return 0, err
	}
	err = d.update(func(tx *bolt.Tx) error {
		accepted = 0
		for i, a := range batch {
			m := &delivery.Messages[i]
			if len(m.Rejects) > 0 {
				if err := d.rejectedAgain(tx, a.key, m.Rejects); err != nil {
					return err
				}
				continue
			}
			if err := d.remove(tx, a.key); err != nil {
				return err
			}
			accepted++
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return accepted, nil
}

// rejectedAgain notes the reasons of the last try.
func (d *Desk) rejectedAgain(tx *bolt.Tx, k []byte, rejects []telemetry.Reject) error {
	before := tx.Bucket(headers).Get(k)
	if before == nil {
		return nil
	}
	var h header
	if err := cbor.Unmarshal(before, &h); err != nil {
		return err
	}
	h.Rejects, h.Count = rejects[:min(len(rejects), maxRejects)], len(rejects)
	after, err := cbor.Marshal(&h)
	if err != nil {
		return err
	}
	d.bytes.Add(int64(len(after) - len(before)))
	return tx.Bucket(headers).Put(k, after)
}
