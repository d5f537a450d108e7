// Package personal finds what names a person in text that should hold no such
// thing: number plates, identity numbers, mobile numbers. Art. 38
package personal

import (
	"strings"
	"unicode/utf8"
)

// Kind is what was found.
type Kind string

// The kinds.
const (
	Plate    Kind = "plate"    // 吉A·12345, and those of new energy vehicles with one more
	Identity Kind = "identity" // citizen identity number, GB 11643, with its check digit
	Phone    Kind = "phone"    // mobile number of mainland China
)

// Find looks for the first of them. Masked is the text with its middle hidden, so
// that it may be shown to who has to mend the sender.
func Find(text string) (k Kind, masked string, found bool) {
	for i, r := range text {
		switch {
		case r >= 0x4e00 && strings.ContainsRune(provinces, r):
			if n := plate(text[i:]); n > 0 {
				return Plate, mask(text[i : i+n]), true
			}
		case r >= '0' && r <= '9' && (i == 0 || !digit(text[i-1])):
			n := run(text[i:])
			switch {
			case n == 11 && phone(text[i:i+n]):
				return Phone, mask(text[i : i+n]), true
			case n == 13 && strings.HasPrefix(text[i:], "86") && phone(text[i+2:i+n]):
				return Phone, mask(text[i : i+n]), true
			}
			if whole := identity(text[i:], n); whole > 0 {
				return Identity, mask(text[i : i+whole]), true
			}
		}
	}
	return "", "", false
}

// provinces begin plates; 使 and 领 those of embassies and consulates are of no
// province.
const provinces = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"

// last may end a plate in place of a letter or digit.
const last = "挂学警港澳应急"

// plate returns the length of the plate that a text begins with; 0 when it is
// none.
func plate(s string) int {
	_, n := utf8.DecodeRuneInString(s)
	if n >= len(s) || s[n] < 'A' || s[n] > 'Z' {
		return 0
	}
	n++
	for _, dot := range []string{"·", "•", "・", "-", ".", " "} {
		if strings.HasPrefix(s[n:], dot) {
			n += len(dot)
			break
		}
	}
	signs := 0
	for signs < 6 && n < len(s) && sign(s[n]) {
		n++
		signs++
	}
	if signs == 4 {
		if r, size := utf8.DecodeRuneInString(s[n:]); strings.ContainsRune(last, r) {
			n += size
			signs++
		}
	}
	if signs < 5 || n < len(s) && (sign(s[n]) || s[n] >= 'a' && s[n] <= 'z') {
		return 0
	}
	return n
}

// sign reports whether a plate may have the letter or digit; I and O are none.
func sign(c byte) bool { return digit(c) || c >= 'A' && c <= 'Z' && c != 'I' && c != 'O' }

func digit(c byte) bool { return c >= '0' && c <= '9' }

// run is how many digits a text begins with.
func run(s string) int {
	n := 0
	for n < len(s) && digit(s[n]) {
		n++
	}
	return n
}

func phone(s string) bool { return s[0] == '1' && s[1] >= '3' }

// identity returns the length of the identity number that a text of n digits
// begins with; 0 when it is none.
func identity(s string, n int) int {
	check := byte(0)
	switch {
	case n == 18:
		check = s[17]
	case n == 17 && len(s) > 17 && (s[17] == 'X' || s[17] == 'x'):
		check = 'X'
	default:
		return 0
	}
	if month, day := s[10:12], s[12:14]; month < "01" || month > "12" || day < "01" || day > "31" || s[6:8] != "19" && s[6:8] != "20" {
		return 0
	}
	sum, weight := 0, 1
	for i := 16; i >= 0; i-- {
		weight = weight * 2 % 11
		sum += int(s[i]-'0') * weight
	}
	if "10X98765432"[sum%11] != check {
		return 0
	}
	return 18
}

// mask hides all but the first two and the last character.
func mask(s string) string {
	r := []rune(s)
	for i := 2; i < len(r)-1; i++ {
		r[i] = '*'
	}
	return string(r)
}
