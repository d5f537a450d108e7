package codec

import (
	"bytes"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/telemetry"
)

// maxDepth bounds how deep objects and arrays may nest in JSON and CBOR.
const maxDepth = 32

// jsonScanner reads JSON (RFC 8259) from front to back. Strings alias the
// payload, or the batch when they hold escapes.
type jsonScanner struct {
	p      []byte
	i      int
	b      *telemetry.Batch
	format Format
}

func (s *jsonScanner) fail(at int, format string, args ...any) error {
	return &Error{s.format, at, telemetry.ReasonMalformed, fmt.Sprintf(format, args...)}
}

// expected says what should stand at the current byte and what does.
func (s *jsonScanner) expected(what string) error {
	if s.i >= len(s.p) {
		return s.fail(s.i, "expected %s, found the end", what)
	}
	r, _ := utf8.DecodeRune(s.p[s.i:])
	return s.fail(s.i, "expected %s, found %q", what, r)
}

// peek skips white space and returns the byte that follows; 0 at the end.
func (s *jsonScanner) peek() byte {
	if s.i < len(s.p) && s.p[s.i] > ' ' {
		return s.p[s.i]
	}
	return s.peekFar()
}

func (s *jsonScanner) peekFar() byte {
	for s.i < len(s.p) {
		c := s.p[s.i]
		if c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			return c
		}
		s.i++
	}
	return 0
}

// key reads a field's name and the colon behind it.
func (s *jsonScanner) key() ([]byte, error) {
	if s.peek() != '"' {
		return nil, s.expected("a field name in quotes")
	}
	k, err := s.text()
	if err != nil {
		return nil, err
	}
	if s.peek() != ':' {
		return nil, s.expected("':' after the field name")
	}
	s.i++
	return k, nil
}

// more reads what stands between two elements: true after a comma, false
// after the closing byte.
func (s *jsonScanner) more(closing byte, expected string) (bool, error) {
	switch s.peek() {
	case ',':
		s.i++
		return true, nil
	case closing:
		s.i++
		return false, nil
	}
	return false, s.expected(expected)
}

// open reads an opening byte; empty is true when the closing one follows.
func (s *jsonScanner) open(closing byte) (empty bool) {
	s.i++
	if s.peek() == closing {
		s.i++
		return true
	}
	return false
}

// end refuses anything but white space behind the document.
func (s *jsonScanner) end() error {
	if s.peek(); s.i < len(s.p) {
		return s.expected("nothing more")
	}
	return nil
}

// text reads the string that begins at the current byte.
func (s *jsonScanner) text() ([]byte, error) {
	p, start := s.p, s.i+1
	i := start
	for i < len(p) && plainText[p[i]] {
		i++
	}
	switch {
	case i >= len(p):
		return nil, s.fail(s.i, "the string has no closing quote")
	case p[i] == '"':
		s.i = i + 1
		return p[start:i:i], nil
	}
	return s.longText(start, i)
}

// plainText are the bytes of strings that stand for themselves: ASCII without
// the quote, the backslash and control characters.
var plainText = func() (t [256]bool) {
	for c := byte(' '); c < utf8.RuneSelf; c++ {
		t[c] = c != '"' && c != '\\'
	}
	return t
}()

// longText is text for strings with escapes or bytes beyond ASCII.
func (s *jsonScanner) longText(start, i int) ([]byte, error) {
	p, escaped := s.p, false
	for ; i < len(p) && p[i] != '"'; i++ {
		if p[i] < ' ' {
			return nil, s.fail(i, "control character %#02x in a string; write it as an escape", p[i])
		}
		if p[i] == '\\' {
			escaped = true
			i++
		}
	}
	if i >= len(p) {
		return nil, s.fail(start-1, "the string has no closing quote")
	}
	raw := p[start:i:i]
	if !utf8.Valid(raw) {
		return nil, s.fail(start-1, "the string is not valid UTF-8")
	}
	s.i = i + 1
	if !escaped {
		return raw, nil
	}
	return s.unescape(raw, start)
}

func (s *jsonScanner) unescape(raw []byte, at int) ([]byte, error) {
	// No escape is shorter than what it stands for.
	out := s.b.Bytes(len(raw))[:0]
	for i := 0; i < len(raw); {
		next := bytes.IndexByte(raw[i:], '\\')
		if next < 0 {
			return append(out, raw[i:]...), nil
		}
		out = append(out, raw[i:i+next]...)
		i += next + 1
		r, n := escape(raw[i:])
		if n == 0 {
			return nil, s.fail(at+i-1, "unknown escape in a string")
		}
		out = utf8.AppendRune(out, r)
		i += n
	}
	return out, nil
}

