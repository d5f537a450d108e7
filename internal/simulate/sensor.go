package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// newSensor returns the i-th sensor: of twenty, eight are air stations, six
// soil probes, three water gauges and three street lights. Probes and gauges
// run on batteries and report by CoAP, some lights by HTTP, all else by MQTT.
func newSensor(c Config, rng *rand.Rand, i int) *Device {
	model := [...]string{"air", "soil", "air", "water", "air", "soil", "light", "air", "soil", "air",
		"soil", "light", "air", "water", "soil", "air", "light", "soil", "air", "water"}[i%20]
	d := newDevice(c, rng, model, i)
	d.Kind, d.Door = "sensor", MQTT
	switch model {
	case "air":
		d.read = readAir
		d.setPeriod([...]time.Duration{10, 20, 30, 30, 60, 60, 60, 60}[rng.IntN(8)]*time.Second, rng)
		d.Format = [...]Format{SenML, JSON, Influx}[rng.IntN(3)]
	case "soil":
		d.read = readSoil
		d.setPeriod(time.Hour, rng)
		d.Door, d.Format = CoAP, [...]Format{SenML, SenMLCBOR}[rng.IntN(2)]
	case "water":
		d.read = readWater
		d.setPeriod(5*time.Minute, rng)
		d.Door, d.Format = CoAP, SenMLCBOR
	case "light":
		d.read = readLight
		d.setPeriod(time.Minute, rng)
		d.Format = [...]Format{JSON, Influx}[rng.IntN(2)]
		if rng.IntN(3) == 0 {
			d.Door = HTTP
		}
	}
	return d
}

// own is a lasting peculiarity of the device, in [-1, 1].
func (d *Device) own(stream uint64) float64 { return 2*lattice(d.key, stream, 0) - 1 }

func readAir(d *Device, t time.Time, out []Reading) []Reading {
	still := 1 + 0.55*wander(regionKey(d.Region), 5, t, 30*time.Hour) // wind carries dust away
	heating := max(0, -summer(t))
	pm := still*(14+26*heating+16*traffic(t)+9*heating*bump(t, 23, 3)) - 10*rain(d.Region, t)
	pm = max(2, pm*(1+0.25*d.own(1))+4*wander(d.key, 2, t, 40*time.Minute)+0.8*jitter(d.key, 3, t))
	return append(out,
		Reading{Metric: "air_temperature_celsius", Unit: "Cel", Value: airTemperature(d.Region, t) + 0.9*d.own(4) + 0.5*wander(d.key, 5, t, time.Hour) + 0.05*jitter(d.key, 6, t)},
		Reading{Metric: "air_humidity_percent", Unit: "%RH", Value: clamp(humidity(d.Region, t)+3*d.own(7)+1.5*wander(d.key, 8, t, time.Hour), 5, 100)},
		Reading{Metric: "air_pressure_hpa", Unit: "hPa", Value: pressure(d.Region, t) + 6*d.own(10) + 0.1*jitter(d.key, 11, t)},
		Reading{Metric: "pm2_5_ug_m3", Unit: "ug/m3", Value: pm},
		Reading{Metric: "pm10_ug_m3", Unit: "ug/m3", Value: pm*(1.45+0.1*wander(d.key, 12, t, 2*time.Hour)) + 6},
		Reading{Metric: "noise_db", Unit: "dB", Value: 40 + 5*d.own(13) + 22*math.Sqrt(traffic(t)) + 3*wander(d.key, 14, t, 10*time.Minute) + 1.5*jitter(d.key, 15, t)},
	)
}

func readSoil(d *Device, t time.Time, out []Reading) []Reading {
	late := t.Add(-5 * time.Hour) // warmth takes hours to reach the probe
	temp := 6 + 13*summer(t.Add(-20*24*time.Hour)) + 0.25*(airTemperature(d.Region, late)-5-19*summer(late)) + d.own(1)
	wet := 27 + 5*d.own(2) + 9*rain(d.Region, late) + 4*wander(d.key, 3, t, 72*time.Hour)
	days := t.Sub(d.start).Hours() / 24
	return append(out,
		Reading{Metric: "soil_temperature_celsius", Unit: "Cel", Value: max(temp, -9) + 0.05*jitter(d.key, 4, t)},
		Reading{Metric: "soil_moisture_percent", Unit: "/100", Value: clamp(wet+0.2*jitter(d.key, 5, t), 4, 60)},
		Reading{Metric: "battery_percent", Unit: "%EL", Value: clamp(75+20*d.own(6)-0.05*days, 0, 100)},
	)
}

func readWater(d *Device, t time.Time, out []Reading) []Reading {
	level := 2.4 + 0.8*d.own(1) + 0.3*summer(t) + 0.9*rain(d.Region, t.Add(-8*time.Hour)) +
		0.18*wander(d.key, 2, t, 14*time.Hour) + 0.004*jitter(d.key, 3, t)
	level = max(0.2, level)
	return append(out,
		Reading{Metric: "water_level_m", Unit: "m", Value: level},
		Reading{Metric: "water_temperature_celsius", Unit: "Cel", Value: max(0.2, 8+11*summer(t.Add(-25*24*time.Hour))+0.6*wander(d.key, 4, t, 30*time.Hour))},
		Reading{Metric: "water_flow_m3_s", Unit: "m3/s", Value: 6 * math.Pow(level, 1.7) * (1 + 0.05*wander(d.key, 5, t, time.Hour))},
	)
}

func readLight(d *Device, t time.Time, out []Reading) []Reading {
	volt := 229 + 3*wander(d.key, 1, t, 3*time.Hour) + 0.4*jitter(d.key, 2, t)
	power, on := 0.7, 0.0
	if dark(t, 0.08*d.own(3)) {
		power, on = 92+8*d.own(4), 1
		if h := hour(t); h > 23 || h < 5 {
			power *= 0.6
		}
	}
	power += 0.01 * power * jitter(d.key, 5, t)
	return append(out,
		Reading{Metric: "light_power_watts", Unit: "W", Value: power},
		Reading{Metric: "light_voltage_volts", Unit: "V", Value: volt},
		Reading{Metric: "light_current_amperes", Unit: "A", Value: power / volt / 0.95},
		Reading{Metric: "light_on", Value: on},
	)
}
