package telemetry

import (
	"maps"
	"math"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func TestConversionsOfTheField(t *testing.T) {
	for _, c := range []struct {
		v        float64
		from, to string
		want     float64
	}{
		{0, "Cel", "K", 273.15}, {100, "Cel", "degF", 212}, {-40, "degF", "Cel", -40}, {21.5, "degC", "Cel", 21.5},
		{1, "m/s", "km/h", 3.6}, {1013.25, "hPa", "Pa", 101325}, {1, "bar", "kPa", 100}, {1, "mbar", "hPa", 1},
		{64, "%RH", "%", 64}, {64, "%", "1", 0.64}, {64, "%RH", "/", 0.64}, {420, "ppm", "%", 0.042},
		{1500, "mm", "m", 1.5}, {2.5, "kW", "W", 2500}, {1, "kWh", "J", 3.6e6}, {1, "kW.h", "kWh", 1}, {3600, "J", "Wh", 1},
		{180, "deg", "rad", math.Pi}, {30, "dBm", "dBW", 0}, {1, "KiB", "B", 1024}, {12, "furlong", "furlong", 12},
	} {
		got, ok := Convert(c.v, c.from, c.to)
		if !ok || math.Abs(got-c.want) > 1e-9*math.Max(1, math.Abs(c.want)) {
			t.Errorf("%v %s is %v %s (%v), want %v", c.v, c.from, got, c.to, ok, c.want)
		}
	}
	for _, c := range [][2]string{{"Cel", "%"}, {"W", "Wh"}, {"dB", "dBm"}, {"lx", "W/m2"}, {"furlong", "m"}, {"", "m"}, {"m", ""}} {
		if v, ok := Convert(1, c[0], c[1]); ok {
			t.Errorf("%q became %v %q", c[0], v, c[1])
		}
	}
}

func TestARangeHoldsItsBoundsInEveryUnit(t *testing.T) {
	codes := slices.Sorted(maps.Keys(units))
	holds := func(t interface{ Fatalf(string, ...any) }, from, to string, bound float64) {
		low, high, ok := ConvertRange(bound, bound, from, to)
		at, _ := Convert(bound, from, to)
		if !ok || !(low <= at && at <= high) || high-low > 1e-6*math.Max(1e-12, math.Abs(at)+math.Abs(units[from].offset+units[to].offset)/units[to].factor) {
			t.Fatalf("%v %s is %v %s, the range [%v, %v]", bound, from, at, to, low, high)
		}
		if low, high, _ := ConvertRange(math.Inf(-1), math.Inf(1), from, to); !math.IsInf(low, -1) || !math.IsInf(high, 1) {
			t.Fatalf("no bounds became [%v, %v]", low, high)
		}
	}
	holds(t, "Cel", "K", 1.0009765625) // which is rounded by nearly half a billionth
	holds(t, "degF", "Cel", -40)
	rapid.Check(t, func(t *rapid.T) {
		from, to := rapid.SampledFrom(codes).Draw(t, "from"), rapid.SampledFrom(codes).Draw(t, "to")
		if Convertible(from, to) {
			holds(t, from, to, rapid.Float64Range(-1e4, 1e4).Draw(t, "bound"))
		}
	})
}

// A value comes back from every unit of its quantity, and it does not matter
// by which other unit it goes.
func TestConversionsAreOneScale(t *testing.T) {
	codes := slices.Sorted(maps.Keys(units))
	near := func(a, b float64) bool { return math.Abs(a-b) <= 1e-9*math.Max(1, math.Max(math.Abs(a), math.Abs(b))) }
	rapid.Check(t, func(t *rapid.T) {
		from, by, to := rapid.SampledFrom(codes).Draw(t, "from"), rapid.SampledFrom(codes).Draw(t, "by"), rapid.SampledFrom(codes).Draw(t, "to")
		v := rapid.Float64Range(-1e4, 1e4).Draw(t, "v")
		direct, ok := Convert(v, from, to)
		if ok != Convertible(to, from) || ok != (units[from].quantity == units[to].quantity) {
			t.Fatalf("%s to %s: %v, and back %v", from, to, ok, Convertible(to, from))
		}
		if !ok {
			return
		}
		// Offsets cost digits: what is compared is compared in the base unit.
		base := func(v float64, code string) float64 { return v*units[code].factor + units[code].offset }
		if back, ok := Convert(direct, to, from); !ok || !near(base(back, from), base(v, from)) {
			t.Fatalf("%v %s is %v %s and comes back as %v", v, from, direct, to, back)
		}
		if step, ok := Convert(v, from, by); ok {
			if there, ok := Convert(step, by, to); !ok || !near(base(there, to), base(direct, to)) {
				t.Fatalf("%v %s is %v %s, but by %s %v", v, from, direct, to, by, there)
			}
		}
	})
}
