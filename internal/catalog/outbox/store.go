package outbox

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
)

// load reads the entries of the destinations that are configured. Those of others
// stay: a destination that comes back is not told everything anew.
func (o *Outbox) load(ctx context.Context) error {
	err := o.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var destination, text string
		e := &Entry{}
		if err := rows.Scan(&destination, &e.Dataset, &e.Number, &text); err != nil {
			return err
		}
		if s, err := o.find(destination); err == nil {
			s.entries[e.Dataset] = e
			return json.Unmarshal([]byte(text), e)
		}
		return nil
	}, "SELECT destination, dataset, number, entry FROM outlet_entries")
	if err != nil {
		return fmt.Errorf("read what outlets were told: %w", err)
	}
	return nil
}

// keep makes entries durable, and what happened a matter of record where it was
// said to the outside.
func (s *sender) keep(ctx context.Context, region string, noted bool, all ...*Entry) error {
	if noted {
		for _, e := range all {
			ctx = s.deps.Noted(ctx, access.RunOutlets, "outlet "+s.Name+" dataset "+e.Dataset, region, nil, told{e.Number, e})
		}
	}
	err := s.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		for _, e := range all {
			text, err := json.Marshal(e)
			if err != nil {
				panic(err) // it is text and times
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO outlet_entries (destination, dataset, number, entry) VALUES (?, ?, ?, ?)
				ON CONFLICT (destination, dataset) DO UPDATE SET number = excluded.number, entry = excluded.entry`, s.Name, e.Dataset, e.Number, string(text)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep what outlet %s was told: %w", s.Name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range all {
		s.entries[e.Dataset] = e
	}
	return nil
}

// telling returns a context whose transaction also notes that the destination has an
// item, where it does and somebody wants to know.
func (s *sender) telling(ctx context.Context, it Item, is *Entry) context.Context {
	if s.deps.Told == nil || is.Problem != (catalog.Text{}) {
		return ctx
	}
	return s.deps.Told(ctx, s.Name, it, is.At)
}

// told is an entry as the record of changes has it.
type told struct {
	Change int64 `json:"change"`
	*Entry
}

// entry is what a destination was told of a dataset; nil: nothing.
func (s *sender) entry(dataset string) *Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.entries[dataset]
}

func regionOf(e *catalog.Entry) string {
	if e == nil {
		return ""
	}
	return e.Dataset.Region
}
