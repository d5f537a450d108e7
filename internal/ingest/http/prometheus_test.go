package http_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/ingest/http"
)

// The Content-Types of remote write 1.0 and 2.0.
const (
	version1 = "application/x-protobuf"
	version2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"
)

// write posts a request of Prometheus' own types as a Prometheus server does.
func (h *house) write(t *testing.T, device, version string, m interface{ Marshal() ([]byte, error) }) answer {
	t.Helper()
	return h.post(t, "/prometheus/api/v1/write", doortest.Secret(device), version, bytes.NewReader(packed(t, m)),
		"Content-Encoding", "snappy", "User-Agent", "Prometheus/3.8.0", "X-Prometheus-Remote-Write-Version", "0.1.0")
}

func packed(t *testing.T, m interface{ Marshal() ([]byte, error) }) []byte {
	b, err := m.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return snappy.Encode(nil, b)
}

func series1(value float64, at int64, labels ...string) prompb.TimeSeries {
	s := prompb.TimeSeries{Samples: []prompb.Sample{{Value: value, Timestamp: at}}}
	for i := 0; i < len(labels); i += 2 {
		s.Labels = append(s.Labels, prompb.Label{Name: labels[i], Value: labels[i+1]})
	}
	return s
}

func TestPrometheusWrites(t *testing.T) {
	h := open(t, http.DefaultConfig())
	at := now()
	request := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series1(1, at, "__name__", "up", "job", "node")}}
	if a := h.write(t, "t2", version1, request); a.code != 204 || a.body != "" {
		t.Errorf("answered %d %q", a.code, a.body)
	}
	const written = "X-Prometheus-Remote-Write-Samples-Written"
	symbols := writev2.NewSymbolTable()
	refs := []uint32{symbols.Symbolize("__name__"), symbols.Symbolize("heat")}
	series := []writev2.TimeSeries{{LabelsRefs: refs, Samples: []writev2.Sample{{Value: 7, Timestamp: at}, {Value: 8, Timestamp: at + 1000}}}}
	if a := h.write(t, "t2", version2, &writev2.Request{Symbols: symbols.Symbols(), Timeseries: series}); a.code != 204 || a.header.Get(written) != "2" {
		t.Errorf("answered %d %v", a.code, a.header)
	}
	series[0].Samples[1].Timestamp = 5
	a := h.write(t, "t2", version2, &writev2.Request{Symbols: symbols.Symbols(), Timeseries: series})
	if a.code != 422 || !strings.Contains(a.body, "1 stored, 1 rejected") || a.header.Get(written) != "1" {
		t.Errorf("a partial write: %d %q %v", a.code, a.body, a.header)
	}
	want := map[string][]float64{"up{device=t2,job=node}": {1}, "heat{device=t2}": {7, 8}}
	if diff := cmp.Diff(want, h.Values()); diff != "" {
		t.Error(diff)
	}
	if a := h.write(t, "nobody", version1, request); a.code != 401 {
		t.Errorf("a stranger: %d", a.code)
	}
}

func TestAGatewayWritesForItsDevices(t *testing.T) {
	h := open(t, http.DefaultConfig())
	at := now()
	request := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{
		series1(1, at, "__name__", "a", "device", "t1", "room", "x"),
		series1(2, at, "__name__", "b"),
		series1(3, at, "__name__", "c", "device", "t2"),
		series1(4, at, "__name__", "d", "device", "ghost"),
		series1(5, at, "__name__", "e", "device", "t1"),
	}}
	a := h.write(t, "gw", version1, request)
	if a.code != 422 || !strings.Contains(a.body, "3 stored, 2 rejected") || !strings.Contains(a.body, "not_permitted") {
		t.Errorf("answered %d %q", a.code, a.body)
	}
	want := map[string][]float64{"a{device=t1,room=x}": {1}, "b{device=gw}": {2}, "e{device=t1}": {5}}
	if diff := cmp.Diff(want, h.Values()); diff != "" {
		t.Error(diff)
	}
	if _, ok := h.Pipeline.Seen("ghost"); ok {
		t.Error("an unknown device left a trace")
	}
	small := http.DefaultConfig()
	small.MaxDevices = 2
	h = open(t, small)
	if a := h.write(t, "gw", version1, request); a.code != 413 || h.Points() != 0 {
		t.Errorf("too many devices: %d %q", a.code, a.body)
	}
}

func TestRemoteWriteTypesAndBombs(t *testing.T) {
	h := open(t, http.DefaultConfig())
	for _, c := range []struct {
		contentType, encoding string
		body                  []byte
		code                  int
	}{
		{"text/plain", "snappy", nil, 415},
		{"application/x-protobuf;proto=other.Request", "snappy", nil, 415},
		{"application/x-protobuf", "gzip", nil, 415},
		{"application/x-protobuf", "snappy", []byte("not snappy"), 400},
		{"application/x-protobuf", "snappy", snappy.Encode(nil, make([]byte, 40<<20)), 413},
		{"application/x-protobuf", "snappy", append(binary.AppendUvarint(nil, 3<<30), 0), 413},
		{`application/x-protobuf; proto="io.prometheus.write.v2.Request"`, "snappy", snappy.Encode(nil, nil), 0},
	} {
		a := h.post(t, "/prometheus/api/v1/write", doortest.Secret("t1"), c.contentType, bytes.NewReader(c.body), "Content-Encoding", c.encoding)
		if c.code == 0 {
			if a.header.Get("X-Prometheus-Remote-Write-Samples-Written") != "0" {
				t.Errorf("an empty request of version 2 answered %d %s %v", a.code, a.body, a.header)
			}
			continue
		}
		if a.code != c.code {
			t.Errorf("%s %s answered %d %s, want %d", c.contentType, c.encoding, a.code, a.body, c.code)
		}
	}
}

