// Package audit is the record of who changed what, when and from where. It is
// only ever added to. Each entry holds the hash of the one before, and the
// hashes of all are a Merkle tree whose root is signed every so often, with a
// key outside of the database: who has the public key and a checkpoint finds
// every entry that was changed, inserted or taken out, also in an export.
package audit

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
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

var errCut = errors.New("a hash is cut short")

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
		return e, fmt.Errorf("audit entry %d: %w", e.Seq, errCut)
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
	for _, s := range []*string{&e.Actor, &e.Origin, &e.Object, &e.Region, &e.Before, &e.After} {
		*s = strings.ToValidUTF8(*s, "\uFFFD") // exports are JSON, and hash to the same
	}
	e.Hash = e.digest()
	_, err = tx.ExecContext(ctx, "INSERT INTO audit ("+columns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		e.Seq, e.At.UnixMilli(), e.Actor, string(e.Role), e.Origin, string(e.Action), e.Object, e.Region, e.Before, e.After, e.Prev[:], e.Hash[:])
	if err != nil {
		return fmt.Errorf("add an audit entry: %w", err)
	}
	return nil
}
