package queue

import (
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/telemetry"
)

func TestEveryBitOfASampleComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type sample struct {
			ref  uint32
			time int64
			bits uint64
		}
		value := rapid.OneOf(
			rapid.Map(rapid.Uint64(), math.Float64frombits), rapid.Float64(), rapid.Map(rapid.Float32(), func(v float32) float64 { return float64(v) }),
			rapid.Map(rapid.Int64Range(-1e9, 1e9), func(m int64) float64 { return float64(m) / 1000 }), rapid.Map(rapid.Int64(), func(m int64) float64 { return float64(m) }),
			rapid.SampledFrom([]float64{0, math.Copysign(0, -1), math.Inf(1), telemetry.StaleMarker(), 1 << 41, 1<<41 - 1, 1 << 53, math.SmallestNonzeroFloat64}),
		)
		var want []sample
		for range rapid.IntRange(1, 50).Draw(t, "n") {
			want = append(want, sample{
				rapid.OneOf(rapid.Uint32(), rapid.Uint32Range(0, 3)).Draw(t, "ref"),
				rapid.OneOf(rapid.Int64(), rapid.Int64Range(0, 3)).Draw(t, "time"), math.Float64bits(value.Draw(t, "value")),
			})
		}
		h := head{at: rapid.Int64().Draw(t, "at")}
		var b []byte
		c := startOf(h)
		for _, s := range want {
			b = c.appendSample(b, s.ref, s.time, math.Float64frombits(s.bits))
		}
		c = startOf(h)
		for i, s := range want {
			var got sample
			var v float64
			got.ref, got.time, v, b = c.nextSample(b)
			got.bits = math.Float64bits(v)
			if got != s || b == nil {
				t.Fatalf("sample %d came back as %v, want %v", i, got, s)
			}
		}
		if len(b) > 0 {
			t.Fatalf("%d bytes are left", len(b))
		}
	})
}

func TestLabelsComeBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.Custom(func(t *rapid.T) telemetry.Label {
			return telemetry.Label{Name: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "name"), Value: rapid.OneOf(rapid.String(), rapid.Just("x")).Draw(t, "value")}
		})
		all := rapid.SliceOfN(rapid.SliceOfN(label, 0, 4), 1, 20).Draw(t, "labels")
		var b []byte
		var before []telemetry.Label
		for _, ls := range all {
			b = appendLabels(b, before, ls)
			before = ls
		}
		before = nil
		for _, ls := range all {
			var err error
			if before, b, err = nextLabels(b, before); err != nil || !slices.Equal(before, ls) {
				t.Fatalf("%v came back as %v, %v", ls, before, err)
			}
		}
	})
}

// FuzzFrame: no bytes make the reader fail in another way than by an error, or
// ask for memory that they have not.
func FuzzFrame(f *testing.F) {
	c := startOf(head{at: 1})
	labels := appendLabels(nil, nil, labelsOf(1))
	f.Add(append(append([]byte{1, 0}, labels...), c.appendSample(nil, 0, 5, 21.5)...))
	f.Fuzz(func(t *testing.T, body []byte) {
		r := reader{q: &Queue{lanes: make([]lane, 3)}}
		rest, err := r.define(body)
		if len(r.series) > len(body)+1<<24 {
			t.Fatalf("%d series of %d bytes", len(r.series), len(body))
		}
		for c := startOf(head{}); err == nil && rest != nil && len(rest) > 0; {
			_, _, _, rest = c.nextSample(rest)
		}
	})
}
