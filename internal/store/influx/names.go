package influx

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// escape stands before two hexadecimal digits that name a byte which InfluxDB
// cannot hold where it stands. It is U+241B, "symbol for escape": printable, and
// in no name that people give. The byte itself is written so too.
const escape = "\u241b"

// metricName is the label that holds the metric of a series.
const metricName = "__name__"

// nameless is how the metric is stored of a series without one.
const nameless = escape

// storedMetric is a metric name as InfluxDB holds it: its measurement. One that
// begins like a comment has its first byte escaped.
func storedMetric(s string) string {
	switch {
	case s == "":
		return nameless
	case s[0] == '#':
		return escapeFirst(s)
	}
	return storedValue(s)
}

// storedName is a label name as InfluxDB holds it: its tag key. Names of Flux's
// own columns have their first byte escaped.
func storedName(s string) string {
	if s == "time" || s == "result" || s == "table" || s != "" && s[0] == '_' {
		return escapeFirst(s)
	}
	return storedValue(s)
}

// storedValue is a label value as InfluxDB holds it: its tag value. Commas, spaces
// and equals signs are no trouble; a backslash is one before them and at the end,
// and what is not printable nowhere certain to survive.
func storedValue(s string) string {
	if isPlain(s) {
		return s
	}
	return string(appendEscaped(nil, s))
}

func escapeFirst(s string) string {
	return string(appendEscaped(appendByte(nil, s[0]), s[1:]))
}

func isPlain(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < ' ' || c >= 0x7f || c == '\\' {
			return isPlainUnicode(s[i:])
		}
	}
	return true
}

func isPlainUnicode(s string) bool {
	for _, r := range s { // which gives utf8.RuneError for what is not UTF-8
		if !holds(r) {
			return false
		}
	}
	return true
}

// holds reports whether InfluxDB holds a rune as it is.
func holds(r rune) bool {
	return r != '\\' && r != '\u241b' && r != utf8.RuneError && unicode.IsPrint(r)
}

func appendEscaped(dst []byte, s string) []byte {
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if holds(r) {
			dst = append(dst, s[i:i+n]...)
		} else {
			for _, c := range []byte(s[i : i+n]) {
				dst = appendByte(dst, c)
			}
		}
		i += n
	}
	return dst
}

func appendByte(dst []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	return append(append(dst, escape...), digits[c>>4], digits[c&15])
}

// original is the metric, name or value that is stored as s. What nobody wrote
// so stays as it is.
func original(s string) string {
	at := strings.Index(s, escape)
	if at < 0 {
		return s
	}
	if s == nameless {
		return ""
	}
	out := make([]byte, 0, len(s))
	for ; at >= 0; at = strings.Index(s, escape) {
		out = append(out, s[:at]...)
		s = s[at+len(escape):]
		if len(s) >= 2 && digit(s[0]) >= 0 && digit(s[1]) >= 0 {
			out = append(out, byte(digit(s[0])<<4|digit(s[1])))
			s = s[2:]
			continue
		}
		out = append(out, escape...)
	}
	return string(append(out, s...))
}

func digit(c byte) int { return strings.IndexByte("0123456789abcdef", c) }
