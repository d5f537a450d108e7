package uplink

import "github.com/klauspost/compress/zstd"

// maxUnpacked bounds a message after decompression.
const maxUnpacked = 8 << 20

// Unpacker undoes the compression of messages. It may be used by several
// goroutines and needs no end: a decoder without a stream holds nothing.
type Unpacker struct{ zstd *zstd.Decoder }

// NewUnpacker returns an unpacker.
func NewUnpacker() (*Unpacker, error) {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxUnpacked), zstd.WithDecoderLowmem(true))
	return &Unpacker{d}, err
}

// Unpack returns the message without compression; a *[Refused] when it is
// damaged.
func (u *Unpacker) Unpack(m Message) (Message, error) {
	if !m.Zstd {
		return m, nil
	}
	plain, err := u.zstd.DecodeAll(m.Payload, nil)
	if err != nil {
		return m, &Refused{Detail: "the block cannot be unpacked: " + err.Error()}
	}
	m.Payload, m.Zstd = plain, false
	return m, nil
}
