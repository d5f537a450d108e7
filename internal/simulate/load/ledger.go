package load

import "math/bits"

// Ledger records which messages of a connection were acknowledged: a bit each.
type Ledger struct {
	First int // number of the first message
	Count int // of acknowledged messages
	words []uint64
}

// Acknowledge notes message n; a repetition changes nothing.
func (l *Ledger) Acknowledge(n int) {
	n -= l.First
	for n>>6 >= len(l.words) {
		l.words = append(l.words, 0)
	}
	if bit := uint64(1) << (n & 63); l.words[n>>6]&bit == 0 {
		l.words[n>>6] |= bit
		l.Count++
	}
}

// All calls yield with the number of every acknowledged message, rising, until
// it returns false.
func (l *Ledger) All(yield func(n int) bool) {
	for i, w := range l.words {
		for ; w != 0; w &= w - 1 {
			if !yield(l.First + i<<6 + bits.TrailingZeros64(w)) {
				return
			}
		}
	}
}

// Next returns the number behind the last acknowledged message: where a later
// run may go on.
func (l *Ledger) Next() int {
	for i := len(l.words) - 1; i >= 0; i-- {
		if w := l.words[i]; w != 0 {
			return l.First + i<<6 + bits.Len64(w)
		}
	}
	return l.First
}
