package registry

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"strings"
	"unicode/utf8"
)

// Bounds of metric metadata.
const (
	maxMetrics = 100_000
	maxUnit    = 64
)

// Metadata says what a metric is, in the words of the Prometheus API.
type Metadata struct{ Type, Help, Unit string }

func (r *Registry) loadUnits(ctx context.Context) error {
	return r.db.Each(ctx, func(rows *sql.Rows) error {
		var name, unit string
		if err := rows.Scan(&name, &unit); err != nil {
			return err
		}
		r.units[name] = unit
		return nil
	}, "SELECT name, unit FROM metrics")
}

// PutUnits keeps the units of metrics that have none yet; others cost nothing.
// The first unit stays, so that senders which differ do not turn it to and fro.
// Units beyond the bounds (100,000 metrics, 64 bytes) are not kept: they are
// descriptions, not samples.
func (r *Registry) PutUnits(ctx context.Context, units map[string]string) error {
	r.change.Lock()
	defer r.change.Unlock()
	news := r.newUnits(units)
	if len(news) == 0 {
		return nil
	}
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		for name, unit := range news {
			if _, err := tx.ExecContext(ctx, "INSERT INTO metrics (name, unit) VALUES (?, ?) ON CONFLICT (name) DO NOTHING", name, unit); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep units: %w", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.Copy(r.units, news)
	return nil
}

func (r *Registry) newUnits(units map[string]string) map[string]string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	news := map[string]string{}
	for name, unit := range units {
		_, known := r.units[name]
		if !known && len(r.units)+len(news) < maxMetrics && len(unit) <= maxUnit && utf8.ValidString(unit) && utf8.ValidString(name) {
			news[name] = unit
		}
	}
	return news
}

// Metadata returns what is known of metrics that have a unit. Names that end in
// _total are counters, as everywhere in this field; all others are gauges.
func (r *Registry) Metadata() map[string]Metadata {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make(map[string]Metadata, len(r.units))
	for name, unit := range r.units {
		kind := "gauge"
		if strings.HasSuffix(name, "_total") {
			kind = "counter"
		}
		all[name] = Metadata{Type: kind, Unit: unit}
	}
	return all
}

// MetricUnit returns the unit in which a metric was first sent; empty for none.
func (r *Registry) MetricUnit(metric string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.units[metric]
}
