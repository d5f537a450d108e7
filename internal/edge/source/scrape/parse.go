package scrape

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/telemetry"
)

// maxFaults bounds the lines that are named when they cannot be read.
const maxFaults = 8

// Parse reads the Prometheus text format 0.0.4 or OpenMetrics 1.0 and calls
// emit for every sample, in order. Samples without a time of their own get now,
// in milliseconds since the Unix epoch. Values that are not finite mean
// absence to an exporter and are left out, as are exemplars. The sample's bytes
// may alias the text. Lines that cannot be read are faults; it fails when there
// are such lines and no others, as in an error page.
func Parse(text []byte, now int64, emit func(telemetry.Sample)) (faults []error, err error) {
	open := bytes.HasSuffix(bytes.TrimRight(text, " \r\n"), []byte("# EOF"))
	n, good, bad := 0, 0, 0
	for line := range bytes.Lines(text) {
		n++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		l := lineScanner{rest: line, openMetrics: open, now: now}
		s, err := l.sample()
		if err != nil {
			if bad++; bad <= maxFaults {
				faults = append(faults, fmt.Errorf("line %d: %w", n, err))
			}
			continue
		}
		good++
		if !math.IsNaN(s.Value) && !math.IsInf(s.Value, 0) {
			emit(s)
		}
	}
	if bad > maxFaults {
		faults = append(faults, fmt.Errorf("%d more lines cannot be read", bad-maxFaults))
	}
	if good == 0 && bad > 0 {
		return nil, fmt.Errorf("no line is a sample: %w", errors.Join(faults...))
	}
	return faults, nil
}

// lineScanner reads one sample's line from the front.
type lineScanner struct {
	rest        []byte
	openMetrics bool // times are in seconds rather than milliseconds
	now         int64
}

func (l *lineScanner) sample() (s telemetry.Sample, err error) {
	if i := bytes.IndexAny(l.rest, "{ \t"); i >= 0 {
		s.Metric, l.rest = l.rest[:i], l.rest[i:]
	}
	l.space()
	if len(l.rest) > 0 && l.rest[0] == '{' {
		l.rest = l.rest[1:]
		if err = l.labels(&s); err != nil {
			return s, err
		}
	}
	if len(s.Metric) == 0 {
		return s, fmt.Errorf("%.60q has no metric name", l.rest)
	}
	s.Unit = []byte(unitOf(string(s.Metric)))
	value := l.word()
	if s.Value, err = strconv.ParseFloat(string(value), 64); err != nil {
		return s, fmt.Errorf("metric %s: %.40q is no value", s.Metric, value)
	}
	s.Time, err = l.time()
	return s, err
}

// labels reads up to the closing brace. A quoted text without a value is the
// metric's name.
func (l *lineScanner) labels(s *telemetry.Sample) error {
	for {
		l.space()
		switch {
		case len(l.rest) == 0:
			return fmt.Errorf("metric %s: the labels do not end", s.Metric)
		case l.rest[0] == '}':
			l.rest = l.rest[1:]
			return nil
		case l.rest[0] == ',':
			l.rest = l.rest[1:]
			continue
		}
		name, err := l.labelName()
		if err != nil {
			return err
		}
		l.space()
		if len(l.rest) == 0 || l.rest[0] != '=' {
			if len(s.Metric) > 0 {
				return fmt.Errorf("metric %s: label %.40q has no value", s.Metric, name)
			}
			s.Metric = name
			continue
		}
		l.rest = l.rest[1:]
		l.space()
		value, err := l.quoted()
		if err != nil {
			return fmt.Errorf("metric %s: label %s: %w", s.Metric, name, err)
		}
		if telemetry.IsReserved(name) {
			name = append([]byte("exported_"), name...)
		}
		if len(value) > 0 { // an empty label is an absent one
			s.Tags = append(s.Tags, telemetry.Tag{Name: name, Value: value})
		}
	}
}

func (l *lineScanner) labelName() ([]byte, error) {
	if l.rest[0] == '"' {
		return l.quoted()
	}
	i := bytes.IndexAny(l.rest, "= \t,}")
	if i <= 0 {
		return nil, fmt.Errorf("%.40q is no label", l.rest)
	}
	name := l.rest[:i]
	l.rest = l.rest[i:]
	return name, nil
}

// quoted reads a text in quotes with the escapes \\, \" and \n.
func (l *lineScanner) quoted() ([]byte, error) {
	if len(l.rest) == 0 || l.rest[0] != '"' {
		return nil, fmt.Errorf("%.40q begins without a quote", l.rest)
	}
	var out []byte // nil while the text stands as it is
	for i := 1; i < len(l.rest); i++ {
		switch c := l.rest[i]; {
		case c == '"':
			if out == nil {
				out = l.rest[1:i]
			}
			l.rest = l.rest[i+1:]
			return out, nil
		case c == '\\' && i+1 < len(l.rest):
			if out == nil {
				out = append(make([]byte, 0, len(l.rest)), l.rest[1:i]...)
			}
			i++
			out = append(out, unescape(l.rest[i]))
		case out != nil:
			out = append(out, c)
		}
	}
	return nil, fmt.Errorf("%.40q does not end", l.rest)
}

func unescape(c byte) byte {
	if c == 'n' {
		return '\n'
	}
	return c
}

// time reads the optional time behind the value; what follows it is an
// exemplar.
func (l *lineScanner) time() (int64, error) {
	word := l.word()
	if len(word) == 0 || word[0] == '#' {
		return l.now, nil
	}
	t, err := strconv.ParseFloat(string(word), 64)
	if l.openMetrics {
		t *= 1000
	}
	if err != nil || math.Abs(t) > 1e15 {
		return 0, fmt.Errorf("%.40q is no time", word)
	}
	return int64(math.Round(t)), nil
}

func (l *lineScanner) space() { l.rest = bytes.TrimLeft(l.rest, " \t") }

func (l *lineScanner) word() []byte {
	l.space()
	i := bytes.IndexAny(l.rest, " \t")
	if i < 0 {
		i = len(l.rest)
	}
	w := l.rest[:i]
	l.rest = l.rest[i:]
	return w
}

// unitOf returns the unit that a metric's name ends in, by the naming rules of
// Prometheus; empty when it ends in none.
func unitOf(metric string) string {
	metric = strings.TrimSuffix(metric, "_total")
	for _, u := range [...]struct{ suffix, unit string }{
		{"_seconds", "s"}, {"_bytes", "By"}, {"_celsius", "Cel"}, {"_volts", "V"}, {"_amperes", "A"},
		{"_watts", "W"}, {"_joules", "J"}, {"_hertz", "Hz"}, {"_meters", "m"}, {"_grams", "g"}, {"_percent", "%"},
	} {
		if strings.HasSuffix(metric, u.suffix) {
			return u.unit
		}
	}
	return ""
}
