package codec

import "github.com/songhua-io/hub/internal/telemetry"

// decodeSenMLCBOR reads a SenML pack in CBOR (RFC 8428 §6).
func decodeSenMLCBOR(b *telemetry.Batch, in *Input) error {
	s := cborScanner{p: in.Payload, b: b}
	var p senmlPack
	p.begin(b, in, SenMLCBOR)
	err := p.readCBOR(&s)
	if err != nil {
		p.mark.undo(b)
	}
	return err
}

func (p *senmlPack) readCBOR(s *cborScanner) error {
	h, err := s.head()
	if err != nil {
		return err
	}
	if h.major != cborArray {
		return s.fail(0, "a SenML pack is a CBOR array; this begins with byte %#02x", s.p[0])
	}
	for items := itemsOf(h); ; {
		more, err := s.next(&items)
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if err := p.cborRecord(s); err != nil {
			return err
		}
	}
	if s.i < len(s.p) {
		return s.fail(s.i, "%d bytes stand behind the pack", len(s.p)-s.i)
	}
	return nil
}

func (p *senmlPack) cborRecord(s *cborScanner) error {
	r := p.next(s.i)
	h, err := s.head()
	if err != nil {
		return err
	}
	if h.major != cborMap {
		r.blame(r.at, telemetry.ReasonMalformed, "the record is no map")
		if err := s.skip(h, 1); err != nil {
			return err
		}
		return p.add(r)
	}
	for items := itemsOf(h); ; {
		more, err := s.next(&items)
		if err != nil {
			return err
		}
		if !more {
			return p.add(r)
		}
		if err := p.cborField(s, r); err != nil {
			return err
		}
	}
}

// cborField reads one label and its value.
func (p *senmlPack) cborField(s *cborScanner, r *senmlRecord) error {
	at := s.i
	h, err := s.head()
	if err != nil {
		return err
	}
	f, err := p.cborLabel(s, h, at)
	if err != nil {
		return err
	}
	if f == senmlUnknown {
		return s.skipNext(2)
	}
	if r.has(f) {
		if err := p.repeated(r, f, at); err != nil {
			return err
		}
	}
	r.set |= 1 << f
	return p.cborValue(s, r, f)
}

// Fields by their labels in CBOR (RFC 8428 Table 4): 0 to 8, and -1 to -6.
var (
	cborLabels     = [...]senmlField{senmlN, senmlU, senmlV, senmlVS, senmlVB, senmlS, senmlT, senmlUT, senmlVD}
	cborBaseLabels = [...]senmlField{senmlBVer, senmlBN, senmlBT, senmlBU, senmlBV, senmlBS}
)

func (p *senmlPack) cborLabel(s *cborScanner, h cborHead, at int) (senmlField, error) {
	switch {
	case h.major == cborUint && h.arg < uint64(len(cborLabels)):
		return cborLabels[h.arg], nil
	case h.major == cborNegative && h.arg < uint64(len(cborBaseLabels)):
		return cborBaseLabels[h.arg], nil
	case h.major != cborText:
		return senmlUnknown, s.skip(h, 2)
	}
	key, err := s.str(h)
	if err != nil {
		return senmlUnknown, err
	}
	// Table 4 is conclusive: labels with a number are never written as text.
	if string(key) == "tags" {
		return senmlTags, nil
	}
	return senmlUnknown, p.unknown(key, at)
}

func (p *senmlPack) cborValue(s *cborScanner, r *senmlRecord, f senmlField) error {
	at := s.i
	h, err := s.head()
	if err != nil {
		return err
	}
	switch {
	case f < senmlNumbers:
		n, err := s.number(h, 2)
		if err == nil && n.fault != "" {
			err = p.wrong(r, f, at, cborFaultReason(h), "field "+senmlLabels[f]+" "+n.fault)
		}
		r.number[f] = n.value
		return err
	case f == senmlVD && h.major == cborBytes, f < senmlTexts && f != senmlVD && h.major == cborText:
		r.text[f-senmlFirstText], err = s.str(h)
		return err
	case f == senmlVB && h.major == cborSimple && (h.info == 20 || h.info == 21):
		r.truth = h.info == 21
		return nil
	case f == senmlTags && h.major == cborMap:
		return p.cborTags(s, r, h)
	}
	if err := s.skip(h, 2); err != nil {
		return err
	}
	fault := senmlTypeFault(f)
	if f == senmlVD {
		fault = "field vd is no byte string"
	}
	return p.wrong(r, f, at, telemetry.ReasonMalformed, fault)
}

// cborFaultReason tells a bignum, which is a number that is not taken, from
// what is no number.
func cborFaultReason(h cborHead) telemetry.Reason {
	if h.major == cborTag && (h.arg == 2 || h.arg == 3) {
		return telemetry.ReasonUnsupported
	}
	return telemetry.ReasonMalformed
}

// cborTags reads the map of tags whose head is h; names and values are texts.
func (p *senmlPack) cborTags(s *cborScanner, r *senmlRecord, h cborHead) error {
	mark := p.b.Mark()
	for items := itemsOf(h); ; {
		more, err := s.next(&items)
		if err != nil {
			return err
		}
		if !more {
			r.tags = p.b.EndTags(mark)
			return nil
		}
		at := s.i
		name, named, err := s.textOrSkip()
		if err != nil {
			return err
		}
		value, valued, err := s.textOrSkip()
		if err != nil {
			return err
		}
		if named && valued {
			p.b.AddTag(name, value)
		} else {
			r.blame(at, telemetry.ReasonLabelInvalid, "a tag's name or value is no text")
		}
	}
}

// textOrSkip reads an item; ok is false when it is no text.
func (s *cborScanner) textOrSkip() (text []byte, ok bool, err error) {
	h, err := s.head()
	if err != nil {
		return nil, false, err
	}
	if h.major != cborText {
		return nil, false, s.skip(h, 3)
	}
	text, err = s.str(h)
	return text, true, err
}
