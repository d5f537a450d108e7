package register

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/songhua-io/hub/internal/records"
)

// Version is one version of a dataset: who made it, when, and from what.
type Version struct {
	Number int64
	At     time.Time
	Actor  string
	Act    string // put, submit, return, publish, suspend, withdraw or sign
	Reason string
	// Before is nil for the first one.
	Before, After *Record
}

// History lists the versions of a dataset below a number, the newest first.
func (r *Register) History(ctx context.Context, id string, below int64, limit int) (all []Version, err error) {
	if below <= 0 {
		below = 1<<63 - 1
	}
	err = r.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var v Version
		var at int64
		var text string
		if err := rows.Scan(&v.Number, &at, &v.Actor, &v.Act, &v.Reason, &text); err != nil {
			return err
		}
		v.At, v.After = records.Time(at), &Record{}
		if err := json.Unmarshal([]byte(text), v.After); err != nil {
			return err
		}
		if n := len(all); n > 0 {
			all[n-1].Before = v.After
		}
		all = append(all, v)
		return nil
	}, "SELECT version, at, actor, act, reason, record FROM dataset_versions WHERE dataset = ? AND version < ? ORDER BY version DESC LIMIT ?", id, below, limit+1)
	if err != nil {
		return nil, fmt.Errorf("read the versions of dataset %s: %w", id, err)
	}
	if len(all) > limit {
		all = all[:limit]
	}
	return all, nil
}
