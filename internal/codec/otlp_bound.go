package codec

import (
	"bytes"
	"fmt"

	"go.opentelemetry.io/collector/pdata/pmetric"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// readOTLP bounds what the request will cost in memory, then reads it.
func readOTLP(f Format, in *Input) (pmetric.Metrics, error) {
	if err := boundOTLP(f, in); err != nil {
		return pmetric.Metrics{}, err
	}
	var metrics pmetric.Metrics
	var err error
	if f == OTLPJSON {
		metrics, err = (&pmetric.JSONUnmarshaler{}).UnmarshalMetrics(in.Payload)
	} else {
		metrics, err = (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(in.Payload)
	}
	if err != nil {
		return metrics, &Error{f, 0, telemetry.ReasonMalformed, "the request is no OTLP metrics export: " + err.Error()}
	}
	return metrics, nil
}

// objectsPerSample bounds the objects of a request: a data point and its
// attributes are a few each.
const objectsPerSample = 16

func boundOTLP(f Format, in *Input) error {
	if f == OTLPJSON {
		// Elements of arrays need no brace to become objects: null does.
		n := max(bytes.Count(in.Payload, []byte{'{'}), bytes.Count(in.Payload, []byte{','}))
		if n > objectsPerSample*in.MaxSamples {
			return &Error{f, 0, telemetry.ReasonTooLarge, fmt.Sprintf("the request holds %d objects; send it in smaller pieces", n)}
		}
		return nil
	}
	c := otlpCount{most: in.MaxSamples}
	return c.count(protoReader{p: in.Payload, format: f}, otlpRequest, 0)
}

// otlpMessage is a message of the OTLP metrics protocol that holds others.
type otlpMessage uint8

const (
	otlpRequest otlpMessage = iota
	otlpResourceMetrics
	otlpScopeMetrics
	otlpMetric
	otlpNumbers // gauge and sum
	otlpHistogram
	otlpExponential
	otlpSummary
	otlpNumberPoint
	otlpHistogramPoint
	otlpExponentialPoint
	otlpSummaryPoint
	otlpResource // what follows is a part of a point or a resource
	otlpScope
	otlpKeyValue
	otlpAnyValue
	otlpList // ArrayValue
	otlpMap  // KeyValueList
	otlpExemplar
	otlpLeaf // holds no other
)

type otlpField struct {
	number protowire.Number
	holds  otlpMessage
}

// otlpFields are the fields of each message that hold a message
// (opentelemetry/proto/metrics/v1, common/v1). 1000 is a name of former times.
var otlpFields = [...][]otlpField{
	otlpRequest:          {{1, otlpResourceMetrics}},
	otlpResourceMetrics:  {{1, otlpResource}, {2, otlpScopeMetrics}, {1000, otlpScopeMetrics}},
	otlpScopeMetrics:     {{1, otlpScope}, {2, otlpMetric}},
	otlpMetric:           {{5, otlpNumbers}, {7, otlpNumbers}, {9, otlpHistogram}, {10, otlpExponential}, {11, otlpSummary}, {12, otlpKeyValue}},
	otlpNumbers:          {{1, otlpNumberPoint}},
	otlpHistogram:        {{1, otlpHistogramPoint}},
	otlpExponential:      {{1, otlpExponentialPoint}},
	otlpSummary:          {{1, otlpSummaryPoint}},
	otlpNumberPoint:      {{5, otlpExemplar}, {7, otlpKeyValue}},
	otlpHistogramPoint:   {{8, otlpExemplar}, {9, otlpKeyValue}},
	otlpExponentialPoint: {{1, otlpKeyValue}, {8, otlpLeaf}, {9, otlpLeaf}, {11, otlpExemplar}},
	otlpSummaryPoint:     {{6, otlpLeaf}, {7, otlpKeyValue}},
	otlpResource:         {{1, otlpKeyValue}, {3, otlpLeaf}},
	otlpScope:            {{3, otlpKeyValue}},
	otlpKeyValue:         {{2, otlpAnyValue}},
	otlpAnyValue:         {{5, otlpList}, {6, otlpMap}},
	otlpList:             {{1, otlpAnyValue}},
	otlpMap:              {{1, otlpKeyValue}},
	otlpExemplar:         {{7, otlpKeyValue}},
	otlpLeaf:             nil,
}

// otlpCount counts what a request will cost: two bytes of it can become an
// object of some hundred, and the library that reads it follows any depth.
type otlpCount struct {
	most          int // samples
	values, parts int
}

func (c *otlpCount) count(r protoReader, m otlpMessage, depth int) error {
	for r.next() {
		child, holds := otlpChild(m, r.field)
		if !holds || r.kind != protowire.BytesType {
			continue
		}
		if child < otlpResource {
			c.values++
		} else {
			c.parts++
		}
		switch {
		case c.values > 2*c.most:
			return &Error{r.format, r.start, telemetry.ReasonTooLarge, fmt.Sprintf("the request holds more than %d values; send it in smaller pieces", c.most)}
		case c.parts > objectsPerSample*c.most:
			return &Error{r.format, r.start, telemetry.ReasonTooLarge, fmt.Sprintf("the request holds more than %d attributes and other parts; send it in smaller pieces", c.parts-1)}
		case depth >= maxDepth:
			return r.malformed(r.start, "values nest deeper than %d levels", maxDepth)
		}
		if err := c.count(r.inner(), child, depth+1); err != nil {
			return err
		}
	}
	return r.err
}

func otlpChild(m otlpMessage, n protowire.Number) (child otlpMessage, holds bool) {
	for _, f := range otlpFields[m] {
		if f.number == n {
			return f.holds, true
		}
	}
	return 0, false
}
