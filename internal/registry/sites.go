package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Site is a place that devices stand at. A device may name a site that is not
// described here.
type Site struct {
	ID       string
	ZH, EN   string // names
	Region   string
	Lat, Lon *float64
	Version  int64
	Updated  time.Time
}

const maxName = 200 // bytes

func (s *Site) check() error {
	var f faults
	if s.ID == "" {
		f.add("id", s.ID, errors.New("site id is empty"))
	}
	f.add("id", s.ID, checkSite(s.ID))
	for field, name := range map[string]string{"names.zh": s.ZH, "names.en": s.EN} {
		if len(name) > maxName || !utf8.ValidString(name) {
			f.add(field, name, fmt.Errorf("%s %.40q…: a name has at most %d bytes of UTF-8", field, name, maxName))
		}
	}
	f.add("region", s.Region, telemetry.CheckRegion(s.Region))
	f.add("lat", s.Lat, checkPlace(s.Lat, s.Lon))
	return f.err()
}

func (r *Registry) loadSites(ctx context.Context) error {
	return r.db.Each(ctx, func(rows *sql.Rows) error {
		s := &Site{}
		var updated int64
		if err := rows.Scan(&s.ID, &s.ZH, &s.EN, &s.Region, &s.Lat, &s.Lon, &s.Version, &updated); err != nil {
			return err
		}
		s.Updated = records.Time(updated)
		r.sites[s.ID] = s
		return nil
	}, "SELECT id, name_zh, name_en, region, lat, lon, version, updated FROM sites")
}

// PutSite creates or replaces a site. With a version other than 0 the site
// must have it.
func (r *Registry) PutSite(ctx context.Context, s Site, version int64) (*Site, error) {
	if err := s.check(); err != nil {
		return nil, err
	}
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.siteAt(s.ID, version)
	if err != nil && (version != 0 || !errors.Is(err, ErrUnknown)) {
		return nil, err
	}
	if old != nil {
		s.Version = old.Version
	}
	s.Version++
	s.Updated = records.Time(records.Millis(r.now()))
	err = r.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO sites (id, name_zh, name_en, region, lat, lon, version, updated) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET name_zh = excluded.name_zh, name_en = excluded.name_en, region = excluded.region,
				lat = excluded.lat, lon = excluded.lon, version = excluded.version, updated = excluded.updated`,
			s.ID, s.ZH, s.EN, s.Region, s.Lat, s.Lon, s.Version, records.Millis(s.Updated))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("put site %s: %w", s.ID, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sites[s.ID] = &s
	return &s, nil
}

// Site returns a site, or ErrUnknown.
func (r *Registry) Site(id string) (*Site, error) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if s := r.sites[id]; s != nil {
		return s, nil
	}
	return nil, fmt.Errorf("site %q %w; describe it with PUT /api/v1/sites/%s", id, ErrUnknown, id)
}

func (r *Registry) siteAt(id string, version int64) (*Site, error) {
	s, err := r.Site(id)
	if err != nil {
		return nil, err
	}
	if version != 0 && version != s.Version {
		return nil, fmt.Errorf("site %q %w: it has version %d, not %d; read it again and repeat the change", id, ErrStale, s.Version, version)
	}
	return s, nil
}

// Sites returns the sites of a region prefix in the order of their ids.
func (r *Registry) Sites(region string) []*Site {
	r.mu.RLock()
	defer r.mu.RUnlock()
	var all []*Site
	for _, id := range slices.Sorted(maps.Keys(r.sites)) {
		if s := r.sites[id]; strings.HasPrefix(s.Region, region) {
			all = append(all, s)
		}
	}
	return all
}

// RemoveSite forgets a site's description; devices that name it stay as they
// are.
func (r *Registry) RemoveSite(ctx context.Context, id string, version int64) error {
	r.change.Lock()
	defer r.change.Unlock()
	if _, err := r.siteAt(id, version); err != nil {
		return err
	}
	err := r.db.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM sites WHERE id = ?", id)
		return err
	})
	if err != nil {
		return fmt.Errorf("remove site %s: %w", id, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sites, id)
	return nil
}
