package road

import (
	"testing"
	"time"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		panic(err)
	}
	return t
}

func TestTimesAcrossMinuteHourAndNewYear(t *testing.T) {
	for _, c := range []struct {
		name string
		got  func(received time.Time) (time.Time, bool)
		when string
		want string
	}{
		{"in the minute", func(r time.Time) (time.Time, bool) { return OfMinute(23_500, r) }, "2026-11-26T04:05:24Z", "2026-11-26T04:05:23.5Z"},
		{"of the minute before", func(r time.Time) (time.Time, bool) { return OfMinute(59_900, r) }, "2026-11-26T04:05:00.1Z", "2026-11-26T04:04:59.9Z"},
		{"of the minute after", func(r time.Time) (time.Time, bool) { return OfMinute(100, r) }, "2026-11-26T04:05:59.9Z", "2026-11-26T04:06:00.1Z"},
		{"of the last minute of the year", func(r time.Time) (time.Time, bool) { return OfMinute(59_950, r) }, "2027-01-01T00:00:00.05Z", "2026-12-31T23:59:59.95Z"},
		{"too far from now", func(r time.Time) (time.Time, bool) { return OfMinute(35_000, r) }, "2026-11-26T04:05:05Z", ""},
		{"a leap second", func(r time.Time) (time.Time, bool) { return OfMinute(60_500, r) }, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		{"not available", func(r time.Time) (time.Time, bool) { return OfMinute(65_535, r) }, "2027-01-01T00:00:00Z", ""},
		{"the next hour", func(r time.Time) (time.Time, bool) { return OfHour(50, r) }, "2026-11-26T04:59:50Z", "2026-11-26T05:00:05Z"},
		{"the hour before", func(r time.Time) (time.Time, bool) { return OfHour(35_990, r) }, "2026-11-26T05:00:01Z", "2026-11-26T04:59:59Z"},
		{"an hour that is not known", func(r time.Time) (time.Time, bool) { return OfHour(36_001, r) }, "2026-11-26T05:00:01Z", ""},
		{"the year before", func(r time.Time) (time.Time, bool) { return OfYear(365*1440-1, 59_000, r) }, "2027-01-01T00:00:01Z", "2026-12-31T23:59:59Z"},
		{"the year after", func(r time.Time) (time.Time, bool) { return OfYear(0, 500, r) }, "2026-12-31T23:59:59Z", "2027-01-01T00:00:00.5Z"},
		{"a leap year", func(r time.Time) (time.Time, bool) { return OfYear(366*1440-1, -1, r) }, "2028-12-31T23:59:30Z", "2028-12-31T23:59:00Z"},
		{"another day", func(r time.Time) (time.Time, bool) { return OfYear(100*1440, 0, r) }, "2026-11-26T05:00:01Z", ""},
		{"an event of next spring", func(r time.Time) (time.Time, bool) { return Date(60*1440, r) }, "2026-11-26T05:00:01Z", "2027-03-02T00:00:00Z"},
		{"an event without a time", func(r time.Time) (time.Time, bool) { return Date(527_040, r) }, "2026-11-26T05:00:01Z", ""},
	} {
		got, ok := c.got(at(c.when))
		if ok != (c.want != "") || ok && !got.Equal(at(c.want)) || !ok && !got.IsZero() {
			t.Errorf("%s: %v %v, not %s", c.name, got, ok, c.want)
		}
	}
}
