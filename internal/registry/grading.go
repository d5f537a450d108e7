package registry

import (
	"context"
	"database/sql"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/songhua-io/hub/internal/telemetry"
)

// gradings are the devices whose data not everybody may see: few of all, so that
// who asks looks at these alone. Art. 74(3)
type gradings struct {
	// devices may report data of a grade above general, by id; departed are the
	// removed ones, with the highest grade that their data could have: their
	// series stay. Both are guarded by the registry's mu.
	devices  map[string]*telemetry.Device
	departed map[string]telemetry.Grade
	// version rises with every change of them, before the change returns.
	version atomic.Uint64
}

func (r *Registry) loadDeparted(ctx context.Context) error {
	return r.db.Each(ctx, func(rows *sql.Rows) error {
		var id string
		var g telemetry.Grade
		err := rows.Scan(&id, &g)
		r.graded.departed[id] = g
		return err
	}, "SELECT device, grade FROM departed")
}

// regrade notes the present state of a device; r.mu is held.
func (r *Registry) regrade(d *telemetry.Device) {
	r.changed(d)
	_, was := r.graded.devices[d.ID]
	is := d.HighestGrade().Sealed()
	if is {
		r.graded.devices[d.ID] = d
	} else {
		delete(r.graded.devices, d.ID)
	}
	if was || is {
		r.graded.version.Add(1)
	}
}

// ungrade notes that a device was removed; r.mu is held.
func (r *Registry) ungrade(d *telemetry.Device) {
	r.changed(d)
	if g := d.HighestGrade(); g.Sealed() {
		delete(r.graded.devices, d.ID)
		r.graded.departed[d.ID] = g
		r.graded.version.Add(1)
	}
}

// leave writes down the grade of a device that is removed.
func leave(ctx context.Context, tx *sql.Tx, d *telemetry.Device) error {
	g := d.HighestGrade()
	if !g.Sealed() {
		return nil
	}
	_, err := tx.ExecContext(ctx, "INSERT INTO departed (device, grade) VALUES (?, ?) ON CONFLICT (device) DO UPDATE SET grade = excluded.grade", d.ID, int(g))
	return err
}

// inherit gives new devices the grade of those that had their ids before: what
// these measured is told from then on by the new device's grade.
func (r *Registry) inherit(entries []candidate) {
	for _, e := range entries {
		e.device.Grade = max(e.device.Grade, r.Departed(e.device.ID))
	}
}

// Departed returns the highest grade that data of a removed device could have;
// Ungraded for other ids.
func (r *Registry) Departed(id string) telemetry.Grade {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.graded.departed[id]
}

// Gradings returns a number that changes with everything that Graded returns.
func (r *Registry) Gradings() uint64 { return r.graded.version.Load() }

// Graded returns the devices that may report data of a grade above general, in
// no order, and the removed ones with the highest grade that their data could
// have.
func (r *Registry) Graded() (devices []*telemetry.Device, departed map[string]telemetry.Grade) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return slices.Collect(maps.Values(r.graded.devices)), maps.Clone(r.graded.departed)
}
