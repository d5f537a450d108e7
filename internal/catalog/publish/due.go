package publish

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
)

// day is a day of a dataset.
type datasetDay struct {
	dataset string
	period  catalog.Period
}

// reopen finds out which days of which datasets have to be made again, of what was
// touched behind the look-back, and puts them down: of every dataset that something
// was released of, also of those that are shut at the moment, from its first day on.
func (p *Publisher) reopen(ctx context.Context) error {
	touched := p.deps.Touched.all()
	if len(touched) == 0 {
		return nil
	}
	first, last := int64(0), int64(0)
	for _, s := range touched {
		if n := len(s.days); first == 0 {
			first, last = s.days[0][0], s.days[n-1][1]
		} else {
			first, last = min(first, s.days[0][0]), max(last, s.days[n-1][1])
		}
	}
	since, err := p.firstDays(ctx)
	if err != nil {
		return err
	}
	var due []datasetDay
	for id, from := range since {
		d, err := p.deps.Dataset(id)
		if err != nil || d.State == catalog.Withdrawn {
			continue
		}
		devices, err := p.deps.Devices(ctx, d, dayBegin(max(first, from)), dayBegin(last+1))
		if err != nil {
			return fmt.Errorf("dataset %s: find the devices of days that were touched: %w", id, err)
		}
		days := map[int64]bool{}
		for device := range devices {
			for _, s := range touched[device].days {
				for n := max(s[0], from); n <= s[1]; n++ {
					days[n] = true
				}
			}
		}
		for n := range days {
			due = append(due, datasetDay{id, source.Day(dayBegin(n))})
		}
	}
	return p.deps.Touched.settle(ctx, touched, func(tx *sql.Tx) error {
		for _, d := range due {
			if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO release_due (dataset, starts) VALUES (?, ?)", d.dataset, records.Millis(d.period.From)); err != nil {
				return err
			}
		}
		return nil
	})
}

// firstDays are the first days that something was released of, by dataset; roads
// are made of what passed, which is kept for days.
func (p *Publisher) firstDays(ctx context.Context) (map[string]int64, error) {
	all := map[string]int64{}
	err := p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var id string
		var starts int64
		if err := rows.Scan(&id, &starts); err != nil {
			return err
		}
		all[id] = dayNumber(starts)
		return nil
	}, "SELECT dataset, MIN(starts) FROM publications WHERE released > 0 AND source <> ? GROUP BY dataset", string(catalog.SourceRoads))
	return all, err
}

// remake makes the days again that are due. Those of datasets that are shut wait
// until they are open; a day whose files are kept no longer stays as it was.
func (p *Publisher) remake(ctx context.Context) error {
	var due []datasetDay
	err := p.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var d datasetDay
		var starts int64
		if err := rows.Scan(&d.dataset, &starts); err != nil {
			return err
		}
		d.period = source.Day(records.Time(starts))
		due = append(due, d)
		return nil
	}, "SELECT dataset, starts FROM release_due ORDER BY dataset, starts")
	if err != nil {
		return fmt.Errorf("read which days are due: %w", err)
	}
	shut := ""
	for _, day := range due {
		if day.dataset == shut {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d, err := p.deps.Dataset(day.dataset)
		if err == nil && !p.kept(d, day.period) {
			err = ErrSame
		}
		if err == nil {
			_, err = p.Make(ctx, Order{Dataset: day.dataset, Day: day.period.From})
		}
		switch {
		case err == nil || errors.Is(err, ErrSame) || errors.Is(err, ErrEmpty):
			if err := p.done(ctx, day); err != nil {
				return err
			}
		case errors.Is(err, ErrShut) || errors.Is(err, ErrGrade):
			shut = day.dataset
		case ctx.Err() == nil:
			p.deps.Log.Error("release_not_made", "dataset", day.dataset, "day", dayName(day.period), "error", err)
		}
	}
	return nil
}

// kept reports whether a dataset still keeps the files of a period.
func (p *Publisher) kept(d *catalog.Dataset, period catalog.Period) bool {
	return d.Retention == 0 || period.To.After(p.deps.Clock().Add(-d.Retention))
}

func (p *Publisher) done(ctx context.Context, d datasetDay) error {
	return p.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM release_due WHERE dataset = ? AND starts = ?", d.dataset, records.Millis(d.period.From))
		return err
	})
}

// lookBack is how many days back from today a daily pass goes: as configured, and
// further by the days that no pass was made since the last one, when the hub was off.
func (p *Publisher) lookBack(ctx context.Context, today catalog.Period) (days int, err error) {
	var last int64
	err = p.deps.Records.Each(ctx, func(rows *sql.Rows) error { return rows.Scan(&last) }, "SELECT day FROM release_passes WHERE id = 1")
	if err != nil || last == 0 {
		return p.cfg.LookBack, err
	}
	missed := int(today.From.Sub(records.Time(last))/(24*time.Hour)) - 1
	return min(p.cfg.LookBack+max(missed, 0), maxLookBack), nil
}

// passed puts down that a daily pass was made.
func (p *Publisher) passed(ctx context.Context, today catalog.Period) error {
	return p.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO release_passes (id, day) VALUES (1, ?) ON CONFLICT (id) DO UPDATE SET day = excluded.day", records.Millis(today.From))
		return err
	})
}
