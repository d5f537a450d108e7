package codec

import (
	"fmt"
	"math"
	"strconv"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

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
	err      error // too many values
}

// decodeOTLP reads an ExportMetricsServiceRequest in protobuf or in JSON.
// Faults of single points name the metric, not the byte.
func decodeOTLP(b *telemetry.Batch, f Format, in *Input) error {
	metrics, err := readOTLP(f, in)
	if err != nil {
		return err
	}
	r := otlpReader{b: b, in: *in, format: f, mark: markOf(b),
		names: otlptranslator.MetricNamer{WithMetricSuffixes: true}}
	for _, resource := range metrics.ResourceMetrics().All() {
		r.identify(resource.Resource())
		for _, scope := range resource.ScopeMetrics().All() {
			for _, m := range scope.Metrics().All() {
				if r.metric(m); r.err != nil {
					r.mark.undo(b)
					return r.err
				}
			}
		}
	}
	return nil
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
	case len(name) > r.in.MaxName:
		r.reject(points, telemetry.ReasonMetricInvalid, r.in.longName([]byte(name), len(name)))
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
	series := otlpNames{base: []byte(name)}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		r.numbers(series, m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		r.numbers(series, m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		series.bucket, series.sum, series.count = []byte(name+"_bucket"), []byte(name+"_sum"), []byte(name+"_count")
		r.histograms(series, m.Histogram().DataPoints())
	case pmetric.MetricTypeSummary:
		series.sum, series.count = []byte(name+"_sum"), []byte(name+"_count")
		r.summaries(series, m.Summary().DataPoints())
	}
}

// otlpNames are the names of a metric's series, made once for all its points.
type otlpNames struct{ base, bucket, sum, count []byte }

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
		r.b.Rejects = append(r.b.Rejects, telemetry.Reject{Index: r.index, Stage: stageOf(reason), Reason: reason, Detail: detail})
		r.index++
	}
	r.err = r.mark.checkCount(r.b, r.format, r.in.MaxSamples, 0)
}

// point begins a data point; false when it was rejected.
func (r *otlpReader) point(name []byte, t pcommon.Timestamp, attributes pcommon.Map) bool {
	if r.err != nil {
		return false
	}
	if n := len(r.resource) + attributes.Len(); n > r.in.MaxTags {
		r.reject(1, telemetry.ReasonLabelLimit, fmt.Sprintf("metric %q: the point has %d tags; at most %d are allowed", clip(name), n, r.in.MaxTags))
		return false
	}
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
			r.reject(1, telemetry.ReasonLabelInvalid, fmt.Sprintf("metric %q: %v", clip(name), err))
			return false
		}
		if text := value.AsString(); text != "" {
			r.b.AddTag([]byte(label), []byte(text))
		}
	}
	r.tags = r.b.EndTags(mark)
	if reason, fault := r.in.tagFault(r.tags); fault != "" {
		r.reject(1, reason, fmt.Sprintf("metric %q: %s", clip(name), fault))
		return false
	}
	return true
}

// sample adds one sample of the current point; label may be empty. Buckets
// cost a copy of all tags each, so their number is checked one by one.
func (r *otlpReader) sample(metric []byte, label, value string, v float64) {
	if r.err != nil {
		return
	}
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
		Metric: metric, Tags: tags, Unit: r.unit, Time: r.time, Value: v, Index: int32(r.index),
	})
	r.err = r.mark.checkCount(r.b, r.format, r.in.MaxSamples, 0)
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

func (r *otlpReader) numbers(name otlpNames, points pmetric.NumberDataPointSlice) {
	for _, p := range points.All() {
		if !r.point(name.base, p.Timestamp(), p.Attributes()) {
			continue
		}
		v := p.DoubleValue()
		if p.ValueType() == pmetric.NumberDataPointValueTypeInt {
			v = float64(p.IntValue())
		}
		r.sample(name.base, "", "", known(p.Flags(), v))
		r.index++
	}
}

// histograms adds the classic series of explicit buckets: _bucket with the
// cumulative count up to le, _sum and _count.
func (r *otlpReader) histograms(name otlpNames, points pmetric.HistogramDataPointSlice) {
	for _, p := range points.All() {
		bounds, counts := p.ExplicitBounds(), p.BucketCounts()
		if counts.Len() != 0 && counts.Len() != bounds.Len()+1 {
			r.reject(1, telemetry.ReasonMalformed, fmt.Sprintf("metric %q: %d buckets do not fit %d bounds", clip(name.base), counts.Len(), bounds.Len()))
			continue
		}
		if !r.point(name.base, p.Timestamp(), p.Attributes()) {
			continue
		}
		below := uint64(0)
		for i := range min(bounds.Len(), counts.Len()) {
			below += counts.At(i)
			r.sample(name.bucket, "le", formatFloat(bounds.At(i)), known(p.Flags(), float64(below)))
		}
		r.sample(name.bucket, "le", "+Inf", known(p.Flags(), float64(p.Count())))
		if p.HasSum() {
			r.sample(name.sum, "", "", known(p.Flags(), p.Sum()))
		}
		r.sample(name.count, "", "", known(p.Flags(), float64(p.Count())))
		r.index++
	}
}

func (r *otlpReader) summaries(name otlpNames, points pmetric.SummaryDataPointSlice) {
	for _, p := range points.All() {
		if !r.point(name.base, p.Timestamp(), p.Attributes()) {
			continue
		}
		for _, q := range p.QuantileValues().All() {
			r.sample(name.base, "quantile", formatFloat(q.Quantile()), known(p.Flags(), q.Value()))
		}
		r.sample(name.sum, "", "", known(p.Flags(), p.Sum()))
		r.sample(name.count, "", "", known(p.Flags(), float64(p.Count())))
		r.index++
	}
}

func formatFloat(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
