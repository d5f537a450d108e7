package queue

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"

	"github.com/songhua-io/hub/internal/store/disk"
)

const (
	positionMagic = "SHQPOS1\n"
	// positionHalf is the room of one of the two copies in the file.
	positionHalf   = 4096
	positionHeader = 8 + 8 + 4 + 4
)

// positions is the file that says how far each shard is. It has two halves,
// written in turn and in place, so that a torn write leaves the other one and a
// full disk does not stop it.
type positions struct {
	file       *os.File
	generation uint64
	done       []uint64 // by shard: samples below are forwarded
}

func openPositions(dir string) (*positions, error) {
	f, err := os.OpenFile(filepath.Join(dir, "positions"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p := &positions{file: f}
	info, err := f.Stat()
	if err == nil && info.Size() < 2*positionHalf {
		_, err = f.WriteAt(make([]byte, 2*positionHalf-info.Size()), info.Size())
		err = errors.Join(err, f.Sync(), disk.SyncDir(dir))
	}
	if err == nil {
		err = p.read()
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return p, nil
}

// read takes the younger of the sound halves. Without one all that is there is
// sent again.
func (p *positions) read() error {
	le := binary.LittleEndian
	b := make([]byte, positionHalf)
	for half := range int64(2) {
		if _, err := p.file.ReadAt(b, half*positionHalf); err != nil {
			return err
		}
		generation, n := le.Uint64(b[8:]), le.Uint32(b[16:])
		if string(b[:8]) != positionMagic || n == 0 || n > maxShards || generation <= p.generation {
			continue
		}
		body := b[positionHeader : positionHeader+8*n]
		if crc32.Checksum(body, castagnoli) != le.Uint32(b[20:]) {
			continue
		}
		p.generation, p.done = generation, p.done[:0]
		for ; len(body) > 0; body = body[8:] {
			p.done = append(p.done, le.Uint64(body))
		}
	}
	return nil
}

// write makes the positions durable in the half that was not written last.
func (p *positions) write(done []uint64, sync func(*os.File) error) error {
	le := binary.LittleEndian
	b := make([]byte, positionHeader, positionHeader+8*len(done))
	for _, d := range done {
		b = le.AppendUint64(b, d)
	}
	copy(b, positionMagic)
	le.PutUint64(b[8:], p.generation+1)
	le.PutUint32(b[16:], uint32(len(done)))
	le.PutUint32(b[20:], crc32.Checksum(b[positionHeader:], castagnoli))
	if _, err := p.file.WriteAt(b, int64((p.generation+1)%2)*positionHalf); err != nil {
		return err
	}
	if err := sync(p.file); err != nil {
		return err
	}
	p.generation++
	p.done = append(p.done[:0], done...)
	return nil
}
