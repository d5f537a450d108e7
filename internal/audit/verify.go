package audit

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/songhua-io/hub/internal/records"
)

// Outside is what a verification goes by that does not lie in the database.
type Outside struct {
	Keys        Keys
	Checkpoints []Checkpoint
}

// ReadOutside reads the public keys and the checkpoints beside a database, and
// those of more files.
func ReadOutside(dir string, keys Keys, files []string, found func(Finding)) (o Outside, err error) {
	o.Keys = keys
	if len(keys.text) == 0 {
		if o.Keys, err = ReadKeys(filepath.Join(dir, PublicFile)); err != nil {
			return o, err
		}
	}
	for _, file := range append([]string{filepath.Join(dir, CheckpointsFile)}, files...) {
		all, err := ReadCheckpoints(file, o.Keys, found)
		if err != nil {
			return o, err
		}
		o.Checkpoints = append(o.Checkpoints, all...)
	}
	return o, nil
}

// Verify walks every entry and checkpoint of a database. It reports bad
// checkpoints, and of the entries the first that is damaged. An error means that
// it could not be read.
func Verify(ctx context.Context, db *records.DB, o Outside, found func(Finding)) (r Report, err error) {
	v := &verification{db: db, found: func(f Finding) { r.Findings++; found(f) }}
	marks, err := v.checkpoints(ctx, o.Keys)
	if err != nil {
		return r, err
	}
	v.signed = sizeOf(marks)
	v.walk = newWalk(append(marks, o.Checkpoints...))
	err = v.entries(ctx)
	r.Entries, r.Head, r.Signed = v.walk.last.Seq, v.walk.last.Hash, v.walk.fits
	var f *Finding
	if errors.As(err, &f) {
		v.found(*f)
		return r, nil
	}
	return r, err
}

// verification is one walk of a database; its first damaged entry ends it as an
// error of type *Finding.
type verification struct {
	db     *records.DB
	walk   *walk
	signed int64 // entries whose hashes the stored tree holds
	found  func(Finding)

	gained []tlog.Hash // of the tree, not compared yet
	at     int64       // the stored index of the first of them
}

func sizeOf(all []Checkpoint) (n int64) {
	for _, c := range all {
		n = max(n, c.Size)
	}
	return n
}

// lacks reports that a database is of a hub that made no checkpoints.
func lacks(err error) bool { return err != nil && strings.Contains(err.Error(), "no such table") }

func (v *verification) checkpoints(ctx context.Context, keys Keys) (all []Checkpoint, err error) {
	err = v.db.Each(ctx, func(rows *sql.Rows) error {
		var origin, text string
		var size, at int64
		if err := rows.Scan(&origin, &size, &at, &text); err != nil {
			return err
		}
		c, err := keys.Open(text)
		if err == nil && (c.Origin != origin || c.Size != size || records.Millis(c.At) != at) {
			err = errors.New("what stands beside it in its row is not what it says")
		}
		if err != nil {
			v.found(badCheckpoint(fmt.Sprintf("the database's checkpoint of %d entries", size), err))
			return nil
		}
		c.From = "the database"
		all = append(all, c)
		return nil
	}, "SELECT origin, size, at, note FROM audit_checkpoints ORDER BY size")
	if lacks(err) {
		err = nil
		if len(keys.text) > 0 {
			v.found(Finding{How: BadCheckpoint, Text: "the table of checkpoints is gone"})
		}
	}
	return all, err
}

// entries returns a *Finding as error for the first that is damaged.
func (v *verification) entries(ctx context.Context) error {
	var bad *Entry
	err := v.db.Each(ctx, func(rows *sql.Rows) error {
		e, err := scan(rows)
		if err != nil && !errors.Is(err, errCut) {
			return err
		}
		if bad != nil { // and this is the one after it
			return v.damage(ctx, *bad, &e)
		}
		if err != nil || !v.walk.linked(&e) {
			bad = &e
			return nil
		}
		return v.take(ctx, e)
	}, "SELECT "+columns+" FROM audit ORDER BY seq")
	if err == nil && bad != nil {
		err = v.damage(ctx, *bad, nil)
	}
	if err == nil {
		err = v.compare(ctx)
	}
	if f := v.walk.end(); err == nil && f != nil {
		err = f
	}
	return err
}

func (v *verification) take(ctx context.Context, e Entry) error {
	gained, f := v.walk.take(e)
	if f != nil {
		return f
	}
	if e.Seq > v.signed {
		return nil
	}
	if v.gained = append(v.gained, gained...); len(v.gained) < 2000 {
		return nil
	}
	return v.compare(ctx)
}

// compare holds the stored tree against that of the entries. The first place
// that differs is reported, and no other is looked at: it serves proofs alone.
func (v *verification) compare(ctx context.Context) error {
	n := 0
	err := v.db.Each(ctx, func(rows *sql.Rows) error {
		var place int64
		var hash []byte
		if err := rows.Scan(&place, &hash); err != nil {
			return err
		}
		if place != v.at+int64(n) || string(hash) != string(v.gained[n][:]) {
			return errDiffers
		}
		n++
		return nil
	}, "SELECT place, hash FROM audit_tree WHERE place >= ? AND place < ? ORDER BY place", v.at, v.at+int64(len(v.gained)))
	if err != nil && !errors.Is(err, errDiffers) && !lacks(err) {
		return err
	}
	if n < len(v.gained) {
		v.signed = 0
		v.found(Finding{How: BadTree, Text: fmt.Sprintf(
			"the stored Merkle tree is damaged at place %d, so that exports cannot be proved: restore the table audit_tree from a backup of the database", v.at+int64(n))})
	}
	v.at, v.gained = v.at+int64(n), v.gained[:0]
	return nil
}

var errDiffers = errors.New("the stored tree differs")

func (v *verification) damage(ctx context.Context, e Entry, next *Entry) error {
	a := around{last: v.walk.last, next: next, newest: e.Seq}
	err := v.db.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&a.newest) }, "SELECT max(seq) FROM audit")
	a.elsewhere = func(hash [32]byte, than int64) (ok bool) {
		err = errors.Join(err, v.db.Each(ctx, func(*sql.Rows) error { ok = true; return nil }, "SELECT seq FROM audit WHERE hash = ? AND seq <> ?", hash[:], than))
		return ok
	}
	f := a.damage(e)
	if err != nil {
		return err
	}
	return f
}
