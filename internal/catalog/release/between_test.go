package release

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/catalog"
)

// TestAnyTwoVersionsAreCompared, and the parts of them that a cut gives: what is told
// is of the parts alone.
func TestAnyTwoVersionsAreCompared(t *testing.T) {
	_, where := farms()
	w := cutting(t, t.TempDir(), 1<<30, where, nil)
	put := func(change func(*Table)) {
		t.Helper()
		table, _ := farms()
		change(table)
		d := farmDraft(table)
		d.Replaces, d.Reason = int64(len(w.List("soil"))), catalog.Text{ZH: "更正", EN: "corrected"}
		if _, err := w.Put(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	put(func(*Table) {})
	put(func(t *Table) { t.Columns[2].Numbers[3] = 9.5 })                                 // of probe-0
	put(func(t *Table) { t.Columns[2].Numbers[30], t.Columns[3].Integers[30] = 8.5, 77 }) // of probe-1
	between := func(before, after int64, c *Cut) *Between {
		t.Helper()
		b, err := w.Between(t.Context(), "soil", before, after, func(*Manifest) (*Cut, error) { return c, nil })
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, c := range []struct {
		what                                 string
		before, after                        int64
		cut                                  *Cut
		added, removed, changed, same, keyed int64
		tells, hides                         string
	}{
		{"all, of what it replaces", 2, 3, nil, 0, 0, 2, 70, 1, `"moisture":8.5`, ""},
		{"all, of the first", 1, 3, nil, 0, 0, 1, 71, 1, `"moisture":8.5`, `9.5`},
		{"backwards", 3, 1, nil, 0, 0, 1, 71, 1, `"acid":77`, "9.5"},
		{"a district", 2, 3, &Cut{Area: "220102"}, 0, 0, 1, 23, 1, `"moisture":9.5`, "8.5"},
		{"another district", 1, 3, &Cut{Area: "220203"}, 0, 0, 0, 24, 1, "", "8.5"},
		{"an item, with the key", 1, 3, &Cut{Items: []string{"device", "time", "acid"}}, 0, 0, 1, 71, 1, `"acid":77`, "moisture"},
		{"an item that is the same", 2, 3, &Cut{Items: []string{"device", "time", "site"}}, 0, 0, 0, 72, 1, "", "moisture"},
		{"an item without the key", 1, 3, &Cut{Items: []string{"acid"}}, 1, 1, 0, 71, 0, `"acid":77`, "probe"},
		{"a district without the key", 1, 3, &Cut{Area: "220102", Items: []string{"acid"}}, 0, 0, 0, 24, 0, "", "probe"},
		{"an item that all rows share", 1, 3, &Cut{Items: []string{"site"}}, 0, 0, 0, 72, 0, "", "probe"},
	} {
		for range 2 { // the second time it is remembered
			b := between(c.before, c.after, c.cut)
			keyed := int64(0)
			if b.Keyed {
				keyed = 1
			}
			if diff := cmp.Diff([]int64{c.added, c.removed, c.changed, c.same, c.keyed}, []int64{b.Added, b.Removed, b.Changed, b.Same, keyed}); diff != "" {
				t.Errorf("%s: %s", c.what, diff)
			}
			text, err := json.Marshal(b)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(text), c.tells) || c.hides != "" && strings.Contains(string(text), c.hides) {
				t.Errorf("%s tells %s", c.what, text)
			}
		}
	}
	m, err := w.Get("soil", 3)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(*m.Diff, between(2, 3, nil).Changes); diff != "" {
		t.Errorf("of the version that it replaces another difference is told than stands in its manifest: %s", diff)
	}
	if len(w.compared.all) > manyBetween {
		t.Errorf("%d comparisons are remembered", len(w.compared.all))
	}
	if _, err := w.Between(t.Context(), "soil", 1, 9, nil); !errors.Is(err, ErrUnknown) {
		t.Errorf("with a version that there is not: %v", err)
	}
}
