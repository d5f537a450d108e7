package codec

import (
	"encoding/binary"
	"strconv"
	"testing"
)

func TestEightDigitsAreReadAtOnceOrNotAtAll(t *testing.T) {
	for _, digits := range []string{"00000000", "99999999", "12345678", "90909090", "00000001"} {
		for at := range 8 {
			for c := range 256 {
				text := []byte(digits)
				text[at] = byte(c)
				want, err := strconv.ParseUint(string(text), 10, 64)
				got, ok := eightDigits(binary.LittleEndian.Uint64(text))
				if ok != (err == nil) || ok && got != want {
					t.Fatalf("%q is read as %d %v, want %d %v", text, got, ok, want, err)
				}
			}
		}
	}
}

func TestUnsignedNumbersWithin64Bits(t *testing.T) {
	for _, text := range []string{"", "0", "7", "1234567", "12345678", "123456789", "1764000000000000999", "000000000000000000000000012",
		"1844674407370955161", "18446744073709551615", "18446744073709551616", "99999999999999999999", "123456789012345678901234567890",
		"1234567x", "12345678x", "x2345678", "123456789012345x", "1234567890123456x", "-1", "+1", " 1", "1 "} {
		want, err := strconv.ParseUint(text, 10, 64)
		if got, ok := parseUint([]byte(text)); ok != (err == nil) || ok && got != want {
			t.Errorf("%q is read as %d %v, want %d %v", text, got, ok, want, err)
		}
	}
}
