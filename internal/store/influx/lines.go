package influx

import (
	"math"
	"strconv"

	"github.com/songhua-io/hub/internal/telemetry"
)

// A point is held as one of two fields.
const (
	valueField = "value" // finite values, as floats
	bitsField  = "bits"  // NaN, stale markers and infinities, which floats of InfluxDB are not: the bits as an integer
)

// Times of points, in milliseconds since the Unix epoch, that InfluxDB holds: it
// counts nanoseconds in 64 bits.
const (
	minTime = -(1<<63 - 1) / 1_000_000
	maxTime = (1<<63 - 1) / 1_000_000
)

func hasTime(ms int64) bool { return ms >= minTime && ms <= maxTime }

// appendKey appends what the lines of all points of a series begin with:
// measurement, tags and a space. Labels without a value are none.
func appendKey(dst []byte, labels []telemetry.Label) []byte {
	metric := ""
	for _, l := range labels {
		if l.Name == metricName {
			metric = l.Value
		}
	}
	dst = appendName(dst, storedMetric(metric), false)
	for _, l := range labels {
		if l.Name == metricName || l.Value == "" {
			continue
		}
		dst = appendName(append(dst, ','), storedName(l.Name), true)
		dst = appendName(append(dst, '='), storedValue(l.Value), true)
	}
	return append(dst, ' ')
}

// appendName appends a stored name with the escapes of line protocol. A
// measurement has none for the equals sign.
func appendName(dst []byte, s string, tag bool) []byte {
	from := 0
	for i := 0; i < len(s); i++ {
		if c := s[i]; c == ',' || c == ' ' || c == '=' && tag {
			dst = append(append(dst, s[from:i]...), '\\')
			from = i
		}
	}
	return append(dst, s[from:]...)
}

// appendPoint appends the line of a point of the series with a key, its time in
// milliseconds.
func appendPoint(dst, key []byte, t int64, v float64) []byte {
	dst = append(dst, key...)
	if bits := math.Float64bits(v); finite(bits) {
		dst = strconv.AppendFloat(append(dst, valueField+"="...), v, 'g', -1, 64)
	} else {
		dst = append(strconv.AppendInt(append(dst, bitsField+"="...), int64(bits), 10), 'i')
	}
	return append(strconv.AppendInt(append(dst, ' '), t, 10), '\n')
}

// finite reports whether bits are those of a number, not of NaN or infinity.
func finite(bits uint64) bool { return bits>>52&0x7ff != 0x7ff }
