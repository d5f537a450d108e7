package influx

import (
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/labels"
)

// readString reads one string literal as the scanner of Flux does
// (docs.influxdata.com, "Flux lexical elements") and returns what stands behind it.
func readString(t *testing.T, in string) (text, rest string) {
	t.Helper()
	if in == "" || in[0] != '"' {
		t.Fatalf("%q begins no string", in)
	}
	var out []byte
	for i := 1; i < len(in); i++ {
		switch c := in[i]; {
		case c == '"':
			return string(out), in[i+1:]
		case c == '$':
			t.Fatalf("%q may have an expression", in)
		case c == '\\':
			if i+3 >= len(in) || in[i+1] != 'x' || digit(in[i+2]) < 0 || digit(in[i+3]) < 0 {
				t.Fatalf("%q has an escape that Flux has not", in)
			}
			out = append(out, byte(digit(in[i+2])<<4|digit(in[i+3])))
			i += 3
		default:
			out = append(out, c)
		}
	}
	t.Fatalf("%q does not end", in)
	return "", ""
}

func FuzzFluxStrings(f *testing.F) {
	for _, text := range append(oddTexts, `"); from(bucket: "other`, `${from(bucket: "x")}`, `\x24{1}`, "/* */ //") {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		literal := fluxString(text)
		if got, rest := readString(t, literal); got != text || rest != "" || !utf8.ValidString(literal) {
			t.Errorf("%q is written %s, which reads %q and leaves %q", text, literal, got, rest)
		}
	})
}

// FuzzConditions has a matcher of any kind written, read as Flux reads it, and
// applied to a value as it is stored: no value that matches may fail it.
func FuzzConditions(f *testing.F) {
	for _, text := range oddTexts {
		f.Add("device", text, text, uint8(0))
		f.Add(text, regexp.QuoteMeta(text), text, uint8(1))
		f.Add("__name__", text, "x"+text, uint8(2))
	}
	for _, re := range []string{`a/b`, `a\/b`, `a\\/b`, `[/-9]+`, `a|b`, `.*`, ".+", `\`, `(`, "a\nb", `\d{3}`, `(?i)ABC`, "[^\\\\]+", `/ or true //`, `x$|^y`, "\\x{241b}", "(?-s).+"} {
		f.Add("device", re, "a/b", uint8(1))
		f.Add("device", re, "a\\b\n", uint8(1))
		f.Add("device", re, "ab", uint8(3))
	}
	f.Fuzz(func(t *testing.T, name, pattern, value string, kind uint8) {
		m, err := labels.NewMatcher(labels.MatchType(kind%4), name, pattern)
		if err != nil || name == "" {
			t.Skip()
		}
		cond := condition(m)
		if cond == "" {
			return
		}
		key, rest := readString(t, strings.TrimPrefix(cond, "r["))
		if original(key) != name && !(name == metricName && key == measurementColumn) {
			t.Fatalf("%s is written %s", m, cond)
		}
		stored, told := storedAs(name, value), false
		switch {
		case strings.HasPrefix(rest, "] == "):
			text, rest := readString(t, rest[len("] == "):])
			if told = text == stored; rest != "" {
				t.Fatalf("%s is written %s", m, cond)
			}
		case strings.HasPrefix(rest, "] =~ /") && strings.HasSuffix(rest, "/"):
			text := rest[len("] =~ /") : len(rest)-1]
			if strings.ContainsAny(text, "/\n\r") || !utf8.ValidString(text) {
				t.Fatalf("%s is written %s, which ends too early", m, cond)
			}
			told = regexp.MustCompile(text).MatchString(stored)
		case rest == `] != ""`:
			told = stored != ""
		default:
			t.Fatalf("%s is written %s", m, cond)
		}
		if m.Matches(value) && !told && value != "" {
			t.Errorf("%s matches %q, which is stored as %q and not found by %s", m, value, stored, cond)
		}
		if !m.Matches(value) && told && isExact(m) {
			t.Errorf("%s is said to be exact, and %q, stored as %q, is found by %s", m, value, stored, cond)
		}
	})
}
