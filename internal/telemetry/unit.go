package telemetry

import "math"

// MaxUnit is the longest unit code in bytes.
const MaxUnit = 64

// scale is what a unit is of the base unit of its quantity: base = v*Factor + offset.
type scale struct {
	quantity       string
	factor, offset float64
}

// units are those of the field, by their codes in SenML (RFC 8428 and 8798) and
// UCUM. Logarithmic units are converted into nothing but themselves.
var units = map[string]scale{
	"K": {"temperature", 1, 0}, "Cel": {"temperature", 1, 273.15}, "degC": {"temperature", 1, 273.15},
	"degF": {"temperature", 5. / 9, 459.67 * 5 / 9}, "[degF]": {"temperature", 5. / 9, 459.67 * 5 / 9},

	"1": {"ratio", 1, 0}, "/": {"ratio", 1, 0}, "%": {"ratio", 1e-2, 0}, "%RH": {"ratio", 1e-2, 0}, "%EL": {"ratio", 1e-2, 0},
	"ppm": {"ratio", 1e-6, 0}, "[ppm]": {"ratio", 1e-6, 0}, "ppb": {"ratio", 1e-9, 0}, "[ppb]": {"ratio", 1e-9, 0},

	"m": {"length", 1, 0}, "km": {"length", 1e3, 0}, "cm": {"length", 1e-2, 0}, "mm": {"length", 1e-3, 0}, "um": {"length", 1e-6, 0},
	"m/s": {"speed", 1, 0}, "km/h": {"speed", 1 / 3.6, 0}, "mm/h": {"speed", 1e-3 / 3600, 0},
	"m/s2": {"acceleration", 1, 0},
	"m2":   {"area", 1, 0}, "cm2": {"area", 1e-4, 0}, "ha": {"area", 1e4, 0},
	"m3": {"volume", 1, 0}, "l": {"volume", 1e-3, 0}, "L": {"volume", 1e-3, 0},
	"m3/s": {"flow", 1, 0}, "m3/h": {"flow", 1. / 3600, 0}, "l/s": {"flow", 1e-3, 0}, "l/min": {"flow", 1e-3 / 60, 0},
	"kg": {"mass", 1, 0}, "g": {"mass", 1e-3, 0}, "mg": {"mass", 1e-6, 0}, "t": {"mass", 1e3, 0},
	"kg/m3": {"concentration", 1, 0}, "g/m3": {"concentration", 1e-3, 0}, "mg/m3": {"concentration", 1e-6, 0},
	"ug/m3": {"concentration", 1e-9, 0}, "mg/l": {"concentration", 1e-3, 0},

	"Pa": {"pressure", 1, 0}, "hPa": {"pressure", 1e2, 0}, "kPa": {"pressure", 1e3, 0}, "MPa": {"pressure", 1e6, 0},
	"mbar": {"pressure", 1e2, 0}, "bar": {"pressure", 1e5, 0},

	"s": {"time", 1, 0}, "ms": {"time", 1e-3, 0}, "us": {"time", 1e-6, 0}, "min": {"time", 60, 0}, "h": {"time", 3600, 0}, "d": {"time", 86400, 0},
	"Hz": {"frequency", 1, 0}, "kHz": {"frequency", 1e3, 0}, "MHz": {"frequency", 1e6, 0}, "GHz": {"frequency", 1e9, 0},
	"deg": {"angle", 1, 0}, "rad": {"angle", 180 / math.Pi, 0},

	"W": {"power", 1, 0}, "mW": {"power", 1e-3, 0}, "kW": {"power", 1e3, 0}, "MW": {"power", 1e6, 0},
	"J": {"energy", 1, 0}, "kJ": {"energy", 1e3, 0}, "MJ": {"energy", 1e6, 0}, "GJ": {"energy", 1e9, 0},
	"Wh": {"energy", 3600, 0}, "W.h": {"energy", 3600, 0}, "kWh": {"energy", 3.6e6, 0}, "kW.h": {"energy", 3.6e6, 0}, "MWh": {"energy", 3.6e9, 0},
	"VA": {"apparent power", 1, 0}, "kVA": {"apparent power", 1e3, 0},
	"var": {"reactive power", 1, 0}, "kvar": {"reactive power", 1e3, 0},
	"V": {"voltage", 1, 0}, "mV": {"voltage", 1e-3, 0}, "kV": {"voltage", 1e3, 0},
	"A": {"current", 1, 0}, "mA": {"current", 1e-3, 0},
	"S/m": {"conductivity", 1, 0}, "mS/cm": {"conductivity", 0.1, 0}, "uS/cm": {"conductivity", 1e-4, 0},
	"W/m2": {"irradiance", 1, 0}, "kW/m2": {"irradiance", 1e3, 0},
	"lx": {"illuminance", 1, 0}, "klx": {"illuminance", 1e3, 0},
	"dB": {"level", 1, 0}, "dBm": {"level of power", 1, 0}, "dBW": {"level of power", 1, 30},

	"B": {"data", 8, 0}, "KiB": {"data", 8 << 10, 0}, "MiB": {"data", 8 << 20, 0}, "GiB": {"data", 8 << 30, 0}, "bit": {"data", 1, 0},
	"bit/s": {"data rate", 1, 0}, "kbit/s": {"data rate", 1e3, 0}, "Mbit/s": {"data rate", 1e6, 0}, "B/s": {"data rate", 8, 0},
	"MB/s": {"data rate", 8e6, 0},
}

// rounded is what a value is rounded to where units begin at different points.
const rounded = 1e9 // parts of one

// Convert turns a value of one unit into another; false when the two are not
// of one quantity, or one of them is not known. A unit is always itself. Where
// the units begin at different points, the result is rounded to a billionth, so
// that 20 Cel are 68 degF.
func Convert(v float64, from, to string) (float64, bool) {
	out, ok := convert(v, from, to)
	if ok && from != to && units[from].offset != units[to].offset && math.Abs(out) < 1e6 {
		out = math.Round(out*rounded) / rounded
	}
	return out, ok
}

func convert(v float64, from, to string) (float64, bool) {
	if from == to {
		return v, true
	}
	f, t := units[from], units[to]
	if f.quantity == "" || f.quantity != t.quantity {
		return 0, false
	}
	if f == t {
		return v, true
	}
	return (v*f.factor + f.offset - t.offset) / t.factor, true
}

// ConvertRange turns the bounds of a range into another unit, a little wider
// than they are, so that a value on a bound is within it after rounding too.
func ConvertRange(low, high float64, from, to string) (float64, float64, bool) {
	l, ok := convert(low, from, to)
	h, _ := convert(high, from, to)
	f, t := units[from], units[to]
	room := func(v float64) float64 {
		if math.IsInf(v, 0) {
			return 0
		}
		wide := 1e-12 * (math.Abs(v*f.factor) + f.offset + t.offset) / t.factor
		if f.offset != t.offset {
			wide += 1 / rounded
		}
		return wide
	}
	return l - room(low), h + room(high), ok
}

// SameUnit reports whether two codes stand for one unit (Cel and degC).
func SameUnit(a, b string) bool {
	return a == b || units[a].quantity != "" && units[a] == units[b]
}

// Convertible reports whether values of one unit have one in the other.
func Convertible(from, to string) bool {
	_, ok := Convert(0, from, to)
	return ok
}
