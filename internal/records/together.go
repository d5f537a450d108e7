package records

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
)

// together is who waits for a transaction that many share.
type together struct {
	mu      sync.Mutex
	waiting []*share
	leading bool
}

// share is one caller's part of a shared transaction.
type share struct {
	ctx  context.Context
	f    func(*sql.Tx) error
	lead bool // it is this caller's turn to run the transaction
	err  error
	done chan struct{}
}

// maxShares bounds the callers of one shared transaction.
const maxShares = 4096

// Together is Tx for callers of whom there are many at once: all that wait
// share one commit, and so one fsync. Each part succeeds or fails by itself; a
// failed one leaves nothing behind. A cancelled ctx does not take a part out of
// a transaction that has begun.
func (d *DB) Together(ctx context.Context, f func(tx *sql.Tx) error) error {
	s := &share{ctx: ctx, f: f, done: make(chan struct{})}
	t := &d.shared
	t.mu.Lock()
	t.waiting = append(t.waiting, s)
	follows := t.leading
	t.leading, s.lead = true, !follows
	t.mu.Unlock()
	if follows {
		<-s.done
		if !s.lead {
			return s.err
		}
	}
	group := t.take()
	err := d.run(group)
	for _, o := range group {
		if o.err == nil {
			o.err = err
		}
	}
	t.pass()
	for _, o := range group {
		if o != s {
			close(o.done)
		}
	}
	return s.err
}

// take returns those who wait, at most maxShares. The leader is among them.
func (t *together) take() []*share {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := min(len(t.waiting), maxShares)
	group := t.waiting[:n:n]
	t.waiting = append([]*share(nil), t.waiting[n:]...)
	return group
}

// pass makes the first who waits the leader.
func (t *together) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) == 0 {
		t.leading = false
		return
	}
	t.waiting[0].lead = true
	close(t.waiting[0].done)
}

// run runs all parts in one transaction, each within a savepoint.
func (d *DB) run(group []*share) error {
	tx, err := d.write.Begin()
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer tx.Rollback() //nolint:errcheck // after Commit it does nothing; after an error that one counts
	for _, s := range group {
		if s.err = s.ctx.Err(); s.err != nil {
			continue
		}
		if _, err := tx.Exec("SAVEPOINT part"); err != nil {
			return err
		}
		if s.err = s.within(tx); s.err != nil {
			if _, err := tx.Exec("ROLLBACK TO part"); err != nil {
				return errors.Join(s.err, err)
			}
		}
		if _, err := tx.Exec("RELEASE part"); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	d.checkpoints.committed()
	return nil
}

func (s *share) within(tx *sql.Tx) error {
	if err := s.f(tx); err != nil {
		return err
	}
	for _, also := range Riders(s.ctx) {
		if err := also(tx); err != nil {
			return err
		}
	}
	return nil
}
