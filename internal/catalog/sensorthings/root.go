package sensorthings

import "time"

// conformance are the requirements of OGC 18-088 that are met as they are written.
// The functions and operators of $filter are a subset, so that the two requirements
// about all of them are not among these.
var conformance = []string{
	"datamodel/thing", "datamodel/location", "datamodel/historical-location", "datamodel/datastream", "datamodel/sensor",
	"datamodel/observed-property", "datamodel/observation", "datamodel/feature-of-interest", "datamodel/entity-control-information",
	"resource-path/resource-path-to-entities",
	"request-data/order", "request-data/expand", "request-data/select", "request-data/status-code", "request-data/query-status-code",
	"request-data/orderby", "request-data/skip", "request-data/top", "request-data/filter", "request-data/count", "request-data/pagination",
	"data-array/data-array",
}

const requirements = "http://www.opengis.net/spec/iot_sensing/1.1/req/"

// root lists the collections, what is conformed to, and the bounds
// (OGC 18-088, 9.2.1).
func (q *question) root(query string) ([]byte, string, error) {
	if query != "" {
		return nil, "", bad("根文档不接受查询选项。", "the root takes no options")
	}
	all := []value{}
	for s := range setCount {
		all = append(all, objectOf(field{"name", textOf(s.name())}, field{"url", textOf(q.base + s.name())}))
	}
	met := []value{}
	for _, r := range conformance {
		met = append(met, textOf(requirements+r))
	}
	operators := []value{}
	for _, name := range []string{"and", "or", "not", "eq", "ne", "gt", "ge", "lt", "le"} {
		operators = append(operators, textOf(name))
	}
	names := []value{}
	for _, f := range functions {
		names = append(names, textOf(f.name))
	}
	c := q.api.config
	limit := func(n int) value { return numberOf(float64(n)) }
	b := appendFields(nil, []field{
		{"value", listOf(all)},
		{"serverSettings", objectOf(
			field{"conformance", listOf(met)},
			field{requirements + "request-data/filter", objectOf(field{"operators", listOf(operators)}, field{"functions", listOf(names)})},
			field{requirements + "datamodel/historical-location", objectOf(field{"note", textOf("枢纽不保存设备的历史位置，该集合始终为空 / where a device stood before is not kept; the collection is empty")})},
			field{"limits", objectOf(field{"top", limit(maxTop)}, field{"skip", limit(maxSkip)}, field{"samples", limit(c.MaxSamples)}, field{"series", limit(c.MaxSeries)},
				field{"entities", limit(c.MaxEntities)}, field{"seconds", numberOf(c.Timeout.Round(time.Millisecond).Seconds())})},
		)},
	})
	return append(b, '\n'), "", nil
}

func listOf(all []value) value { return value{kind: object, items: all} }
