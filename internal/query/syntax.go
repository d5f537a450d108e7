package query

import (
	"strconv"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// formatQuery answers /format_query: the expression as people like to read it.
func (a *API) formatQuery(r *request) answer {
	e, err := a.parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return fails(badParameter(err, "query"))
	}
	return answer{data: e.Pretty(0)}
}

// parseQuery answers /parse_query: the expression as a tree.
func (a *API) parseQuery(r *request) answer {
	e, err := a.parser.ParseExpr(r.FormValue("query"))
	if err != nil {
		return fails(badParameter(err, "query"))
	}
	return answer{data: tree(e)}
}

// node is one of the tree's: its keys are those that Prometheus' pages read.
type node map[string]any

func tree(e parser.Expr) any {
	switch n := e.(type) {
	case *parser.AggregateExpr:
		return node{"type": "aggregation", "op": n.Op.String(), "expr": tree(n.Expr), "param": tree(n.Param),
			"grouping": list(n.Grouping), "without": n.Without}
	case *parser.BinaryExpr:
		return node{"type": "binaryExpr", "op": n.Op.String(), "lhs": tree(n.LHS), "rhs": tree(n.RHS),
			"matching": matchingTree(n.VectorMatching), "bool": n.ReturnBool}
	case *parser.Call:
		return callTree(n)
	case *parser.MatrixSelector:
		t := selectorTree("matrixSelector", n.VectorSelector.(*parser.VectorSelector))
		t["range"], t["rangeExpr"] = n.Range.Milliseconds(), durationTree(n.RangeExpr)
		return t
	case *parser.SubqueryExpr:
		return node{"type": "subquery", "expr": tree(n.Expr),
			"range": n.Range.Milliseconds(), "rangeExpr": durationTree(n.RangeExpr),
			"offset": n.OriginalOffset.Milliseconds(), "offsetExpr": durationTree(n.OriginalOffsetExpr),
			"step": n.Step.Milliseconds(), "stepExpr": durationTree(n.StepExpr),
			"timestamp": n.Timestamp, "startOrEnd": startOrEnd(n.StartOrEnd)}
	case *parser.DurationExpr:
		return durationTree(n)
	case *parser.NumberLiteral:
		return node{"type": "numberLiteral", "val": strconv.FormatFloat(n.Val, 'f', -1, 64)}
	case *parser.ParenExpr:
		return node{"type": "parenExpr", "expr": tree(n.Expr)}
	case *parser.StringLiteral:
		return node{"type": "stringLiteral", "val": n.Val}
	case *parser.UnaryExpr:
		return node{"type": "unaryExpr", "op": n.Op.String(), "expr": tree(n.Expr)}
	case *parser.VectorSelector:
		return selectorTree("vectorSelector", n)
	}
	return nil // the absent parameter of an aggregation
}

func callTree(n *parser.Call) node {
	args := []any{}
	for _, arg := range n.Args {
		args = append(args, tree(arg))
	}
	return node{"type": "call", "args": args, "func": node{"name": n.Func.Name, "argTypes": n.Func.ArgTypes,
		"variadic": n.Func.Variadic, "returnType": n.Func.ReturnType}}
}

func matchingTree(m *parser.VectorMatching) any {
	if m == nil {
		return nil
	}
	return node{"card": m.Card.String(), "labels": list(m.MatchingLabels), "on": m.On, "include": list(m.Include),
		"fillValues": map[string]*float64{"lhs": m.FillValues.LHS, "rhs": m.FillValues.RHS}}
}

func selectorTree(kind string, n *parser.VectorSelector) node {
	return node{"type": kind, "name": n.Name, "matchers": matchersTree(n.LabelMatchers),
		"offset": n.OriginalOffset.Milliseconds(), "offsetExpr": durationTree(n.OriginalOffsetExpr),
		"timestamp": n.Timestamp, "startOrEnd": startOrEnd(n.StartOrEnd), "anchored": n.Anchored, "smoothed": n.Smoothed}
}

func matchersTree(ms []*labels.Matcher) []node {
	all := []node{}
	for _, m := range ms {
		all = append(all, node{"name": m.Name, "value": m.Value, "type": m.Type.String()})
	}
	return all
}

// durationTree is the tree of a duration that is computed, nil of one that is not.
func durationTree(e parser.Expr) any {
	switch n := e.(type) {
	case nil:
		return nil
	case *parser.DurationExpr:
		if n == nil {
			return nil
		}
		return node{"type": "durationExpr", "op": n.Op.String(), "lhs": durationTree(n.LHS), "rhs": durationTree(n.RHS), "wrapped": n.Wrapped}
	case *parser.NumberLiteral:
		if n == nil {
			return nil
		}
		return node{"type": "numberLiteral", "val": strconv.FormatFloat(n.Val, 'f', -1, 64), "duration": n.Duration}
	}
	return tree(e)
}

func list(l []string) []string {
	if l == nil {
		return []string{}
	}
	return l
}

func startOrEnd(i parser.ItemType) any {
	if i == 0 {
		return nil
	}
	return i.String()
}
