package remotewrite

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

func metric(name, device string) []telemetry.Label {
	return []telemetry.Label{{Name: "__name__", Value: name}, {Name: "device", Value: device}}
}

// sent is a sample as a server sees it.
type sent struct {
	series string
	time   int64
	bits   uint64
}

func decoded(t *testing.T, v version, body []byte) (all []sent) {
	t.Helper()
	if v == v1 {
		var req prompb.WriteRequest
		if err := req.Unmarshal(body); err != nil {
			t.Fatal(err)
		}
		for _, ts := range req.Timeseries {
			for _, s := range ts.Samples {
				all = append(all, sent{labelsOf(ts.Labels).String(), s.Timestamp, math.Float64bits(s.Value)})
			}
		}
		return all
	}
	var req writev2.Request
	if err := req.Unmarshal(body); err != nil {
		t.Fatal(err)
	}
	if len(req.Symbols) == 0 || req.Symbols[0] != "" {
		t.Fatalf("the table of symbols begins with %q, not with the empty text", req.Symbols)
	}
	b := labels.NewScratchBuilder(8)
	for _, ts := range req.Timeseries {
		ls, err := ts.ToLabels(&b, req.Symbols)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range ts.Samples {
			all = append(all, sent{ls.String(), s.Timestamp, math.Float64bits(s.Value)})
		}
	}
	return all
}

func TestRequestsHoldWhatWasCommittedInOrderOfTime(t *testing.T) {
	batch := []queue.Series{
		{Labels: metric("temperature", "t1"), Points: []telemetry.Point{{Time: 1000, Value: 1}, {Time: 2000, Value: 0}, {Time: 3000, Value: telemetry.StaleMarker()}}},
		{Labels: metric("temperature", "t2"), Points: []telemetry.Point{{Time: 3000, Value: 3}, {Time: 1000, Value: 1}, {Time: 3000, Value: 3}, {Time: 1000, Value: 7}, {Time: 2000, Value: math.Inf(-1)}}},
		{Labels: append(metric("湿度", "t1"), telemetry.Label{Name: "note", Value: ""}), Points: []telemetry.Point{{Time: 0, Value: -0.5}, {Time: 1 << 41, Value: math.MaxFloat64}}},
		{Labels: metric("before", "1970"), Points: []telemetry.Point{{Time: -5, Value: 1}}},
	}
	name := func(i int) string {
		b := labels.NewScratchBuilder(4)
		for _, l := range batch[i].Labels {
			b.Add(l.Name, l.Value)
		}
		return b.Labels().String()
	}
	of := func(i int, at int64, v float64) sent { return sent{name(i), at, math.Float64bits(v)} }
	want := []sent{of(0, 1000, 1), of(0, 2000, 0), of(0, 3000, telemetry.StaleMarker()), of(1, 1000, 1), of(1, 2000, math.Inf(-1)), of(1, 3000, 3), of(2, 0, -0.5), of(2, 1<<41, math.MaxFloat64), of(3, -5, 1)}
	var e encoder
	for range 2 { // with the memory of the first
		for _, v := range []version{v1, v2} {
			e.lay(batch)
			if diff := cmp.Diff(want, decoded(t, v, e.encode(v, batch, e.rows)), cmp.AllowUnexported(sent{})); diff != "" {
				t.Errorf("version %d (-want +got):\n%s", v, diff)
			}
			if diff := cmp.Diff(want[2:5], decoded(t, v, e.encode(v, batch, e.rows[2:5])), cmp.AllowUnexported(sent{})); diff != "" {
				t.Errorf("a part in version %d (-want +got):\n%s", v, diff)
			}
			if len(e.refused.Points) != 1 || e.refused.Points[0].Series != 1 || e.refused.Points[0].Point != 3 || e.refused.Points[0].Reason != telemetry.ReasonConflict {
				t.Errorf("refused %+v, want the second point of one time with another value", e.refused.Points)
			}
		}
	}
}

// fleet is a batch of n points of 20 a series.
func fleet(n int) []queue.Series {
	var batch []queue.Series
	for i := range n / 20 {
		s := queue.Series{Labels: []telemetry.Label{{Name: "__name__", Value: "temperature"}, {Name: "device", Value: fmt.Sprintf("probe-%04d", i)}, {Name: "kind", Value: "sensor"}, {Name: "region", Value: "220100"}, {Name: "site", Value: fmt.Sprintf("plant-%d", i%7)}}}
		for j := range 20 {
			s.Points = append(s.Points, telemetry.Point{Time: 1764166323000 + int64(j)*1000, Value: float64(20+(i+j)%9) / 4})
		}
		batch = append(batch, s)
	}
	return batch
}

func TestEncodingAllocatesNothing(t *testing.T) {
	batch := fleet(10_000)
	var e encoder
	for _, v := range []version{v1, v2} {
		work := func() {
			e.lay(batch)
			e.encode(v, batch, e.rows)
		}
		work()
		if n := testing.AllocsPerRun(10, work); n > 0 {
			t.Errorf("version %d: %v allocations for a request of 10000 points", v, n)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	batch := fleet(10_000)
	for _, v := range []version{v1, v2} {
		b.Run(fmt.Sprintf("version=%d", v), func(b *testing.B) {
			var e encoder
			b.ReportAllocs()
			before := cpu()
			for range b.N {
				e.lay(batch)
				e.encode(v, batch, e.rows)
			}
			b.ReportMetric(float64(cpu()-before)/float64(b.N)/10_000, "cpu-ns/point")
			b.ReportMetric(float64(len(e.body))/10_000, "B/point")
		})
	}
}
