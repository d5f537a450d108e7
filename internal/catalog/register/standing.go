package register

import (
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
)

// Generation returns a number that rises with every change of a dataset or a
// grant, before the change returns: what was made of the register under an older
// one is to be made anew.
func (r *Register) Generation() uint64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.generation
}

// InForce returns the grants that are in force, in no order. They are not to be
// changed.
func (r *Register) InForce() (all []*Grant) {
	now := r.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	for _, g := range r.grants {
		if g.State == Granted && (g.Expires.IsZero() || now.Before(g.Expires)) {
			all = append(all, g)
		}
	}
	return all
}

// Compile makes a func of the selection that reports whether the labels which
// another func returns fulfil all of its conditions.
func (s Selection) Compile() (func(label func(name string) string) bool, error) {
	all := make([]condition, len(s))
	for i, m := range s {
		c, err := m.compile()
		if err != nil {
			return nil, err
		}
		all[i] = c
	}
	return func(label func(string) string) bool {
		for i := range all {
			if !all[i].holds(label(all[i].Label)) {
				return false
			}
		}
		return true
	}, nil
}

func (c *condition) holds(v string) bool {
	switch c.Is {
	case "=":
		return v == c.Value
	case "!=":
		return v != c.Value
	case "=~":
		return c.pattern.MatchString(v)
	}
	return !c.pattern.MatchString(v)
}

// Metric returns the one metric that a selection is about; empty where it may be
// several.
func (s Selection) Metric() string {
	for _, m := range s {
		if m.Label == "__name__" && m.Is == "=" {
			return m.Value
		}
	}
	return ""
}

// ItemOf returns the item of a dataset that holds a metric: the one whose name is
// the metric's, as a draft writes it, else its only one that holds what is
// measured; nil when it has none.
func ItemOf(d *catalog.Dataset, metric string) *catalog.Item {
	var only *catalog.Item
	n := 0
	for i := range d.Items {
		it := &d.Items[i]
		if it.Name == itemName(metric) {
			return it
		}
		if measured(d, it) {
			only, n = it, n+1
		}
	}
	if n == 1 && !strings.HasSuffix(metric, "_out_of_range") {
		return only
	}
	return nil
}

// measured reports whether an item holds what is measured, and not a label.
func measured(d *catalog.Dataset, it *catalog.Item) bool {
	is := it.Type == catalog.Number || it.Type == catalog.Integer || it.Type == catalog.Boolean
	return is && !slices.Contains(d.Source.By, it.Name)
}
