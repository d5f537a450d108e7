//go:build songhua_no_complementary

package gate

// complementary suppression is off: hidden cells follow from totals. The attack
// suite is built with it to prove that it notices.
const complementary = false
