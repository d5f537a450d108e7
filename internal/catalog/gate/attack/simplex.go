package attack

import (
	"errors"
	"math/big"
)

// program is a linear program in exact integers: what sums of unknowns, none of
// them negative, can be, given others. The tableau is kept in integers over one
// common denominator (J. Edmonds, "Systems of distinct representatives and
// linear algebra", 1967), and pivots are chosen by Bland's rule, so it always
// ends.
type program struct {
	rows  [][]*big.Int // each ends with the right-hand side
	basis []int
	vars  int // columns that are no artificial ones
	den   *big.Int
}

var (
	errInfeasible = errors.New("the sums contradict each other")
	errUnbounded  = errors.New("unbounded")
)

// newProgram finds a solution of sums over n unknowns.
func newProgram(n int, sums []sum) (*program, error) {
	vars := n
	for _, c := range sums {
		if c.lo != c.hi {
			vars += 2 // what is above lo, and below hi
		}
	}
	p := &program{vars: vars, den: big.NewInt(1)}
	extra := n
	row := func(b int64) []*big.Int {
		r := make([]*big.Int, vars+1)
		for j := range r {
			r[j] = new(big.Int)
		}
		r[vars].SetInt64(b)
		p.rows = append(p.rows, r)
		return r
	}
	for _, c := range sums {
		if c.lo > c.hi || c.hi < 0 {
			return nil, errInfeasible
		}
		r := row(max(0, c.lo))
		for _, v := range c.of {
			r[v].SetInt64(1)
		}
		if c.lo == c.hi {
			continue
		}
		r[extra].SetInt64(-1)
		r = row(c.hi - max(0, c.lo))
		r[extra].SetInt64(1)
		r[extra+1].SetInt64(1)
		extra += 2
	}
	return p, p.begin()
}

// begin is the first phase: artificial unknowns, one for each row, are made 0.
// Their columns are not kept, since they never come back.
func (p *program) begin() error {
	p.basis = make([]int, len(p.rows))
	for i := range p.basis {
		p.basis[i] = p.vars + i
	}
	// The cost is the sum of artificial ones: minus the sum of their rows.
	cost := make([]*big.Int, p.vars+1)
	for j := range cost {
		cost[j] = new(big.Int)
		for _, r := range p.rows {
			cost[j].Sub(cost[j], r[j])
		}
	}
	if err := p.minimise(cost); err != nil {
		return err
	}
	if cost[p.vars].Sign() != 0 {
		return errInfeasible
	}
	kept := p.rows[:0]
	basis := p.basis[:0]
	for i := range p.rows {
		if p.basis[i] >= p.vars {
			p.driveOut(i)
		}
		if p.basis[i] < p.vars {
			kept, basis = append(kept, p.rows[i]), append(basis, p.basis[i])
		}
	}
	p.rows, p.basis = kept, basis
	return nil
}

// driveOut takes an artificial unknown that is 0 out of the basis, if its row
// says anything.
func (p *program) driveOut(i int) {
	for j := range p.vars {
		if p.rows[i][j].Sign() != 0 {
			if p.rows[i][j].Sign() < 0 {
				for _, x := range p.rows[i] {
					x.Neg(x)
				}
			}
			p.pivot(i, j, nil)
			return
		}
	}
}

// minimise pivots until no reduced cost is negative. The last entry of cost is
// minus the objective times the denominator.
func (p *program) minimise(cost []*big.Int) error {
	left, right := new(big.Int), new(big.Int)
	for {
		column := -1
		for j := range p.vars {
			if cost[j].Sign() < 0 {
				column = j
				break
			}
		}
		if column < 0 {
			return nil
		}
		row := -1
		for i, r := range p.rows {
			if r[column].Sign() <= 0 {
				continue
			}
			if row < 0 {
				row = i
				continue
			}
			left.Mul(r[p.vars], p.rows[row][column])
			right.Mul(p.rows[row][p.vars], r[column])
			if c := left.Cmp(right); c < 0 || c == 0 && p.basis[i] < p.basis[row] {
				row = i
			}
		}
		if row < 0 {
			return errUnbounded
		}
		p.pivot(row, column, cost)
	}
}

// pivot brings a column into the basis.
func (p *program) pivot(row, column int, cost []*big.Int) {
	at := new(big.Int).Set(p.rows[row][column])
	product := new(big.Int)
	reduce := func(r []*big.Int) {
		factor := new(big.Int).Set(r[column])
		for j := range r {
			r[j].Mul(r[j], at)
			if factor.Sign() != 0 && p.rows[row][j].Sign() != 0 {
				r[j].Sub(r[j], product.Mul(factor, p.rows[row][j]))
			}
			r[j].Quo(r[j], p.den)
		}
	}
	for i, r := range p.rows {
		if i != row {
			reduce(r)
		}
	}
	if cost != nil {
		reduce(cost)
	}
	p.den = at
	p.basis[row] = column
}

// least is the least that a sum of unknowns, each times sign, can be, rounded
// towards what is whole and possible.
func (p *program) least(of []int32, sign int64) (int64, error) {
	cost := make([]*big.Int, p.vars+1)
	for j := range cost {
		cost[j] = new(big.Int)
	}
	for _, v := range of {
		cost[v].Add(cost[v], new(big.Int).Mul(p.den, big.NewInt(sign)))
	}
	product := new(big.Int)
	for i, r := range p.rows { // basic columns cost nothing
		factor := new(big.Int).Set(cost[p.basis[i]])
		if factor.Sign() == 0 {
			continue
		}
		for j := range cost {
			// Entries of basic columns are the denominator.
			cost[j].Sub(cost[j], new(big.Int).Quo(product.Mul(factor, r[j]), p.den))
		}
	}
	if err := p.minimise(cost); err != nil {
		return 0, err
	}
	value := new(big.Int).Neg(cost[p.vars])
	quotient, rest := new(big.Int).QuoRem(value, p.den, new(big.Int))
	if rest.Sign() > 0 {
		quotient.Add(quotient, big.NewInt(1))
	}
	return quotient.Int64(), nil
}

// bounds are the least and the most that a sum of unknowns can be.
func (p *program) bounds(of []int32) (lo, hi int64, err error) {
	lo, err = p.least(of, 1)
	if err != nil {
		return 0, 0, err
	}
	hi, err = p.least(of, -1)
	if errors.Is(err, errUnbounded) {
		return lo, unbounded, nil
	}
	return lo, -hi, err
}
