package twin

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/songhua-io/hub/internal/records"
)

func (t *Twins) wanted(ctx context.Context, device string) (Wanted, error) {
	found, err := t.History(ctx, device, 0, 1)
	if err != nil || len(found) == 0 {
		return Wanted{}, err
	}
	return found[0], nil
}

// History returns up to limit versions of what a device was to have, the
// newest first, that are older than the version before; 0 begins with the
// newest.
func (t *Twins) History(ctx context.Context, device string, before int64, limit int) (all []Wanted, err error) {
	err = t.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var w Wanted
		var config string
		var at int64
		if err := rows.Scan(&w.Version, &config, &w.Actor, &at); err != nil {
			return err
		}
		w.At = records.Time(at)
		if config != "" {
			w.Config = json.RawMessage(config)
		}
		all = append(all, w)
		return nil
	}, "SELECT version, config, actor, at FROM wanted WHERE device = ? AND (? = 0 OR version < ?) ORDER BY version DESC LIMIT ?", device, before, before, limit)
	return all, err
}

// Get returns both sides of a device's configuration.
func (t *Twins) Get(ctx context.Context, device string) (Twin, error) {
	w, err := t.wanted(ctx, device)
	if err != nil {
		return Twin{}, err
	}
	out := Twin{Device: device, Wanted: w}
	err = t.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var config, faults string
		var at int64
		if err := rows.Scan(&out.Reported.Version, &config, &faults, &at); err != nil {
			return err
		}
		out.Reported.At, out.Reported.Config = records.Time(at), json.RawMessage(config)
		if faults == "" {
			return nil
		}
		return json.Unmarshal([]byte(faults), &out.Reported.Faults)
	}, "SELECT version, config, faults, at FROM reported WHERE device = ?", device)
	if err != nil {
		return Twin{}, fmt.Errorf("reported configuration of device %s: %w", device, err)
	}
	out.Standing, out.Drift, err = compare(out.Wanted, out.Reported)
	return out, err
}

// Devices returns the ids of devices that anything is wanted of, or that
// reported a configuration, in order, behind an id.
func (t *Twins) Devices(ctx context.Context, after string, limit int) (ids []string, err error) {
	err = t.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, "SELECT device FROM (SELECT device FROM wanted UNION SELECT device FROM reported) AS either WHERE device > ? ORDER BY device LIMIT ?", after, limit)
	return ids, err
}
