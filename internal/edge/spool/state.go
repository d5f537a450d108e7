package spool

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

const (
	stateMagic = "SPSTATE1"
	// stateHalf is the room of one of the two copies in the file.
	stateHalf   = 64 << 10
	stateHeader = 8 + 8 + 4 + 4
	// maxSpans bounds the spans written down; what is older is forgotten, which
	// makes it be delivered again.
	maxSpans = 2048
)

// stateFile holds what was delivered and what was lost. The file has two
// halves, written in turn and in place, so that a torn write leaves the other
// one and a full disk does not stop the books.
type stateFile struct {
	file       *os.File
	generation uint64
	done       ranges
	ledger     ledger
}

func openState(dir string) (*stateFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, "state"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	st := &stateFile{file: f}
	info, err := f.Stat()
	if err == nil && info.Size() < 2*stateHalf {
		_, err = f.WriteAt(make([]byte, 2*stateHalf-info.Size()), info.Size())
		err = errors.Join(err, f.Sync(), syncDir(dir))
	}
	if err == nil {
		err = st.read()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return st, nil
}

// read takes the younger of the sound halves; with none the spool starts its
// books anew.
func (st *stateFile) read() error {
	buf := make([]byte, stateHalf)
	for half := range int64(2) {
		if _, err := st.file.ReadAt(buf, half*stateHalf); err != nil {
			return err
		}
		if string(buf[:8]) != stateMagic {
			if newer := buf[7] > stateMagic[7] && buf[7] <= '9'; newer && string(buf[:7]) == stateMagic[:7] {
				return fmt.Errorf("%s has the format %q; this program knows %q, use the program that wrote it", st.file.Name(), buf[:8], stateMagic)
			}
			continue
		}
		generation := binary.LittleEndian.Uint64(buf[8:])
		n := binary.LittleEndian.Uint32(buf[16:])
		if n > stateHalf-stateHeader || generation <= st.generation {
			continue
		}
		body := buf[stateHeader : stateHeader+n]
		if crc32.Checksum(body, castagnoli) != binary.LittleEndian.Uint32(buf[20:]) {
			continue
		}
		done, books, err := parseState(body)
		if err != nil {
			return fmt.Errorf("state: %w", err)
		}
		st.generation, st.done, st.ledger = generation, done, books
	}
	return nil
}

// write makes both durable in the half that is not the last one written.
func (st *stateFile) write(done ranges, books ledger) error {
	body := appendState(make([]byte, stateHeader, 4096), done, books)
	copy(body, stateMagic)
	binary.LittleEndian.PutUint64(body[8:], st.generation+1)
	binary.LittleEndian.PutUint32(body[16:], uint32(len(body)-stateHeader))
	binary.LittleEndian.PutUint32(body[20:], crc32.Checksum(body[stateHeader:], castagnoli))
	half := int64((st.generation + 1) % 2)
	if _, err := st.file.WriteAt(body, half*stateHalf); err != nil {
		return err
	}
	if err := st.file.Sync(); err != nil {
		return err
	}
	st.generation++
	return nil
}

func (st *stateFile) close() { _ = st.file.Close() } // what was promised is synced

func appendState(dst []byte, done ranges, books ledger) []byte {
	if n := len(done); n > maxSpans {
		done = done[n-maxSpans:]
	}
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, uint32(len(done)))
	for _, s := range done {
		dst = le.AppendUint64(le.AppendUint64(dst, s.lo), s.hi)
	}
	dst = le.AppendUint64(dst, books.blocks)
	dst = le.AppendUint64(dst, books.samples)
	dst = le.AppendUint64(dst, books.nextID)
	dst = le.AppendUint32(dst, uint32(len(books.open)))
	for _, l := range books.open {
		dst = le.AppendUint64(dst, l.ID)
		dst = append(dst, l.Reason.number())
		dst = le.AppendUint64(dst, l.Blocks)
		dst = le.AppendUint64(dst, l.Samples)
		dst = le.AppendUint64(dst, uint64(l.From))
		dst = le.AppendUint64(dst, uint64(l.To))
	}
	return dst
}

const lossBytes = 8 + 1 + 4*8

func parseState(b []byte) (done ranges, books ledger, err error) {
	short := errors.New("the checksum is right, the length is not; the file was written by another version")
	le := binary.LittleEndian
	if len(b) < 4 || uint64(len(b)) < 4+uint64(le.Uint32(b))*16+28 {
		return nil, ledger{}, short
	}
	n, b := le.Uint32(b), b[4:]
	for range n {
		done = append(done, span{le.Uint64(b), le.Uint64(b[8:])})
		b = b[16:]
	}
	books = ledger{blocks: le.Uint64(b), samples: le.Uint64(b[8:]), nextID: le.Uint64(b[16:])}
	n, b = le.Uint32(b[24:]), b[28:]
	if uint64(len(b)) < uint64(n)*lossBytes {
		return nil, ledger{}, short
	}
	for range n {
		l := Loss{ID: le.Uint64(b), Blocks: le.Uint64(b[9:]), Samples: le.Uint64(b[17:]), From: int64(le.Uint64(b[25:])), To: int64(le.Uint64(b[33:]))}
		if int(b[8]) >= len(reasons) {
			return nil, ledger{}, short
		}
		l.Reason = reasons[b[8]]
		books.open = append(books.open, l)
		b = b[lossBytes:]
	}
	return done, books, nil
}

func (r Reason) number() byte {
	for i, o := range reasons {
		if o == r {
			return byte(i)
		}
	}
	panic("spool: unknown reason " + string(r))
}
