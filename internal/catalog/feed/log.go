package feed

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/dcat"
	"github.com/songhua-io/hub/internal/records"
)

// load reads what was told. Entries are not kept: they are assembled anew.
func (f *Feed) load(ctx context.Context) error {
	err := f.deps.Records.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&f.last, &f.forgotten) }, "SELECT last, forgotten FROM feed_numbers")
	if err == nil {
		err = f.deps.Records.Each(ctx, func(rows *sql.Rows) error {
			var id string
			var at int64
			var digest []byte
			t := &told{}
			if err := rows.Scan(&id, &t.number, &at, &digest, &t.reason); err != nil {
				return err
			}
			t.at = records.Time(at)
			copy(t.digest[:], digest)
			f.told[id] = t
			return nil
		}, "SELECT dataset, number, at, digest, reason FROM feed_changes")
	}
	if err != nil {
		return fmt.Errorf("read what the catalogue's readers were told: %w", err)
	}
	return nil
}

// keep makes changes durable.
func (f *Feed) keep(ctx context.Context, last int64, changed []string, next map[string]*told) error {
	err := f.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "UPDATE feed_numbers SET last = ?", last); err != nil {
			return err
		}
		put, err := tx.PrepareContext(ctx, `INSERT INTO feed_changes (dataset, number, at, digest, reason) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT (dataset) DO UPDATE SET number = excluded.number, at = excluded.at, digest = excluded.digest, reason = excluded.reason`)
		if err != nil {
			return err
		}
		defer put.Close() //nolint:errcheck // it ends with the transaction
		for _, id := range changed {
			t := next[id]
			digest := []byte{}
			if t.entry != nil {
				digest = t.digest[:]
			}
			if _, err := put.ExecContext(ctx, id, t.number, records.Millis(t.at), digest, t.reason); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep %d changes of the catalogue: %w", len(changed), err)
	}
	return nil
}

// since reads the changes after a number that a snapshot has, in their order, one
// more than a page of them where there are.
func (f *Feed) since(ctx context.Context, after int64, s *Snapshot) (all []catalog.Change, err error) {
	err = f.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		c, at, digest, reason := catalog.Change{}, int64(0), []byte(nil), ""
		if err := rows.Scan(&c.Dataset, &c.Number, &at, &digest, &reason); err != nil {
			return err
		}
		c.At, c.Reason.ZH = records.Time(at), reason
		if len(digest) > 0 {
			c.Entry = s.Find(c.Dataset)
		}
		all = append(all, c)
		return nil
	}, "SELECT dataset, number, at, digest, reason FROM feed_changes WHERE number > ? AND number <= ? ORDER BY number LIMIT ?", after, s.Number, dcat.PerChanges+1)
	if err != nil {
		return nil, fmt.Errorf("read the changes of the catalogue: %w", err)
	}
	return all, nil
}

// forget removes tombstones that are older than they are told.
func (f *Feed) forget(ctx context.Context) error {
	before := f.deps.Clock().Add(-f.cfg.Tombstones)
	var ids []string
	highest := f.forgotten
	for id, t := range f.told { // Run alone writes
		if t.entry == nil && t.at.Before(before) {
			ids, highest = append(ids, id), max(highest, t.number)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	err := f.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		for _, id := range ids {
			if _, err := tx.ExecContext(ctx, "DELETE FROM feed_changes WHERE dataset = ?", id); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "UPDATE feed_numbers SET forgotten = ?", highest)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove %d tombstones: %w", len(ids), err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, id := range ids {
		delete(f.told, id)
	}
	f.forgotten = highest
	return nil
}
