package gate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
)

// Noise is two-sided geometric (the discrete Laplace distribution), sampled as
// in C. Canonne, G. Kamath, T. Steinke, "The Discrete Gaussian for Differential
// Privacy", NeurIPS 2020, algorithms 1 and 2: integers only, and exact, so that
// no rounding of floating point gives anything away.

// Scale is a rational t/s: the noise is x with a probability in proportion to
// exp(-|x|·s/t).
type Scale struct{ T, S int64 }

// maxScale bounds both parts, so that nothing below overflows.
const maxScale = 1 << 40

func newScale(t, s int64) (Scale, error) {
	for a, b := t, s; ; {
		if b == 0 {
			t, s = t/a, s/a
			break
		}
		a, b = b, a%b
	}
	if t < 1 || s < 1 || t > maxScale || s > maxScale {
		return Scale{}, fmt.Errorf("a scale of noise of %d/%d; both must be within 1 and %d", t, s, int64(maxScale))
	}
	return Scale{t, s}, nil
}

// Geometric draws from the two-sided geometric distribution. The randomness has
// to be of cryptographic quality.
func Geometric(from io.Reader, of Scale) (int64, error) {
	r := draws{from: from}
	for r.err == nil {
		u := r.below(uint64(of.T))
		if !r.exp(u, uint64(of.T)) {
			continue
		}
		v := int64(0)
		for r.err == nil && r.exp(1, 1) {
			v++
		}
		if v > (math.MaxInt64-int64(u))/of.T {
			continue // less likely than 1 in e^4,000,000
		}
		y := (int64(u) + of.T*v) / of.S
		negative := r.below(2) == 1
		switch {
		case negative && y == 0: // or 0 would be drawn twice as often
		case negative:
			return -y, r.err
		default:
			return y, r.err
		}
	}
	return 0, r.err
}

// draws are made from a reader, and remembers the first error.
type draws struct {
	from io.Reader
	err  error
}

// below is uniform in [0, n): what is drawn above the last multiple of n is
// drawn again.
func (r *draws) below(n uint64) uint64 {
	limit := math.MaxUint64 - math.MaxUint64%n
	var b [8]byte
	for {
		if _, err := io.ReadFull(r.from, b[:]); err != nil {
			r.err = fmt.Errorf("randomness for noise: %w", err)
			return 0
		}
		if v := binary.BigEndian.Uint64(b[:]); v < limit {
			return v % n
		}
	}
}

// exp is true with probability exp(-n/d), for n ≤ d.
func (r *draws) exp(n, d uint64) bool {
	k := uint64(1)
	// k is above 2^20 with a probability of 1/(2^20)!.
	for k < 1<<20 && r.err == nil && r.below(d*k) < n {
		k++
	}
	return k%2 == 1
}

// KeySize is the length of the key from which noise is derived.
const KeySize = 32

// NewKey draws a key of noise. Whoever has it can take the noise off again.
func NewKey(from io.Reader) ([]byte, error) {
	key := make([]byte, KeySize)
	if _, err := io.ReadFull(from, key); err != nil {
		return nil, fmt.Errorf("randomness for a key of noise: %w", err)
	}
	return key, nil
}

// digest is a keyed hash of all values of a table and of how it is grouped.
func (t *Table) digest(key []byte) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "songhua-gate-input/1 %q %+v\n", t.Groupings, t.Measures)
	var b []byte
	for i := range t.Cells {
		b = b[:0]
		for _, v := range t.Cells[i].Values {
			b = binary.BigEndian.AppendUint64(b, uint64(v))
		}
		h.Write(b)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// stream is the randomness of one value: HMAC-SHA-256 of its name and a counter,
// so that it is the same whenever it is asked for.
type stream struct {
	key, name []byte
	counter   uint64
	left      []byte
	block     [sha256.Size]byte
}

func newStream(key []byte, parts ...string) *stream {
	s := &stream{key: key}
	for _, p := range parts {
		s.name = binary.AppendUvarint(s.name, uint64(len(p)))
		s.name = append(s.name, p...)
	}
	return s
}

func (s *stream) Read(p []byte) (int, error) {
	if len(s.left) == 0 {
		h := hmac.New(sha256.New, s.key)
		h.Write(binary.BigEndian.AppendUint64(nil, s.counter))
		h.Write(s.name)
		s.left = h.Sum(s.block[:0])
		s.counter++
	}
	n := copy(p, s.left)
	s.left = s.left[n:]
	return n, nil
}
