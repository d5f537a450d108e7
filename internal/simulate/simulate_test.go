package simulate

import (
	"log/slog"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/telemetry"
)

func start() time.Time { return time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC) }

func demoFleet(seed uint64) *Fleet {
	return New(Config{Seed: seed, Sensors: 200, Nodes: 10, Start: start()})
}

type told struct {
	ID       string
	At       time.Time
	Readings []Reading
	Leaves   bool
	Returns  bool
	Garbled  bool
}

func play(f *Fleet, n int) []told {
	out := make([]told, n)
	for i := range out {
		e := f.Next()
		out[i] = told{e.Device.ID, e.At, e.Readings, e.Leaves, e.Returns, e.Garbled}
	}
	return out
}

func TestTheSameSeedTellsTheSameStory(t *testing.T) {
	a, b := play(demoFleet(1), 5000), play(demoFleet(1), 5000)
	if d := cmp.Diff(a, b); d != "" {
		t.Fatalf("two fleets of one seed differ:\n%s", d)
	}
	if cmp.Equal(a[:50], play(demoFleet(2), 50)) {
		t.Fatal("another seed tells the same story")
	}
}

func TestDevicesAreAcceptableToARegistry(t *testing.T) {
	seen, kinds, doors := map[string]bool{}, map[string]int{}, map[Door]int{}
	units := newRoadside(Config{Seed: 1, RSUs: 20, Start: start()}, Doors{}, Secrets(nil), slog.New(slog.DiscardHandler))
	for _, d := range slices.Concat(demoFleet(1).Devices, units.devices) {
		if err := telemetry.CheckDeviceID(d.ID); err != nil || seen[d.ID] {
			t.Errorf("id %s: %v, seen before: %v", d.ID, err, seen[d.ID])
		}
		if err := telemetry.CheckRegion(d.Region); err != nil || !strings.HasPrefix(d.Region, "22") {
			t.Errorf("%s: region %q: %v", d.ID, d.Region, err)
		}
		if d.Lat < 40.8 || d.Lat > 46.3 || d.Lon < 121.6 || d.Lon > 131.4 {
			t.Errorf("%s stands at %g, %g: not in Jilin", d.ID, d.Lat, d.Lon)
		}
		if d.Kind == "sensor" {
			doors[d.Door]++
		}
		seen[d.ID] = true
		kinds[d.Kind]++
	}
	if d := cmp.Diff(map[string]int{"sensor": 200, "rsu": 20, "node": 10}, kinds); d != "" {
		t.Error(d)
	}
	if doors[MQTT] < 90 || doors[CoAP] < 80 {
		t.Errorf("sensors by door: %v", doors)
	}
}

// bounds are what a reading may be in Jilin in any season, spikes aside.
var bounds = map[string][2]float64{
	"air_temperature_celsius": {-36, 38}, "air_humidity_percent": {5, 100}, "air_pressure_hpa": {960, 1025},
	"pm2_5_ug_m3": {0, 250}, "pm10_ug_m3": {0, 400}, "noise_db": {25, 85},
	"soil_temperature_celsius": {-10, 28}, "soil_moisture_percent": {3, 60}, "battery_percent": {0, 100},
	"water_level_m": {0.1, 6}, "water_temperature_celsius": {0, 27}, "water_flow_m3_s": {0, 140},
	"light_power_watts": {0, 120}, "light_voltage_volts": {215, 245}, "light_current_amperes": {0, 0.6}, "light_on": {0, 1},
	"cpu_percent": {0, 100}, "memory_used_bytes": {10 * gib, 256 * gib}, "memory_total_bytes": {256 * gib, 256 * gib},
	"disk_used_percent": {1, 99}, "power_watts": {150, 2200}, "inlet_temperature_celsius": {17, 32},
	"gpu_utilization_percent": {0, 100}, "gpu_memory_used_bytes": {0, 40 * gib}, "gpu_temperature_celsius": {25, 85},
	"network_receive_bytes_total": {0, 3e15}, "network_transmit_bytes_total": {0, 3e15},
}

