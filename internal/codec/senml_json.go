package codec

import (
	"github.com/songhua-io/hub/internal/telemetry"
)

// decodeSenML reads a SenML pack in JSON (RFC 8428 §5).
func decodeSenML(b *telemetry.Batch, in *Input) error {
	s := jsonScanner{p: in.Payload, b: b, format: SenML}
	var p senmlPack
	p.begin(b, in, SenML)
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
	r := p.next(s.i)
	if c != '{' {
		r.blame(s.i, telemetry.ReasonMalformed, "the record is no object")
		if err := s.skip(0); err != nil {
			return err
		}
		return p.add(r)
	}
	for more := !s.open('}'); more; {
		err := p.jsonField(s, r)
		if err == nil {
			more, err = s.more('}', "',' or '}' after a field")
		}
		if err != nil {
			return err
		}
	}
	return p.add(r)
}

// shortLabels are the labels of one letter, and those of two that begin with
// b, by their last letter.
var shortLabels, shortBaseLabels = func() (one, base [256]senmlField) {
	for c := range one {
		one[c], base[c] = senmlLabel([]byte{byte(c)}), senmlLabel([]byte{'b', byte(c)})
	}
	return one, base
}()

// shortLabel returns the field whose label stands at p[i] as most packs write
// it, with its quotes and its colon, and the byte behind them. All else is
// senmlUnknown, and to be read the long way.
func shortLabel(p []byte, i int) (f senmlField, end int) {
	switch p = p[i:]; {
	case len(p) > 4 && p[0] == '"' && p[2] == '"' && p[3] == ':':
		return shortLabels[p[1]], i + 4
	case len(p) > 5 && p[0] == '"' && p[1] == 'b' && p[3] == '"' && p[4] == ':':
		return shortBaseLabels[p[2]], i + 5
	}
	return senmlUnknown, i
}

// jsonField reads a field.
func (p *senmlPack) jsonField(s *jsonScanner, r *senmlRecord) error {
	s.peek()
	at := s.i
	f, end := shortLabel(s.p, at)
	if f != senmlUnknown {
		s.i = end
	} else {
		key, err := s.key()
		if err != nil {
			return err
		}
		if f = senmlLabel(key); f == senmlUnknown {
			if err := p.unknown(key, at); err != nil {
				return err
			}
			return s.skip(0)
		}
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
	n := scanNumber(s.p, at, true)
	if !n.valid {
		_, err := s.number()
		return err
	}
	s.i = n.end
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
