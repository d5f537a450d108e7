package api

import (
	"context"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// mayGrade decides about data of a grade. Art. 74(3)
func mayGrade(ctx context.Context, g telemetry.Grade) error {
	c := access.CallerOf(ctx)
	if d := access.AllowGrade(c, g); !d.Allowed {
		return denied(c, d)
	}
	return nil
}

// sees is who of the devices the caller may know of.
func sees(ctx context.Context) func(*telemetry.Device) bool { return access.CallerOf(ctx).Sees }

// seesAllOf reports whether the caller may see everything that a device reports;
// of some it may see single metrics only.
func seesAllOf(ctx context.Context, d *telemetry.Device) bool {
	return d.HighestGrade() <= access.CallerOf(ctx).Grade
}

// highestOf is the highest grade that data of a device as it is described could
// have, and those of a removed one of its id: their series stay. What cannot be
// read of a description is refused by the registry.
func (a *API) highestOf(s registry.Spec) telemetry.Grade {
	d := telemetry.Device{Model: a.Models.View(s.Model)}
	if g, err := telemetry.ParseGrade(s.Grade); err == nil {
		d.Grade = g
	}
	return max(d.HighestGrade(), a.Registry.Departed(s.ID))
}

// mayDescribe decides whether the caller may make a device what a description
// says: in its own region, of a grade that it may see.
func (a *API) mayDescribe(ctx context.Context, s registry.Spec) error {
	if err := may(ctx, access.WriteDevices, s.Region); err != nil {
		return err
	}
	return mayGrade(ctx, a.highestOf(s))
}
