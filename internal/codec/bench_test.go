package codec

import (
	"fmt"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/songhua-io/hub/internal/telemetry"
)

// measure decodes a message that holds n records again and again.
func measure(b *testing.B, f Format, n int, payload []byte) {
	b.Run(fmt.Sprintf("%s/%d", f, n), func(b *testing.B) {
		var batch telemetry.Batch
		in := Input{Payload: payload, Device: "t1", Now: now}
		b.ReportAllocs()
		b.SetBytes(int64(len(payload)))
		for b.Loop() {
			batch.Reset()
			if err := Decode(&batch, f, in); err != nil {
				b.Fatal(err)
			}
		}
		if len(batch.Samples) != n {
			b.Fatalf("%d samples: %v", len(batch.Samples), batch.Rejects)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
	})
}

func metricName(i int) string { return fmt.Sprintf("temperature_%d", i) }

func jsonPack(n int) []byte {
	records := []string{}
	for i := range n {
		base := ""
		if i == 0 {
			base = `"bn":"t1:","bt":1764000000.123,"bu":"Cel",`
		}
		records = append(records, fmt.Sprintf(`{%s"n":"%s","v":%d.%02d,"t":%d}`, base, metricName(i), 20+i%10, i, i))
	}
	return []byte("[" + strings.Join(records, ",") + "]")
}

func cborPack(n int) []byte {
	var samples []telemetry.Sample
	for i := range n {
		samples = append(samples, telemetry.Sample{Metric: []byte(metricName(i)), Unit: []byte("Cel"), Time: now + int64(i)*1000, Value: 20 + float64(i)/100})
	}
	return AppendSenMLCBOR(nil, samples)
}

func flatMessage(n int) []byte {
	fields := []string{`"ts":1764000000000`, `"tags":{"room":"a"}`}
	for i := range n {
		fields = append(fields, fmt.Sprintf(`"%s":%d.%02d`, metricName(i), 20+i%10, i))
	}
	return []byte("{" + strings.Join(fields, ",") + "}")
}

func influxLines(n int) []byte {
	var lines strings.Builder
	for i := range n {
		fmt.Fprintf(&lines, "room,floor=2,name=a %s=%d.%02d 1764000000000000000\n", metricName(i), 20+i%10, i)
	}
	return []byte(lines.String())
}

func remoteRequests(b *testing.B, n int) (one, two []byte) {
	request1 := &prompb.WriteRequest{}
	symbols := writev2.NewSymbolTable()
	request2 := &writev2.Request{}
	for i := range n {
		labels := []prompb.Label{{Name: "__name__", Value: metricName(i)}, {Name: "instance", Value: "a:9100"}, {Name: "job", Value: "node"}}
		request1.Timeseries = append(request1.Timeseries, prompb.TimeSeries{Labels: labels, Samples: []prompb.Sample{{Value: 20.5, Timestamp: now}}})
		var refs []uint32
		for _, l := range labels {
			refs = append(refs, symbols.Symbolize(l.Name), symbols.Symbolize(l.Value))
		}
		request2.Timeseries = append(request2.Timeseries, writev2.TimeSeries{LabelsRefs: refs, Samples: []writev2.Sample{{Value: 20.5, Timestamp: now}}})
	}
	request2.Symbols = symbols.Symbols()
	raw1, err1 := request1.Marshal()
	raw2, err2 := request2.Marshal()
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return snappy.Encode(nil, raw1), snappy.Encode(nil, raw2)
}

func otlpRequests(b *testing.B, n int) (binary, text []byte) {
	all := pmetric.NewMetrics()
	metrics := all.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
	for i := range n {
		m := metrics.AppendEmpty()
		m.SetName(metricName(i))
		p := m.SetEmptyGauge().DataPoints().AppendEmpty()
		p.SetTimestamp(now * 1e6)
		p.SetDoubleValue(20.5)
		p.Attributes().PutStr("room", "a")
	}
	binary, err1 := (&pmetric.ProtoMarshaler{}).MarshalMetrics(all)
	text, err2 := (&pmetric.JSONMarshaler{}).MarshalMetrics(all)
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return binary, text
}

func BenchmarkDecode(b *testing.B) {
	for _, n := range []int{1, 20} {
		one, two := remoteRequests(b, n)
		binary, text := otlpRequests(b, n)
		measure(b, SenML, n, jsonPack(n))
		measure(b, SenMLCBOR, n, cborPack(n))
		measure(b, JSON, n, flatMessage(n))
		measure(b, Influx, n, influxLines(n))
		measure(b, RemoteWrite, n, one)
		measure(b, RemoteWrite2, n, two)
		measure(b, OTLP, n, binary)
		measure(b, OTLPJSON, n, text)
	}
}

func BenchmarkSparkplug(b *testing.B) {
	for _, n := range []int{1, 20} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			birth, data := message(0), message(1)
			for i := range n {
				birth = birth.metric(named(metricName(i)).varint(2, uint64(i)).of(10).double(13, 1))
				data = data.metric(alias(uint64(i)).double(13, 20.5))
			}
			var s Session
			var batch telemetry.Batch
			if _, err := s.Decode(&batch, SparkplugTopic{Type: NBirth}, Input{Payload: birth, Now: now}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				batch.Reset()
				if _, err := s.Decode(&batch, SparkplugTopic{Type: NData}, Input{Payload: data, Now: now}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
		})
	}
}

func BenchmarkAppendSenMLCBOR(b *testing.B) {
	var batch telemetry.Batch
	if err := Decode(&batch, SenML, Input{Payload: jsonPack(20), Device: "t1", Now: now}); err != nil {
		b.Fatal(err)
	}
	var buffer []byte
	b.ReportAllocs()
	for b.Loop() {
		buffer = AppendSenMLCBOR(buffer[:0], batch.Samples)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/20, "ns/record")
}

// The hot path allocates nothing once the batch has grown.
func TestDecodingAllocatesNothingPerMessage(t *testing.T) {
	for f, payload := range map[Format][]byte{SenML: jsonPack(20), SenMLCBOR: cborPack(20), JSON: flatMessage(20), Influx: influxLines(20),
		Auto: []byte(`[{"bn":"t1:a","n":"b\u0063","vs":"é","tags":{"k":"v"}},{"n":"x","s":1,"u":"W","t":-1}]`)} {
		var b telemetry.Batch
		in := Input{Payload: payload, Device: "t1", Now: now}
		decode := func() {
			b.Reset()
			if err := Decode(&b, f, in); err != nil || len(b.Rejects) > 0 {
				t.Fatal(err, b.Rejects)
			}
		}
		decode()
		if n := testing.AllocsPerRun(100, decode); n != 0 {
			t.Errorf("%s: %v allocations per message", f, n)
		}
	}
}
