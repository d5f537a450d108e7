package query

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
)

// The ends of the range that an absent start and end stand for. RFC 3339 as Go
// reads it has four digits for a year, so clients that send the ends in words
// are understood by comparison.
const (
	minSeconds = math.MinInt64/1000 + 62135596801
	maxSeconds = math.MaxInt64/1000 - 62135596801
)

func minTime() time.Time { return time.Unix(minSeconds, 0).UTC() }
func maxTime() time.Time { return time.Unix(maxSeconds, 999_999_999).UTC() }

// parseTime reads seconds since the Unix epoch, rounded to milliseconds, or RFC 3339.
func parseTime(s string) (time.Time, error) {
	if t, err := strconv.ParseFloat(s, 64); err == nil {
		whole, part := math.Modf(t)
		part = math.Round(part*1000) / 1000
		return time.Unix(int64(whole), int64(part*float64(time.Second))).UTC(), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	for _, end := range []time.Time{minTime(), maxTime()} {
		if s == end.Format(time.RFC3339Nano) {
			return end, nil
		}
	}
	return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", s)
}

// timeOr returns the time that a parameter gives, or absent.
func timeOr(r *http.Request, name string, absent time.Time) (time.Time, error) {
	s := r.FormValue(name)
	if s == "" {
		return absent, nil
	}
	t, err := parseTime(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("invalid time value for '%s': %w", name, err)
	}
	return t, nil
}

// span returns the range of a question about labels or series.
func span(r *http.Request) (start, end time.Time, f *failure) {
	start, err := timeOr(r, "start", minTime())
	if err != nil {
		return start, end, badParameter(err, "start")
	}
	end, err = timeOr(r, "end", maxTime())
	if err != nil {
		return start, end, badParameter(err, "end")
	}
	return start, end, nil
}

// parseDuration reads seconds or Prometheus' notation (1h30m).
func parseDuration(s string) (time.Duration, error) {
	if d, err := strconv.ParseFloat(s, 64); err == nil {
		ns := d * float64(time.Second)
		// 2^63 as a float is one more than an int64 holds; NaN passes comparisons.
		if math.IsNaN(ns) || ns >= math.MaxInt64 || ns < math.MinInt64 {
			return 0, fmt.Errorf("cannot parse %q to a valid duration. It overflows int64", s)
		}
		return time.Duration(ns), nil
	}
	if d, err := model.ParseDuration(s); err == nil {
		return time.Duration(d), nil
	}
	return 0, fmt.Errorf("cannot parse %q to a valid duration", s)
}

// limitOf returns the parameter limit; 0 means none.
func limitOf(r *http.Request) (int, *failure) {
	s := r.FormValue("limit")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err == nil && n < 0 {
		err = errors.New("limit must be non-negative")
	}
	if err != nil {
		return 0, badParameter(err, "limit")
	}
	return n, nil
}

// oneMore is the limit to ask the store for, so that a cut can be told from a
// result that ends there.
func oneMore(limit int) int {
	if limit > 0 && limit < math.MaxInt {
		return limit + 1
	}
	return limit
}

// selectors parses match[] parameters. Each must name something.
func (a *API) selectors(params []string) ([][]*labels.Matcher, error) {
	sets, err := a.parser.ParseMetricSelectors(params)
	if err != nil {
		return nil, err
	}
	for _, ms := range sets {
		if !selective(ms) {
			return nil, errors.New("match[] must contain at least one non-empty matcher")
		}
	}
	return sets, nil
}

func selective(ms []*labels.Matcher) bool {
	for _, m := range ms {
		if m != nil && !m.Matches("") {
			return true
		}
	}
	return false
}

// timeoutOf returns the parameter timeout; 0 means none.
func timeoutOf(r *http.Request) (time.Duration, *failure) {
	s := r.FormValue("timeout")
	if s == "" {
		return 0, nil
	}
	d, err := parseDuration(s)
	if err == nil && d <= 0 {
		err = fmt.Errorf("timeout must be positive, got %s", d)
	}
	if err != nil {
		return 0, badParameter(err, "timeout")
	}
	return d, nil
}
