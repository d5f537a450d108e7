package spool

import (
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// BenchmarkBbolt is what the segment log was chosen over: the same blocks in a
// B+tree, one batch for all that wait.
func BenchmarkBbolt(b *testing.B) {
	for _, writers := range []int{1, 16} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			db, err := bbolt.Open(filepath.Join(b.TempDir(), "spool.db"), 0o600, nil)
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			name := []byte("blocks")
			if err := db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket(name); return err }); err != nil {
				b.Fatal(err)
			}
			db.MaxBatchDelay = 1e6
			each(b, writers, func(data []byte) error {
				return db.Batch(func(tx *bbolt.Tx) error {
					bucket := tx.Bucket(name)
					seq, err := bucket.NextSequence()
					if err != nil {
						return err
					}
					return bucket.Put(binary.BigEndian.AppendUint64(nil, seq), data)
				})
			})
		})
	}
}
