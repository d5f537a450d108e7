package loop

import "time"

// rate counts what happened in the last hour, by minute.
type rate struct {
	minutes [60]int
	at      int64 // the minute of the newest
}

func (r *rate) add(now time.Time) {
	r.move(now)
	r.minutes[r.at%60]++
}

func (r *rate) move(now time.Time) {
	m := now.Unix() / 60
	if m-r.at >= 60 {
		clear(r.minutes[:])
		r.at = m
	}
	for ; r.at < m; r.at++ {
		r.minutes[(r.at+1)%60] = 0
	}
}

// perHour is how many there were in the last hour.
func (r *rate) perHour(now time.Time) (n int) {
	r.move(now)
	for _, c := range r.minutes {
		n += c
	}
	return n
}
