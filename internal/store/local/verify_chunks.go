package local

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb/chunks"
)

// Chunk files, of blocks and of the head, start with eight bytes (magic,
// version, padding) and go on with chunks of
//
//	head only: series reference 8, first time 8, last time 8
//	block:     length uvarint, encoding 1, data, CRC-32C 4 over encoding and data
//	head:      encoding 1, length uvarint, data, CRC-32C 4 over everything before
//
// (tsdb/docs/format/chunks.md and head_chunks.md of Prometheus).

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errCut = errors.New("the file ends within a chunk")

// chunkSegment verifies a chunk file of a block by itself.
func (v *verifier) chunkSegment(file string) {
	v.chunkFile(file, chunks.MagicChunks, (*chunkReader).blockChunk)
}

// headChunks verifies the chunk files of the head.
func (v *verifier) headChunks(ctx context.Context, dir string) error {
	names, numbers, err := numbered(dir)
	if err != nil {
		return err
	}
	for i, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		file := filepath.Join(dir, name)
		if i > 0 && numbers[i] != numbers[i-1]+1 {
			v.damaged(file, -1, fmt.Errorf("the file before it, %06d, is missing", numbers[i]-1))
		}
		if st, err := os.Stat(file); err == nil && st.Size() == 0 {
			continue // created by a process that ended before it wrote: removed at the next start
		}
		v.chunkFile(file, chunks.MagicHeadChunks, (*chunkReader).headChunk)
	}
	return nil
}

func (v *verifier) chunkFile(file string, magic uint32, next func(*chunkReader) error) {
	f, err := os.Open(file)
	if err != nil {
		v.damaged(file, -1, err)
		return
	}
	defer f.Close()
	r := &chunkReader{r: bufio.NewReaderSize(f, 1<<20), crc: 0}
	if err := r.header(magic); err != nil {
		v.damaged(file, 0, err)
		return
	}
	for {
		start := r.offset
		err := next(r)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			v.damaged(file, start, err)
			return // where the next one starts is unknown
		}
	}
}

// chunkReader reads a chunk file and keeps the checksum of what it read.
type chunkReader struct {
	r      *bufio.Reader
	offset int64
	crc    uint32
	buf    []byte
}

func (c *chunkReader) header(magic uint32) error {
	h, err := c.take(chunks.SegmentHeaderSize)
	if err != nil {
		return err
	}
	if got := binary.BigEndian.Uint32(h); got != magic {
		return fmt.Errorf("the file starts with %#08x instead of %#08x", got, magic)
	}
	if h[4] != 1 {
		return fmt.Errorf("the file's version is %d instead of 1", h[4])
	}
	return nil
}

// take returns the next n bytes; io.EOF when there is none, errCut when there
// are fewer.
func (c *chunkReader) take(n int) ([]byte, error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, n)
	}
	b := c.buf[:n]
	got, err := io.ReadFull(c.r, b)
	c.offset += int64(got)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, errCut
	}
	if err != nil {
		return nil, err
	}
	c.crc = crc32.Update(c.crc, castagnoli, b)
	return b, nil
}

// ReadByte lets binary.ReadUvarint read from c.
func (c *chunkReader) ReadByte() (byte, error) {
	b, err := c.take(1)
	if err != nil {
		return 0, err
	}
	return b[0], nil
}

// maxChunk bounds the length of a chunk: anything longer is a damaged length.
const maxChunk = 1 << 20

func (c *chunkReader) length() (int, error) {
	n, err := binary.ReadUvarint(c)
	if err != nil {
		return 0, err
	}
	if n > maxChunk {
		return 0, fmt.Errorf("a chunk of %d bytes is too long", n)
	}
	return int(n), nil
}

func (c *chunkReader) checksum() error {
	want := c.crc
	b, err := c.take(crc32.Size)
	if err != nil {
		return cut(err)
	}
	if got := binary.BigEndian.Uint32(b); got != want {
		return fmt.Errorf("checksum of the chunk is %08x, its data gives %08x", got, want)
	}
	return nil
}

// cut turns the end of a file within a chunk into a fault.
func cut(err error) error {
	if errors.Is(err, io.EOF) {
		return errCut
	}
	return err
}

func (c *chunkReader) blockChunk() error {
	n, err := c.length()
	if err != nil {
		return err
	}
	c.crc = 0
	if _, err := c.take(1 + n); err != nil {
		return cut(err)
	}
	return c.checksum()
}

func (c *chunkReader) headChunk() error {
	c.crc = 0
	const fixed = chunks.SeriesRefSize + 2*chunks.MintMaxtSize + chunks.ChunkEncodingSize
	b, err := c.take(fixed)
	if errors.Is(err, errCut) {
		return err
	}
	if err != nil {
		return err
	}
	if allZero(b) {
		return c.padding()
	}
	n, err := c.length()
	if err != nil {
		return cut(err)
	}
	if _, err := c.take(n); err != nil {
		return cut(err)
	}
	return c.checksum()
}

// padding reads the zeros that a file, laid out in advance, ends with.
func (c *chunkReader) padding() error {
	for {
		b, err := c.ReadByte()
		if err != nil {
			return err
		}
		if b != 0 {
			return errors.New("data follows the end mark")
		}
	}
}

func allZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
