package codec

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/songhua-io/hub/internal/telemetry"
)

// sent marshals a request of Prometheus' own types and compresses it as
// Prometheus does.
func sent(t testing.TB, request interface{ Marshal() ([]byte, error) }) []byte {
	raw, err := request.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, raw)
}

func sampleRequest1() *prompb.WriteRequest {
	return &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			{
				Labels: []prompb.Label{{Name: "__name__", Value: "up"}, {Name: "device", Value: "x"}, {Name: "empty", Value: ""},
					{Name: "instance", Value: "a:9100"}, {Name: "job", Value: "node"}},
				Samples:   []prompb.Sample{{Value: 1, Timestamp: now}, {Value: math.Float64frombits(0x7ff0000000000002), Timestamp: now + 15000}},
				Exemplars: []prompb.Exemplar{{Value: 5, Timestamp: now}},
			},
			{
				Labels:  []prompb.Label{{Name: "__name__", Value: "latency_bucket"}, {Name: "le", Value: "+Inf"}},
				Samples: []prompb.Sample{{Value: 12, Timestamp: now}},
			},
			{
				Labels:     []prompb.Label{{Name: "__name__", Value: "latency"}},
				Histograms: []prompb.Histogram{{Sum: 3, Timestamp: now}},
			},
			{Labels: []prompb.Label{{Name: "job", Value: "x"}}, Samples: []prompb.Sample{{Value: 2, Timestamp: now}}},
		},
		Metadata: []prompb.MetricMetadata{{MetricFamilyName: "up", Unit: "s"}},
	}
}

func TestRemoteWrite1(t *testing.T) {
	body := sent(t, sampleRequest1())
	expect(t, RemoteWrite, Input{Payload: body}, `
0 up{device=x,instance=a:9100,job=node} 1 @now+0
1 up{device=x,instance=a:9100,job=node} NaN @now+15000
2 latency_bucket{le=+Inf} 12 @now+0
3 decode unsupported: byte 212: series "latency" holds a native histogram, which is not stored; send classic histograms (send_native_histograms: false)
4 validate metric_invalid: byte 242: the series has no label __name__
`)
	var b telemetry.Batch
	if err := Decode(&b, RemoteWrite, Input{Payload: body}); err != nil {
		t.Fatal(err)
	}
	if bits := math.Float64bits(b.Samples[1].Value); bits != 0x7ff0000000000002 {
		t.Errorf("the staleness marker became %#x", bits)
	}
}

func sampleRequest2() *writev2.Request {
	symbols := writev2.NewSymbolTable()
	refs := func(texts ...string) (refs []uint32) {
		for _, text := range texts {
			refs = append(refs, symbols.Symbolize(text))
		}
		return refs
	}
	series := []writev2.TimeSeries{
		{
			LabelsRefs: refs("__name__", "node_temp_celsius", "job", "node"),
			Samples:    []writev2.Sample{{Value: 21.5, Timestamp: now, StartTimestamp: 5}},
			Metadata:   writev2.Metadata{UnitRef: symbols.Symbolize("celsius")},
			Exemplars:  []writev2.Exemplar{{LabelsRefs: refs("trace_id", "x"), Value: 1}},
		},
		{LabelsRefs: refs("__name__", "latency"), Histograms: []writev2.Histogram{{Sum: 3, Timestamp: now}}},
		{LabelsRefs: refs("__name__", "up"), Samples: []writev2.Sample{{Value: 1, Timestamp: now}}},
	}
	return &writev2.Request{Symbols: symbols.Symbols(), Timeseries: series}
}

func TestRemoteWrite2(t *testing.T) {
	expect(t, RemoteWrite2, Input{Payload: sent(t, sampleRequest2())}, `
0 node_temp_celsius{job=node} 21.5 celsius @now+0
2 up 1 @now+0
1 decode unsupported: byte 132: series "latency" holds a native histogram, which is not stored; send classic histograms (send_native_histograms: false)
`)
}

func TestRemoteWriteFaults(t *testing.T) {
	huge := binary.AppendUvarint(nil, 1<<30)
	for name, c := range map[string]struct {
		format Format
		body   []byte
		want   string
	}{
		"no snappy":  {RemoteWrite, []byte("\xff\xff\xff\xff\xff\xff"), "error remote-write-1: byte 0: the body is no snappy block; remote write compresses each request as one\n"},
		"too large":  {RemoteWrite, huge, "error remote-write-1: byte 0: the body unfolds to 1073741824 bytes, more than the 33554432 allowed; send fewer samples in a request\n"},
		"too dense":  {RemoteWrite2, binary.AppendUvarint(nil, 1<<20), "error remote-write-2: byte 0: the snappy block promises 1048576 bytes in 3, which no block can hold\n"},
		"damaged":    {RemoteWrite, append([]byte{20}, "abc"...), "error remote-write-1: byte 0: the snappy block is damaged\n"},
		"cut off":    {RemoteWrite, snappy.Encode(nil, []byte{0x0a, 0x20}), "error remote-write-1: byte 1: the protobuf message is cut off or broken here\n"},
		"no symbol":  {RemoteWrite2, sent(t, &writev2.Request{Symbols: []string{""}, Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{0, 7}}}}), "error remote-write-2: byte 7: a label refers to symbol 7; the request has 1\n"},
		"odd labels": {RemoteWrite2, sent(t, &writev2.Request{Symbols: []string{""}, Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{0}}}}), "error remote-write-2: byte 9: a series has a label name without a value\n"},
		"empty":      {RemoteWrite, snappy.Encode(nil, nil), ""},
	} {
		t.Run(name, func(t *testing.T) { expect(t, c.format, Input{Payload: c.body}, c.want) })
	}
}

// FuzzRemoteWrite compares with Prometheus' own types.
func FuzzRemoteWrite(f *testing.F) {
	one, _ := sampleRequest1().Marshal()
	two, _ := sampleRequest2().Marshal()
	f.Add(one, false)
	f.Add(two, true)
	f.Fuzz(func(t *testing.T, request []byte, second bool) {
		format := RemoteWrite
		if second {
			format = RemoteWrite2
		}
		var b telemetry.Batch
		err := decodeAffordably(t, &b, format, Input{Payload: snappy.Encode(nil, request), Now: now}, len(request))
		if second || err != nil {
			return
		}
		var theirs prompb.WriteRequest
		if theirs.Unmarshal(request) != nil {
			return // theirs refuses fields of a wrong kind, which protobuf ignores
		}
		want := 0
		for _, s := range theirs.Timeseries {
			want += len(s.Samples) + len(s.Histograms)
		}
		if got := len(b.Samples) + len(b.Rejects); got != want {
			t.Fatalf("%d values, Prometheus reads %d", got, want)
		}
	})
}
