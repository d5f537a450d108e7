package publish

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
)

// Touched remembers in which days samples of devices came, or were corrected, after
// the look-back of releases had left them behind. What it was told is durable when
// Keep returns; the daily pass takes it over. All methods may be called from any
// goroutine.
type Touched struct {
	records  *records.DB
	lookBack int

	keeping sync.Mutex // held while rows are written

	mu sync.Mutex // guards all below
	of map[string]*stretches
	// unkept are devices whose rows lack something.
	unkept map[string]bool
}

// stretches are the days of a device, first and last, in order and apart; seq
// changes with them.
type stretches struct {
	days [][2]int64
	seq  uint64
}

// maxStretches bounds those of a device: the nearest two become one, with the days
// between, which are then looked at in vain.
const maxStretches = 16

// NewTouched reads what was noted before.
func NewTouched(ctx context.Context, db *records.DB, cfg Config, m prometheus.Registerer) (*Touched, error) {
	t := &Touched{records: db, lookBack: cfg.LookBack, of: map[string]*stretches{}, unkept: map[string]bool{}}
	err := db.Each(ctx, func(rows *sql.Rows) error {
		var device, text string
		s := &stretches{}
		if err := rows.Scan(&device, &text); err != nil {
			return err
		}
		t.of[device] = s
		return json.Unmarshal([]byte(text), &s.days)
	}, "SELECT device, days FROM release_touched")
	if err != nil {
		return nil, fmt.Errorf("read which days were touched: %w", err)
	}
	m.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "hub_publish_touched_devices", Help: "Devices with samples that came, or were corrected, behind the look-back of releases, and that the daily pass has not seen yet."}, func() float64 {
		t.mu.Lock()
		defer t.mu.Unlock()
		return float64(len(t.of))
	}))
	return t, nil
}

// Before is the time in ms up to which the next daily pass does not look back.
func (t *Touched) Before(now time.Time) int64 {
	return source.Day(now).From.AddDate(0, 0, 1-t.lookBack).UnixMilli()
}

// dayNumber is the day of a time in ms, counted in China's time since 1970.
func dayNumber(ms int64) int64 {
	const day, east = 24 * 3600_000, 8 * 3600_000
	ms += east
	if ms < 0 {
		ms -= day - 1
	}
	return ms / day
}

// dayBegin is when a day begins.
func dayBegin(n int64) time.Time {
	return time.Unix(n*24*3600-8*3600, 0).UTC()
}

// Came notes a sample of a device. It is not durable yet.
func (t *Touched) Came(device string, at int64) { t.note(device, at, at) }

// Corrected notes, durably, that samples of a device from one time to another are
// about to change.
func (t *Touched) Corrected(device string, from, to int64, now time.Time) error {
	if to = min(to, t.Before(now)-1); from > to {
		return nil // the daily pass looks there
	}
	t.note(device, from, to)
	return t.Keep()
}

func (t *Touched) note(device string, from, to int64) {
	first, last := dayNumber(from), dayNumber(to)
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.of[device]
	if s == nil {
		s = &stretches{}
		t.of[device] = s
	}
	if s.add(first, last) {
		t.unkept[device] = true
	}
}

// add adds days, and reports whether some of them are new.
func (s *stretches) add(first, last int64) bool {
	for _, d := range s.days {
		if d[0] <= first && last <= d[1] {
			return false
		}
	}
	s.seq++
	joined := make([][2]int64, 0, len(s.days)+1)
	placed := false
	for _, d := range s.days {
		switch {
		case d[1]+1 < first:
			joined = append(joined, d)
		case last+1 < d[0]:
			if !placed {
				joined, placed = append(joined, [2]int64{first, last}), true
			}
			joined = append(joined, d)
		default:
			first, last = min(first, d[0]), max(last, d[1])
		}
	}
	if !placed {
		joined = append(joined, [2]int64{first, last})
	}
	if len(joined) > maxStretches {
		near := 1
		for i := 2; i < len(joined); i++ {
			if joined[i][0]-joined[i-1][1] < joined[near][0]-joined[near-1][1] {
				near = i
			}
		}
		joined[near-1][1] = joined[near][1]
		joined = append(joined[:near], joined[near+1:]...)
	}
	s.days = joined
	return true
}

// Keep makes durable what was noted. Whoever comes while others write waits for
// them: what it noted may be in their rows.
func (t *Touched) Keep() error {
	t.keeping.Lock()
	defer t.keeping.Unlock()
	t.mu.Lock()
	rows := make(map[string]string, len(t.unkept))
	for device := range t.unkept {
		text, err := json.Marshal(t.of[device].days)
		if err != nil {
			panic(err) // numbers always have a JSON form
		}
		rows[device] = string(text)
	}
	clear(t.unkept)
	t.mu.Unlock()
	if len(rows) == 0 {
		return nil
	}
	// The write is of all who noted something: it has the context of none of them.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	err := t.records.Tx(ctx, func(tx *sql.Tx) error {
		for device, text := range rows {
			if _, err := tx.ExecContext(ctx, "INSERT INTO release_touched (device, days) VALUES (?, ?) ON CONFLICT (device) DO UPDATE SET days = excluded.days", device, text); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.mu.Lock()
		for device := range rows {
			t.unkept[device] = true
		}
		t.mu.Unlock()
		return fmt.Errorf("note which days samples of the past are of: %w", err)
	}
	return nil
}

// all are the days of each device.
func (t *Touched) all() map[string]stretches {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[string]stretches, len(t.of))
	for device, s := range t.of {
		out[device] = *s
	}
	return out
}

// settle ends the rows of devices whose days were taken over, in one transaction
// with what then writes of them. Those that have more days by now stay as they are.
func (t *Touched) settle(ctx context.Context, taken map[string]stretches, then func(*sql.Tx) error) error {
	t.keeping.Lock()
	defer t.keeping.Unlock()
	t.mu.Lock()
	for device, was := range taken {
		if t.of[device].seq != was.seq {
			delete(taken, device)
		}
	}
	t.mu.Unlock()
	err := t.records.Tx(ctx, func(tx *sql.Tx) error {
		for device := range taken {
			if _, err := tx.ExecContext(ctx, "DELETE FROM release_touched WHERE device = ?", device); err != nil {
				return err
			}
		}
		return then(tx)
	})
	if err != nil {
		return err
	}
	t.mu.Lock()
	for device, was := range taken {
		if t.of[device].seq == was.seq { // else it waits to be kept
			delete(t.of, device)
		}
	}
	t.mu.Unlock()
	return nil
}
