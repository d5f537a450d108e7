package register

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Acts on a dataset, as its history names them.
const (
	actPut      = "put"
	actSubmit   = "submit"
	actGiveBack = "return"
	actPublish  = "publish"
	actSuspend  = "suspend"
	actWithdraw = "withdraw"
	actSign     = "sign"
)

// errSame says that nothing changes.
var errSame = errors.New("nothing changes")

// Put makes a dataset, or writes what it is to become: what the public sees
// stays until the change is published. With a version other than 0 the dataset
// must have it. The error is a *Shared where another dataset has the source.
func (r *Register) Put(ctx context.Context, d Document, version int64) (*Record, error) {
	made, faults := d.Dataset()
	if len(faults) > 0 {
		return nil, &Invalid{Of: "dataset " + d.ID, Problems: faults}
	}
	if err := r.core(made); err != nil {
		return nil, err
	}
	return r.alter(ctx, d.ID, version, actPut, "", func(rec *Record) error {
		if rec.Version > 0 {
			changed, err := rec.put(d)
			if err == nil && !changed {
				err = errSame
			}
			if err != nil {
				return err
			}
		} else {
			rec.Edition, rec.Created = Edition{Document: d, State: catalog.Draft}, r.now()
		}
		return r.oneSource(made)
	})
}

// core refuses data of grade core where the hub is not made for them. Art. 74(3)
func (r *Register) core(d *catalog.Dataset) error {
	if d.Grade < telemetry.Core || r.cfg.Core {
		return nil
	}
	return &Invalid{Of: "dataset " + d.ID, Problems: []catalog.Problem{{Path: "grade",
		ZH: "本枢纽不收录核心数据；确有依据时由管理员设置 catalog.core: true", EN: "core data are not taken by this hub; with a legal ground its administrator sets catalog.core: true"}}}
}

// ready returns what is wrong with a dataset that is to be public.
func (r *Register) ready(e *Edition) error {
	d, faults := e.Document.Dataset()
	if faults = append(faults, d.Check(true)[len(d.Check(false)):]...); len(faults) > 0 {
		return &Invalid{Of: "dataset " + d.ID, Problems: faults}
	}
	return cmp.Or(r.core(d), r.oneSource(d))
}

// Submit hands a draft in; it must be complete.
func (r *Register) Submit(ctx context.Context, id string, version int64) (*Record, error) {
	return r.alter(ctx, id, version, actSubmit, "", func(rec *Record) error {
		if err := rec.submit(); err != nil {
			return err
		}
		return r.ready(rec.draft())
	})
}

// GiveBack makes a submitted dataset a draft again, with the reason.
func (r *Register) GiveBack(ctx context.Context, id string, version int64, reason string) (*Record, error) {
	return r.alter(ctx, id, version, actGiveBack, reason, func(rec *Record) error {
		return cmp.Or(needs(reason, "giving dataset "+id+" back"), rec.giveBack(reason))
	})
}

// Publish makes what was submitted the public one, or opens a suspended one
// again. The first time it gives the dataset its code.
func (r *Register) Publish(ctx context.Context, id string, version int64) (*Record, error) {
	return r.alter(ctx, id, version, actPublish, "", func(rec *Record) error {
		if err := rec.publish(r.now()); err != nil {
			return err
		}
		if err := r.ready(&rec.Edition); err != nil || rec.Code != "" {
			return err
		}
		class := strings.Join(rec.Document.Path, "-")
		n, err := r.number(ctx, "code "+class)
		rec.Code = fmt.Sprintf("%s/%06d", class, n)
		return err
	})
}

// Suspend takes a dataset out of everybody's reach, at once.
func (r *Register) Suspend(ctx context.Context, id string, version int64, reason string) (*Record, error) {
	return r.alter(ctx, id, version, actSuspend, reason, func(rec *Record) error {
		return cmp.Or(needs(reason, "suspending dataset "+id), rec.suspend(reason))
	})
}

