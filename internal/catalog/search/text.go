package search

import (
	"slices"
	"strings"
	"unicode"

	"github.com/songhua-io/hub/internal/catalog"
)

// Bounds of what is typed.
const (
	maxTyped = 200 // characters that are looked at
	maxTerms = 24
)

// texts is an inverted index: which entries have a term, and how much it says
// of them.
type texts struct {
	terms []string // sorted
	where map[string][]posting
	all   int
}

type posting struct {
	entry  int32
	weight float64
}

// add reads the texts of an entry, entries in order.
func (t *texts) add(entry int32, e *catalog.Entry) {
	if t.where == nil {
		t.where = map[string][]posting{}
	}
	t.all++
	d := e.Dataset
	of := map[string]float64{}
	put := func(weight float64, all ...string) {
		for _, s := range all {
			for _, term := range terms(s, true) {
				of[term] = max(of[term], weight)
			}
		}
	}
	put(1, d.Region)
	put(2, d.Abstract.ZH, d.Abstract.EN, d.Provider.Name.ZH, d.Provider.Name.EN, string(d.Provider.Code))
	for _, it := range d.Items {
		put(2, it.Name, it.Title.ZH, it.Title.EN)
	}
	put(3, d.Path[:]...)
	for _, k := range d.Keywords {
		put(5, k.ZH, k.EN)
	}
	put(6, d.ID, d.Code)
	put(8, d.Title.ZH, d.Title.EN)
	for term, weight := range of {
		t.where[term] = append(t.where[term], posting{entry, weight})
	}
}

func (t *texts) finish() {
	t.terms = make([]string, 0, len(t.where))
	for term := range t.where {
		t.terms = append(t.terms, term)
	}
	slices.Sort(t.terms)
}

// score is how well entries fit what was typed: all of its terms must be there.
// nil: nothing was typed that can be looked for.
func (t *texts) score(typed string) []float64 {
	if r := []rune(typed); len(r) > maxTyped {
		typed = string(r[:maxTyped])
	}
	asked := terms(typed, false)
	if len(asked) == 0 {
		return nil
	}
	score, fits := make([]float64, t.all), make([]float64, t.all)
	for n, term := range asked[:min(len(asked), maxTerms)] {
		t.beginning(term, fits)
		for i := range score {
			if n > 0 && score[i] == 0 || fits[i] == 0 {
				score[i] = 0
			} else {
				score[i] += fits[i]
			}
		}
	}
	return score
}

// beginning is how well entries fit a term: one that it is says more than one
// that only begins so.
func (t *texts) beginning(term string, fits []float64) {
	clear(fits)
	from, _ := slices.BinarySearch(t.terms, term)
	for _, known := range t.terms[from:] {
		if !strings.HasPrefix(known, term) {
			break
		}
		share := 1.0
		if known != term {
			share = .5
		}
		at := t.where[known]
		weight := share * rarity(len(at), t.all)
		for _, p := range at {
			fits[p.entry] = max(fits[p.entry], weight*p.weight)
		}
	}
}

// terms splits a text: runs of Chinese into pairs, with single characters too
// where they are kept; everything else into words in lower case without the s of
// English plurals.
func terms(s string, kept bool) (all []string) {
	var han, word []rune
	flush := func() {
		switch {
		case len(han) == 1, len(han) > 1 && kept:
			for _, r := range han {
				all = append(all, string(r))
			}
		}
		for i := 0; i+1 < len(han); i++ {
			all = append(all, string(han[i:i+2]))
		}
		if len(word) > 0 {
			all = append(all, singular(string(word)))
		}
		han, word = han[:0], word[:0]
	}
	for _, r := range strings.ToLower(s) {
		switch {
		case unicode.Is(unicode.Han, r):
			if len(word) > 0 {
				flush()
			}
			han = append(han, r)
		case unicode.IsLetter(r), unicode.IsDigit(r):
			if len(han) > 0 {
				flush()
			}
			word = append(word, r)
		default:
			flush()
		}
	}
	flush()
	return all
}

func singular(w string) string {
	if len(w) > 3 && strings.HasSuffix(w, "s") && !strings.HasSuffix(w, "ss") {
		return w[:len(w)-1]
	}
	return w
}
