package query

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/util/stats"
)

// queryResult is the answer to a query: what lies in data.
type queryResult struct {
	result parser.Value
	stats  stats.QueryStats // nil unless asked for
}

// appendData appends data as Prometheus writes it, byte for byte. Samples and
// lists of labels may be millions, so they are written by hand.
func appendData(w *body, data any) error {
	switch d := data.(type) {
	case queryResult:
		return appendValue(w, d)
	case []labels.Labels:
		appendList(w, d, appendLabels)
		return nil
	case []string:
		appendList(w, d, appendEscaped)
		return nil
	}
	return appendJSON(w, data)
}

func appendJSON(w *body, data any) error {
	j, err := json.Marshal(data)
	w.b = append(w.b, j...)
	w.seal()
	return err
}

func appendValue(w *body, v queryResult) error {
	w.b = append(w.b, `{"resultType":`...)
	w.b = appendEscaped(w.b, string(v.result.Type()))
	w.b = append(w.b, `,"result":`...)
	switch r := v.result.(type) {
	case promql.Vector:
		appendList(w, r, appendSample)
	case promql.Matrix:
		appendMatrix(w, r)
	default: // a scalar or a string
		if err := appendJSON(w, r); err != nil {
			return err
		}
	}
	if v.stats != nil {
		w.b = append(w.b, `,"stats":`...)
		if err := appendJSON(w, v.stats); err != nil {
			return err
		}
	}
	w.b = append(w.b, '}')
	return nil
}

// appendList ends early when there is no room for more.
func appendList[T any](w *body, list []T, one func([]byte, T) []byte) {
	w.b = append(w.b, '[')
	for i := range list {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = one(w.b, list[i])
		if !w.seal() {
			return
		}
	}
	w.b = append(w.b, ']')
}

func appendSample(b []byte, s promql.Sample) []byte {
	b = append(b, `{"metric":`...)
	b = appendLabels(b, s.Metric)
	if s.H != nil {
		b = append(b, `,"histogram":`...)
		b = appendHistogramPoint(b, promql.HPoint{T: s.T, H: s.H})
	} else {
		b = append(b, `,"value":`...)
		b = appendPoint(b, promql.FPoint{T: s.T, F: s.F})
	}
	return append(b, '}')
}

func appendMatrix(w *body, m promql.Matrix) {
	w.b = append(w.b, '[')
	for i := range m {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		if appendSeries(w, &m[i]); w.failure != nil {
			return
		}
	}
	w.b = append(w.b, ']')
}

func appendSeries(w *body, s *promql.Series) {
	w.b = append(w.b, `{"metric":`...)
	w.b = appendLabels(w.b, s.Metric)
	if len(s.Floats) > 0 {
		w.b = append(w.b, `,"values":`...)
		appendList(w, s.Floats, appendPoint)
	}
	if len(s.Histograms) > 0 {
		w.b = append(w.b, `,"histograms":`...)
		appendList(w, s.Histograms, appendHistogramPoint)
	}
	w.b = append(w.b, '}')
}

func appendPoint(b []byte, p promql.FPoint) []byte {
	b = append(b, '[')
	b = appendTime(b, p.T)
	b = append(b, ',')
	b = appendFloat(b, p.F)
	return append(b, ']')
}

func appendHistogramPoint(b []byte, p promql.HPoint) []byte {
	b = append(b, '[')
	b = appendTime(b, p.T)
	b = append(b, ',')
	b = appendHistogram(b, p.H)
	return append(b, ']')
}

func appendHistogram(b []byte, h *histogram.FloatHistogram) []byte {
	b = append(b, `{"count":`...)
	b = appendFloat(b, h.Count)
	b = append(b, `,"sum":`...)
	b = appendFloat(b, h.Sum)
	first := true
	for it := h.AllBucketIterator(); it.Next(); {
		bucket := it.At()
		if bucket.Count == 0 {
			continue
		}
		if first {
			b = append(b, `,"buckets":[`...)
		} else {
			b = append(b, ',')
		}
		first = false
		b = appendBucket(b, bucket)
	}
	if !first {
		b = append(b, ']')
	}
	return append(b, '}')
}

// appendBucket writes [bounds, lower, upper, count]; bounds says which ends
// belong to the bucket: 0 the upper, 1 the lower, 2 none, 3 both.
func appendBucket(b []byte, bucket histogram.Bucket[float64]) []byte {
	bounds := byte('2')
	switch {
	case bucket.LowerInclusive && bucket.UpperInclusive:
		bounds = '3'
	case bucket.LowerInclusive:
		bounds = '1'
	case bucket.UpperInclusive:
		bounds = '0'
	}
	b = append(b, '[', bounds)
	for _, f := range []float64{bucket.Lower, bucket.Upper, bucket.Count} {
		b = appendFloat(append(b, ','), f)
	}
	return append(b, ']')
}

// appendTime writes milliseconds as seconds: whole ones without a point, others
// with three decimals.
func appendTime(b []byte, ms int64) []byte {
	if ms < 0 {
		b, ms = append(b, '-'), -ms
	}
	b = strconv.AppendInt(b, ms/1000, 10)
	part := ms % 1000
	if part == 0 {
		return b
	}
	return append(b, '.', byte('0'+part/100), byte('0'+part/10%10), byte('0'+part%10))
}

// appendFloat writes a value as a string: NaN, +Inf, -Inf or the shortest
// number that reads back the same.
func appendFloat(b []byte, f float64) []byte {
	format := byte('f')
	if abs := math.Abs(f); abs != 0 && (abs < 1e-6 || abs >= 1e21) {
		format = 'e'
	}
	b = strconv.AppendFloat(append(b, '"'), f, format, -1, 64)
	return append(b, '"')
}

func appendLabels(b []byte, ls labels.Labels) []byte {
	b = append(b, '{')
	first := true
	ls.Range(func(l labels.Label) {
		if !first {
			b = append(b, ',')
		}
		first = false
		b = appendString(b, l.Name)
		b = append(b, ':')
		b = appendString(b, l.Value)
	})
	return append(b, '}')
}

const hexDigits = "0123456789abcdef"

func appendEscape(b []byte, c byte) []byte {
	switch c {
	case '\\', '"':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\r':
		return append(b, '\\', 'r')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
}

// appendString writes a label as it is, except for what JSON forbids.
func appendString(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' {
			b = appendEscape(append(b, s[start:i]...), c)
			start = i + 1
		}
	}
	return append(append(b, s[start:]...), '"')
}

// appendEscaped writes a string that is safe in a page as well: <, > and & are
// escaped, and so are the two line ends that JavaScript trips over; what is no
// UTF-8 becomes U+FFFD.
func appendEscaped(b []byte, s string) []byte {
	b = append(b, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
				b = appendEscape(append(b, s[start:i]...), c)
				start = i + 1
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(append(b, s[start:i]...), `\ufffd`...)
			start = i + size
		case r == '\u2028' || r == '\u2029':
			b = append(append(b, s[start:i]...), `\u202`...)
			b = append(b, hexDigits[r&15])
			start = i + size
		}
		i += size
	}
	return append(append(b, s[start:]...), '"')
}
