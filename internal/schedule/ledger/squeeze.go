package ledger

import "github.com/klauspost/compress/s2"

// What a commit writes as one value repeats itself: the names of tenants, pools
// and scorers, and a pack what the journal had. A value is compressed whole, when
// that makes it smaller, and then begins with a zero, which is the first byte of
// no other: a number from one on, a length or the key of a field.
const (
	squeezed     = 0
	squeezeFrom  = 256     // bytes; below it nothing is gained
	squeezedMost = 1 << 30 // bytes that one value comes to
)

// squeeze returns a value as it is written, in the memory of to or as it was.
func squeeze(to, doc []byte) []byte {
	if len(doc) < squeezeFrom {
		return doc
	}
	if most := s2.MaxEncodedLen(len(doc)); cap(to) <= most {
		to = make([]byte, most+most/4+1)
	}
	to = to[:cap(to)]
	to[0] = squeezed
	if n := len(s2.Encode(to[1:], doc)); n+1 < len(doc) {
		return to[:n+1]
	}
	return doc
}

// unsqueeze returns a value as it was before squeeze; it may be the value
// itself.
func unsqueeze(doc []byte) ([]byte, error) {
	if len(doc) == 0 || doc[0] != squeezed {
		return doc, nil
	}
	if n, err := s2.DecodedLen(doc[1:]); err != nil || n > squeezedMost {
		return nil, errDocument
	}
	all, err := s2.Decode(nil, doc[1:])
	if err != nil {
		return nil, errDocument
	}
	return all, nil
}
