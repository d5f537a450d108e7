package influx

import (
	"fmt"
	"regexp/syntax"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// Columns of Flux.
const (
	measurementColumn = "_measurement"
	fieldColumn       = "_field"
	timeColumn        = "_time"
	valueColumn       = "_value"
)

// fluxString is a Flux literal of a text, whatever it holds.
func fluxString(s string) string {
	out := make([]byte, 0, len(s)+2)
	out = append(out, '"')
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if r < ' ' || r == 0x7f || r == '"' || r == '\\' || r == '$' || r == utf8.RuneError {
			for _, c := range []byte(s[i : i+n]) { // "$" begins an expression
				out = fmt.Appendf(out, `\x%02x`, c)
			}
		} else {
			out = append(out, s[i:i+n]...)
		}
		i += n
	}
	return string(append(out, '"'))
}

// fluxRegexp is a Flux literal of a regular expression (RE2). Its text is written
// anew from what it means, so that nothing in it ends the literal.
func fluxRegexp(expression string) (string, error) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return "", err
	}
	return "/" + strings.ReplaceAll(parsed.String(), "/", `\x2f`) + "/", nil
}

func column(name string) string {
	if name == labels.MetricName {
		return measurementColumn
	}
	return storedName(name)
}

func storedAs(name, value string) string {
	if name == labels.MetricName {
		return storedMetric(value)
	}
	return storedValue(value)
}

// condition is what the server can tell of a matcher: true of every series that
// it matches, as of others perhaps; empty when there is nothing to tell. Who
// matches the absent is not told: servers differ about it.
func condition(m *labels.Matcher) (string, error) {
	of := "r[" + fluxString(column(m.Name)) + "]"
	switch {
	case m.Matches("") || m.Name == labels.MetricName && m.Type != labels.MatchEqual && m.Type != labels.MatchRegexp:
		return "", nil
	case m.Type == labels.MatchEqual:
		return of + " == " + fluxString(storedAs(m.Name, m.Value)), nil
	case m.Type == labels.MatchRegexp:
		// What is stored with escapes reads differently, and is let through.
		re, err := fluxRegexp("^(?s:" + m.Value + ")$|" + escape)
		return of + " =~ " + re, err
	}
	return of + ` != ""`, nil
}

// query is a Flux query of the bucket's points between two times in milliseconds,
// both included, that the matchers may match; "" when there are no such times.
func (c *Client) query(mint, maxt int64, ms []*labels.Matcher, field, then string) (string, error) {
	mint, maxt = max(mint, minTime), min(maxt, maxTime-1)
	if mint > maxt {
		return "", nil
	}
	var where []string
	if field != "" {
		where = append(where, field)
	}
	for _, m := range ms {
		cond, err := condition(m)
		if err != nil {
			return "", fmt.Errorf("matcher %s: %w", m, err)
		}
		if cond != "" {
			where = append(where, cond)
		}
	}
	filter := ""
	if len(where) > 0 {
		filter = "|> filter(fn: (r) => " + strings.Join(where, " and ") + ")\n"
	}
	return fmt.Sprintf("from(bucket: %s)\n|> range(start: %s, stop: %s)\n%s%s",
		fluxString(c.cfg.Bucket), fluxTime(mint), fluxTime(maxt+1), filter, then), nil
}

// bothFields is the condition of points that the hub wrote.
const bothFields = `r._field =~ /^(?:` + bitsField + `|` + valueField + `)$/`

func fluxTime(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
