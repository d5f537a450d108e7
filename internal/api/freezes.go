package api

import (
	"context"
	"errors"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

// Errors of freezes, wrapped with which it is.
var (
	ErrFrozen    = errors.New("is frozen already")
	ErrNotFrozen = errors.New("there is no such freeze")
)

// Freezes keep a state of the hub's directories from changing, for who copies it.
type Freezes interface {
	// Freeze makes one; there is one at a time.
	Freeze(context.Context) (Frozen, error)
	// Thaw removes it.
	Thaw(id string) error
}

// Frozen is a state of the hub's directories that does not change.
type Frozen struct {
	ID      string           `json:"id"`
	At      time.Time        `json:"at"`
	Data    string           `json:"data" doc:"folder on the hub's machine with what a data directory holds"`
	Graded  string           `json:"graded,omitempty" doc:"the same of store.graded_dir"`
	Counts  map[string]int64 `json:"counts" doc:"rows by table, samples and series by store"`
	Expires time.Time        `json:"expires" doc:"when it is removed if nobody does; that of a hub backup goes within seconds when its process is gone"`
}

type frozenOut struct{ Body Frozen }

func (a *API) freeze(ctx context.Context, _ *nothing) (*frozenOut, error) {
	if err := may(ctx, access.BackUp, ""); err != nil {
		return nil, err
	}
	// Before, so that the copy has it.
	if err := a.Audit.Add(ctx, a.entry(ctx, access.BackUp, "the hub's directories", "", nil, map[string]string{"state": "frozen"})); err != nil {
		return nil, err
	}
	f, err := a.Freezes.Freeze(ctx)
	return &frozenOut{f}, err
}

type freezeID struct {
	ID string `path:"id"`
}

func (a *API) thaw(ctx context.Context, in *freezeID) (*nothing, error) {
	if err := may(ctx, access.BackUp, ""); err != nil {
		return nil, err
	}
	if err := a.Freezes.Thaw(in.ID); err != nil {
		return nil, err
	}
	return nil, a.Audit.Add(ctx, a.entry(ctx, access.BackUp, "the hub's directories", "", map[string]string{"state": "frozen"}, nil))
}
