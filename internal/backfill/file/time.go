package file

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// clock reads times of a file.
type clock struct {
	unit   time.Duration // of numbers; 0: by their size
	layout string        // as of [time.Parse]; empty: one of layouts
	last   int           // of layouts, which fit before
	zone   *time.Location
}

// layouts are recognised; a fraction of the second may follow. zoned say their zone.
var layouts = []struct {
	layout string
	zoned  bool
}{
	{"2006-01-02T15:04:05Z07:00", true}, {"2006-01-02 15:04:05Z07:00", true}, {"2006-01-02 15:04:05 Z07:00", true}, {"2006-01-02 15:04:05 -0700", true}, {"2006-01-02T15:04:05-0700", true},
	{"2006-01-02T15:04:05", false}, {"2006-01-02 15:04:05", false}, {"2006/01/02 15:04:05", false}, {"2006-01-02 15:04", false}, {"2006-01-02T15:04", false},
	{"2006/01/02 15:04", false}, {"2006/1/2 15:04:05", false}, {"2006/1/2 15:04", false}, {"20060102150405", false}, {"2006-01-02", false},
}

var units = map[string]time.Duration{"s": time.Second, "ms": time.Millisecond, "us": time.Microsecond, "ns": time.Nanosecond}

// conversions are those of strptime that are read.
var conversions = map[byte]string{'Y': "2006", 'y': "06", 'm': "01", 'd': "02", 'H': "15", 'I': "03", 'p': "PM", 'M': "04", 'S': "05", 'z': "-0700", 'b': "Jan", 'T': "15:04:05", 'F': "2006-01-02", '%': "%"}

func newClock(format string, zone *time.Location) (*clock, error) {
	c := &clock{zone: zone}
	if format == "" {
		return c, nil
	}
	if u, ok := units[format]; ok {
		c.unit = u
		return c, nil
	}
	var b strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			b.WriteByte(format[i])
			continue
		}
		i++
		if i == len(format) || conversions[format[i]] == "" {
			return nil, fmt.Errorf("time format %q: %q is not read; write s, ms, us or ns, or conversions such as %%Y-%%m-%%d %%H:%%M:%%S", format, format[i-1:])
		}
		b.WriteString(conversions[format[i]])
	}
	if c.layout = b.String(); c.layout == format {
		return nil, fmt.Errorf("time format %q names no part of a time; write s, ms, us or ns, or conversions such as %%Y-%%m-%%d %%H:%%M:%%S", format)
	}
	return c, nil
}

var errNoZone = errors.New("names no zone; say which with --zone, such as Asia/Shanghai")

// read returns a time in milliseconds.
func (c *clock) read(s string) (int64, error) {
	s = strings.TrimSpace(s)
	if c.layout != "" {
		return c.parse(s, c.layout, strings.Contains(c.layout, "-0700"))
	}
	if c.unit != 0 || isNumber(s) {
		return c.number(s)
	}
	if t, err := c.parse(s, layouts[c.last].layout, layouts[c.last].zoned); err == nil || errors.Is(err, errNoZone) {
		return t, err
	}
	for i, l := range layouts {
		if t, err := c.parse(s, l.layout, l.zoned); err == nil || errors.Is(err, errNoZone) {
			c.last = i
			return t, err
		}
	}
	return 0, fmt.Errorf("%.60q is no time; RFC 3339 and seconds to nanoseconds since 1970 are recognised, others take --time-format", s)
}

func (c *clock) parse(s, layout string, zoned bool) (int64, error) {
	zone := c.zone
	if zone == nil {
		zone = time.UTC
	}
	t, err := time.ParseInLocation(layout, s, zone)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%.60q is no time of the form %s", s, layout)
	case !zoned && c.zone == nil:
		return 0, fmt.Errorf("time %.60q %w", s, errNoZone)
	}
	return t.UnixMilli(), nil
}

// isNumber leaves dates without separators alone, which have 14 digits.
func isNumber(s string) bool {
	if s == "" || len(s) == 14 && s[0] == '2' && !strings.Contains(s, ".") {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && c != '.' && (c != '-' || i > 0) {
			return false
		}
	}
	return true
}

func (c *clock) number(s string) (int64, error) {
	unit := c.unit
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		if unit == 0 {
			unit = unitOf(float64(n))
		}
		if unit >= time.Millisecond {
			if k := int64(unit / time.Millisecond); n <= math.MaxInt64/k && n >= math.MinInt64/k {
				return n * k, nil
			}
			return 0, fmt.Errorf("%.60q is no time of this world", s)
		}
		return n / int64(time.Millisecond/unit), nil
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || math.Abs(v) > 1e18 {
		return 0, fmt.Errorf("%.60q is no count of seconds", s)
	}
	if unit == 0 {
		unit = unitOf(v)
	}
	return int64(math.Round(v * (float64(unit) / float64(time.Millisecond)))), nil
}

// unitOf tells the unit of a time since 1970 by its size: seconds reach beyond
// the year 5000, and milliseconds back to 1973.
func unitOf(v float64) time.Duration {
	switch v = math.Abs(v); {
	case v < 1e11:
		return time.Second
	case v < 1e14:
		return time.Millisecond
	case v < 1e17:
		return time.Microsecond
	}
	return time.Nanosecond
}
