package command

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"time"
)

// How often Run looks at the clock: for expiries, and faster while a rollout
// is under way.
const (
	tick        = time.Second
	rolloutTick = 50 * time.Millisecond
	pruneEvery  = time.Hour
)

// Run writes what changes, hands commands to those who listen, releases
// rollouts and ends what expired, until ctx ends. An error means that nothing
// can be written any more.
func (l *Ledger) Run(ctx context.Context) error {
	whole := context.WithoutCancel(ctx) // what has begun is finished
	timer := time.NewTimer(0)
	defer timer.Stop()
	pruned := l.deps.Clock()
	for {
		select {
		case <-ctx.Done():
			return l.finishUp(whole)
		case <-l.wake:
		case <-timer.C:
			l.expire()
			timer.Reset(l.interval())
		}
		if err := l.pass(whole, true); err != nil {
			return err
		}
		if now := l.deps.Clock(); now.Sub(pruned) > pruneEvery {
			pruned = now
			if err := l.prune(whole, now); err != nil {
				return err
			}
		}
	}
}

// finishUp writes what has changed and refuses what comes from here on.
func (l *Ledger) finishUp(ctx context.Context) error {
	err := l.pass(ctx, false)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failed == nil {
		l.failed = errClosed
	}
	l.next.err = l.failed
	close(l.next.done)
	return err
}

var errClosed = errors.New("the hub is shutting down")

func (l *Ledger) interval() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.rollouts {
		if len(r.waiting) > 0 {
			return rolloutTick
		}
	}
	return tick
}

// pass writes what changed; before, with hand, it decides what is handed to
// those who listen, and after, hands it to them: a command is on record as
// sent before it is.
func (l *Ledger) pass(ctx context.Context, hand bool) error {
	var out []handing
	l.mu.Lock()
	if hand {
		l.release()
		out = l.choose()
	}
	l.mu.Unlock()
	if err := l.write(ctx); err != nil {
		return err
	}
	for _, h := range out {
		if !h.to.hand(l, h.command) {
			l.untaken(h)
		}
	}
	return nil
}

// write puts all that changed on disk.
func (l *Ledger) write(ctx context.Context) error {
	l.mu.Lock()
	var rows []Command
	var ended []*open
	for o := range l.dirty {
		rows = append(rows, o.Command)
		if o.State.Ended() {
			ended = append(ended, o)
		}
	}
	clear(l.dirty)
	rollouts := l.changed
	l.changed = nil
	f := l.next
	l.next = newFlush()
	l.mu.Unlock()
	if len(rows) > 0 || len(rollouts) > 0 {
		f.err = l.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
			if err := update(ctx, tx, rows); err != nil {
				return err
			}
			return updateRollouts(ctx, tx, rollouts)
		})
	}
	if f.err != nil {
		f.err = fmt.Errorf("write %d commands: %w", len(rows), f.err)
		l.mu.Lock()
		l.failed = f.err
		l.mu.Unlock()
	} else {
		l.leave(ended)
		l.metrics.count(rows)
	}
	close(f.done)
	return f.err
}

// leave forgets commands whose end is on disk.
func (l *Ledger) leave(ended []*open) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range ended {
		delete(l.open, o.ID)
		if d := l.devices[o.Device]; d != nil {
			d.commands = slices.DeleteFunc(d.commands, func(other *open) bool { return other == o })
			l.due[o.Device] = struct{}{}
			l.nudge()
			l.tidy(o.Device)
		}
		if r := l.rollouts[o.Rollout]; r != nil {
			l.ended(r, o)
		}
		close(o.ended)
	}
}

// expire ends what is too late and forgets the commands of devices that were
// removed.
func (l *Ledger) expire() {
	now := l.deps.Clock()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, o := range l.open {
		if !l.deps.Registered(o.Device) {
			l.end(o, Failed, Canceled)
		} else if !o.Expires.IsZero() && !now.Before(o.Expires) {
			l.end(o, Expired, TooLate)
		}
	}
	l.settled(now)
}

// prune deletes what ended long ago, in pieces.
func (l *Ledger) prune(ctx context.Context, now time.Time) error {
	const piece = 5000
	before := now.Add(-l.cfg.Keep).UnixMilli()
	for {
		var n int64
		err := l.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
			res, err := tx.ExecContext(ctx, "DELETE FROM commands WHERE id IN (SELECT id FROM commands WHERE ended > 0 AND ended < ? LIMIT ?)", before, piece)
			if err != nil {
				return err
			}
			if n, err = res.RowsAffected(); err != nil {
				return err
			}
			_, err = tx.ExecContext(ctx, "DELETE FROM rollouts WHERE ended > 0 AND ended < ?", before)
			return err
		})
		if err != nil {
			return fmt.Errorf("delete commands that ended long ago: %w", err)
		}
		if n < piece {
			return nil
		}
	}
}
