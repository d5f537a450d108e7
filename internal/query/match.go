package query

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/strutil"
)

// searchFilter returns what the search terms let through: a name that any of
// them matches, scored by the best. Nil lets everything through.
func searchFilter(r *request, terms []string) (storage.Filter, error) {
	if len(terms) > maxSearchTerms {
		return nil, fmt.Errorf("too many search[] terms: got %d, maximum is %d", len(terms), maxSearchTerms)
	}
	threshold := 0
	if v := r.FormValue("fuzz_threshold"); v != "" {
		var err error
		if threshold, err = strconv.Atoi(v); err != nil || threshold < 0 || threshold > 100 {
			return nil, fmt.Errorf("invalid fuzz_threshold %q: must be 0-100", v)
		}
	}
	algorithm := fuzzySubsequent
	if v := r.FormValue("fuzz_alg"); v != "" {
		if v != fuzzySubsequent && v != fuzzyJaro {
			return nil, fmt.Errorf("unsupported fuzz_alg %q: must be one of %v", v, []string{fuzzySubsequent, fuzzyJaro})
		}
		algorithm = v
	}
	cased, err := boolOf(r, "case_sensitive", true)
	if err != nil {
		return nil, err
	}
	f := &termFilter{fold: !cased}
	for _, t := range terms {
		if t == "" {
			continue
		}
		if f.fold {
			t = strings.ToLower(t)
		}
		f.terms = append(f.terms, matchTerm(t, algorithm, float64(threshold)/100))
	}
	if len(f.terms) == 0 {
		return nil, nil
	}
	return f, nil
}

// match reports whether a name is found and how well, from 0 to 1.
type match func(name string) (bool, float64)

type termFilter struct {
	terms []match
	fold  bool
}

func (f *termFilter) Accept(name string) (accepted bool, best float64) {
	if f.fold {
		name = strings.ToLower(name)
	}
	for _, m := range f.terms {
		ok, score := m(name)
		if !ok {
			continue
		}
		accepted = true
		if best = max(best, score); best >= 1 {
			break
		}
	}
	return accepted, best
}

// matchTerm returns how a term matches: as the start, else by its letters in
// their order; or as a part, else by Jaro and Winkler's likeness.
func matchTerm(term, algorithm string, threshold float64) match {
	if algorithm == fuzzySubsequent {
		m := strutil.NewSubsequenceMatcher(term)
		return func(name string) (bool, float64) {
			if strings.HasPrefix(name, term) {
				return true, 1
			}
			score := m.Score(name)
			return score > 0 && score >= threshold, score
		}
	}
	if threshold == 0 {
		return func(name string) (bool, float64) { return contains(name, term) }
	}
	m := strutil.NewJaroWinklerMatcher(term)
	return func(name string) (bool, float64) {
		if ok, score := contains(name, term); ok {
			return true, score
		}
		score := m.Score(name)
		return score >= threshold, score
	}
}

// contains scores a part of a name by where it begins, in characters: 1 at the
// start, down to 0.1 at the end.
func contains(name, term string) (bool, float64) {
	at := strings.Index(name, term)
	if at <= 0 {
		return at == 0, float64(at + 1)
	}
	before := utf8.RuneCountInString(name[:at])
	most := utf8.RuneCountInString(name) - utf8.RuneCountInString(term)
	return true, 1 - 0.9*float64(before)/float64(most)
}

// suffixAllowed reports whether series of a metric of this kind may be called by
// its name and the suffix.
func suffixAllowed(kind, suffix string) bool {
	switch suffix {
	case "_total":
		return kind == "counter"
	case "_bucket":
		return kind == "histogram" || kind == "gaugehistogram"
	case "_sum", "_count":
		return kind == "histogram" || kind == "gaugehistogram" || kind == "summary"
	case "_gsum", "_gcount":
		return kind == "gaugehistogram"
	case "_info":
		return kind == "info"
	}
	return false
}

// metadataOf returns what is known of the metric to which a series' name belongs.
func metadataOf(known map[string][]Metadata, name string) (Metadata, bool) {
	if ms := known[name]; len(ms) > 0 {
		return ms[0], true
	}
	i := strings.LastIndexByte(name, '_')
	if i < 0 {
		return Metadata{}, false
	}
	family, suffix := name[:i], name[i:]
	if (suffix == "_total" || suffix == "_info") && strings.HasSuffix(family, suffix) {
		return Metadata{}, false
	}
	for _, m := range known[family] {
		if suffixAllowed(m.Type, suffix) {
			return m, true
		}
	}
	return Metadata{}, false
}
