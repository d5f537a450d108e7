package codec

import (
	"encoding/binary"
	"errors"
	"strconv"
	"unsafe"
)

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11,
	1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22}

// decimal scales a mantissa by a power of ten where that is exact: both are
// floats without rounding, so that one operation rounds once.
func decimal(mantissa uint64, exp int) (f float64, exact bool) {
	switch {
	case mantissa > 1<<53:
		return 0, false
	case exp == 0:
		return float64(mantissa), true
	case exp < 0 && exp >= -22:
		return float64(mantissa) / powersOfTen[-exp], true
	case exp > 0 && exp <= 22:
		return float64(mantissa) * powersOfTen[exp], true
	}
	return 0, false
}

// number is a decimal number as it stands in text.
type number struct {
	value    float64
	end      int  // byte after the number; where the fault lies when it is not valid
	valid    bool // it follows the grammar
	overflow bool // its magnitude is beyond a 64-bit float
}

// scanNumber reads the number that begins at p[i]. The strict grammar is that
// of JSON (RFC 8259 §6); else a leading plus, leading zeros and a bare point
// are taken too, as in line protocol.
func scanNumber(p []byte, i int, strict bool) number {
	start := i
	negative := false
	if i < len(p) && (p[i] == '-' || p[i] == '+' && !strict) {
		negative = p[i] == '-'
		i++
	}
	var mantissa uint64
	digits := i
	if i+8 <= len(p) && p[i+7]-'0' <= 9 {
		if eight, ok := eightDigits(binary.LittleEndian.Uint64(p[i:])); ok {
			mantissa = eight
			i += 8
		}
	}
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		mantissa = mantissa*10 + uint64(p[i]-'0')
	}
	whole := i - digits
	if strict && (whole == 0 || whole > 1 && p[digits] == '0') {
		return number{end: i}
	}
	fraction := 0
	if i < len(p) && p[i] == '.' {
		i++
		point := i
		for ; i < len(p) && p[i]-'0' <= 9; i++ {
			mantissa = mantissa*10 + uint64(p[i]-'0')
		}
		fraction = i - point
		if strict && fraction == 0 {
			return number{end: i}
		}
	}
	if whole+fraction == 0 {
		return number{end: i}
	}
	exp := -fraction
	if i < len(p) && p[i]|0x20 == 'e' {
		e, end := scanExponent(p, i+1)
		if end < 0 {
			return number{end: i}
		}
		exp, i = exp+e, end
	}
	// 19 digits always fit in a uint64.
	if whole+fraction <= 19 {
		if f, exact := decimal(mantissa, exp); exact {
			if negative {
				f = -f
			}
			return number{value: f, end: i, valid: true}
		}
	}
	return slowNumber(p[start:i], i)
}

// eightDigits returns the number of eight digits, the first in the lowest
// byte; ok is false when they are not all digits. Neighbours are joined to
// pairs, pairs to fours and fours to the eight, each time all at once.
func eightDigits(text uint64) (n uint64, ok bool) {
	const zeros, high = 0x3030303030303030, 0x8080808080808080
	v := text - zeros
	// A digit is at most 9: adding 0x76 leaves its high bit unset.
	if (v|(v+0x7676767676767676))&high != 0 {
		return 0, false
	}
	v = v*10 + v>>8
	const fours = 0x000000ff000000ff
	return ((v&fours)*(100+1_000_000<<32) + (v>>16&fours)*(1+10_000<<32)) >> 32, true
}

// scanExponent reads an exponent's sign and digits at p[i]; end is -1 when
// there are no digits. Exponents beyond any float are cut short, not exact.
func scanExponent(p []byte, i int) (exp, end int) {
	negative := false
	if i < len(p) && (p[i] == '-' || p[i] == '+') {
		negative = p[i] == '-'
		i++
	}
	digits := i
	for ; i < len(p) && p[i]-'0' <= 9; i++ {
		if exp < 1<<20 {
			exp = exp*10 + int(p[i]-'0')
		}
	}
	if i == digits {
		return 0, -1
	}
	if negative {
		exp = -exp
	}
	return exp, i
}

func slowNumber(text []byte, end int) number {
	f, err := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	return number{value: f, end: end, valid: true, overflow: errors.Is(err, strconv.ErrRange)}
}
