package codec

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/telemetry"
)

// export is a request as an OpenTelemetry SDK would send it.
func export() pmetric.Metrics {
	const at = pcommon.Timestamp(now * 1e6)
	all := pmetric.NewMetrics()
	resource := all.ResourceMetrics().AppendEmpty()
	resource.Resource().Attributes().PutStr("service.namespace", "jilin")
	resource.Resource().Attributes().PutStr("service.name", "api")
	resource.Resource().Attributes().PutStr("service.instance.id", "a1")
	resource.Resource().Attributes().PutStr("host.name", "not-a-label")
	metrics := resource.ScopeMetrics().AppendEmpty().Metrics()
	add := func(name, unit string) pmetric.Metric {
		m := metrics.AppendEmpty()
		m.SetName(name)
		m.SetUnit(unit)
		return m
	}

	gauge := add("room.temperature", "Cel").SetEmptyGauge().DataPoints().AppendEmpty()
	gauge.SetTimestamp(at)
	gauge.SetDoubleValue(21.5)
	gauge.Attributes().PutStr("room.name", "a")

	sum := add("http.requests", "1").SetEmptySum()
	sum.SetIsMonotonic(true)
	sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	total := sum.DataPoints().AppendEmpty()
	total.SetTimestamp(at)
	total.SetIntValue(7)
	gone := sum.DataPoints().AppendEmpty()
	gone.SetTimestamp(at)
	gone.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))

	histogram := add("http.latency", "ms").SetEmptyHistogram()
	histogram.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	h := histogram.DataPoints().AppendEmpty()
	h.SetTimestamp(at)
	h.ExplicitBounds().FromRaw([]float64{5, 10.5})
	h.BucketCounts().FromRaw([]uint64{1, 2, 3})
	h.SetCount(6)
	h.SetSum(60)

	summary := add("gc.pause", "s").SetEmptySummary().DataPoints().AppendEmpty()
	summary.SetTimestamp(at)
	summary.SetCount(2)
	summary.SetSum(0.5)
	q := summary.QuantileValues().AppendEmpty()
	q.SetQuantile(0.99)
	q.SetValue(0.4)

	add("exp", "").SetEmptyExponentialHistogram().DataPoints().AppendEmpty()
	delta := add("delta", "").SetEmptySum()
	delta.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
	delta.DataPoints().AppendEmpty().SetIntValue(1)
	odd := add("odd", "").SetEmptyHistogram()
	odd.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	odd.DataPoints().AppendEmpty().BucketCounts().FromRaw([]uint64{1, 2})
	return all
}

const exported = `
0 room_temperature_celsius{job=jilin/api,instance=a1,room_name=a} 21.5 Cel @now+0
1 http_requests_total{job=jilin/api,instance=a1} 7 1 @now+0
2 http_requests_total{job=jilin/api,instance=a1} NaN 1 @now+0
3 http_latency_milliseconds_bucket{job=jilin/api,instance=a1,le=5} 1 ms @now+0
3 http_latency_milliseconds_bucket{job=jilin/api,instance=a1,le=10.5} 3 ms @now+0
3 http_latency_milliseconds_bucket{job=jilin/api,instance=a1,le=+Inf} 6 ms @now+0
3 http_latency_milliseconds_sum{job=jilin/api,instance=a1} 60 ms @now+0
3 http_latency_milliseconds_count{job=jilin/api,instance=a1} 6 ms @now+0
4 gc_pause_seconds{job=jilin/api,instance=a1,quantile=0.99} 0.4 s @now+0
4 gc_pause_seconds_sum{job=jilin/api,instance=a1} 0.5 s @now+0
4 gc_pause_seconds_count{job=jilin/api,instance=a1} 2 s @now+0
5 decode unsupported: metric "exp" is an exponential histogram, which is not stored; set the SDK's aggregation to explicit_bucket_histogram
6 decode unsupported: metric "delta" has delta temporality, which is not stored; set the exporter's temporality to cumulative (OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE=cumulative) or put the collector's deltatocumulative processor before it
7 decode malformed: metric "odd": 2 buckets do not fit 0 bounds
`

func TestOTLP(t *testing.T) {
	binary, err := (&pmetric.ProtoMarshaler{}).MarshalMetrics(export())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, OTLP, Input{Payload: binary}, exported)
	text, err := (&pmetric.JSONMarshaler{}).MarshalMetrics(export())
	if err != nil {
		t.Fatal(err)
	}
	expect(t, OTLPJSON, Input{Payload: text}, exported)

	var b telemetry.Batch
	if err := Decode(&b, OTLP, Input{Payload: binary}); err != nil {
		t.Fatal(err)
	}
	if bits := math.Float64bits(b.Samples[2].Value); bits != 0x7ff0000000000002 {
		t.Errorf("a point without a value became %#x, not the staleness marker", bits)
	}
}

func TestOTLPWithoutAttributesAndTime(t *testing.T) {
	expect(t, OTLPJSON, Input{Payload: []byte(`{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"up","gauge":{"dataPoints":[{"asInt":"1"}]}}]}]}]}`)}, "0 up 1 @now+0\n")
}

func TestOTLPFaults(t *testing.T) {
	expect(t, OTLP, Input{Payload: []byte{0x0a, 0x05, 0x01}}, "error otlp: byte 1: the protobuf message is cut off or broken here\n")
	expect(t, OTLP, Input{}, "")
	// Two bytes a point: cheap to send, dear to read.
	points := strings.Repeat("\x0a\x00", 400)
	flood := nested(1, nested(2, nested(2, nested(5, points))))
	expect(t, OTLP, Input{Payload: []byte(flood), MaxSamples: 100}, "error otlp: byte 406: the request holds more than 100 values; send it in smaller pieces\n")
	expect(t, OTLPJSON, Input{Payload: []byte(strings.Repeat("{", 2000)), MaxSamples: 100}, "error otlp-json: byte 0: the request holds 2000 objects; send it in smaller pieces\n")
	var b telemetry.Batch
	if err := Decode(&b, OTLPJSON, Input{Payload: []byte(`{"resourceMetrics":5}`)}); err == nil || !strings.HasPrefix(err.Error(), "otlp-json: byte 0: the request is no OTLP metrics export: ") {
		t.Error(err)
	}
}

func nested(field protowire.Number, content string) string {
	return string(spark{}.text(field, content))
}

func FuzzOTLP(f *testing.F) {
	binary, _ := (&pmetric.ProtoMarshaler{}).MarshalMetrics(export())
	text, _ := (&pmetric.JSONMarshaler{}).MarshalMetrics(export())
	f.Add(binary, false)
	f.Add(text, true)
	f.Fuzz(func(t *testing.T, payload []byte, asJSON bool) {
		format := OTLP
		if asJSON {
			format = OTLPJSON
		}
		var b telemetry.Batch
		if err := decodeAffordably(t, &b, format, Input{Payload: payload, Now: now}, len(payload)); err != nil && len(b.Samples)+len(b.Rejects) > 0 {
			t.Fatal(fmt.Errorf("a refused message left something behind: %w", err))
		}
	})
}
