package spool

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
)

// FuzzRecords reads what may stand in a segment: what is read as a record is
// one, byte for byte, and the reader always ends.
func FuzzRecords(f *testing.F) {
	one := appendRecord(nil, Block{Seq: 1, Samples: 2, From: 3, To: 4, Data: []byte("data")}, 5)
	two := appendRecord(bytes.Clone(one), Block{Seq: 2, Data: []byte("more")}, 6)
	f.Add(one)
	f.Add(two)
	f.Add(append(bytes.Clone(two[:len(two)-1]), 'x'))
	f.Fuzz(func(t *testing.T, segment []byte) {
		in, offset := bytes.NewReader(segment), int64(0)
		for {
			r, err := readRecord(in, offset)
			if errors.Is(err, errDamagedData) && r.end > offset {
				offset = r.end
				continue
			}
			if err != nil {
				return
			}
			if got := appendRecord(nil, r.Block, r.at); !bytes.Equal(got, segment[offset:r.end]) {
				t.Fatalf("at %d: %+v", offset, r)
			}
			offset = r.end
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(appendState(nil, ranges{{1, 5}, {9, 12}}, ledger{blocks: 3, samples: 30, nextID: 2, open: []Loss{{ID: 1, Reason: ReasonAge, Blocks: 3, Samples: 30, From: 1, To: 2}}}))
	f.Add(appendState(nil, nil, ledger{}))
	f.Fuzz(func(t *testing.T, in []byte) {
		done, books, err := parseState(in)
		if err != nil {
			return
		}
		again, books2, err := parseState(appendState(nil, done, books))
		if len(done) > maxSpans {
			done = done[len(done)-maxSpans:]
		}
		if err != nil || !reflect.DeepEqual(done, again) || !reflect.DeepEqual(books, books2) {
			t.Errorf("%v %v, again %v %v: %v", done, books, again, books2, err)
		}
	})
}
