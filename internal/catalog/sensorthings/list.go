package sensorthings

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// list is one page of a collection.
type list struct {
	rows  []*row
	after string // key behind which the next page begins; empty when there is none
	count int    // of all pages; -1 when it was not asked for
}

// collect reads one page. The first levels's page may end early, see stride.
func (q *question) collect(s set, parent *row, o *options, first bool) (list, error) {
	in := always
	if s == observations && o.filter != nil {
		in = o.filter.in
	}
	l := list{count: -1}
	var err error
	if o.count {
		if l.count, err = q.count(s, parent, o.filter, in); err != nil {
			return l, err
		}
	}
	down, natural := o.natural(parent)
	if !natural {
		return l, q.sort(&l, s, parent, o, in)
	}
	return l, q.walk(&l, s, parent, o, in, down, first)
}

// natural reports whether the order that is asked for is one in which rows come,
// and whether it is against time.
func (o *options) natural(parent *row) (down, natural bool) {
	if len(o.order) == 0 {
		return false, true
	}
	first := o.order[0]
	if first.by.time && parent != nil && parent.set == streams {
		return first.down, true // no two of one datastream have one time
	}
	return false, first.by.id && !first.down
}

func (q *question) walk(l *list, s set, parent *row, o *options, in span, down, first bool) error {
	skip := o.skip
	if o.after != "" {
		skip = 0
	}
	began, last := q.cost, ""
	for r, err := range q.rows(s, parent, o.after, in, down) {
		if err != nil {
			return err
		}
		lets := !r.passed
		if lets && o.filter != nil {
			if lets, err = q.lets(o.filter, r); err != nil {
				return err
			}
		}
		if lets && skip > 0 {
			skip, lets = skip-1, false
		}
		if lets {
			if len(l.rows) == o.top {
				l.after = last
				return nil
			}
			if err := q.takeEntity(); err != nil {
				return err
			}
			l.rows = append(l.rows, r)
		}
		// Rows that are left out by $skip are left out only once, so a page that is
		// still within them goes on.
		if lets || q.cost-began > stride {
			last = r.key()
		}
		if q.cost-began > stride && first && skip == 0 {
			l.after = last
			return nil
		}
	}
	return nil
}

func (q *question) lets(filter *expr, r *row) (bool, error) {
	v, err := filter.eval(q, r)
	return v.holds(), err
}

// count counts what a filter lets through, within the budget of the question.
func (q *question) count(s set, parent *row, filter *expr, in span) (n int, err error) {
	for r, err := range q.rows(s, parent, "", in, false) {
		if err != nil {
			return 0, err
		}
		lets := !r.passed
		if lets && filter != nil {
			if lets, err = q.lets(filter, r); err != nil {
				return 0, err
			}
		}
		n += b2i(lets)
	}
	return n, nil
}

// ordered is a row with what it is ordered by.
type ordered struct {
	row  *row
	key  string
	keys []value
}

// sort puts all rows in an order of their properties, equal ones in that of their
// keys, and cuts the page out. It is made anew for every page, which all cost the
// same for that reason.
func (q *question) sort(l *list, s set, parent *row, o *options, in span) error {
	var all []ordered
	for r, err := range q.rows(s, parent, "", in, false) {
		if err != nil {
			return err
		}
		lets := !r.passed
		if lets && o.filter != nil {
			if lets, err = q.lets(o.filter, r); err != nil {
				return err
			}
		}
		if !lets {
			continue
		}
		if len(all) == maxSorted {
			return &refusal{code: http.StatusBadRequest, limit: limitOrder,
				zh: fmt.Sprintf("要排序的 %s 超过 %d 个；请用 $filter 缩小范围，或按 phenomenonTime 对单个 Datastream 的 Observations 排序，或去掉 $orderby。", s.name(), maxSorted),
				en: fmt.Sprintf("more than %d %s would have to be put in order; narrow with $filter, order the Observations of one Datastream by phenomenonTime, or leave $orderby out", maxSorted, s.name())}
		}
		one := ordered{row: r, key: r.key()}
		for _, by := range o.order {
			v, err := by.by.eval(q, r)
			if err != nil {
				return err
			}
			one.keys = append(one.keys, v)
		}
		all = append(all, one)
	}
	slices.SortFunc(all, o.compare)
	begin := min(o.skip, len(all))
	if o.after != "" {
		begin = 0
		if i := slices.IndexFunc(all, func(a ordered) bool { return a.key == o.after }); i >= 0 {
			begin = i + 1
		} else {
			return &refusal{code: http.StatusGone, zh: "上一页的最后一个实体已不存在；请从头开始，或按编号排序翻页。", en: "the entity that the page before ended with is gone; begin anew, or leave $orderby out"}
		}
	}
	end := min(begin+o.top, len(all))
	for _, a := range all[begin:end] {
		if err := q.takeEntity(); err != nil {
			return err
		}
		l.rows = append(l.rows, a.row)
	}
	if end < len(all) && end > begin {
		l.after = all[end-1].key
	}
	return nil
}

func (o *options) compare(a, b ordered) int {
	for i, by := range o.order {
		order, ok := compare(a.keys[i], b.keys[i])
		if !ok { // what has no value comes last
			order = cmp.Compare(b2i(a.keys[i].kind == null), b2i(b.keys[i].kind == null))
		} else if by.down {
			order = -order
		}
		if order != 0 {
			return order
		}
	}
	return strings.Compare(a.key, b.key)
}
