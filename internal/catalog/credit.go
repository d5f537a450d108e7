package catalog

import (
	"fmt"
	"strings"
)

// CreditCode is a unified social credit code (GB 32100-2015): 17 characters that
// say who registered whom, and a check character.
type CreditCode string

// creditAlphabet leaves out I, O, S, V and Z, which are misread.
const creditAlphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// Check reports what is wrong with the code.
func (c CreditCode) Check() error {
	if len(c) != 18 {
		return fmt.Errorf("it has %d characters, not 18", len(c))
	}
	sum, weight := 0, 1
	for i, r := range c[:17] {
		v := strings.IndexRune(creditAlphabet, r)
		if v < 0 {
			return fmt.Errorf("character %d is %q; digits and capitals without I, O, S, V and Z are used", i+1, r)
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	if want := creditAlphabet[(31-sum%31)%31]; c[17] != want {
		return fmt.Errorf("its check character is %q and should be %q", c[17], want)
	}
	return nil
}
