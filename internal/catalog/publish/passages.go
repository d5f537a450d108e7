package publish

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/records"
)

// KeepPassages is how long passages of single minutes are kept after their day:
// late data come within one, and what was released is kept beside its release.
const KeepPassages = 3 * 24 * time.Hour

// Minute is a minute of a roadside unit that is over, with all links of its map.
type Minute struct {
	Unit  string
	Start time.Time
	// Passages are by the code of the link.
	Passages map[string]source.Passages
}

// Passages keeps, for as long as a release may need them, what the privacy gate is
// to be told of roads. Nobody is named in them, and they are kept sealed: single
// minutes are no statistics.
type Passages struct {
	records *records.DB
	seal    func(plain []byte, binding string) []byte
	unseal  func(sealed []byte, binding string) ([]byte, error)
}

// NewPassages keeps passages in a database.
func NewPassages(db *records.DB, seal func([]byte, string) []byte, unseal func([]byte, string) ([]byte, error)) *Passages {
	return &Passages{db, seal, unseal}
}

// quarter is a quarter of an hour of a unit, by link: vehicles and the sum of
// their speeds, by minute.
type quarter map[string]*[15][2]int64

func binding(starts int64, unit string) string {
	return fmt.Sprintf("road passages %d %s", starts, unit)
}

// Keep sets what there is of some minutes; a minute that is told again replaces
// itself. It is durable when Keep returns.
func (p *Passages) Keep(ctx context.Context, all []Minute) error {
	by := map[quarterOf][]Minute{}
	for _, m := range all {
		at := quarterOf{m.Start.Truncate(source.Quarter).Unix(), m.Unit}
		by[at] = append(by[at], m)
	}
	err := p.records.Tx(ctx, func(tx *sql.Tx) error {
		for at, some := range by {
			var sealed []byte
			var replaced bool
			err := tx.QueryRowContext(ctx, "SELECT sealed, replaced FROM road_passages WHERE starts = ? AND unit = ?", at.starts, at.unit).Scan(&sealed, &replaced)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			q, err := p.open(sealed, at.starts, at.unit)
			if err != nil {
				return err
			}
			for _, m := range some {
				replaced = q.set(int(m.Start.Unix()-at.starts)/60, m.Passages) || replaced
			}
			text, err := json.Marshal(q)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, "INSERT INTO road_passages (starts, unit, sealed, replaced) VALUES (?, ?, ?, ?) ON CONFLICT (starts, unit) DO UPDATE SET sealed = excluded.sealed, replaced = excluded.replaced",
				at.starts, at.unit, p.seal(text, binding(at.starts, at.unit)), replaced)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("keep passages of roads: %w", err)
	}
	return nil
}

// set sets a minute, and reports whether that takes back some of what was told of
// it before.
func (q quarter) set(minute int, all map[string]source.Passages) (replaced bool) {
	for link, p := range all {
		if q[link] == nil {
			q[link] = &[15][2]int64{}
		}
		now, was := [2]int64{p.Vehicles, p.SpeedSum}, q[link][minute]
		replaced = replaced || was[0] > 0 && was != now
		q[link][minute] = now
	}
	return replaced
}

func (p *Passages) open(sealed []byte, starts int64, unit string) (quarter, error) {
	q := quarter{}
	if len(sealed) == 0 {
		return q, nil
	}
	text, err := p.unseal(sealed, binding(starts, unit))
	if err != nil {
		return nil, fmt.Errorf("passages of unit %s: %w", unit, err)
	}
	return q, json.NewDecoder(bytes.NewReader(text)).Decode(&q)
}

// Forget removes what is too old to be of use.
func (p *Passages) Forget(ctx context.Context, before time.Time) error {
	return p.records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM road_passages WHERE starts < ?", before.Unix())
		return err
	})
}

// day is what there is of a period, by link, and which units report each. A link
// that several report is that of the one that saw most, so that nobody is counted
// twice.
type day struct {
	links map[string]map[int64]source.Passages // by minute since 1970
	units map[string]string
	// replaced has the quarters, by when they begin, of which a unit told something else
	// before; shared are the links that several told of.
	replaced map[quarterOf]bool
	shared   map[string]bool
}

// quarterOf names a quarter of an hour of a unit.
type quarterOf struct {
	starts int64
	unit   string
}

// grown reports whether passages of a link were only ever added in the quarter of an
// hour that begins at a minute: another unit may have seen others.
func (d *day) grown(link string, minute int64) bool {
	return !d.shared[link] && !d.replaced[quarterOf{minute * 60, d.units[link]}]
}

func (p *Passages) day(ctx context.Context, period catalog.Period) (*day, error) {
	type seen struct {
		minutes map[int64]source.Passages
		total   int64
	}
	by := map[string]map[string]*seen{} // by link and unit
	d := &day{map[string]map[int64]source.Passages{}, map[string]string{}, map[quarterOf]bool{}, map[string]bool{}}
	err := p.records.Each(ctx, func(rows *sql.Rows) error {
		var starts int64
		var unit string
		var sealed []byte
		var replaced bool
		if err := rows.Scan(&starts, &unit, &sealed, &replaced); err != nil {
			return err
		}
		d.replaced[quarterOf{starts, unit}] = replaced
		q, err := p.open(sealed, starts, unit)
		if err != nil {
			return err
		}
		for link, minutes := range q {
			if by[link] == nil {
				by[link] = map[string]*seen{}
			}
			s := by[link][unit]
			if s == nil {
				s = &seen{minutes: map[int64]source.Passages{}}
				by[link][unit] = s
			}
			for m, v := range minutes {
				if v[0] > 0 {
					s.minutes[starts/60+int64(m)] = source.Passages{Vehicles: v[0], SpeedSum: v[1]}
					s.total += v[0]
				}
			}
		}
		return nil
	}, "SELECT starts, unit, sealed, replaced FROM road_passages WHERE starts >= ? AND starts < ?", period.From.Unix(), period.To.Unix())
	if err != nil {
		return nil, fmt.Errorf("read passages of roads: %w", err)
	}
	for link, of := range by {
		var best string
		for _, unit := range slices.Sorted(maps.Keys(of)) {
			if best == "" || of[unit].total > of[best].total {
				best = unit
			}
		}
		d.links[link], d.units[link], d.shared[link] = of[best].minutes, best, len(of) > 1
	}
	return d, nil
}
