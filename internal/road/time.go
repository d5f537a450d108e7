package road

import "time"

// A payload says less than a whole time: seconds of a minute, or minutes of a
// year. The whole is the candidate nearest to when it was received, which must be
// as near as this.
const (
	nearMinute = 25 * time.Second
	nearYear   = 12 * time.Hour
)

// OfMinute is the time that is so many milliseconds in a minute, nearest to when
// it was received; false when none is near. A leap second counts as the start of
// the next minute.
func OfMinute(ms int, received time.Time) (time.Time, bool) {
	if ms > 60_999 {
		return time.Time{}, false
	}
	return nearest(received.Truncate(time.Minute), time.Duration(min(ms, 60_000))*time.Millisecond, time.Minute, received, nearMinute)
}

// OfHour is the time that is so many tenths of a second in an hour, nearest to
// when it was received.
func OfHour(tenths int, received time.Time) (time.Time, bool) {
	if tenths >= 36_000 {
		return time.Time{}, false
	}
	return nearest(received.Truncate(time.Hour), time.Duration(tenths)*100*time.Millisecond, time.Hour, received, time.Hour)
}

// OfYear is the time that is so many minutes, and milliseconds of the minute, in
// a year, nearest to when it was received. A negative number of milliseconds is
// not known.
func OfYear(minutes, ms int, received time.Time) (time.Time, bool) {
	if minutes >= 527_040 || ms > 60_999 {
		return time.Time{}, false
	}
	received = received.UTC()
	after := time.Duration(minutes)*time.Minute + time.Duration(max(0, min(ms, 60_000)))*time.Millisecond
	best, found := time.Time{}, false
	for year := received.Year() - 1; year <= received.Year()+1; year++ {
		t := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Add(after)
		if away := distance(t, received); away <= nearYear && (!found || away < distance(best, received)) {
			best, found = t, true
		}
	}
	return best, found
}

// Date is the time that is so many minutes in a year, in the year that puts it
// nearest to when it was received, however far: events begin and end when they
// will.
func Date(minutes int, received time.Time) (time.Time, bool) {
	if minutes >= 527_040 {
		return time.Time{}, false
	}
	received = received.UTC()
	best := time.Time{}
	for year := received.Year() - 1; year <= received.Year()+1; year++ {
		t := time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
		if best.IsZero() || distance(t, received) < distance(best, received) {
			best = t
		}
	}
	return best, true
}

func nearest(begin time.Time, in, span time.Duration, received time.Time, near time.Duration) (time.Time, bool) {
	best := begin.Add(in)
	for _, t := range []time.Time{begin.Add(in - span), begin.Add(in + span)} {
		if distance(t, received) < distance(best, received) {
			best = t
		}
	}
	if distance(best, received) > near {
		return time.Time{}, false
	}
	return best, true
}

func distance(a, b time.Time) time.Duration {
	if d := a.Sub(b); d >= 0 {
		return d
	}
	return b.Sub(a)
}
