package rules

import (
	"slices"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// Names are the metrics that an expression asks for by their names, sorted.
func Names(e parser.Expr) (all []string) {
	parser.Inspect(e, func(n parser.Node, _ []parser.Node) error {
		s, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		if name, ok := nameOf(s); ok {
			all = append(all, name)
		}
		return nil
	})
	slices.Sort(all)
	return slices.Compact(all)
}

// nameOf is the name that a selector asks for; false: it may be any.
func nameOf(s *parser.VectorSelector) (string, bool) {
	for _, m := range s.LabelMatchers {
		if m.Name == model.MetricNameLabel && m.Type == labels.MatchEqual {
			return m.Value, true
		}
	}
	return "", false
}

// NamesOf are the metrics that an expression, as it is written, asks for by their
// names.
func NamesOf(expr string) ([]string, error) {
	e, err := parser.NewParser(parser.Options{}).ParseExpr(expr)
	if err != nil {
		return nil, err
	}
	return Names(e), nil
}
