package codec

import (
	"math"
	"time"
)

// roundMillis returns ms as a whole number; ok is false when it is no time.
func roundMillis(ms float64) (whole int64, ok bool) {
	r := math.RoundToEven(ms)
	if !(math.Abs(r) <= maxTime) {
		return 0, false
	}
	return int64(r), true
}

// parseRFC3339 reads a time of RFC 3339 §5.6 to milliseconds since the Unix
// epoch, smaller parts cut off. time.Parse allocates for every zone that is
// not UTC.
func parseRFC3339(p []byte) (ms int64, ok bool) {
	const layout = "0000-00-00T00:00:00"
	if len(p) < len(layout)+1 {
		return 0, false
	}
	for i, want := range []byte(layout) {
		c := p[i]
		isDigit := c-'0' <= 9
		if isDigit != (want == '0') || !isDigit && c != want && !(want == 'T' && c == 't') {
			return 0, false
		}
	}
	year, month, day := digits(p[:4]), digits(p[5:7]), digits(p[8:10])
	hour, minute, second := digits(p[11:13]), digits(p[14:16]), digits(p[17:19])
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	// Date carries over what is out of range; then it is another day or hour.
	if t.Day() != day || int(t.Month()) != month || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	milli, rest, ok := fraction(p[len(layout):])
	if !ok {
		return 0, false
	}
	offset, ok := zone(rest)
	return t.UnixMilli() + milli - offset, ok
}

// digits returns the number that p, digits only, stands for.
func digits(p []byte) (n int) {
	for _, c := range p {
		n = n*10 + int(c-'0')
	}
	return n
}

// fraction reads the fraction of a second, if there is one.
func fraction(p []byte) (milli int64, rest []byte, ok bool) {
	if len(p) == 0 || p[0] != '.' {
		return 0, p, true
	}
	unit, i := int64(100), 1
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		milli += unit * int64(p[i]-'0')
		unit /= 10
	}
	return milli, p[i:], i > 1
}

// zone reads Z or an offset such as +08:00 to milliseconds east of UTC.
func zone(p []byte) (ms int64, ok bool) {
	if len(p) == 1 && p[0]|0x20 == 'z' {
		return 0, true
	}
	if len(p) != 6 || p[0] != '+' && p[0] != '-' || p[3] != ':' {
		return 0, false
	}
	for _, i := range [...]int{1, 2, 4, 5} {
		if p[i]-'0' > 9 {
			return 0, false
		}
	}
	hours, minutes := digits(p[1:3]), digits(p[4:6])
	ms = int64(hours*60+minutes) * 60_000
	if p[0] == '-' {
		ms = -ms
	}
	return ms, hours < 24 && minutes < 60
}
