package register

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
)

// Matcher is one condition on a label: = != =~ !~.
type Matcher struct{ Label, Is, Value string }

// Selection is a selector that was read: all of its conditions hold. Those that
// everything fulfils are left out.
type Selection []Matcher

// Shared is the error of a dataset that would collect again what one that is
// there shares already. Art. 25(2)
type Shared struct {
	ID string
	By *Record
}

func (e *Shared) Error() string {
	return fmt.Sprintf("dataset %s would collect again what dataset %s (%s) shares; use that one (`hub grant apply`), or make yours of what it lacks", e.ID, e.By.ID, e.By.Document.Title.ZH)
}

// ZH is Error for people who read Chinese.
func (e *Shared) ZH() string {
	return fmt.Sprintf("数据集 %s 的内容已由数据集 %s（%s）共享，按一数一源不得重复采集；请申请使用（hub grant apply），或只采集其所缺", e.ID, e.By.ID, e.By.Document.Title.ZH)
}

// sharing is what a dataset gives to others, in a form that is compared fast.
type sharing struct {
	id, region string
	kind       catalog.SourceKind
	selection  []condition
	bin        time.Duration
	function   catalog.Function
	by         []string // sorted
	values     []string // items that hold what is measured; none: not said
}

// condition is a matcher with its expression compiled.
type condition struct {
	Matcher
	pattern *regexp.Regexp // of =~ and !~
}

func (m Matcher) compile() (condition, error) {
	c := condition{Matcher: m}
	if m.Is == "=~" || m.Is == "!~" {
		p, err := regexp.Compile("^(?s:" + m.Value + ")$")
		if err != nil {
			return c, err
		}
		c.pattern = p
	}
	return c, nil
}

// follows reports whether a condition holds wherever another one does.
func (c condition) follows(from condition) bool {
	if c.Matcher == from.Matcher {
		return true
	}
	if c.Label != from.Label || from.Is != "=" {
		return false
	}
	switch c.Is {
	case "!=":
		return from.Value != c.Value
	case "=~":
		return c.pattern.MatchString(from.Value)
	case "!~":
		return !c.pattern.MatchString(from.Value)
	}
	return false
}

// sharingOf is what a dataset is about; an error is one of its selector.
func (r *Register) sharingOf(d *catalog.Dataset) (*sharing, error) {
	s := &sharing{id: d.ID, kind: d.Source.Kind, bin: d.Source.Bin, function: d.Source.Function, by: slices.Sorted(slices.Values(d.Source.By))}
	if s.function == "" && s.bin > 0 {
		s.function = catalog.Mean
	}
	if s.kind == catalog.SourceSeries {
		selection, err := r.deps.Selection(d.Source.Selector)
		if err != nil {
			return nil, &Invalid{Of: "dataset " + d.ID, Problems: []catalog.Problem{{Path: "source.selector", ZH: "不是 PromQL 序列选择器：" + err.Error(), EN: "is no selector of series in PromQL: " + err.Error()}}}
		}
		for _, m := range selection {
			c, err := m.compile()
			if err != nil {
				return nil, fmt.Errorf("source.selector of %s: %w", d.ID, err)
			}
			s.selection = append(s.selection, c)
		}
	} else {
		s.region = d.Region
	}
	for i := range d.Items {
		if measured(d, &d.Items[i]) {
			s.values = append(s.values, d.Items[i].Name)
		}
	}
	return s, nil
}

// sharing is what a record shares with others now; nil for nothing.
func (r *Register) sharing(rec *Record) (*sharing, error) {
	d := rec.dataset
	if d.State != catalog.Published || d.Share.Class == catalog.None {
		return nil, nil // what cannot be had by sharing may be collected
	}
	return r.sharingOf(d)
}

// covers reports whether all that another dataset would collect is here: of the
// same kind, in the same bins by the same function, with every label that it
// keeps, selected at least as widely, and with an item in common.
func (s *sharing) covers(o *sharing) bool {
	if s.kind != o.kind || s.bin != o.bin || s.function != o.function || !strings.HasPrefix(o.region, s.region) {
		return false
	}
	for _, label := range o.by {
		if _, kept := slices.BinarySearch(s.by, label); !kept {
			return false
		}
	}
	for _, c := range s.selection {
		if !slices.ContainsFunc(o.selection, c.follows) {
			return false
		}
	}
	return len(s.values) == 0 || len(o.values) == 0 || slices.ContainsFunc(o.values, func(v string) bool { return slices.Contains(s.values, v) })
}

// index holds what is shared by id.
type index struct{ all map[string]*sharing }

func newIndex() *index { return &index{map[string]*sharing{}} }

func (x *index) put(s *sharing) { x.all[s.id] = s }
func (x *index) drop(id string) { delete(x.all, id) }
func (x *index) find(o *sharing) (id string) {
	for _, s := range x.all {
		if s.id != o.id && s.covers(o) && (id == "" || s.id < id) {
			id = s.id
		}
	}
	return id
}

// oneSource is *Shared for a dataset that would collect again what another one
// shares.
func (r *Register) oneSource(d *catalog.Dataset) error {
	s, err := r.sharingOf(d)
	if err != nil {
		return err
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	if id := r.shared.find(s); id != "" {
		return &Shared{d.ID, r.byID[id]}
	}
	return nil
}