// What snappy unfolds to is charged before it is unfolded, and given back.
func TestRemoteWriteTakesItsDecodedSizeFromTheDoorsMemory(t *testing.T) {
	config := http.DefaultConfig()
	config.MaxMemory, config.MaxDecoded = 1<<20, 4<<20
	h := open(t, config)
	post := func(device string, n int) answer {
		body := snappy.Encode(nil, bytes.Repeat([]byte{0x22, 0x00}, n/2)) // symbols of no bytes
		return h.post(t, "/prometheus/api/v1/write", doortest.Secret(device), version2, bytes.NewReader(body), "Content-Encoding", "snappy")
	}
	for _, device := range []string{"t1", "gw"} {
		if a := post(device, 3<<20); a.code != 503 || !strings.Contains(a.body, "too many large bodies") {
			t.Errorf("%s: 3 MiB where 1 MiB is allowed answered %d %s", device, a.code, a.body)
		}
		for range 3 {
			if a := post(device, 600<<10); a.code != 204 {
				t.Errorf("%s: 600 KiB where 1 MiB is allowed answered %d %s", device, a.code, a.body)
			}
		}
		if a := post(device, 5<<20); a.code != 413 {
			t.Errorf("%s: 5 MiB where 4 MiB may be decoded answered %d %s", device, a.code, a.body)
		}
	}
}

func TestAGatewaysSeriesHasTheTagsOfItsDeviceBesideTheDevice(t *testing.T) {
	h := open(t, http.DefaultConfig())
	labels := []string{"__name__", "a", "device", "t1"}
	for i := range 17 {
		if i == 16 {
			request := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series1(1, now(), labels...)}}
			if a := h.write(t, "gw", version1, request); a.code != 204 {
				t.Errorf("16 tags and the device answered %d %s", a.code, a.body)
			}
		}
		labels = append(labels, "tag"+strconv.Itoa(i), "x")
	}
	request := &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{series1(1, now(), labels...)}}
	if a := h.write(t, "gw", version1, request); a.code != 422 || !strings.Contains(a.body, "label_limit") {
		t.Errorf("17 tags and the device answered %d %s", a.code, a.body)
	}
}

func TestOpenTelemetryMetrics(t *testing.T) {
	h := open(t, http.DefaultConfig())
	metrics := pmetric.NewMetrics()
	points := metrics.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	points.SetName("heat")
	gauge := points.SetEmptyGauge().DataPoints()
	add := func(at int64, v float64) {
		p := gauge.AppendEmpty()
		p.SetTimestamp(pcommon.NewTimestampFromTime(time.UnixMilli(at)))
		p.SetDoubleValue(v)
	}
	at := now()
	add(at, 3)
	add(5, 4)
	request := pmetricotlp.NewExportRequestFromMetrics(metrics)
	binary, err := request.MarshalProto()
	if err != nil {
		t.Fatal(err)
	}
	a := h.post(t, "/prometheus/api/v1/otlp/v1/metrics", doortest.Secret("t1"), "application/x-protobuf", bytes.NewReader(gzipped(t, binary)), "Content-Encoding", "gzip")
	answer := pmetricotlp.NewExportResponse()
	if err := answer.UnmarshalProto([]byte(a.body)); err != nil || a.code != 200 || a.header.Get("Content-Type") != "application/x-protobuf" {
		t.Fatalf("answered %d %q, %v", a.code, a.body, err)
	}
	if p := answer.PartialSuccess(); p.RejectedDataPoints() != 1 || !strings.Contains(p.ErrorMessage(), "time_past") {
		t.Errorf("partial success: %d %q", p.RejectedDataPoints(), p.ErrorMessage())
	}
	text, err := request.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	a = h.post(t, "/prometheus/api/v1/otlp/v1/metrics", doortest.Secret("t2"), "application/json", bytes.NewReader(text))
	answer = pmetricotlp.NewExportResponse()
	if err := answer.UnmarshalJSON([]byte(a.body)); err != nil || a.code != 200 || answer.PartialSuccess().RejectedDataPoints() != 1 {
		t.Fatalf("answered %d %q, %v", a.code, a.body, err)
	}
	if diff := cmp.Diff(map[string][]float64{"heat{device=t1}": {3}, "heat{device=t2}": {3}}, h.Values()); diff != "" {
		t.Error(diff)
	}
	a = h.post(t, "/prometheus/api/v1/otlp/v1/metrics", doortest.Secret("t1"), "application/json", strings.NewReader("{"))
	var status struct {
		Code    int
		Message string
	}
	if err := json.Unmarshal([]byte(a.body), &status); err != nil || a.code != 400 || status.Code != 3 || status.Message == "" {
		t.Errorf("unreadable answered %d %q", a.code, a.body)
	}
	if a = h.post(t, "/prometheus/api/v1/otlp/v1/metrics", doortest.Secret("t1"), "text/plain", nil); a.code != 415 {
		t.Errorf("text answered %d", a.code)
	}
}
