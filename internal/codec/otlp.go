package codec

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// otlpReader turns OTLP metrics into the series that Prometheus makes of them
// (OpenTelemetry, "Prometheus and OpenMetrics Compatibility").
type otlpReader struct {
	b      *telemetry.Batch
	in     Input
	format Format
	mark   mark
	index  int // of the next data point in the request
	names  otlptranslator.MetricNamer
	labels otlptranslator.LabelNamer

	resource []telemetry.Tag // job and instance
	unit     []byte
	tags     []telemetry.Tag // of the current point
	time     int64
}

// decodeOTLP reads an ExportMetricsServiceRequest in protobuf or in JSON.
// Faults of single points name the metric, not the byte.
func decodeOTLP(b *telemetry.Batch, f Format, in Input) error {
	metrics, err := readOTLP(f, in)
	if err != nil {
		return err
	}
	r := otlpReader{b: b, in: in, format: f, mark: markOf(b),
		names: otlptranslator.MetricNamer{WithMetricSuffixes: true}}
	for _, resource := range metrics.ResourceMetrics().All() {
		r.identify(resource.Resource())
		for _, scope := range resource.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				r.metric(m)
				if err := r.mark.checkCount(b, f, in.MaxSamples, 0); err != nil {
					r.mark.undo(b)
					return err
				}
			}
		}
	}
	return nil
}

// readOTLP bounds what the request will cost in memory, then reads it.
func readOTLP(f Format, in Input) (pmetric.Metrics, error) {
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

// objectsPerSample bounds the JSON objects of a request: a data point and its
// attributes are a few each.
const objectsPerSample = 16

func boundOTLP(f Format, in Input) error {
	if f == OTLPJSON {
		if n := bytes.Count(in.Payload, []byte{'{'}); n > objectsPerSample*in.MaxSamples {
			return &Error{f, 0, telemetry.ReasonTooLarge, fmt.Sprintf("the request holds %d objects; send it in smaller pieces", n)}
		}
		return nil
	}
	n := 0
	if err := countOTLP(protoReader{p: in.Payload, format: f}, 0, &n); err != nil {
		return err
	}
	if n > 2*in.MaxSamples {
		return &Error{f, 0, telemetry.ReasonTooLarge, fmt.Sprintf("the request holds more than %d values; send it in smaller pieces", in.MaxSamples)}
	}
	return nil
}

// countOTLP counts resources, scopes, metrics and data points.
func countOTLP(r protoReader, level int, n *int) error {
	for r.next() {
		child := r.kind == protowire.BytesType
		switch level {
		case 0, 4: // resource_metrics; data_points
			child = child && r.field == 1
		case 1, 2: // scope_metrics; metrics
			child = child && r.field == 2
		case 3: // gauge, sum, histogram, exponential histogram, summary
			child = child && r.field >= 5 && r.field <= 11
		}
		if !child {
			continue
		}
		*n++
		if level < 4 {
			if err := countOTLP(r.inner(), level+1, n); err != nil {
				return err
			}
		}
	}
	return r.err
}

// identify takes job and instance from a resource; its other attributes are no
// labels.
func (r *otlpReader) identify(resource pcommon.Resource) {
	attributes := resource.Attributes()
	text := func(key string) string {
		if v, ok := attributes.Get(key); ok {
			return v.AsString()
		}
		return ""
	}
	r.resource = nil
	job := text("service.name")
	if space := text("service.namespace"); space != "" && job != "" {
		job = space + "/" + job
	}
	if job != "" {
		r.resource = append(r.resource, telemetry.Tag{Name: []byte("job"), Value: []byte(job)})
	}
	if instance := text("service.instance.id"); instance != "" {
		r.resource = append(r.resource, telemetry.Tag{Name: []byte("instance"), Value: []byte(instance)})
	}
}

func (r *otlpReader) metric(m pmetric.Metric) {
	kind, temporality, points := otlpKind(m)
	name, err := r.names.Build(otlptranslator.Metric{Name: m.Name(), Unit: m.Unit(), Type: kind})
	switch {
	case err != nil:
		r.reject(points, telemetry.ReasonMetricInvalid, fmt.Sprintf("metric %q: %v", clip([]byte(m.Name())), err))
		return
	case m.Type() == pmetric.MetricTypeExponentialHistogram:
		r.reject(points, telemetry.ReasonUnsupported, fmt.Sprintf("metric %q is an exponential histogram, which is not stored; "+
			"set the SDK's aggregation to explicit_bucket_histogram", clip([]byte(m.Name()))))
		return
	case temporality == pmetric.AggregationTemporalityDelta:
		r.reject(points, telemetry.ReasonUnsupported, fmt.Sprintf("metric %q has delta temporality, which is not stored; "+
			"set the exporter's temporality to cumulative (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative) "+
			"or put the collector's deltatocumulative processor before it", clip([]byte(m.Name()))))
		return
	}
	r.unit = []byte(m.Unit())
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		r.numbers(name, m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		r.numbers(name, m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		r.histograms(name, m.Histogram().DataPoints())
	case pmetric.MetricTypeSummary:
		r.summaries(name, m.Summary().DataPoints())
	}
}

// otlpKind returns what the name and the support of a metric depend on.
func otlpKind(m pmetric.Metric) (kind otlptranslator.MetricType, t pmetric.AggregationTemporality, points int) {
	const cumulative = pmetric.AggregationTemporalityCumulative
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		return otlptranslator.MetricTypeGauge, cumulative, m.Gauge().DataPoints().Len()
	case pmetric.MetricTypeSum:
		kind = otlptranslator.MetricTypeNonMonotonicCounter
		if m.Sum().IsMonotonic() {
			kind = otlptranslator.MetricTypeMonotonicCounter
		}
		return kind, m.Sum().AggregationTemporality(), m.Sum().DataPoints().Len()
	case pmetric.MetricTypeHistogram:
		return otlptranslator.MetricTypeHistogram, m.Histogram().AggregationTemporality(), m.Histogram().DataPoints().Len()
	case pmetric.MetricTypeExponentialHistogram:
		return otlptranslator.MetricTypeExponentialHistogram, cumulative, m.ExponentialHistogram().DataPoints().Len()
	case pmetric.MetricTypeSummary:
		return otlptranslator.MetricTypeSummary, cumulative, m.Summary().DataPoints().Len()
	}
	return otlptranslator.MetricTypeUnknown, cumulative, 0
}

// reject notes all points of a metric with the same reason.
func (r *otlpReader) reject(points int, reason telemetry.Reason, detail string) {
	for range points {
		r.b.Rejects = append(r.b.Rejects, telemetry.Reject{Index: r.index, Stage: telemetry.StageDecode, Reason: reason, Detail: detail})
		r.index++
	}
}

// point begins a data point; false when it was rejected.
func (r *otlpReader) point(name string, t pcommon.Timestamp, attributes pcommon.Map) bool {
	r.time = int64(t / 1e6)
	if t == 0 {
		r.time = r.in.Now
	}
	mark := r.b.Mark()
	for _, tag := range r.resource {
		r.b.AddTag(tag.Name, tag.Value)
	}
	for key, value := range attributes.All() {
		label, err := r.labels.Build(key)
		if err != nil {
			r.b.EndTags(mark)
			r.reject(1, telemetry.ReasonLabelInvalid, fmt.Sprintf("metric %q: %v", clip([]byte(name)), err))
			return false
		}
		if text := value.AsString(); text != "" {
			r.b.AddTag([]byte(label), []byte(text))
		}
	}
	r.tags = r.b.EndTags(mark)
	return true
}

// sample adds one sample of the current point; label may be empty.
func (r *otlpReader) sample(metric, label, value string, v float64) {
	tags := r.tags
	if label != "" {
		mark := r.b.Mark()
		for _, t := range r.tags {
			r.b.AddTag(t.Name, t.Value)
		}
		r.b.AddTag([]byte(label), []byte(value))
		tags = r.b.EndTags(mark)
	}
	r.b.Samples = append(r.b.Samples, telemetry.Sample{
		Metric: []byte(metric), Tags: tags, Unit: r.unit, Time: r.time, Value: v, Index: int32(r.index),
	})
}

// staleNaN is how Prometheus marks the end of a series (model/value).
var staleNaN = math.Float64frombits(0x7ff0000000000002)

// known returns v, or the staleness marker for a point without a value.
func known(flags pmetric.DataPointFlags, v float64) float64 {
	if flags.NoRecordedValue() {
		return staleNaN
	}
	return v
}

func (r *otlpReader) numbers(name string, points pmetric.NumberDataPointSlice) {
	for _, p := range points.All() {
		if !r.point(name, p.Timestamp(), p.Attributes()) {
			continue
		}
		v := p.DoubleValue()
		if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
			v = float64(p.IntValue())
		}
		r.sample(name, "", "", known(p.Flags(), v))
		r.index++
	}
}

