package simulate

import (
	"math"
	"time"
)

// jilin is the province's clock: UTC+8 without daylight saving.
var jilin = time.FixedZone("CST", 8*3600)

// hour is the local hour of t with its fraction, 0 to 24.
func hour(t time.Time) float64 {
	l := t.In(jilin)
	return float64(l.Hour()) + float64(l.Minute())/60 + float64(l.Second())/3600
}

// summer is -1 in the middle of January and 1 in the middle of July.
func summer(t time.Time) float64 {
	day := float64(t.In(jilin).YearDay()-15) + hour(t)/24 // without the hour it jumps at midnight
	return -math.Cos(2 * math.Pi * day / 365)
}

// regionKey is the key of all weather of a region, so that its stations agree.
func regionKey(region string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(region) {
		h = (h ^ uint64(region[i])) * 1099511628211
	}
	return h
}

// airTemperature is the region's temperature in °C: the season's mean, a day's
// curve with its maximum at 15:00, and weather of a day or so.
func airTemperature(region string, t time.Time) float64 {
	day := math.Cos(2 * math.Pi * (hour(t) - 15) / 24)
	return 5 + 19*summer(t) + 4.5*day + 3.5*wander(regionKey(region), 1, t, 26*time.Hour)
}

// rain is 0 to 1 and mostly 0.
func rain(region string, t time.Time) float64 {
	return clamp(2.2*wander(regionKey(region), 2, t, 40*time.Hour)-1, 0, 1)
}

func humidity(region string, t time.Time) float64 {
	day := math.Cos(2 * math.Pi * (hour(t) - 15) / 24)
	return clamp(63-12*day+30*rain(region, t)+8*wander(regionKey(region), 3, t, 20*time.Hour), 15, 100)
}

// pressure is in hPa at the height of the region's towns, about 200 m.
func pressure(region string, t time.Time) float64 {
	return 992 - 5*summer(t) + 9*wander(regionKey(region), 4, t, 60*time.Hour)
}

// dark reports whether street lights are on, some minutes apart each.
func dark(t time.Time, apart float64) bool {
	half := 6 + 1.75*summer(t) // hours from noon to sunset at 44 degrees north
	noon := 11.6
	return math.Abs(hour(t)-noon) > half+0.3+apart
}

// bump is 1 at a local hour and falls off within about a width of hours.
func bump(t time.Time, at, width float64) float64 {
	d := math.Abs(hour(t) - at)
	d = min(d, 24-d)
	return math.Exp(-d * d / (2 * width * width))
}

// traffic is 0 to about 1: quiet nights, two rush hours, gentler weekends.
func traffic(t time.Time) float64 {
	v := 0.06 + 0.45*bump(t, 13, 4) + 0.55*bump(t, 7.6, 1.0) + 0.6*bump(t, 17.6, 1.2) + 0.1*bump(t, 20.5, 1.5)
	if d := t.In(jilin).Weekday(); d == time.Saturday || d == time.Sunday {
		v *= 0.75
	}
	return min(v, 1)
}
