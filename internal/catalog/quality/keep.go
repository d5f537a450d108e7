package quality

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/telemetry"
)

func (k *Keeper) load(ctx context.Context) error {
	err := k.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		m := &Measured{}
		if err := scanJSON(rows, m); err != nil {
			return err
		}
		k.latest[m.Dataset] = m
		return nil
	}, "SELECT record FROM dataset_quality AS q WHERE day = (SELECT max(day) FROM dataset_quality WHERE dataset = q.dataset)")
	if err != nil {
		return err
	}
	return k.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var f Finding
		if err := scanJSON(rows, &f); err != nil {
			return err
		}
		k.put(f)
		return nil
	}, "SELECT record FROM dataset_findings WHERE until = ''")
}

func scanJSON(rows *sql.Rows, into any) error {
	var text string
	if err := rows.Scan(&text); err != nil {
		return err
	}
	return json.Unmarshal([]byte(text), into)
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // the structs of this package always have a JSON form
	}
	return string(b)
}

// put remembers an open finding. The caller holds mu, or is alone.
func (k *Keeper) put(f Finding) {
	if k.open[f.Dataset] == nil {
		k.open[f.Dataset] = map[string]Finding{}
	}
	k.open[f.Dataset][f.key()] = f
}

func (k *Keeper) measured(ctx context.Context, day Day) (map[string]bool, error) {
	done := map[string]bool{}
	return done, k.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var id string
		defer func() { done[id] = true }()
		return rows.Scan(&id)
	}, "SELECT dataset FROM dataset_quality WHERE day = ?", string(day))
}

// keep writes what was measured of a dataset on a day, and what is found: what was
// open and is no more ends with the day. Kinds that are found otherwise are left
// alone.
func (k *Keeper) keep(ctx context.Context, m *Measured, found []Finding, but Kind) error {
	err := k.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO dataset_quality (dataset, day, record) VALUES (?, ?, ?) ON CONFLICT (dataset, day) DO UPDATE SET record = excluded.record",
			m.Dataset, string(m.Day), asJSON(m))
		return err
	})
	if err != nil {
		return fmt.Errorf("keep what was measured of dataset %s on %s: %w", m.Dataset, m.Day, err)
	}
	k.mu.Lock()
	if last := k.latest[m.Dataset]; last == nil || last.Day <= m.Day {
		k.latest[m.Dataset] = m
	}
	k.mu.Unlock()
	return k.settle(ctx, m.Dataset, m.Day, found, func(kind Kind) bool { return kind != but })
}

// settle makes the open findings of a dataset of some kinds those of a day. A day
// before the newest opens and ends nothing.
func (k *Keeper) settle(ctx context.Context, dataset string, day Day, found []Finding, of func(Kind) bool) error {
	k.mu.RLock()
	old := k.open[dataset]
	newest := k.latest[dataset] == nil || k.latest[dataset].Day <= day
	write := []Finding{}
	now := map[string]Finding{}
	for key, f := range old {
		if !of(f.Kind) {
			now[key] = f
		}
	}
	for _, f := range found {
		if before, open := old[f.key()]; open {
			f.Since = before.Since
		}
		now[f.key()] = f
		write = append(write, f)
	}
	for key, f := range old {
		if _, still := now[key]; !still {
			f.Until = day
			write = append(write, f)
		}
	}
	k.mu.RUnlock()
	if !newest || len(write) == 0 {
		return nil
	}
	err := k.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		for _, f := range write {
			_, err := tx.ExecContext(ctx, `INSERT INTO dataset_findings (dataset, kind, about, since, until, record) VALUES (?, ?, ?, ?, ?, ?)
				ON CONFLICT (dataset, kind, about, since) DO UPDATE SET until = excluded.until, record = excluded.record`,
				f.Dataset, string(f.Kind), f.About, string(f.Since), string(f.Until), asJSON(f))
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep the findings of dataset %s on %s: %w", dataset, day, err)
	}
	k.mu.Lock()
	k.open[dataset] = now
	k.mu.Unlock()
	return nil
}

// of is what was measured of a dataset on a day; nil: nothing.
func (k *Keeper) of(ctx context.Context, id string, day Day) (m *Measured, err error) {
	err = k.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		m = &Measured{}
		return scanJSON(rows, m)
	}, "SELECT record FROM dataset_quality WHERE dataset = ? AND day = ?", id, string(day))
	return m, err
}

