// Package search finds datasets of a snapshot by what people type, in Chinese by
// pairs of characters and in other scripts by the beginnings of words, and counts
// what there is by facet. It decides from the snapshot alone.
package search

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
)

// Facet is one way in which results are narrowed.
type Facet string

// The facets.
const (
	Open     Facet = "open"     // class of opening
	Share    Facet = "share"    // class of sharing
	Theme    Facet = "theme"    // first step of the classification
	Provider Facet = "provider" // credit code, else the name
	Format   Facet = "format"   // media type of a file, or the id of a service
	Cycle    Facet = "cycle"    // kind of the update cycle, with its period
	Grade    Facet = "grade"
)

// Facets lists the facets in the order in which people look at them.
func Facets() []Facet { return []Facet{Open, Theme, Format, Provider, Cycle, Share, Grade} }

// Order is how results are sorted.
type Order string

// The orders.
const (
	Best   Order = "best" // by how well they fit; by Newest where nothing was typed
	Newest Order = "newest"
	ByName Order = "name"
)

// Orders lists the orders.
func Orders() []Order { return []Order{Best, Newest, ByName} }

// Query is what is looked for.
type Query struct {
	Text string
	// Chosen are the values of facets: one of each facet's must hold.
	Chosen map[Facet][]string
	Order  Order
}

// Count is how many datasets have a value of a facet.
type Count struct {
	Value string
	// Number is how many there are with what is typed and chosen in other facets.
	Number int
}

// Found is what a query finds.
type Found struct {
	Entries []*catalog.Entry
	// Counts are by facet, the most frequent first.
	Counts map[Facet][]Count
}

// Index is a snapshot that can be searched. It never changes.
type Index struct {
	Snapshot *catalog.Snapshot
	texts    texts
	facets   [7]column // in the order of Facets
}

// column has the values of a facet, by number, and those of each entry.
type column struct {
	names []string
	of    [][]int32
	by    map[string]int32
}

func (c *column) add(values []string) {
	if c.by == nil {
		c.by = map[string]int32{}
	}
	all := make([]int32, len(values))
	for i, v := range values {
		n, known := c.by[v]
		if !known {
			n = int32(len(c.names))
			c.by[v], c.names = n, append(c.names, v)
		}
		all[i] = n
	}
	c.of = append(c.of, all)
}

// choice is which values of a column are chosen; nil: any will do.
func (c *column) choice(values []string) []bool {
	if len(values) == 0 {
		return nil
	}
	chosen := make([]bool, len(c.names))
	for _, v := range values {
		if n, known := c.by[v]; known {
			chosen[n] = true
		}
	}
	return chosen
}

// New reads a snapshot.
func New(s *catalog.Snapshot) *Index {
	x := &Index{Snapshot: s}
	for i, e := range s.Entries {
		values := valuesOf(e)
		for f, name := range Facets() {
			x.facets[f].add(values[name])
		}
		x.texts.add(int32(i), e)
	}
	x.texts.finish()
	return x
}

// valuesOf are those that an entry has.
func valuesOf(e *catalog.Entry) map[Facet][]string {
	d := e.Dataset
	v := map[Facet][]string{
		Open: {string(d.Open.Class)}, Share: {string(d.Share.Class)}, Grade: {d.Grade.String()}, Cycle: {CycleOf(d.Cycle)},
		Provider: {cmp.Or(string(d.Provider.Code), d.Provider.Name.ZH)}, Theme: {d.Path[0]},
	}
	latest, live := e.Offered()
	var formats []string
	if latest != nil {
		for _, f := range latest.Files {
			formats = append(formats, f.MediaType)
		}
	}
	for _, l := range live {
		formats = append(formats, l.Service)
	}
	slices.Sort(formats)
	v[Format] = slices.Compact(formats)
	for f, all := range v {
		v[f] = slices.DeleteFunc(all, func(s string) bool { return s == "" })
	}
	return v
}

// CycleOf is the value of the facet for a cycle.
func CycleOf(c catalog.Cycle) string {
	if c.Period == 0 {
		return string(c.Kind)
	}
	return string(c.Kind) + " " + c.Period.String()
}

// Find answers a query.
func (x *Index) Find(q Query) Found {
	score := x.texts.score(q.Text)
	var chosen [len(x.facets)][]bool
	var counts [len(x.facets)][]int
	for f, name := range Facets() {
		chosen[f], counts[f] = x.facets[f].choice(q.Chosen[name]), make([]int, len(x.facets[f].names))
	}
	var hits []int32
	for i := range x.Snapshot.Entries {
		if score != nil && score[i] == 0 {
			continue
		}
		missed, by := 0, -1
		for f := range x.facets {
			if c := chosen[f]; c != nil && !slices.ContainsFunc(x.facets[f].of[i], func(v int32) bool { return c[v] }) {
				missed, by = missed+1, f
			}
		}
		if missed == 0 {
			hits = append(hits, int32(i))
		}
		for f := range x.facets { // what would be found with another value of this facet
			if missed == 0 || missed == 1 && by == f {
				for _, v := range x.facets[f].of[i] {
					counts[f][v]++
				}
			}
		}
	}
	x.sort(hits, score, q.Order)
	found := Found{Counts: map[Facet][]Count{}, Entries: make([]*catalog.Entry, len(hits))}
	for n, i := range hits {
		found.Entries[n] = x.Snapshot.Entries[i]
	}
	for f, name := range Facets() {
		found.Counts[name] = x.facets[f].ordered(counts[f], q.Chosen[name])
	}
	return found
}

// ordered are the values that something has, and those that are chosen: they can
// be given up.
func (c *column) ordered(counts []int, chosen []string) (all []Count) {
	for v, n := range counts {
		if n > 0 || slices.Contains(chosen, c.names[v]) {
			all = append(all, Count{c.names[v], n})
		}
	}
	for _, v := range chosen {
		if _, known := c.by[v]; !known {
			all = append(all, Count{v, 0})
		}
	}
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Number, a.Number), strings.Compare(a.Value, b.Value))
	})
	return all
}

// Changed is when an entry changed last for those who use it.
func Changed(e *catalog.Entry) time.Time {
	t := e.Dataset.Data
	if r := e.Latest(); r != nil && r.Made.After(t) {
		t = r.Made
	}
	if t.IsZero() {
		return e.Dataset.Modified
	}
	return t
}

func (x *Index) sort(hits []int32, score []float64, order Order) {
	of := func(i int32) *catalog.Entry { return x.Snapshot.Entries[i] }
	at := make(map[int32]int64, len(hits))
	for _, i := range hits {
		at[i] = Changed(of(i)).UnixMilli()
	}
	newest := func(a, b int32) int { return cmp.Compare(at[b], at[a]) }
	slices.SortStableFunc(hits, func(a, b int32) int {
		switch {
		case order == ByName:
			return strings.Compare(of(a).Dataset.Title.ZH, of(b).Dataset.Title.ZH)
		case order == Newest || score == nil:
			return newest(a, b)
		}
		return cmp.Or(cmp.Compare(score[b], score[a]), newest(a, b))
	})
}

// rarity weighs a term by in how many of all texts it is.
func rarity(in, all int) float64 { return 1 + math.Log(float64(all+1)/float64(in+1)) }