// Withdraw takes a dataset away for good, at once; a tombstone says why. Its
// grants end.
func (r *Register) Withdraw(ctx context.Context, id string, version int64, reason string) (*Record, error) {
	rec, err := r.alter(ctx, id, version, actWithdraw, reason, func(rec *Record) error {
		return cmp.Or(needs(reason, "withdrawing dataset "+id), rec.withdraw(reason))
	})
	if err == nil {
		err = r.endGrants(ctx, rec, reason)
	}
	return rec, err
}

// Sign writes down who answers for the grade. A grade that it raises counts at
// once: what was published is suspended before its next byte. Art. 74(3)
func (r *Register) Sign(ctx context.Context, id string, version int64, s Signing) (*Record, error) {
	return r.alter(ctx, id, version, actSign, "", func(rec *Record) error {
		if err := rec.sign(s, r.now()); err != nil {
			return err
		}
		d, _ := rec.draft().Document.read()
		return r.core(d)
	})
}

func needs(reason, what string) error {
	if strings.TrimSpace(reason) == "" {
		return fmt.Errorf("%s %w; say why", what, ErrReason)
	}
	return nil
}

// alter makes the next version of a dataset. f changes a copy; what it leaves as
// errSame is not written.
func (r *Register) alter(ctx context.Context, id string, version int64, act, reason string, f func(*Record) error) (*Record, error) {
	r.change.Lock()
	defer r.change.Unlock()
	old, err := r.Get(id)
	switch {
	case err != nil && (act != actPut || version != 0):
		return nil, err
	case err != nil && len(r.List()) >= maxDatasets:
		return nil, fmt.Errorf("datasets %w, %d", ErrFull, maxDatasets)
	}
	rec := &Record{ID: id}
	if err == nil {
		if err := fresh("dataset", id, old.Version, version); err != nil {
			return nil, err
		}
		rec = old.next()
	}
	switch err := f(rec); {
	case errors.Is(err, errSame):
		return old, nil
	case err != nil:
		return nil, err
	}
	rec.Version, rec.Modified = rec.Version+1, r.now()
	if rec.edits(old) {
		rec.Edited = rec.Modified
	} else if rec.Edited.IsZero() {
		rec.Edited = old.Modified
	}
	if err := rec.complete(); err != nil {
		return nil, err
	}
	shares, err := r.sharing(rec)
	if err != nil {
		return nil, err
	}
	if err := r.keep(ctx, old, rec, act, reason); err != nil {
		return nil, err
	}
	r.stand(rec, shares)
	r.deps.Changed(id)
	return rec, nil
}

// stand lets everybody see a version, and shuts what it shuts.
func (r *Register) stand(rec *Record, shares *sharing) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byID[rec.ID] = rec
	if shares != nil {
		r.shared.put(shares)
	} else {
		r.shared.drop(rec.ID)
	}
	r.shut()
}

// keep writes a version and puts it on record.
func (r *Register) keep(ctx context.Context, old, rec *Record, act, reason string) error {
	var before any
	if old != nil {
		before = old
	}
	ctx = r.deps.Noted(ctx, access.WriteDatasets, "dataset "+rec.ID, rec.Region(), before, rec)
	text := string(asJSON(rec))
	err := r.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO datasets (id, version, record) VALUES (?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET version = excluded.version, record = excluded.record`, rec.ID, rec.Version, text)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO dataset_versions (dataset, version, at, actor, act, reason, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
			rec.ID, rec.Version, records.Millis(rec.Modified), actor(ctx), act, orElse(reason, rec.Reason), text)
		return err
	})
	if err != nil {
		return fmt.Errorf("keep dataset %s: %w", rec.ID, err)
	}
	return nil
}

// fresh refuses a change of another version than the one that is; 0 is any.
func fresh(what, id string, is, meant int64) error {
	if meant == 0 || meant == is {
		return nil
	}
	return fmt.Errorf("%s %s %w: it has version %d, not %d; read it again and repeat the change", what, id, ErrStale, is, meant)
}
