package edge

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/edge/uplink"
	"github.com/songhua-io/hub/internal/telemetry"
)

// splitter makes messages that are too large for the hub smaller: it sends their
// samples in halves. It is safe for use by several goroutines.
type splitter struct {
	device string
	unpack *uplink.Unpacker
}

func newSplitter(device string) (*splitter, error) {
	unpack, err := uplink.NewUnpacker()
	return &splitter{device, unpack}, err
}

// sizes are how large a message may be, in bytes: wanted as long as it can be
// split, most in any case.
type sizes struct{ wanted, most int }

// send delivers a message in parts of the sizes, and returns how many samples
// were refused: with a *[uplink.Refused] those, with another error the message
// is to be sent again, and what of it had arrived arrives twice.
func (s *splitter) send(ctx context.Context, link uplink.Link, m uplink.Message, n sizes) (uint32, error) {
	large := (*uplink.TooLarge)(nil)
	err := try(ctx, link, m, n.wanted)
	if !errors.As(err, &large) {
		return m.Samples, err
	}
	halves, err := s.halve(m)
	if err != nil {
		return m.Samples, err
	}
	if halves == nil {
		if err = try(ctx, link, m, n.most); errors.As(err, &large) {
			err = &uplink.Refused{Detail: large.Error()}
		}
		return m.Samples, err
	}
	lost, refused := uint32(0), (*uplink.Refused)(nil)
	for _, h := range halves {
		k, err := s.send(ctx, link, h, n)
		if errors.As(err, &refused) {
			lost += k
		} else if err != nil {
			return m.Samples, err
		}
	}
	if refused != nil {
		return lost, refused
	}
	return 0, nil
}

func try(ctx context.Context, link uplink.Link, m uplink.Message, limit int) error {
	if n := len(m.Payload); n > limit {
		return &uplink.TooLarge{Detail: fmt.Sprintf("%d B, at most %d are sent (uplink.max_message)", n, limit)}
	}
	return link.Send(ctx, m)
}

// halve returns nothing for what cannot be divided: a single sample, or what
// holds no samples of ours.
func (s *splitter) halve(m uplink.Message) ([]uplink.Message, error) {
	if m.Suffix != suffixSenMLCBOR || m.Samples < 2 {
		return nil, nil
	}
	m, err := s.unpack.Unpack(m)
	if err != nil {
		return nil, err
	}
	var b telemetry.Batch
	in := codec.Input{Payload: m.Payload, Device: s.device, Now: time.Now().UnixMilli()}
	if err := codec.Decode(&b, codec.SenMLCBOR, in); err != nil {
		return nil, &uplink.Refused{Detail: "the block cannot be read: " + err.Error()}
	}
	half := len(b.Samples) / 2
	if half == 0 {
		return nil, nil
	}
	var halves []uplink.Message
	for _, part := range [][]telemetry.Sample{b.Samples[:half], b.Samples[half:]} {
		halves = append(halves, uplink.Message{Suffix: m.Suffix, Payload: codec.AppendSenMLCBOR(nil, part), Samples: uint32(len(part))})
	}
	return halves, nil
}

const (
	// patience is how many connections a block may be lost with before it is
	// suspected to end them; from then on it is sent in parts, half as large
	// after each further one.
	patience = 3
	// giveUpAfter is how many connections end with a block that cannot be sent
	// in smaller parts, while others are taken, before it counts as refused.
	giveUpAfter = 12
	// maxSuspects bounds the blocks of which this is known.
	maxSuspects = 1024
)

// suspects knows which blocks were under way when connections ended: the hub
// says nothing of a packet that is larger than it reads.
type suspects map[uint64]suspect

type suspect struct {
	losses int
	// proofs counts those of the losses before which the hub took other blocks;
	// delivered is how many it had taken at the last one.
	proofs    int
	delivered uint64
}

// lost notes that a connection ended with the block.
func (s suspects) lost(seq, delivered uint64) {
	e, known := s[seq]
	if !known && len(s) >= maxSuspects {
		return
	}
	e.losses++
	if known && delivered > e.delivered {
		e.proofs++
	}
	e.delivered = delivered
	s[seq] = e
}

// sizes are how large the block's messages may be.
func (s suspects) sizes(seq uint64, most int) sizes {
	n := sizes{most, most}
	if losses := s[seq].losses; losses >= patience {
		n.wanted = max(minMessage, most>>min(losses-patience+1, 16))
	}
	return n
}

// hopeless reports whether smaller parts have not helped either.
func (s suspects) hopeless(seq uint64) bool { return s[seq].proofs >= giveUpAfter }
