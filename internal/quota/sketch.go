package quota

import (
	"hash/maphash"
	"net/netip"
	"time"
)

// Size of a sketch: 2 MiB, whoever comes; less as long as few have come.
const (
	rows    = 4
	columns = 1 << 16
)

// Key stands for an address or a name in a sketch. 0 stands for nobody.
type Key uint64

// Sketch is a bucket for each of any number of keys, in fixed memory: a
// count-min sketch whose cells are buckets. A key has one cell in every row and
// goes by the one that is fullest, so it is never let through too often; that
// others use up all four of its cells happens to one in two hundred when there
// are 20,000 of them.
type Sketch struct {
	flow  flow
	start time.Time
	seed  maphash.Seed
	cells *[rows][columns]bucket // nil without a bound
}

// NewSketch returns a sketch of full buckets. Start is a reading of the clock
// that the methods' times come from.
func NewSketch(r Rate, start time.Time) *Sketch {
	s := &Sketch{flow: r.flow(), start: start, seed: maphash.MakeSeed()}
	if r.N > 0 {
		s.cells = &[rows][columns]bucket{}
	}
	return s
}

// Address is the key of an address.
func (s *Sketch) Address(a netip.Addr) Key {
	origin := Origin(a).Addr().As16()
	return Key(maphash.Bytes(s.seed, origin[:]))
}

// Name is the key of a name.
func (s *Sketch) Name(name string) Key { return Key(maphash.String(s.seed, name)) }

// Wait returns how long a key has to wait until Take lets it.
func (s *Sketch) Wait(k Key, now time.Time) time.Duration {
	if s.cells == nil {
		return 0
	}
	return s.flow.wait(s.full(k), momentOf(now, s.start))
}

// Take takes a unit of a key's, or returns how long to wait for one.
func (s *Sketch) Take(k Key, now time.Time) (wait time.Duration) {
	if wait = s.Wait(k, now); wait == 0 {
		s.Charge(k, 1, now)
	}
	return wait
}

// Charge takes n units of a key's. Only cells that others have not raised
// higher are raised (conservative update).
func (s *Sketch) Charge(k Key, n int, now time.Time) {
	if s.cells == nil {
		return
	}
	full := int64(max(s.full(k), momentOf(now, s.start))) + s.flow.cost(n)
	for i := range s.cells {
		cell := s.cell(i, k)
		for old := cell.full.Load(); old < full; old = cell.full.Load() {
			if cell.full.CompareAndSwap(old, full) {
				break
			}
		}
	}
}

func (s *Sketch) cell(row int, k Key) *bucket { return &s.cells[row][k>>(16*row)%columns] }

// full is when the bucket of a key is full again.
func (s *Sketch) full(k Key) moment {
	full := s.cell(0, k).full.Load()
	for i := 1; i < rows; i++ {
		full = min(full, s.cell(i, k).full.Load())
	}
	return moment(full)
}

func (s *Sketch) standing(p *Policy, k Key, now time.Time) Standing {
	if s.cells == nil {
		return Standing{}
	}
	return p.standing(s.full(k), momentOf(now, s.start))
}
