package desk

import (
	"context"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	bolt "go.etcd.io/bbolt"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Filter chooses entries. Empty fields choose all.
type Filter struct {
	ID           string
	Device       string
	Reason       telemetry.Reason
	Stage        telemetry.Stage
	Since, Until time.Time // by when the message came; Until is not included
	// Sees chooses by device as well; nil chooses all.
	Sees func(device string) bool
}

// Query is a filter, and which page of what it chooses.
type Query struct {
	Filter
	// Limit is how many entries a page holds; 0 means 100, 1000 is the most.
	Limit int
	// Cursor is Page.Next of the page before; empty for the first.
	Cursor string
}

// Page holds entries, the newest first.
type Page struct {
	Entries []Entry
	Next    string // cursor of the next page; empty when there is none
}

// List returns a page of entries.
func (d *Desk) List(ctx context.Context, q Query) (Page, error) {
	limit := q.Limit
	if limit <= 0 {
		limit = 100
	}
	limit = min(limit, 1000)
	var page Page
	err := d.scan(ctx, q.Filter, q.Cursor, func(tx *bolt.Tx, k, h []byte) (bool, error) {
		if len(page.Entries) == limit {
			page.Next = page.Entries[limit-1].ID
			return false, nil
		}
		e, err := entry(k, h, tx.Bucket(payloads).Get(k))
		page.Entries = append(page.Entries, e)
		return true, err
	})
	return page, err
}

// Drop removes what the filter chooses and returns how many that were.
func (d *Desk) Drop(ctx context.Context, f Filter) (int, error) {
	keys, err := d.choose(ctx, f)
	dropped := 0
	for len(keys) > 0 && err == nil && ctx.Err() == nil {
		some := keys[:min(len(keys), 1000)]
		keys = keys[len(some):]
		err = d.update(func(tx *bolt.Tx) error {
			for _, k := range some {
				if err := d.remove(tx, k); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil {
			dropped += len(some)
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	return dropped, err
}

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
	for i := len(keys) - 1; i >= 0; i-- {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		accepted, err := d.replayOne(keys[i], feed)
		if err != nil {
			return n, fmt.Errorf("replay entry %x: %w", keys[i], err)
		}
		if accepted {
			n++
		}
	}
	return n, nil
}

func (d *Desk) replayOne(k []byte, feed func(*ingest.Delivery) error) (bool, error) {
	var e Entry
	err := d.db.View(func(tx *bolt.Tx) (err error) {
		if h := tx.Bucket(headers).Get(k); h != nil {
			e, err = entry(k, h, tx.Bucket(payloads).Get(k))
		}
		return err
	})
	if err != nil || !e.Replayable {
		return false, err
	}
	var delivery ingest.Delivery
	m := delivery.Add(e.Device, e.Format, e.Payload)
	m.Decode = func(b *telemetry.Batch, in codec.Input) error {
		in.Now = e.Time.UnixMilli()
		return codec.Decode(b, e.Format, in)
	}
	d.replayed.Store(&e.Payload[0])
	err = feed(&delivery)
	d.replayed.Store(nil)
	if err != nil {
		return false, err
	}
	m = &delivery.Messages[0]
	return len(m.Rejects) == 0, d.update(func(tx *bolt.Tx) error {
		if len(m.Rejects) == 0 {
			return d.remove(tx, k)
		}
		return d.rejectedAgain(tx, k, m.Rejects)
	})
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

// update runs a transaction; when it fails the counters are taken from disk.
func (d *Desk) update(f func(*bolt.Tx) error) error {
	err := d.db.Update(f)
	if err != nil {
		if recount := d.db.View(d.recount); recount != nil {
			d.report(recount)
		}
	}
	return err
}

// choose returns the keys of what a filter chooses, the newest first.
func (d *Desk) choose(ctx context.Context, f Filter) ([][]byte, error) {
	var keys [][]byte
	err := d.scan(ctx, f, "", func(_ *bolt.Tx, k, _ []byte) (bool, error) {
		keys = append(keys, append([]byte(nil), k...))
		return true, nil
	})
	return keys, err
}

// scan calls yield for the entries that a filter chooses, from the newest to
// the oldest, beginning behind cursor, until yield returns false.
func (d *Desk) scan(ctx context.Context, f Filter, cursor string, yield func(tx *bolt.Tx, k, h []byte) (bool, error)) error {
	if err := d.write(); err != nil {
		return err
	}
	first, end, err := f.bounds(cursor)
	if err != nil {
		return err
	}
	return d.db.View(func(tx *bolt.Tx) error {
		c := tx.Bucket(headers).Cursor()
		k, h := c.Seek(end)
		if k == nil {
			k, h = c.Last()
		}
		for ; k != nil && string(k) >= string(end); k, h = c.Prev() {
		}
		for ; k != nil && string(k) >= string(first); k, h = c.Prev() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if ok, err := f.chooses(k, h); err != nil {
				return err
			} else if !ok {
				continue
			}
			if more, err := yield(tx, k, h); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// bounds returns the first key and the end of the keys to look at.
func (f *Filter) bounds(cursor string) (first, end []byte, err error) {
	first, end = make([]byte, len(key{})), []byte{0xff}
	if !f.Since.IsZero() {
		k := keyAt(f.Since.UnixMilli(), 0)
		first = k[:]
	}
	if !f.Until.IsZero() {
		k := keyAt(f.Until.UnixMilli(), 0)
		end = k[:]
	}
	if cursor != "" {
		k, err := parseID(cursor)
		if err != nil {
			return nil, nil, err
		}
		if string(k[:]) < string(end) {
			end = k[:]
		}
	}
	if f.ID != "" {
		if _, err := parseID(f.ID); err != nil {
			return nil, nil, err
		}
	}
	return first, end, nil
}

func (f *Filter) chooses(k, value []byte) (bool, error) {
	if f.ID != "" && f.ID != hex.EncodeToString(k) {
		return false, nil
	}
	if f.Device == "" && f.Reason == "" && f.Stage == "" && f.Sees == nil {
		return true, nil
	}
	var h header
	if err := cbor.Unmarshal(value, &h); err != nil {
		return false, fmt.Errorf("entry %x of the desk is damaged: %w", k, err)
	}
	if f.Device != "" && f.Device != h.Device || f.Sees != nil && !f.Sees(h.Device) {
		return false, nil
	}
	for _, r := range h.Rejects {
		if (f.Reason == "" || f.Reason == r.Reason) && (f.Stage == "" || f.Stage == r.Stage) {
			return true, nil
		}
	}
	return f.Reason == "" && f.Stage == "", nil
}
