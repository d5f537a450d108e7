package mqtt

import (
	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/ingest"
)

// parcel is a delivery whose compressed payloads are unfolded only while the
// pipeline has it: who is told to wait holds what was sent, and no more.
type parcel struct {
	ingest.Delivery
	folded []folded
}

// folded is a message whose payload came compressed.
type folded struct {
	message int    // index in Messages
	payload []byte // as it came; nil once it was refused
}

func (p *parcel) Reset() {
	p.Delivery.Reset()
	clear(p.folded)
	p.folded = p.folded[:0]
}

// add adds a message that may be compressed.
func (p *parcel) add(device string, f codec.Format, payload []byte) {
	if compressed(payload) {
		p.folded = append(p.folded, folded{len(p.Messages), payload})
	}
	p.Add(device, f, payload)
}

// ingest sends a parcel through the pipeline, as Deps.Ingest does a delivery.
// It may be called again after an error that passes.
func (s *Server) ingest(p *parcel) error {
	if len(p.folded) == 0 {
		return s.deps.Ingest(&p.Delivery)
	}
	s.unfold.slots <- struct{}{}
	defer func() { <-s.unfold.slots }()
	p.unfold(&s.unfold)
	defer p.fold()
	return s.deps.Ingest(&p.Delivery)
}

// unfold puts the plain payloads in place; what cannot be unfolded is refused.
func (p *parcel) unfold(u *unfolder) {
	for i := range p.folded {
		f := &p.folded[i]
		if f.payload == nil {
			continue
		}
		m := &p.Messages[f.message]
		plain, err := u.unfold(f.payload)
		if err != nil {
			m.Refuse(reasonOf(err), err.Error())
			f.payload = nil
			continue
		}
		m.Payload = plain
	}
}

// fold puts the payloads back as they came.
func (p *parcel) fold() {
	for _, f := range p.folded {
		if f.payload != nil {
			p.Messages[f.message].Payload = f.payload
		}
	}
}
