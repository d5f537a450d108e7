package desk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Verify reads the whole file at path, which no hub may have open, and reports
// what is damaged. It changes nothing. A desk that is absent or empty was never
// written to. The error says why it could not look.
func Verify(path string, report func(damage string)) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Size() == 0 {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read desk: %w", err)
	}
	db, err := bolt.Open(path, 0o600, &bolt.Options{ReadOnly: true, Timeout: time.Second})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return fmt.Errorf("desk %s is in use by another process; stop it first", path)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("read desk: %w", err)
	case err != nil:
		report(fmt.Sprintf("%s: %v", path, err))
		return nil
	}
	found := false
	err = db.View(func(tx *bolt.Tx) error {
		verify(tx, info.Size(), func(damage string) {
			found = true
			report(path + ": " + damage)
		}, &found)
		return nil
	})
	return errors.Join(err, db.Close())
}

// verify looks at the pages, and at the entries when the pages are sound.
func verify(tx *bolt.Tx, size int64, damaged func(string), found *bool) {
	if tx.Size() > size {
		damaged(fmt.Sprintf("%d bytes are missing at its end", tx.Size()-size))
		return
	}
	for err := range tx.Check() {
		damaged(err.Error())
	}
	if *found {
		return
	}
	if err := readable(tx); err != nil {
		damaged(err.Error())
		return
	}
	h, p := tx.Bucket(headers), tx.Bucket(payloads)
	if h == nil || p == nil {
		damaged("it holds no entries of a desk")
		return
	}
	_ = h.ForEach(func(k, value []byte) error { // the function never fails
		payload := p.Get(k)
		if _, err := entry(k, value, payload); err != nil {
			damaged(err.Error())
		} else if payload == nil {
			damaged(fmt.Sprintf("entry %x has lost its message", k))
		}
		return nil
	})
}
