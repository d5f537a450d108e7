package http

import (
	"bytes"
	"errors"
	"io"
	nethttp "net/http"
	"strings"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/telemetry"
)

// keep is the largest buffer in bytes that stays with a request for the next.
const keep = 64 << 10

// unpack holds the readers of compressed bodies; they are made when the first
// such body comes.
type unpack struct {
	sent bytes.Reader
	gzip *gzip.Reader
	zstd *zstd.Decoder
}

// payload returns the body, unfolded when it is compressed.
func (r *request) payload() ([]byte, *failure) {
	if fault := r.readBody(); fault != nil {
		return nil, fault
	}
	encoding := r.r.Header.Get("Content-Encoding")
	switch strings.ToLower(encoding) {
	case "", "identity":
		return r.body, nil
	case "gzip", "x-gzip":
		return r.gunzip()
	case "zstd":
		return r.unzstd()
	}
	return nil, refuse(nethttp.StatusUnsupportedMediaType, telemetry.ReasonUnsupported, "Content-Encoding %q is not read here; send gzip, zstd or none", clip(encoding))
}

// readBody reads the body as sent, within the door's bounds.
func (r *request) readBody() *failure {
	limit := r.door.cfg.MaxBody
	if r.r.ContentLength > int64(limit) {
		return refuse(nethttp.StatusRequestEntityTooLarge, telemetry.ReasonTooLarge, "the body has %d bytes; at most %d are allowed, send smaller batches", r.r.ContentLength, limit)
	}
	var fault *failure
	r.body, fault = r.readAll(r.r.Body, r.body[:0], limit, max(r.r.ContentLength, 0))
	if fault == errFull {
		return refuse(nethttp.StatusRequestEntityTooLarge, telemetry.ReasonTooLarge, "the body has more than %d bytes; send smaller batches", limit)
	}
	return fault
}

// errFull is what readAll returns when there is more than the limit.
var errFull = &failure{}

// readAll reads src to its end into buf. Memory beyond what every request may
// have is taken from the door's before it is allocated.
func (r *request) readAll(src io.Reader, buf []byte, limit int, expected int64) ([]byte, *failure) {
	// What a sender announces it may never send: memory follows the bytes.
	if need := int(min(expected+1, keep)); need > cap(buf) {
		buf = make([]byte, 0, need)
	}
	for {
		if len(buf) == cap(buf) {
			if fault := r.reserve(max(2*cap(buf), 4096)); fault != nil {
				return buf, fault
			}
			buf = append(make([]byte, 0, max(2*cap(buf), 4096)), buf...)
		}
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if len(buf) > limit {
			return buf, errFull
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, fail(nethttp.StatusBadRequest, "the body ends early or is damaged: %v", err)
		}
	}
}

// reserve takes n bytes of the memory that all bodies share; small ones are free.
func (r *request) reserve(n int) *failure {
	if n <= keep {
		return nil
	}
	if r.door.memory.Add(int64(n)) > r.door.cfg.MaxMemory {
		r.door.memory.Add(-int64(n))
		return &failure{status: nethttp.StatusTooManyRequests, detail: "too many large bodies are being read; send it again", after: time.Second}
	}
	r.reserved += int64(n)
	return nil
}

func (r *request) gunzip() ([]byte, *failure) {
	r.unpack.sent.Reset(r.body)
	var err error
	if r.unpack.gzip == nil {
		r.unpack.gzip, err = gzip.NewReader(&r.unpack.sent)
	} else {
		err = r.unpack.gzip.Reset(&r.unpack.sent)
	}
	if err != nil {
		return nil, refuse(nethttp.StatusBadRequest, telemetry.ReasonMalformed, "the body is not gzip as Content-Encoding says: %v", err)
	}
	return r.unfold(r.unpack.gzip)
}

// unzstd reads frames with windows of at most 8 MiB (RFC 9659).
func (r *request) unzstd() ([]byte, *failure) {
	r.unpack.sent.Reset(r.body)
	var err error
	if r.unpack.zstd == nil {
		r.unpack.zstd, err = zstd.NewReader(&r.unpack.sent, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(min(8<<20, uint64(max(r.door.cfg.MaxDecoded, 1<<10)))))
	} else {
		err = r.unpack.zstd.Reset(&r.unpack.sent)
	}
	if err != nil {
		return nil, refuse(nethttp.StatusBadRequest, telemetry.ReasonMalformed, "the body is not zstd as Content-Encoding says: %v", err)
	}
	return r.unfold(r.unpack.zstd)
}

// unfold reads a decompressor to its end, within the bounds of size and ratio.
func (r *request) unfold(src io.Reader) ([]byte, *failure) {
	limit := min(r.door.cfg.MaxDecoded, max(keep, len(r.body)*r.door.cfg.MaxRatio))
	var fault *failure
	r.unfolded, fault = r.readAll(src, r.unfolded[:0], limit, 0)
	switch {
	case fault == errFull:
		return nil, refuse(nethttp.StatusRequestEntityTooLarge, telemetry.ReasonDecompression, "the compressed body of %d bytes unfolds to more than %d; send smaller batches or leave it uncompressed", len(r.body), limit)
	case fault != nil && fault.status == nethttp.StatusBadRequest:
		fault.reason = telemetry.ReasonMalformed // it came whole
	}
	return r.unfolded, fault
}
