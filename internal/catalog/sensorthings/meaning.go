package sensorthings

import (
	"cmp"
	"net/url"

	"github.com/songhua-io/hub/internal/model"
)

// meaning is what the first model that lists a metric says of it.
type meaning struct{ *model.Metric }

var unknownMetric = meaning{&model.Metric{}}

// meaning looks a metric up among the models; each once for a question.
func (q *question) meaning(metric string) meaning {
	if q.meanings == nil {
		q.meanings = map[string]meaning{}
		for _, m := range q.models() {
			for i := range m.Metrics {
				if _, ok := q.meanings[m.Metrics[i].Name]; !ok {
					q.meanings[m.Metrics[i].Name] = meaning{&m.Metrics[i]}
				}
			}
		}
	}
	if m, ok := q.meanings[metric]; ok {
		return m
	}
	return unknownMetric
}

func (m meaning) fields() []field {
	low, high := value{}, value{}
	if m.Min != nil {
		low = numberOf(*m.Min)
	}
	if m.Max != nil {
		high = numberOf(*m.Max)
	}
	step := value{}
	if m.Step != 0 {
		step = numberOf(m.Step)
	}
	return []field{{"min", low}, {"max", high}, {"step", step}, {"period", textOrNull(m.Period)}, {"semantic", textOrNull(m.Semantic)}}
}

func (q *question) models() []*model.Model {
	if q.modelList == nil {
		q.modelList = q.api.deps.Models.List()
	}
	return q.modelList
}

// definition is a URI: the one that a model gives, else this entity's own.
func (q *question) definition(r *row) value {
	if u, err := url.Parse(q.meaning(r.metric).Semantic); err == nil && u.Scheme != "" && (u.Host != "" || u.Opaque != "") {
		return textOf(u.String())
	}
	return textOf(q.selfLink(r))
}

func (q *question) semantic(r *row) value {
	return textOf(cmp.Or(q.meaning(r.metric).Semantic, r.metric))
}

func (q *question) metricProperties(r *row) value {
	m := q.meaning(r.metric)
	unit := cmp.Or(m.Unit, q.api.deps.Devices.MetricUnit(r.metric))
	return optional(append([]field{{"unit", textOrNull(unit)}}, m.fields()...)...)
}
