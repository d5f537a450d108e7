//go:build !songhua_no_complementary

package gate

// complementary suppression is on. A build without it is what the attackers have
// to see through.
const complementary = true
