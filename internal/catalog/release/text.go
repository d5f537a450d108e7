package release

import (
	"math"
	"strconv"
	"time"
)

// appendNumber writes the fewest digits that read back to the same number, in
// the notation of ECMAScript and RFC 8785: 0.1, 1e+21, 5e-7.
func appendNumber(b []byte, v float64) []byte {
	if v == 0 {
		return append(b, '0') // of both signs: RFC 8785 knows no negative zero
	}
	if abs := math.Abs(v); abs >= 1e-6 && abs < 1e21 {
		return strconv.AppendFloat(b, v, 'f', -1, 64)
	}
	b = strconv.AppendFloat(b, v, 'e', -1, 64)
	if n := len(b); n >= 4 && b[n-2] == '0' && (b[n-3] == '-' || b[n-3] == '+') { // e-07 is e-7
		b[n-2] = b[n-1]
		b = b[:n-1]
	}
	return b
}

// years bound the instants that RFC 3339 can say, in milliseconds since 1970.
var (
	firstInstant = time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	lastInstant  = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() - 1
)

// instants writes milliseconds since 1970 as RFC 3339 in UTC, with three
// decimals where they are not zero. Rows next to each other lie in one day
// mostly, and its date is kept.
type instants struct {
	day  int64
	date [len("2006-01-02T")]byte
	some bool
}

const dayMillis = 24 * 60 * 60 * 1000

func (i *instants) append(b []byte, ms int64) []byte {
	day, rest := ms/dayMillis, ms%dayMillis
	if rest < 0 {
		day, rest = day-1, rest+dayMillis
	}
	if !i.some || day != i.day {
		i.day, i.some = day, true
		time.UnixMilli(day*dayMillis).UTC().AppendFormat(i.date[:0], "2006-01-02T")
	}
	b = append(b, i.date[:]...)
	seconds, milli := rest/1000, rest%1000
	b = append(b, byte('0'+seconds/36000), byte('0'+seconds/3600%10), ':',
		byte('0'+seconds%3600/600), byte('0'+seconds%3600/60%10), ':', byte('0'+seconds%60/10), byte('0'+seconds%10))
	if milli != 0 {
		b = append(b, '.', byte('0'+milli/100), byte('0'+milli/10%10), byte('0'+milli%10))
	}
	return append(b, 'Z')
}

// appendString writes a JSON string as RFC 8785 has it: what must be escaped is,
// and nothing else.
func appendString(b []byte, s string) []byte {
	const hex = "0123456789abcdef"
	b = append(b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case '"', '\\':
			b = append(b, '\\', c)
		case '\b':
			b = append(b, '\\', 'b')
		case '\t':
			b = append(b, '\\', 't')
		case '\n':
			b = append(b, '\\', 'n')
		case '\f':
			b = append(b, '\\', 'f')
		case '\r':
			b = append(b, '\\', 'r')
		default:
			b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	b = append(b, s[from:]...)
	return append(b, '"')
}

// appendField writes a field of RFC 4180. A text that is empty is quoted: a field
// without a value is not.
func appendField(b []byte, s string) []byte {
	quote := s == ""
	for i := 0; i < len(s) && !quote; i++ {
		quote = s[i] == ',' || s[i] == '"' || s[i] == '\r' || s[i] == '\n' || s[i] == ' ' && (i == 0 || i == len(s)-1)
	}
	if !quote {
		return append(b, s...)
	}
	b = append(b, '"')
	for i := 0; i < len(s); i++ {
		if s[i] == '"' {
			b = append(b, '"')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}
