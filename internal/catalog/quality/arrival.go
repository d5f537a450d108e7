package quality

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/telemetry"
)

// counted is how often it is written down how samples came: what a crash takes is
// of so long.
const counted = 10 * time.Minute

// arrivals follow the counts of the write path from day to day.
type arrivals struct {
	mu   sync.Mutex // guards all below
	last map[string]telemetry.Arrivals
	day  Day // that what comes now belongs to
	at   time.Time
}

// Count writes down how samples came until now.
func (k *Keeper) Count(ctx context.Context) error { return k.count(ctx, true) }

// count writes down how samples came since it was last done: by the day of China's
// time in which they came. It is done when the time for it has come, when a day
// is over, and when asked to.
func (k *Keeper) count(ctx context.Context, anyway bool) error {
	a := &k.arrivals
	a.mu.Lock()
	defer a.mu.Unlock()
	now := k.deps.Clock()
	day := DayOf(now)
	if a.day == "" {
		a.day, a.last = day, map[string]telemetry.Arrivals{}
	}
	if !anyway && day == a.day && now.Sub(a.at) < counted {
		return nil
	}
	type row struct {
		device string
		now    telemetry.Arrivals
		since  telemetry.Arrivals
	}
	var all []row
	k.deps.Arrivals(func(device string, is *telemetry.Arrivals) bool {
		before := a.last[device]
		if is.Samples < before.Samples { // it was removed and added again
			before = telemetry.Arrivals{}
		}
		if since := less(is, &before); since.Samples+since.Refused > 0 {
			all = append(all, row{device, *is, since})
		}
		return true
	})
	err := k.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		for i := range all {
			var text string
			var sum telemetry.Arrivals
			err := tx.QueryRowContext(ctx, "SELECT record FROM device_arrivals WHERE device = ? AND day = ?", all[i].device, string(a.day)).Scan(&text)
			if err == nil {
				err = json.Unmarshal([]byte(text), &sum)
			} else if err == sql.ErrNoRows {
				err = nil
			}
			if err != nil {
				return err
			}
			plus(&sum, &all[i].since)
			if _, err := tx.ExecContext(ctx, "INSERT INTO device_arrivals (device, day, record) VALUES (?, ?, ?) ON CONFLICT (device, day) DO UPDATE SET record = excluded.record",
				all[i].device, string(a.day), asJSON(&sum)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("write down how samples came: %w", err)
	}
	for i := range all {
		a.last[all[i].device] = all[i].now
	}
	a.day, a.at = day, now
	return nil
}

// arrived is how the samples of devices came on a day.
func (k *Keeper) arrived(ctx context.Context, day Day) (map[string]*telemetry.Arrivals, error) {
	all := map[string]*telemetry.Arrivals{}
	err := k.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var device, text string
		if err := rows.Scan(&device, &text); err != nil {
			return err
		}
		all[device] = &telemetry.Arrivals{}
		return json.Unmarshal([]byte(text), all[device])
	}, "SELECT device, record FROM device_arrivals WHERE day = ?", string(day))
	return all, err
}

func fields(a *telemetry.Arrivals) []*uint64 {
	return []*uint64{&a.Samples, &a.Repeated, &a.Conflicts, &a.Behind, &a.Ahead, &a.Refused}
}

func less(is, before *telemetry.Arrivals) telemetry.Arrivals {
	out := *is
	for i, f := range fields(before) {
		*fields(&out)[i] -= *f
	}
	for i := range out.Delays {
		out.Delays[i] -= before.Delays[i]
	}
	return out
}

func plus(to, more *telemetry.Arrivals) {
	for i, f := range fields(more) {
		*fields(to)[i] += *f
	}
	for i := range to.Delays {
		to.Delays[i] += more.Delays[i]
	}
}

// sum is how the samples of some devices came.
func sum(devices map[string]bool, came map[string]*telemetry.Arrivals) (out Arrived) {
	var all telemetry.Arrivals
	for device := range devices {
		if a := came[device]; a != nil {
			plus(&all, a)
		}
	}
	out = Arrived{Samples: all.Samples, Repeated: all.Repeated, Conflicts: all.Conflicts, Behind: all.Behind, Ahead: all.Ahead, Refused: all.Refused}
	out.P50, out.P95, out.P99 = quantile(&all, 0.50), quantile(&all, 0.95), quantile(&all, 0.99)
	return out
}

// quantile is the delay in seconds below which a share of the samples came, by the
// bound of its bucket: at most a quarter too much.
func quantile(a *telemetry.Arrivals, q float64) float64 {
	var total, below uint64
	for _, n := range a.Delays {
		total += uint64(n)
	}
	for i, n := range a.Delays {
		if below += uint64(n); total > 0 && float64(below) >= q*float64(total) {
			return float64(telemetry.DelayBound(i)) / 1000
		}
	}
	return 0
}