// History are the days of a dataset below one, the newest first; an empty day
// begins with the newest.
func (k *Keeper) History(ctx context.Context, id string, below Day, limit int) (all []*Measured, err error) {
	if below == "" {
		below = "9999"
	}
	err = k.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		m := &Measured{}
		all = append(all, m)
		return scanJSON(rows, m)
	}, "SELECT record FROM dataset_quality WHERE dataset = ? AND day < ? ORDER BY day DESC LIMIT ?", id, string(below), limit)
	if err != nil {
		return nil, fmt.Errorf("read the quality of dataset %s: %w", id, err)
	}
	return all, nil
}

// forget removes what is older than is kept, and what ended with datasets that are
// public no more.
func (k *Keeper) forget(ctx context.Context, day Day) error {
	oldest := DayOf(day.Begin().Add(-k.cfg.Keep))
	public := map[string]bool{}
	for _, d := range k.deps.Register.Published() {
		public[d.ID] = true
	}
	k.mu.RLock()
	var gone []string
	for id, open := range k.open {
		if !public[id] && len(open) > 0 {
			gone = append(gone, id)
		}
	}
	k.mu.RUnlock()
	slices.Sort(gone)
	for _, id := range gone {
		if err := k.settle(ctx, id, day, nil, func(Kind) bool { return true }); err != nil {
			return err
		}
	}
	return k.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		for _, q := range []string{"DELETE FROM dataset_quality WHERE day < ?", "DELETE FROM dataset_findings WHERE until <> '' AND until < ?"} {
			if _, err := tx.ExecContext(ctx, q, string(oldest)); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, "DELETE FROM device_arrivals WHERE day < ?", string(DayOf(day.Begin().Add(-caughtUp*24*time.Hour))))
		return err
	})
}

// maxCopies bounds the copies that are findings of one dataset.
const maxCopies = 100

// copies looks for series with the values of published ones: among those of other
// datasets, and then among all that devices report.
func (k *Keeper) copies(ctx context.Context, day Day, measured []*catalog.Dataset, found *copies) error {
	ctx, cancel := context.WithTimeout(ctx, k.cfg.Timeout)
	defer cancel()
	all := map[string]map[string]Finding{}
	note := func(of, by origin) {
		f := copied(day, of, by)
		if all[of.dataset] == nil {
			all[of.dataset] = map[string]Finding{}
		}
		if len(all[of.dataset]) < maxCopies {
			all[of.dataset][f.key()] = f
		}
	}
	public := map[string]bool{}
	for i := range found.of {
		public[found.of[i].name] = true
		found.find(&found.sketches[i], found.of[i], func(o origin) { note(o, found.of[i]) })
	}
	if len(found.of) > 0 {
		if err := k.strangers(ctx, day, public, func(s *sketch, by origin) {
			found.find(s, by, func(o origin) { note(o, by) })
		}); err != nil {
			return fmt.Errorf("look for copies on %s: %w", day, err)
		}
	}
	for _, d := range measured {
		var list []Finding
		for _, f := range all[d.ID] {
			list = append(list, f)
		}
		sortFindings(list)
		if err := k.settle(ctx, d.ID, day, list, func(kind Kind) bool { return kind == Copied }); err != nil {
			return err
		}
	}
	return nil
}

// strangers sketches the series of devices that no published dataset has.
func (k *Keeper) strangers(ctx context.Context, day Day, public map[string]bool, yield func(*sketch, origin)) error {
	begin, end := day.Begin(), day.End().UnixMilli()-1
	q, err := k.deps.Store.Querier(begin.UnixMilli(), end)
	if err != nil {
		return err
	}
	defer q.Close()
	set := q.Select(ctx, false, &storage.SelectHints{Start: begin.UnixMilli(), End: end}, labels.MustNewMatcher(labels.MatchNotEqual, "device", ""))
	var it chunkenc.Iterator
	var b binned
	for n := 0; n < k.cfg.MaxSeries && set.Next(); n++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		ls := set.At().Labels()
		name := nameOf(ls)
		if public[name] {
			continue
		}
		b.reset(begin)
		it = set.At().Iterator(it)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			if kind == chunkenc.ValFloat {
				if at, v := it.At(); !telemetry.IsStaleMarker(v) && !math.IsInf(v, 0) {
					b.add(at, v)
				}
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
		if s, ok := b.sketch(); ok {
			yield(&s, origin{device: ls.Get("device"), metric: ls.Get(metricLabel), name: name})
		}
	}
	return set.Err()
}