// escape reads what follows a backslash; n is 0 when it is no escape. Halves
// of surrogate pairs become U+FFFD.
func escape(p []byte) (r rune, n int) {
	switch p[0] {
	case '"', '\\', '/':
		return rune(p[0]), 1
	case 'b':
		return '\b', 1
	case 'f':
		return '\f', 1
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'u':
		r, ok := hex4(p[1:])
		if !ok {
			return 0, 0
		}
		if utf16.IsSurrogate(r) {
			return surrogate(r, p[5:])
		}
		return r, 5
	}
	return 0, 0
}

func surrogate(r rune, rest []byte) (rune, int) {
	if len(rest) > 2 && rest[0] == '\\' && rest[1] == 'u' {
		low, ok := hex4(rest[2:])
		if whole := utf16.DecodeRune(r, low); ok && whole != utf8.RuneError {
			return whole, 11
		}
	}
	return utf8.RuneError, 5
}

func hex4(p []byte) (r rune, ok bool) {
	if len(p) < 4 {
		return 0, false
	}
	for _, c := range p[:4] {
		switch {
		case c-'0' <= 9:
			c -= '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number reads the number that begins at the current byte.
func (s *jsonScanner) number() (number, error) {
	n := scanNumber(s.p, s.i, true)
	if !n.valid {
		at := s.i
		s.i = n.end
		if n.end == at {
			return n, s.expected("a value")
		}
		return n, s.fail(at, "not a number of JSON: %q", clip(s.p[at:n.end]))
	}
	s.i = n.end
	return n, nil
}

// word reads true, false or null, whichever w is.
func (s *jsonScanner) word(w string) error {
	if len(s.p)-s.i < len(w) || string(s.p[s.i:s.i+len(w)]) != w {
		return s.expected("a value")
	}
	s.i += len(w)
	return nil
}

// skip reads any value and drops it.
func (s *jsonScanner) skip(depth int) error {
	if depth > maxDepth {
		return s.fail(s.i, "values nest deeper than %d levels", maxDepth)
	}
	var err error
	switch s.peek() {
	case '"':
		_, err = s.text()
	case 't':
		err = s.word("true")
	case 'f':
		err = s.word("false")
	case 'n':
		err = s.word("null")
	case '{':
		err = s.skipObject(depth)
	case '[':
		err = s.skipArray(depth)
	default:
		_, err = s.number()
	}
	return err
}

func (s *jsonScanner) skipObject(depth int) error {
	for more := !s.open('}'); more; {
		_, err := s.key()
		if err == nil {
			err = s.skip(depth + 1)
		}
		if err == nil {
			more, err = s.more('}', "',' or '}' after a field")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *jsonScanner) skipArray(depth int) error {
	for more := !s.open(']'); more; {
		err := s.skip(depth + 1)
		if err == nil {
			more, err = s.more(']', "',' or ']' after an element")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// tags reads an object of tags and adds them to the batch. Numbers and
// booleans are taken as their text. fault names what cannot be a tag; the
// whole object is read all the same.
func (s *jsonScanner) tags() (fault string, err error) {
	if s.peek() != '{' {
		return "tags is no object of names and texts", s.skip(0)
	}
	for more := !s.open('}'); more; {
		name, err := s.key()
		if err != nil {
			return "", err
		}
		value, ok, err := s.tagValue()
		if err != nil {
			return "", err
		}
		if ok {
			s.b.AddTag(name, value)
		} else {
			fault = fmt.Sprintf("tag %q is no text, number or boolean", clip(name))
		}
		if more, err = s.more('}', "',' or '}' after a tag"); err != nil {
			return "", err
		}
	}
	return fault, nil
}

func (s *jsonScanner) tagValue() (value []byte, ok bool, err error) {
	switch s.peek() {
	case '"':
		value, err = s.text()
		return value, true, err
	case '{', '[', 'n':
		return nil, false, s.skip(1)
	}
	start := s.i
	err = s.skip(1)
	return s.p[start:s.i:s.i], true, err
}

// clip shortens what an error quotes.
func clip(s []byte) []byte {
	if len(s) > 40 {
		return append(s[:40:40], "…"...)
	}
	return s
}
