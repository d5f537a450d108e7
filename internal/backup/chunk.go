package backup

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"runtime"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// chunkSize is the length of a chunk of a file; the last one is shorter. Files
// that grow at their end, and databases that change in place, share most chunks
// with the backup before.
const chunkSize = 4 << 20

// sum is a SHA-256.
type sum [sha256.Size]byte

func (s sum) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

func (s *sum) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil || len(b) != len(s) {
		return fmt.Errorf("%.70q is no SHA-256", text)
	}
	copy(s[:], b)
	return nil
}

// nameOf is the name of a chunk: with the key of the hub, so that nobody can tell
// by it whether a backup holds a chunk that they know.
func nameOf(key []byte, of sum) string {
	h := hmac.New(sha256.New, key)
	h.Write(of[:])
	return hex.EncodeToString(h.Sum(nil))
}

// workers is how many chunks are under way: enough to keep all processors busy
// while others wait for a disk or a network. Each takes some 16 MB.
func workers() int { return max(8, 2*runtime.GOMAXPROCS(0)) }

// object is where a chunk lies: a folder for each first byte of its name.
func object(name string) string { return "chunks/" + name[:2] + "/" + name }

// packer makes chunks smaller and encrypts them; it is for one goroutine.
type packer struct {
	to  []age.Recipient // none: not encrypted
	zip *zstd.Encoder
	out bytes.Buffer
	mid []byte
}

func newPacker(to []age.Recipient) (*packer, error) {
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	return &packer{to: to, zip: z}, err
}

// pack returns what is kept of a chunk, valid until the next call.
func (p *packer) pack(plain []byte) ([]byte, error) {
	p.mid = p.zip.EncodeAll(plain, p.mid[:0])
	if len(p.to) == 0 {
		return p.mid, nil
	}
	p.out.Reset()
	w, err := age.Encrypt(&p.out, p.to...)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(p.mid); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return p.out.Bytes(), nil
}

// unpacker reverts a packer; it is for one goroutine.
type unpacker struct {
	by  []age.Identity // of backups that are encrypted
	zip *zstd.Decoder
	mid bytes.Buffer
	out []byte
}

func newUnpacker(by []age.Identity) (*unpacker, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxManifest))
	return &unpacker{by: by, zip: z}, err
}

// unpack returns the chunk, valid until the next call. It has at most the length
// that is given.
func (u *unpacker) unpack(kept []byte, encrypted bool, length int64) ([]byte, error) {
	if encrypted {
		r, err := age.Decrypt(bytes.NewReader(kept), u.by...)
		if err != nil {
			return nil, explainIdentity(err)
		}
		u.mid.Reset()
		if _, err := u.mid.ReadFrom(r); err != nil {
			return nil, fmt.Errorf("it is damaged: %w", err)
		}
		kept = u.mid.Bytes()
	}
	var head zstd.Header
	if err := head.Decode(kept); err != nil || head.HasFCS && head.FrameContentSize > uint64(length) {
		return nil, errors.New("it is damaged: it is not of the length that it should have")
	}
	var err error
	if u.out, err = u.zip.DecodeAll(kept, u.out[:0]); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	if int64(len(u.out)) > length {
		return nil, errors.New("it is damaged: it is longer than it should be")
	}
	return u.out, nil
}

func explainIdentity(err error) error {
	if _, ok := errors.AsType[*age.NoIdentityMatchError](err); ok {
		return fmt.Errorf("none of the identities opens it: %w; give the one whose recipient it was made for with --identity", err)
	}
	return err
}
