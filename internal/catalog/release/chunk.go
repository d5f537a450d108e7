package release

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
)

// chunkSize is how much of a file is compressed, sealed and checked at once. A
// reader holds one chunk.
const chunkSize = 256 << 10

// kept is how a file lies on disk: in chunks, each compressed where that makes
// it shorter, and then sealed where the release is.
type kept struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"` // of the file itself; not told of sealed ones
	// Chunks are the lengths of what is stored of each, negative where it is not
	// compressed.
	Chunks []int `json:"chunks"`
	// Sums are the SHA-256 of what is stored of each, one after the other.
	Sums []byte `json:"sums"`
}

// chunks writes a file in chunks.
type chunks struct {
	to     io.Writer
	seal   *sealing // nil: it is not sealed
	whole  hash.Hash
	pack   *zstd.Encoder
	buffer []byte
	packed []byte
	last   bool
	room   func(bytes int) error // asked before a chunk is stored; nil: there is
	kept
}

func newChunks(to io.Writer, name string, seal *sealing) (*chunks, error) {
	pack, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, err
	}
	return &chunks{to: to, seal: seal, whole: sha256.New(), pack: pack, buffer: make([]byte, 0, chunkSize), kept: kept{Name: name}}, nil
}

// Write implements io.Writer.
func (c *chunks) Write(p []byte) (int, error) {
	n := len(p)
	c.whole.Write(p)
	c.Size += int64(n)
	for len(p) > 0 {
		if len(c.buffer) == chunkSize { // one that is full is written when more comes: the last one is known by that
			if err := c.flush(); err != nil {
				return 0, err
			}
		}
		take := min(chunkSize-len(c.buffer), len(p))
		c.buffer = append(c.buffer, p[:take]...)
		p = p[take:]
	}
	return n, nil
}

// finish writes what is left.
func (c *chunks) finish() error {
	c.last = true
	c.SHA256 = hex.EncodeToString(c.whole.Sum(nil))
	return errors.Join(c.flush(), c.pack.Close())
}

func (c *chunks) flush() error {
	out, sign := c.buffer, -1
	if c.packed = c.pack.EncodeAll(c.buffer, c.packed[:0]); len(c.packed) < len(c.buffer) {
		out, sign = c.packed, 1
	}
	if c.seal != nil {
		out = c.seal.seal(out, len(c.Chunks), c.last, sign > 0)
	}
	if c.room != nil {
		if err := c.room(len(out)); err != nil {
			return err
		}
	}
	sum := sha256.Sum256(out)
	c.Chunks, c.Sums = append(c.Chunks, sign*len(out)), append(c.Sums, sum[:]...)
	c.buffer = c.buffer[:0]
	_, err := c.to.Write(out)
	return err
}

// reader reads a file that lies in chunks, from anywhere. What is not as it was
// written is an error and never returned.
type reader struct {
	file    *os.File
	seal    *sealing
	kept    kept
	offsets []int64 // of chunks in the file, and its end
	unpack  *zstd.Decoder
	at      int64
	chunk   int    // which one is in plain; -1: none
	plain   []byte // of the chunk
	stored  []byte
}

// ErrDamaged says that a file on disk is not what was written.
var ErrDamaged = errors.New("is damaged")

func newReader(file *os.File, k kept, seal *sealing) (*reader, error) {
	n := len(k.Chunks)
	if len(k.Sums) != n*sha256.Size || n == 0 || (k.Size-1)/chunkSize+1 > int64(n) || k.Size < 0 {
		return nil, fmt.Errorf("%s %w: what is known of its chunks does not fit its size", file.Name(), ErrDamaged)
	}
	r := &reader{file: file, seal: seal, kept: k, offsets: make([]int64, n+1), chunk: -1}
	for i, length := range k.Chunks {
		r.offsets[i+1] = r.offsets[i] + int64(max(length, -length))
	}
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() != r.offsets[n] {
		return nil, fmt.Errorf("%s %w: it has %d bytes and %d were written", file.Name(), ErrDamaged, info.Size(), r.offsets[n])
	}
	r.unpack, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(4*chunkSize))
	return r, err
}

