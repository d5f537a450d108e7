package audit

import (
	"database/sql"
	"fmt"
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// frontier is the right edge of a Merkle tree (RFC 6962) that grows leaf by
// leaf: the roots of its complete subtrees, the largest first.
type frontier struct {
	size  int64
	roots []tlog.Hash
}

// push adds an entry's hash as a leaf and returns the hashes that the tree gains,
// in the order of their stored index.
func (f *frontier) push(hash [32]byte) []tlog.Hash {
	h := tlog.RecordHash(hash[:])
	gained := []tlog.Hash{h}
	for n := f.size; n&1 == 1; n >>= 1 {
		last := len(f.roots) - 1
		h = tlog.NodeHash(f.roots[last], h)
		f.roots = f.roots[:last]
		gained = append(gained, h)
	}
	f.roots = append(f.roots, h)
	f.size++
	return gained
}

// root is the hash of the whole tree.
func (f *frontier) root() tlog.Hash {
	if f.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // a constant
		return h
	}
	h := f.roots[len(f.roots)-1]
	for i := len(f.roots) - 2; i >= 0; i-- {
		h = tlog.NodeHash(f.roots[i], h)
	}
	return h
}

// frontierAt reads the edge of the tree at a size.
func frontierAt(size int64, read tlog.HashReader) (*frontier, error) {
	f := &frontier{size: size}
	if size == 0 {
		return f, nil
	}
	var places []int64
	var begin int64
	for level := bits.Len64(uint64(size)) - 1; level >= 0; level-- {
		if size>>level&1 == 1 {
			places = append(places, tlog.StoredHashIndex(level, begin>>level))
			begin += 1 << level
		}
	}
	var err error
	f.roots, err = read.ReadHashes(places)
	return f, err
}

const hashAt = "SELECT hash FROM audit_tree WHERE place = ?"

// readHashes reads the stored tree, by a function that calls take for the row of
// a place.
func readHashes(row func(place int64, take func(*sql.Rows) error) error) tlog.HashReaderFunc {
	return func(places []int64) ([]tlog.Hash, error) {
		all := make([]tlog.Hash, len(places))
		for i, place := range places {
			n := 0
			err := row(place, func(rows *sql.Rows) error {
				var hash []byte
				err := rows.Scan(&hash)
				n = copy(all[i][:], hash)
				return err
			})
			if err != nil {
				return nil, err
			}
			if n != tlog.HashSize {
				return nil, &Finding{How: BadTree, Text: fmt.Sprintf("the stored Merkle tree lacks place %d", place)}
			}
		}
		return all, nil
	}
}