// histograms adds the classic series of explicit buckets: _bucket with the
// cumulative count up to le, _sum and _count.
func (r *otlpReader) histograms(name string, points pmetric.HistogramDataPointSlice) {
	for _, p := range points.All() {
		bounds, counts := p.ExplicitBounds(), p.BucketCounts()
		if counts.Len() != 0 && counts.Len() != bounds.Len()+1 {
			r.reject(1, telemetry.ReasonMalformed, fmt.Sprintf("metric %q: %d buckets do not fit %d bounds", clip([]byte(name)), counts.Len(), bounds.Len()))
			continue
		}
		if !r.point(name, p.Timestamp(), p.Attributes()) {
			continue
		}
		below := uint64(0)
		for i := range min(bounds.Len(), counts.Len()) {
			below += counts.At(i)
			r.sample(name+"_bucket", "le", formatFloat(bounds.At(i)), known(p.Flags(), float64(below)))
		}
		r.sample(name+"_bucket", "le", "+Inf", known(p.Flags(), float64(p.Count())))
		if p.HasSum() {
			r.sample(name+"_sum", "", "", known(p.Flags(), p.Sum()))
		}
		r.sample(name+"_count", "", "", known(p.Flags(), float64(p.Count())))
		r.index++
	}
}

func (r *otlpReader) summaries(name string, points pmetric.SummaryDataPointSlice) {
	for _, p := range points.All() {
		if !r.point(name, p.Timestamp(), p.Attributes()) {
			continue
		}
		for _, q := range p.QuantileValues().All() {
			r.sample(name, "quantile", formatFloat(q.Quantile()), known(p.Flags(), q.Value()))
		}
		r.sample(name+"_sum", "", "", known(p.Flags(), p.Sum()))
		r.sample(name+"_count", "", "", known(p.Flags(), float64(p.Count())))
		r.index++
	}
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
