package codec

import (
	"github.com/songhua-io/hub/internal/telemetry"
)

// decodeSenML reads a SenML pack in JSON (RFC 8428 §5).
func decodeSenML(b *telemetry.Batch, in *Input) error {
	s := jsonScanner{p: in.Payload, b: b, format: SenML}
	p := senmlPack{b: b, in: *in, format: SenML, mark: markOf(b)}
	err := p.readJSON(&s)
	if err != nil {
		p.mark.undo(b)
	}
	return err
}

func (p *senmlPack) readJSON(s *jsonScanner) error {
	if s.peek() != '[' {
		return s.expected("'[', the start of a SenML pack")
	}
	for more := !s.open(']'); more; {
		err := p.jsonRecord(s)
		if err == nil {
			more, err = s.more(']', "',' or ']' after a record")
		}
		if err != nil {
			return err
		}
	}
	return s.end()
}

func (p *senmlPack) jsonRecord(s *jsonScanner) error {
	c := s.peek()
	r := p.begin(s.i)
	if c != '{' {
		r.blame(s.i, telemetry.ReasonMalformed, "the record is no object")
		if err := s.skip(0); err != nil {
			return err
		}
		return p.add(r)
	}
	for more := !s.open('}'); more; {
		s.peek()
		at := s.i
		key, err := s.key()
		if err == nil {
			err = p.jsonField(s, r, key, at)
		}
		if err == nil {
			more, err = s.more('}', "',' or '}' after a field")
		}
		if err != nil {
			return err
		}
	}
	return p.add(r)
}

// jsonField reads the value of a field whose name stands at byte at.
func (p *senmlPack) jsonField(s *jsonScanner, r *senmlRecord, key []byte, at int) error {
	f := senmlLabel(key)
	if f == senmlUnknown {
		if err := p.unknown(key, at); err != nil {
			return err
		}
		return s.skip(0)
	}
	if r.has(f) {
		if err := p.repeated(r, f, at); err != nil {
			return err
		}
	}
	r.set |= 1 << f
	c := s.peek()
	switch {
	case f < senmlNumbers && (c == '-' || c-'0' <= 9):
		return p.jsonNumber(s, r, f)
	case f >= senmlFirstText && f < senmlTexts && c == '"':
		text, err := s.text()
		r.text[f-senmlFirstText] = text
		return err
	case f == senmlVB && c == 't':
		r.truth = true
		return s.word("true")
	case f == senmlVB && c == 'f':
		r.truth = false
		return s.word("false")
	case f == senmlTags:
		return p.jsonTags(s, r)
	}
	return p.jsonMismatch(s, r, f)
}

func (p *senmlPack) jsonNumber(s *jsonScanner, r *senmlRecord, f senmlField) error {
	at := s.i
	n, err := s.number()
	if err != nil {
		return err
	}
	if n.overflow {
		return p.wrong(r, f, at, telemetry.ReasonNotFinite,
			senmlLabels[f]+" is beyond what a 64-bit float can hold")
	}
	r.number[f] = n.value
	return nil
}

func (p *senmlPack) jsonTags(s *jsonScanner, r *senmlRecord) error {
	at, mark := s.i, p.b.Mark()
	fault, err := s.tags()
	if fault != "" {
		r.blame(at, telemetry.ReasonLabelInvalid, fault)
	}
	r.tags = p.b.EndTags(mark)
	return err
}

// jsonMismatch skips a value that is not of its field's type.
func (p *senmlPack) jsonMismatch(s *jsonScanner, r *senmlRecord, f senmlField) error {
	at := s.i
	if err := s.skip(0); err != nil {
		return err
	}
	return p.wrong(r, f, at, telemetry.ReasonMalformed, senmlTypeFault(f))
}

func senmlTypeFault(f senmlField) string {
	kind := "number"
	switch {
	case f == senmlVB:
		kind = "boolean"
	case f >= senmlFirstText:
		kind = "text"
	}
	return "field " + senmlLabels[f] + " is no " + kind
}
