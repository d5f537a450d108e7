package mqtt

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// unfolder decompresses payloads that begin like gzip or zstd. It bounds the
// size and the ratio of one payload, and how many parcels hold unfolded
// payloads at once.
type unfolder struct {
	most  int
	slots chan struct{}
	gzip  sync.Pool
	zstd  *zstd.Decoder
}

const (
	unfoldSlots = 16
	// commonWindow is the window that encoders declare by default (RFC 8878
	// section 3.1.1.1.2 asks every decoder for 8 MiB); the library takes none
	// larger than what it may unfold to.
	commonWindow = 8 << 20
)

func (u *unfolder) init(most int) (err error) {
	u.most, u.slots = most, make(chan struct{}, unfoldSlots)
	u.zstd, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(unfoldSlots), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(uint64(max(most, commonWindow))))
	return err
}

// compressed reports whether p begins with the magic number of gzip (RFC 1952)
// or zstd (RFC 8878). No telemetry format does.
func compressed(p []byte) bool {
	return len(p) >= 4 && (p[0] == 0x1f && p[1] == 0x8b || p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd)
}

// bound is how many bytes p may unfold to.
func (u *unfolder) bound(p []byte) int { return min(u.most, max(unfoldFree, unfoldRatio*len(p))) }

// unfold returns the decompressed payload, or a *codec.Error.
func (u *unfolder) unfold(p []byte) ([]byte, error) {
	most := u.bound(p)
	name, read := "gzip", u.gunzip
	if p[0] != 0x1f {
		name, read = "zstd", u.unzstd
	}
	out, err := read(p, most)
	switch {
	case errors.Is(err, zstd.ErrDecoderSizeExceeded), err == nil && len(out) > most:
		return nil, &codec.Error{Reason: telemetry.ReasonDecompression, Detail: fmt.Sprintf("%s payload of %d bytes unfolds to more than %d", name, len(p), most)}
	case err != nil:
		return nil, &codec.Error{Reason: telemetry.ReasonMalformed, Detail: fmt.Sprintf("%s payload: %v", name, err)}
	}
	return out, nil
}

// gunzip returns at most a byte more than most.
func (u *unfolder) gunzip(p []byte, most int) ([]byte, error) {
	z, ok := u.gzip.Get().(*gzip.Reader)
	if !ok {
		z = new(gzip.Reader)
	}
	defer u.gzip.Put(z)
	if err := z.Reset(bytes.NewReader(p)); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	out.Grow(min(4*len(p), most) + bytes.MinRead)
	_, err := out.ReadFrom(io.LimitReader(z, int64(most)+1))
	return out.Bytes(), err
}

// unzstd allocates no window: what it returns is the window.
func (u *unfolder) unzstd(p []byte, _ int) ([]byte, error) { return u.zstd.DecodeAll(p, nil) }
