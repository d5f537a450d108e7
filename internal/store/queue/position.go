package queue

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"

	"github.com/songhua-io/hub/internal/store/disk"
)

const (
	positionMagic = "SHQPOS2\n"
	// positionMagic1 is of files that say of shards only what is forwarded.
	positionMagic1 = "SHQPOS1\n"
	// positionHalf is the room of one of the two copies in the file.
	positionHalf   = 4096
	positionHeader = 8 + 8 + 4 + 4
)

// positions say how far each shard is.
type positions struct {
	done    []uint64 // by shard: samples below are forwarded
	durable []uint64 // by shard: samples below are durable at the server
	seen    []uint64 // processes of the server
}

func (p positions) equal(o positions) bool {
	return slices.Equal(p.done, o.done) && slices.Equal(p.durable, o.durable) && slices.Equal(p.seen, o.seen)
}

// positionFile holds positions. It has two halves, written in turn and in place,
// so that a torn write leaves the other one and a full disk does not stop it.
type positionFile struct {
	file       *os.File
	generation uint64
	positions
}

func openPositions(dir string) (*positionFile, error) {
	f, err := os.OpenFile(filepath.Join(dir, "positions"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	p := &positionFile{file: f}
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
func (p *positionFile) read() error {
	le := binary.LittleEndian
	b := make([]byte, positionHalf)
	for half := range int64(2) {
		if _, err := p.file.ReadAt(b, half*positionHalf); err != nil {
			return err
		}
		generation, n, checksum := le.Uint64(b[8:]), int(le.Uint32(b[16:])), le.Uint32(b[20:])
		if n == 0 || n > maxShards || generation <= p.generation {
			continue
		}
		body := b[positionHeader:]
		switch string(b[:8]) {
		case positionMagic1:
			body = body[:8*n]
		case positionMagic:
			seen := int(le.Uint32(body))
			if seen > maxSeen {
				continue
			}
			body = body[:4+8*(2*n+seen)]
		default:
			continue
		}
		if crc32.Checksum(body, castagnoli) != checksum {
			continue
		}
		if string(b[:8]) == positionMagic {
			body = body[4:]
		}
		var all []uint64
		for ; len(body) > 0; body = body[8:] {
			all = append(all, le.Uint64(body))
		}
		p.generation = generation
		p.positions = positions{done: all[:n], durable: all[:n]}
		if len(all) > n {
			p.durable, p.seen = all[n:2*n], all[2*n:]
		}
	}
	return nil
}

// write makes the positions durable in the half that was not written last.
func (p *positionFile) write(now positions, sync func(*os.File) error) error {
	le := binary.LittleEndian
	b := make([]byte, positionHeader, positionHalf)
	b = le.AppendUint32(b, uint32(len(now.seen)))
	for _, n := range slices.Concat(now.done, now.durable, now.seen) {
		b = le.AppendUint64(b, n)
	}
	copy(b, positionMagic)
	le.PutUint64(b[8:], p.generation+1)
	le.PutUint32(b[16:], uint32(len(now.done)))
	le.PutUint32(b[20:], crc32.Checksum(b[positionHeader:], castagnoli))
	if _, err := p.file.WriteAt(b, int64((p.generation+1)%2)*positionHalf); err != nil {
		return err
	}
	if err := sync(p.file); err != nil {
		return err
	}
	p.generation++
	p.positions = now
	return nil
}
