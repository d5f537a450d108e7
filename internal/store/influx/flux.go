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
//
// It is false for what is no regular expression, as a matcher of invalid UTF-8 is.
func fluxRegexp(expression string) (string, bool) {
	parsed, err := syntax.Parse(expression, syntax.Perl)
	if err != nil {
		return "", false
	}
	return "/" + strings.ReplaceAll(parsed.String(), "/", `\x2f`) + "/", true
}

func column(name string) string {
	if name == metricName {
		return measurementColumn
	}
	return storedName(name)
}

func storedAs(name, value string) string {
	if name == metricName {
		return storedMetric(value)
	}
	return storedValue(value)
}

// condition is what the server can tell of a matcher: true of every series that
// it matches, as of others perhaps; empty when there is nothing to tell. Who
// matches the absent is not told: servers differ about it.
func condition(m *labels.Matcher) string {
	of := "r[" + fluxString(column(m.Name)) + "]"
	switch {
	case m.Matches("") || m.Name == metricName && m.Type != labels.MatchEqual && m.Type != labels.MatchRegexp:
		return ""
	case m.Type == labels.MatchEqual:
		return of + " == " + fluxString(storedAs(m.Name, m.Value))
	case m.Type == labels.MatchRegexp:
		// What is stored with escapes reads differently, and is let through.
		re, ok := fluxRegexp("^(?s:" + m.Value + ")$|" + escape)
		if !ok {
			return ""
		}
		return of + " =~ " + re
	}
	return of + ` != ""`
}

// part is what a query asks of the points of a field, or of all: which they are,
// and what becomes of each series of them.
type part struct{ where, then string }

// query is a Flux query for parts of the bucket's points between two times in
// milliseconds, both included, that the matchers may match; "" when there are no
// such times. It is one query for all parts: InfluxDB 1.8 takes 10 ms to read one.
func (c *Client) query(mint, maxt int64, ms []*labels.Matcher, parts ...part) string {
	mint, maxt = max(mint, minTime), min(maxt, maxTime-1)
	if mint > maxt {
		return ""
	}
	var where []string
	for _, m := range ms {
		if cond := condition(m); cond != "" {
			where = append(where, cond)
		}
	}
	var out strings.Builder
	for i, p := range parts {
		fmt.Fprintf(&out, "from(bucket: %s)\n|> range(start: %s, stop: %s)\n", fluxString(c.cfg.Bucket), fluxTime(mint), fluxTime(maxt+1))
		all := where
		if p.where != "" {
			all = append([]string{p.where}, where...)
		}
		if len(all) > 0 {
			fmt.Fprintf(&out, "|> filter(fn: (r) => %s)\n", strings.Join(all, " and "))
		}
		fmt.Fprintf(&out, "%s|> yield(name: \"%d\")\n", p.then, i)
	}
	return out.String()
}

// bothFields is the condition of points that the hub wrote.
const bothFields = `r._field =~ /^(?:` + bitsField + `|` + valueField + `)$/`

func fluxTime(ms int64) string {
	return time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.000Z")
}
