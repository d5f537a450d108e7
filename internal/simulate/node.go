package simulate

import (
	"math"
	"math/rand/v2"
	"strconv"
	"time"
)

// newNode returns the i-th node; every second one has four accelerators and
// speaks line protocol, which can label them, the others SenML CBOR.
func newNode(c Config, rng *rand.Rand, i int) *Device {
	d := newDevice(c, rng, "node", i)
	d.Kind, d.Door, d.Format, d.read = "node", MQTT, SenMLCBOR, readNode
	if i%2 == 0 {
		d.gpus, d.Format = 4, Influx
		d.Tags["gpu"] = "4"
	}
	d.setPeriod(15*time.Second, rng)
	return d
}

const gib = 1 << 30

func readNode(d *Device, t time.Time, out []Reading) []Reading {
	load := clamp(0.08+0.75*steps(d.key, 1, t, 37*time.Minute)+0.1*bump(t, 14, 5)+0.05*wander(d.key, 2, t, 6*time.Minute), 0.01, 0.99)
	cpu := clamp(100*load+2*jitter(d.key, 3, t), 0.5, 100)
	watts := 190 + 2.3*cpu
	for g := range d.gpus {
		use := d.gpuUse(g, t)
		watts += 55 + 2.9*use
		gpu := Tag{"gpu", strconv.Itoa(g)}
		out = append(out,
			Reading{Metric: "gpu_utilization_percent", Unit: "/100", Tag: gpu, Value: use},
			Reading{Metric: "gpu_memory_used_bytes", Unit: "B", Tag: gpu, Value: (0.6 + 0.36*use) * gib},
			Reading{Metric: "gpu_temperature_celsius", Unit: "Cel", Tag: gpu, Value: 33 + 0.42*use + wander(d.key, 30+uint64(g), t, 5*time.Minute)},
		)
	}
	return append(out,
		Reading{Metric: "cpu_percent", Unit: "/100", Value: cpu},
		Reading{Metric: "memory_used_bytes", Unit: "B", Value: (24 + 190*load + 6*wander(d.key, 4, t, time.Hour)) * gib},
		Reading{Metric: "memory_total_bytes", Unit: "B", Value: 256 * gib},
		Reading{Metric: "disk_used_percent", Unit: "/100", Value: clamp(48+15*d.own(5)+1.5*wander(d.key, 6, t, 20*time.Hour), 1, 99)},
		Reading{Metric: "power_watts", Unit: "W", Value: watts + 3*jitter(d.key, 7, t)},
		Reading{Metric: "inlet_temperature_celsius", Unit: "Cel", Value: 22.5 + d.own(8) + 0.004*watts/2 + 0.7*wander(d.key, 9, t, 90*time.Minute)},
		Reading{Metric: "network_receive_bytes_total", Unit: "B", Value: d.transferred(t, 38e6, 20)},
		Reading{Metric: "network_transmit_bytes_total", Unit: "B", Value: d.transferred(t, 21e6, 21)},
	)
}

// gpuUse is the load of one accelerator in percent: jobs of half an hour or
// so with idle stretches between them.
func (d *Device) gpuUse(g int, t time.Time) float64 {
	s := steps(d.key, 40+uint64(g), t, time.Duration(26+7*g)*time.Minute)
	if s < 0.25 {
		return 0
	}
	return clamp(62+40*(s-0.25)+5*wander(d.key, 50+uint64(g), t, 3*time.Minute), 1, 100)
}

// transferred is a counter: bytes moved since some days before the fleet's
// start, at a mean rate in bytes per second. It is the integral of a rate that
// swings by at most 85 % around its mean, so it never falls.
func (d *Device) transferred(t time.Time, mean float64, stream uint64) float64 {
	age := 5*86400 + 86400*lattice(d.key, stream, 1)
	sec := t.Sub(d.start).Seconds() + age
	sum := sec
	for i, swing := range [...]struct{ part, period float64 }{{0.45, 86400}, {0.25, 4700}, {0.15, 610}} {
		w := 2 * math.Pi / swing.period
		shift := 2 * math.Pi * lattice(d.key, stream, int64(2+i))
		sum += swing.part / w * (math.Sin(w*sec+shift) - math.Sin(shift))
	}
	return math.Floor(mean * (1 + 0.3*d.own(stream)) * sum)
}
