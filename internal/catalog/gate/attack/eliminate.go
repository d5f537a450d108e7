package attack

// prime is the largest below 2^31; products of two residues fit.
const prime = 1<<31 - 1

// elimination tells which sums of unknowns follow exactly from given ones, by
// equations alone, whatever the numbers are. It calculates modulo a prime: a sum
// that follows over the rationals follows here, and one that does not may seem
// to only where a determinant happens to be a multiple of the prime.
type elimination struct {
	rows  [][]uint64 // reduced, each with 1 at its pivot
	pivot []int      // row, by column; -1
}

func newElimination(n int, sums []sum) *elimination {
	e := &elimination{pivot: make([]int, n)}
	for i := range e.pivot {
		e.pivot[i] = -1
	}
	for _, c := range sums {
		if c.lo != c.hi {
			continue
		}
		r := make([]uint64, n)
		for _, v := range c.of {
			r[v] = (r[v] + 1) % prime
		}
		if at := e.reduce(r); at >= 0 {
			inverse := power(r[at], prime-2)
			for j := range r {
				r[j] = r[j] * inverse % prime
			}
			e.pivot[at] = len(e.rows)
			e.rows = append(e.rows, r)
		}
	}
	return e
}

// reduce takes multiples of the rows off r; it returns the first column that is
// left, or -1.
func (e *elimination) reduce(r []uint64) int {
	left := -1
	for j := range r {
		if r[j] == 0 {
			continue
		}
		i := e.pivot[j]
		if i < 0 {
			if left < 0 {
				left = j
			}
			continue
		}
		factor := prime - r[j]
		for k, x := range e.rows[i][j:] {
			r[j+k] = (r[j+k] + factor*x) % prime
		}
	}
	return left
}

// follows reports whether a sum of unknowns is known.
func (e *elimination) follows(of []int32) bool {
	r := make([]uint64, len(e.pivot))
	for _, v := range of {
		r[v]++
	}
	return e.reduce(r) < 0
}

func power(x uint64, n int) uint64 {
	out := uint64(1)
	for ; n > 0; n >>= 1 {
		if n&1 == 1 {
			out = out * x % prime
		}
		x = x * x % prime
	}
	return out
}
