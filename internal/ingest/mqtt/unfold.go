package mqtt

import (
	"bytes"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/telemetry"
)

// unfolder decompresses payloads that begin like gzip or zstd. It bounds the
// size and the ratio of one payload, and how many bursts hold unfolded
// payloads at once.
type unfolder struct {
	most  int
	slots chan struct{}
	gzip  sync.Pool
	zstd  sync.Pool
}

const unfoldSlots = 16

func (u *unfolder) init(most int) {
	u.most, u.slots = most, make(chan struct{}, unfoldSlots)
}

// enter takes a slot for a burst that is about to unfold its first payload.
func (u *unfolder) enter(b *burst) {
	if b.unfolded == 0 {
		u.slots <- struct{}{}
		b.unfolded = 1
	}
}

func (u *unfolder) exit(b *burst) {
	if b.unfolded != 0 {
		b.unfolded = 0
		<-u.slots
	}
}

// compressed reports whether p begins with the magic number of gzip (RFC 1952)
// or zstd (RFC 8878). No telemetry format does.
func compressed(p []byte) bool {
	return len(p) >= 4 && (p[0] == 0x1f && p[1] == 0x8b || p[0] == 0x28 && p[1] == 0xb5 && p[2] == 0x2f && p[3] == 0xfd)
}

// unfold returns the decompressed payload, or a *codec.Error.
func (u *unfolder) unfold(p []byte) ([]byte, error) {
	most := min(u.most, max(unfoldFree, unfoldRatio*len(p)))
	src, name, give, err := u.open(p)
	if err == nil {
		var out bytes.Buffer
		out.Grow(min(4*len(p), most) + bytes.MinRead)
		_, err = out.ReadFrom(io.LimitReader(src, int64(most)+1))
		give()
		if err == nil && out.Len() > most {
			return nil, &codec.Error{Reason: telemetry.ReasonDecompression, Offset: len(p),
				Detail: fmt.Sprintf("%s payload of %d bytes unfolds to more than %d", name, len(p), most)}
		}
		if err == nil {
			return out.Bytes(), nil
		}
	}
	return nil, &codec.Error{Reason: telemetry.ReasonMalformed, Detail: fmt.Sprintf("%s payload: %v", name, err)}
}

// open returns a reader of the decompressed bytes, and how to give it back.
func (u *unfolder) open(p []byte) (src io.Reader, name string, give func(), err error) {
	if p[0] == 0x1f {
		z, ok := u.gzip.Get().(*gzip.Reader)
		if !ok {
			z = new(gzip.Reader)
		}
		return z, "gzip", func() { u.gzip.Put(z) }, z.Reset(bytes.NewReader(p))
	}
	z, ok := u.zstd.Get().(*zstd.Decoder)
	if !ok {
		if z, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(uint64(u.most)), zstd.WithDecoderMaxWindow(uint64(max(u.most, 1<<20)))); err != nil {
			return nil, "zstd", nil, err
		}
	}
	return z, "zstd", func() { z.Reset(nil); u.zstd.Put(z) }, z.Reset(bytes.NewReader(p))
}