func TestReadingsStayWithinWhatIsPossible(t *testing.T) {
	f := demoFleet(1)
	for _, day := range []int{0, 90, 180, 270} {
		for _, d := range f.Devices {
			for h := range 24 {
				at := start().AddDate(0, 0, day).Add(time.Duration(h)*time.Hour + 7*time.Second)
				for _, r := range d.read(d, at, nil) {
					b, ok := bounds[r.Metric]
					if !ok || r.Value < b[0] || r.Value > b[1] || math.IsNaN(r.Value) {
						t.Fatalf("%s %s = %g at %s, bounds %v", d.ID, r.Metric, r.Value, at.In(jilin), b)
					}
				}
			}
		}
	}
}

// mean of a metric over all devices and the days of a week, at a local hour.
func mean(f *Fleet, metric string, localHour int) float64 {
	sum, n := 0.0, 0
	for _, d := range f.Devices {
		for day := range 7 {
			at := time.Date(2026, 11, 16+day, localHour, 0, 0, 0, jilin)
			for _, r := range d.read(d, at, nil) {
				if r.Metric == metric {
					sum, n = sum+r.Value, n+1
				}
			}
		}
	}
	return sum / float64(n)
}

func TestDaysHaveTheirCurves(t *testing.T) {
	f := demoFleet(1)
	for _, c := range []struct {
		metric    string
		high, low int
	}{
		{"air_temperature_celsius", 15, 4}, {"air_humidity_percent", 4, 15},
		{"light_power_watts", 21, 12}, {"noise_db", 8, 3},
	} {
		if hi, lo := mean(f, c.metric, c.high), mean(f, c.metric, c.low); hi <= lo {
			t.Errorf("%s: %.1f at %d:00, %.1f at %d:00 local time", c.metric, hi, c.high, lo, c.low)
		}
	}
}

func TestCountersNeverFall(t *testing.T) {
	for _, d := range demoFleet(3).Devices {
		before := map[string]float64{}
		for i := range 3000 {
			at := start().Add(-History).Add(time.Duration(i) * d.Period)
			if d.Kind != "node" {
				break
			}
			for _, r := range d.Read(at, nil) {
				if v := before[r.Metric]; strings.HasSuffix(r.Metric, "_total") && r.Value < v {
					t.Fatalf("%s %s fell from %g to %g", d.ID, r.Metric, v, r.Value)
				}
				before[r.Metric] = r.Value
			}
		}
	}
}

func TestDevicesGoAwayAndComeBackWithTheirHistory(t *testing.T) {
	f := demoFleet(1)
	var left, returned, late, garbled, ahead int
	for {
		e := f.Next()
		if e.At.After(start().Add(24 * time.Hour)) {
			break
		}
		if e.Leaves {
			left++
			if e.At.Before(start().Add(StartGrace)) {
				t.Errorf("%s leaves at %s, within the first minutes", e.Device.ID, e.At)
			}
			continue
		}
		if e.Returns {
			returned++
		}
		if e.Garbled {
			garbled++
		}
		switch oldest := e.Readings[0].Time; {
		case oldest < e.At.Add(-e.Device.Period).UnixMilli():
			late++
		case oldest > e.At.Add(10*time.Minute).UnixMilli():
			ahead++
		}
	}
	if left < 50 || returned < 50 || late < 20 || garbled == 0 || ahead == 0 {
		t.Errorf("in a day: %d left, %d returned, %d with history, %d garbled, %d from the future", left, returned, late, garbled, ahead)
	}
}

func BenchmarkOneSecondOfTheDemoFleet(b *testing.B) {
	f := demoFleet(1)
	for i := range b.N {
		for end := start().Add(time.Duration(i+1) * time.Second); f.due[0].at.Before(end); {
			e := f.Next()
			if _, err := e.Device.Format.Encode(e.Device.ID, e.Readings, perMessage); err != nil {
				b.Fatal(err)
			}
		}
	}
}
