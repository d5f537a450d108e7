package query

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
)

const (
	deviceLabel = "device"
	regionLabel = "region"
)

// Hidden is what callers of a grade may not see (Art. 74(3)). It is immutable;
// nil hides nothing.
type Hidden struct {
	metrics map[string]map[string]bool // by device; a nil set is all of them
	// shown are the questions that together ask for everything else: each is
	// added to the matchers of one. Index lookups need them, because a name or
	// value that only hidden series have must not be found.
	shown [][]*labels.Matcher
}

// HiddenPart hides metrics of some devices.
type HiddenPart struct {
	// Devices are those meant; each belongs to one part only.
	Devices []string
	// Metrics are the names of what is hidden of them; none means everything.
	Metrics []string
}

// Hide makes a Hidden of its parts; nil of none.
func Hide(parts ...HiddenPart) (*Hidden, error) {
	h := &Hidden{metrics: map[string]map[string]bool{}}
	for _, p := range parts {
		var set map[string]bool
		for _, name := range p.Metrics {
			if set == nil {
				set = map[string]bool{}
			}
			set[name] = true
		}
		for _, device := range p.Devices {
			h.metrics[device] = set
		}
	}
	if len(h.metrics) == 0 {
		return nil, nil
	}
	others, err := not(deviceLabel, slices.Sorted(maps.Keys(h.metrics)))
	if err != nil {
		return nil, err
	}
	h.shown = [][]*labels.Matcher{{others}}
	for _, p := range parts {
		if len(p.Metrics) == 0 || len(p.Devices) == 0 {
			continue
		}
		these, err := labels.NewMatcher(labels.MatchRegexp, deviceLabel, oneOf(p.Devices))
		if err != nil {
			return nil, fmt.Errorf("devices %q: %w", p.Devices, err)
		}
		names, err := not(model.MetricNameLabel, p.Metrics)
		if err != nil {
			return nil, err
		}
		h.shown = append(h.shown, []*labels.Matcher{these, names})
	}
	return h, nil
}

// oneOf is a regular expression that the index takes as a set of strings.
func oneOf(all []string) string {
	quoted := make([]string, len(all))
	for i, s := range all {
		quoted[i] = regexp.QuoteMeta(s)
	}
	return strings.Join(quoted, "|")
}

func not(label string, all []string) (*labels.Matcher, error) {
	m, err := labels.NewMatcher(labels.MatchNotRegexp, label, oneOf(all))
	if err != nil {
		return nil, fmt.Errorf("label %s other than %q: %w", label, all, err)
	}
	return m, nil
}

func (h *Hidden) hides(ls labels.Labels) bool {
	set, known := h.metrics[ls.Get(deviceLabel)]
	return known && (set == nil || set[ls.Get(model.MetricNameLabel)])
}

// shownSet leaves out what is hidden, before anybody counts or reads it.
type shownSet struct {
	storage.SeriesSet
	hidden *Hidden
}

func (s *shownSet) Next() bool {
	for s.SeriesSet.Next() {
		if !s.hidden.hides(s.SeriesSet.At().Labels()) {
			return true
		}
	}
	return false
}

// selectFrom leaves the hidden series out of those that a store selects. The store
// must not count them either.
func (h *Hidden) selectFrom(ctx context.Context, q storage.Querier, sorted bool, hints *storage.SelectHints, ms []*labels.Matcher) storage.SeriesSet {
	if h == nil {
		return q.Select(ctx, sorted, hints, ms...)
	}
	if hints != nil && hints.Limit > 0 {
		all := *hints
		all.Limit, hints = 0, &all
	}
	return &shownSet{q.Select(ctx, sorted, hints, ms...), h}
}

// find reads names or values of the labels of series that are not hidden.
func (h *Hidden) find(ms []*labels.Matcher, read func(...*labels.Matcher) ([]string, annotations.Annotations, error)) ([]string, annotations.Annotations, error) {
	if h == nil {
		return read(ms...)
	}
	var all []string
	var notes annotations.Annotations
	for _, only := range h.shown {
		found, warned, err := read(slices.Concat(ms, only)...)
		if err != nil {
			return nil, nil, err
		}
		all, notes = append(all, found...), notes.Merge(warned)
	}
	slices.Sort(all)
	return slices.Compact(all), notes, nil
}
