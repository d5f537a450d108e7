// Package audit is the record of who changed what, when and from where. It is
// only ever added to, and each entry holds the hash of the one before, so that
// an entry that was altered or taken out is found.
package audit

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/records"
)

// Entry is one change.
type Entry struct {
	Seq    int64
	At     time.Time
	Actor  string // name of the token
	Role   access.Role
	Origin string // the caller's address
	Action access.Action
	Object string // such as "device t1"
	Region string // of the object
	// Before and After are JSON, without secrets; empty for nothing.
	Before, After string
	// Prev is the hash of the entry before; zero for the first.
	Prev, Hash [sha256.Size]byte
}

// digest covers every field but the hash itself; each goes in with its length,
// so that no two entries have the same bytes.
func (e *Entry) digest() [sha256.Size]byte {
	var b []byte
	number := func(n int64) { b = binary.BigEndian.AppendUint64(b, uint64(n)) }
	number(e.Seq)
	number(e.At.UnixMilli())
	for _, s := range []string{e.Actor, string(e.Role), e.Origin, string(e.Action), e.Object, e.Region, e.Before, e.After, string(e.Prev[:])} {
		number(int64(len(s)))
		b = append(b, s...)
	}
	return sha256.Sum256(b)
}

const columns = "seq, at, actor, role, origin, action, object, region, before, after, prev, hash"

func scan(row interface{ Scan(...any) error }) (e Entry, err error) {
	var at int64
	var prev, hash []byte
	err = row.Scan(&e.Seq, &at, &e.Actor, &e.Role, &e.Origin, &e.Action, &e.Object, &e.Region, &e.Before, &e.After, &prev, &hash)
	if err != nil {
		return e, err
	}
	e.At = records.Time(at)
	if copy(e.Prev[:], prev) != sha256.Size || copy(e.Hash[:], hash) != sha256.Size {
		return e, fmt.Errorf("audit entry %d: a hash is cut short", e.Seq)
	}
	return e, nil
}

// With returns a context whose next transaction adds the entry: it is there if
// and only if the change is. Seq, Prev and Hash are set then.
func With(ctx context.Context, e Entry) context.Context {
	return records.Also(ctx, func(tx *sql.Tx) error { return add(ctx, tx, e) })
}

func add(ctx context.Context, tx *sql.Tx, e Entry) error {
	last, err := scan(tx.QueryRowContext(ctx, "SELECT "+columns+" FROM audit ORDER BY seq DESC LIMIT 1"))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read the last audit entry: %w", err)
	}
	e.Seq, e.Prev = last.Seq+1, last.Hash
	e.At = records.Time(records.Millis(e.At))
	e.Hash = e.digest()
	_, err = tx.ExecContext(ctx, "INSERT INTO audit ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		e.Seq, e.At.UnixMilli(), e.Actor, string(e.Role), e.Origin, string(e.Action), e.Object, e.Region, e.Before, e.After, e.Prev[:], e.Hash[:])
	if err != nil {
		return fmt.Errorf("add an audit entry: %w", err)
	}
	return nil
}

// Log is the record itself. Art. 76(1)
type Log struct{ DB *records.DB }

// Add adds an entry for what is changed outside of the database.
func (l Log) Add(ctx context.Context, e Entry) error {
	return l.DB.Tx(ctx, func(tx *sql.Tx) error { return add(ctx, tx, e) })
}

// List returns up to limit entries of a region prefix, the newest first, that
// lie before number before; 0 begins with the newest.
func (l Log) List(ctx context.Context, region string, before int64, limit int) (page []Entry, err error) {
	err = l.DB.Each(ctx, func(rows *sql.Rows) error {
		e, err := scan(rows)
		page = append(page, e)
		return err
	}, "SELECT "+columns+" FROM audit WHERE (? = 0 OR seq < ?) AND substr(region, 1, length(?)) = ? ORDER BY seq DESC LIMIT ?",
		before, before, region, region, limit)
	return page, err
}

// Verify walks the whole chain and names the first entry that does not fit. It
// returns the number of entries and the last one's hash, which may be kept
// elsewhere: only with it can entries cut off at the end be noticed.
func (l Log) Verify(ctx context.Context) (n int64, head string, err error) {
	var last Entry
	err = l.DB.Each(ctx, func(rows *sql.Rows) error {
		e, err := scan(rows)
		switch {
		case err != nil:
			return err
		case e.Seq != last.Seq+1:
			return fmt.Errorf("audit: entry %d follows entry %d; what lay between was removed", e.Seq, last.Seq)
		case e.Prev != last.Hash:
			return fmt.Errorf("audit: entry %d does not continue entry %d; one of them was replaced", e.Seq, last.Seq)
		case e.Hash != e.digest():
			return fmt.Errorf("audit: entry %d (%s of %s by %s) was altered", e.Seq, e.Action, e.Object, e.Actor)
		}
		last, n = e, n+1
		return nil
	}, "SELECT "+columns+" FROM audit ORDER BY seq")
	return n, hex.EncodeToString(last.Hash[:]), err
}
