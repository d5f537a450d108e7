package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

func newRSU(c Config, rng *rand.Rand, i int) *Device {
	d := newDevice(c, rng, "rsu", i)
	d.Kind, d.Door, d.Format, d.read = "rsu", MQTT, Influx, readRSU
	d.setPeriod(30*time.Second, rng)
	return d
}

// readRSU gives a unit's health and what it hears: message types are those of
// YD/T 3709 (BSM from vehicles; MAP, SPAT, RSI and RSM from the roadside).
func readRSU(d *Device, t time.Time, out []Reading) []Reading {
	busy := clamp(traffic(t)*(1+0.3*d.own(1))+0.1*wander(d.key, 2, t, 15*time.Minute), 0.01, 1.2)
	vehicles := math.Round(34*busy + 4*busy*jitter(d.key, 3, t))
	cpu := clamp(14+38*busy+4*wander(d.key, 4, t, 8*time.Minute)+1.5*jitter(d.key, 5, t), 2, 100)
	spat := 10.0 * (1 - 0.02*lattice(d.key, 6, t.Unix()))
	out = append(out,
		Reading{Metric: "rsu_cpu_percent", Unit: "/100", Value: cpu},
		Reading{Metric: "rsu_memory_percent", Unit: "/100", Value: clamp(41+6*d.own(7)+8*busy+2*wander(d.key, 8, t, 3*time.Hour), 5, 98)},
		Reading{Metric: "rsu_temperature_celsius", Unit: "Cel", Value: max(-35, airTemperature(d.Region, t)) + 19 + 0.16*cpu + 2*d.own(9)},
		Reading{Metric: "rsu_gnss_satellites", Value: math.Round(clamp(14+2*d.own(10)+2.4*wander(d.key, 11, t, 50*time.Minute), 5, 24))},
		Reading{Metric: "rsu_vehicles_count", Value: max(0, vehicles)},
		Reading{Metric: "rsu_link_speed_kmh", Unit: "km/h", Value: clamp(58-30*busy+4*wander(d.key, 12, t, 12*time.Minute), 6, 80)},
	)
	for _, m := range [...]struct {
		kind string
		rate float64
	}{{"bsm", max(0, 9.7*vehicles)}, {"map", 1}, {"spat", spat}, {"rsi", 0.5 + 1.5*math.Round(2*steps(d.key, 13, t, 20*time.Minute))/2}, {"rsm", 8 * busy}} {
		out = append(out, Reading{Metric: "rsu_messages_per_second", Unit: "1/s", Tag: Tag{"type", m.kind}, Value: m.rate})
	}
	return out
}
