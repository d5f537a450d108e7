package attack

import (
	"io"
	"math/rand/v2"
	"slices"

	"github.com/songhua-io/hub/internal/catalog/gate"
)

// Suite is one result under attack.
type Suite struct {
	Result *gate.Result
	// Earlier are the tables that it was checked against, as published, and Past
	// what was kept of them, in the same order.
	Earlier []*gate.Published
	Past    []*gate.Past
	// Trips are where contributors were, by base cell of Result.Past.Table; nil
	// where that is not known.
	Trips Trips
	// Again makes the same version once more.
	Again func() (*gate.Published, error)
	// Ledger is the one that paid for noise; nil without noise.
	Ledger *gate.Ledger
	// Seed of what is sampled, and Random, of cryptographic quality, of noise
	// that is drawn to be looked at.
	Seed   uint64
	Random io.Reader
}

// How much is sampled.
const (
	samples = 10_000
	draws   = 100_000
	repeats = 2
)

// Run runs all attacks and tells what came of each. An error says that an attack
// could not be run, not that it succeeded.
func (s *Suite) Run() ([]gate.Finding, error) {
	tables := append(append([]*gate.Published(nil), s.Earlier...), s.Result.Published)
	if len(s.Earlier) != len(s.Past) {
		return nil, errTables(len(s.Earlier), len(s.Past))
	}
	past := append(append([]*gate.Past(nil), s.Past...), s.Result.Past)
	truth := make([]*gate.Table, len(past))
	for i := range past {
		truth[i] = past[i].Table
	}
	k := s.Result.Past.Policy.K

	all := []gate.Finding{BelowK(s.Result)}
	for _, m := range measures(s.Result.Published) {
		all = append(all, Reconstruct(tables, truth, m, secrets(tables, past, m))...)
	}
	all = append(all, Witnesses(tables, truth, s.Result), Difference(tables, k, changedCells(truth)))
	if s.Trips != nil {
		all = append(all, Unicity(s.Result.Published, s.Result.Past.Table, s.Trips, k, samples, rand.New(rand.NewPCG(s.Seed, k1))))
	}
	if s.Again != nil {
		f, err := Repeat(s.Result.Published, s.Again, repeats)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
	}
	return s.noise(all)
}

const k1 = 0x61747461636b // any fixed number

func (s *Suite) noise(all []gate.Finding) ([]gate.Finding, error) {
	if s.Ledger == nil {
		return all, nil
	}
	for _, m := range s.Result.Published.Measures {
		if m.NoiseT == 0 {
			continue
		}
		f, err := ChiSquare(gate.Scale{T: m.NoiseT, S: m.NoiseS}, draws, s.Random)
		if err != nil {
			return nil, err
		}
		f.Attack += ":" + m.Name
		all = append(all, f)
	}
	for _, e := range s.Ledger.Entries {
		if e.Dataset == s.Result.Published.Dataset && e.Version == s.Result.Published.Version {
			all = append(all, Overdraw(s.Ledger, e.Dataset, e.Day, e.Version))
			break
		}
	}
	return all, nil
}

// BelowK counts the cells that are shown though they have too few contributors,
// by the truth.
func BelowK(r *gate.Result) gate.Finding {
	f := gate.Finding{Attack: "below_k", Detail: gate.Text{ZH: "检查已发布的单元格", EN: "every shown cell looked at"}}
	f.Tried = r.Figures.Shown
	hidden := map[string]int64{}
	for d := range r.Decisions() {
		hidden[CellName(r.Published, d.Grouping, d.Codes)] = d.Contributors
	}
	c := newChecker(r.Published, r.Past.Table)
	for _, v := range c.views {
		for cell := range v.size() {
			at := v.at(cell)
			_, isHidden := hidden[CellName(r.Published, v.group.Levels, v.names(at))]
			n := len(r.Published.Measures)
			for m := range n {
				if isHidden && v.group.Values[cell*n+m].Shown {
					f.Recovered++
					break
				}
			}
		}
	}
	if r.Figures.SmallestK > 0 && r.Figures.SmallestK < r.Past.Policy.K {
		f.Recovered++
	}
	return f
}

// secrets are the hidden cells of a measure that must not be found out, in all
// tables, with what the policy of each wants of them.
func secrets(tables []*gate.Published, past []*gate.Past, measure string) map[string]Secret {
	out := map[string]Secret{}
	for i, p := range past {
		m := slices.IndexFunc(p.Table.Measures, func(x gate.Measure) bool { return x.Name == measure })
		if m < 0 {
			continue
		}
		c := newChecker(tables[i], p.Table)
		for g, v := range c.views {
			sums := make([]int64, v.size())
			for b := range p.Table.Cells {
				sums[c.cell(g, b)] += p.Table.Cells[b].Values[m]
			}
			for cell, value := range sums {
				why := p.State[g][cell]
				if !why.Sensitive() {
					continue
				}
				s := Secret{Value: value}
				s.Down, s.Up = gate.Uncertainty(&p.Policy, why, p.Table.Measures[m].Kind, value)
				out[CellName(tables[i], v.group.Levels, v.names(v.at(cell)))] = s
			}
		}
	}
	return out
}