// check reads what is stored once, and compares it with what was written.
func (r *reader) check() error {
	for i := range r.kept.Chunks {
		if err := r.read(i); err != nil {
			return err
		}
	}
	return nil
}

// read reads what is stored of a chunk.
func (r *reader) read(i int) error {
	length := int(r.offsets[i+1] - r.offsets[i])
	if cap(r.stored) < length {
		r.stored = make([]byte, length)
	}
	r.stored = r.stored[:length]
	if _, err := r.file.ReadAt(r.stored, r.offsets[i]); err != nil {
		return fmt.Errorf("%s %w: %w", r.file.Name(), ErrDamaged, err)
	}
	if sum := sha256.Sum256(r.stored); string(sum[:]) != string(r.kept.Sums[i*sha256.Size:][:sha256.Size]) {
		return fmt.Errorf("%s %w: bytes %d to %d are not what was written", r.file.Name(), ErrDamaged, r.offsets[i], r.offsets[i+1])
	}
	return nil
}

// load makes a chunk the one in plain.
func (r *reader) load(i int) (err error) {
	r.chunk = -1
	if err := r.read(i); err != nil {
		return err
	}
	out, packed := r.stored, r.kept.Chunks[i] > 0
	if r.seal != nil {
		if out, err = r.seal.open(out, i, i == len(r.kept.Chunks)-1, packed); err != nil {
			return fmt.Errorf("%s %w: chunk %d was sealed for another place, or with another key", r.file.Name(), ErrDamaged, i)
		}
	}
	if packed {
		r.plain, err = r.unpack.DecodeAll(out, r.plain[:0])
	} else {
		r.plain = append(r.plain[:0], out...)
	}
	if err != nil {
		return fmt.Errorf("%s %w: %w", r.file.Name(), ErrDamaged, err)
	}
	if want := min(r.kept.Size-int64(i)*chunkSize, chunkSize); int64(len(r.plain)) != want {
		return fmt.Errorf("%s %w: chunk %d has %d bytes, and %d were written", r.file.Name(), ErrDamaged, i, len(r.plain), want)
	}
	r.chunk = i
	return nil
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p[:min(len(p), chunkSize)], r.at)
	r.at += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// ReadAt implements io.ReaderAt, for one caller at a time.
func (r *reader) ReadAt(p []byte, at int64) (n int, err error) {
	for n < len(p) {
		if at >= r.kept.Size {
			return n, io.EOF
		}
		if i := int(at / chunkSize); i != r.chunk {
			if err := r.load(i); err != nil {
				return n, err
			}
		}
		m := copy(p[n:], r.plain[at%chunkSize:])
		n, at = n+m, at+int64(m)
	}
	return n, nil
}

// Seek implements io.Seeker.
func (r *reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.at
	case io.SeekEnd:
		offset += r.kept.Size
	}
	if offset < 0 {
		return 0, fmt.Errorf("offset %d lies before the file", offset)
	}
	r.at = offset
	return offset, nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	r.unpack.Close()
	return r.file.Close()
}

// sealing seals the chunks of one file with AES-256-GCM, under a key that is used
// for nothing else: a chunk's number is its nonce. What is sealed opens only in
// its place: of its dataset, version, file and chunk, and as the last one or not.
type sealing struct {
	aead cipher.AEAD
	name string // DATASET/VERSION/FILE
}

func (s *sealing) bound(i int, last, packed bool) (nonce, about []byte) {
	nonce = binary.BigEndian.AppendUint64(make([]byte, 4, 12), uint64(i))
	about = append(append([]byte(Format+"\x00"), s.name...), 0, flag(last), flag(packed))
	return nonce, binary.BigEndian.AppendUint64(about, uint64(i))
}

func flag(b bool) byte { return byte(number(b)) }

func (s *sealing) seal(plain []byte, i int, last, packed bool) []byte {
	nonce, about := s.bound(i, last, packed)
	return s.aead.Seal(nil, nonce, plain, about)
}

func (s *sealing) open(sealed []byte, i int, last, packed bool) ([]byte, error) {
	nonce, about := s.bound(i, last, packed)
	return s.aead.Open(nil, nonce, sealed, about)
}
