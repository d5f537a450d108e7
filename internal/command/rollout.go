package command

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"
)

// Progress is how far a rollout has come.
type Progress string

// How far a rollout may be. The last two are ends.
const (
	Running  Progress = "running"
	Paused   Progress = "paused"
	Complete Progress = "complete"
	Stopped  Progress = "stopped"
)

// Rollout is one command for a group of devices: a few of them first, then the
// others at a rate, and no more of them once too many failed.
type Rollout struct {
	ID     string
	Region string // what the division codes of its devices begin with
	Name   string
	// Rate is how many commands are released a second; 0: no bound.
	Rate float64
	// Canary is how many devices go first; the others wait until these have
	// ended. 0: none.
	Canary int
	// Failures is how many commands may fail or expire; one more stops it.
	Failures       int
	State          Progress
	Reason         Reason // why it was stopped
	Actor          string
	Devices        int
	Created, Ended time.Time
}

// rollout is one that has not ended. Ledger.mu guards it.
type rollout struct {
	Rollout
	waiting     []*open // not released, in their order
	released    int
	outstanding int // released and not ended
	failed      int
	allowance   float64
	asOf        time.Time
}

// take adds one of its commands while it is made or read from disk.
func (r *rollout) take(o *open) {
	if o.Expires.IsZero() {
		r.waiting = append(r.waiting, o)
		return
	}
	r.released++
	r.outstanding++
}

// Plan says how a rollout goes.
type Plan struct {
	Region   string
	Rate     float64
	Canary   int
	Failures int
}

// MaxRollout is how many devices one rollout may mean.
const MaxRollout = 100_000

// Roll asks a group of devices for something. All commands are on disk when it
// returns; none is when one cannot be asked for. Errors are those of Issue.
func (l *Ledger) Roll(ctx context.Context, devices []string, req Request, p Plan) (Rollout, error) {
	switch {
	case len(devices) == 0 || len(devices) > MaxRollout:
		return Rollout{}, fmt.Errorf("a rollout to %d devices %w: choose 1 to %d", len(devices), ErrInvalid, MaxRollout)
	case p.Rate < 0 || p.Canary < 0 || p.Failures < 0:
		return Rollout{}, fmt.Errorf("rate %v, canary %d, failures %d %w: none of them is negative", p.Rate, p.Canary, p.Failures, ErrInvalid)
	}
	now := l.deps.Clock()
	r := Rollout{
		ID: newID("r-", now), Region: p.Region, Name: req.Name, Rate: p.Rate, Canary: min(p.Canary, len(devices)), Failures: p.Failures,
		State: Running, Actor: req.Actor, Devices: len(devices), Created: now,
	}
	all := make([]*Command, len(devices))
	for i, d := range devices {
		if err := l.may(d, &req); err != nil {
			return Rollout{}, err
		}
		if err := l.room(d, 1); err != nil {
			return Rollout{}, err
		}
		all[i] = req.to(d, r.ID, l.moment(d, now))
	}
	if err := l.room("", len(all)); err != nil {
		return Rollout{}, err
	}
	err := l.deps.Records.Tx(ctx, func(tx *sql.Tx) error {
		if err := insertRollout(ctx, tx, &r); err != nil {
			return err
		}
		return insert(ctx, tx, all)
	})
	if err != nil {
		return Rollout{}, fmt.Errorf("keep a rollout: %w", err)
	}
	l.mu.Lock()
	l.rollouts[r.ID] = &rollout{Rollout: r}
	for _, c := range all {
		l.add(c)
	}
	l.mu.Unlock()
	l.metrics.states.WithLabelValues(string(Queued)).Add(float64(len(all)))
	l.nudge()
	return r, nil
}

// release gives the commands of rollouts their turn. The caller holds mu.
func (l *Ledger) release() {
	now := l.deps.Clock()
	for _, r := range l.rollouts {
		for range r.turns(now) {
			o := r.waiting[0]
			r.waiting = r.waiting[1:]
			r.released++
			if o.State.Ended() { // taken back while it waited
				continue
			}
			r.outstanding++
			o.Expires = now.Add(o.TTL)
			l.mark(o)
			l.due[o.Device] = struct{}{}
		}
		l.finish(r, now)
	}
}

// turns returns how many commands may be released now.
func (r *rollout) turns(now time.Time) int {
	dt := now.Sub(r.asOf).Seconds()
	r.asOf = now
	if r.State != Running {
		return 0
	}
	n := len(r.waiting)
	if r.released < r.Canary {
		n = min(n, r.Canary-r.released)
	} else if r.Canary > 0 && r.released == r.Canary && r.outstanding > 0 {
		return 0 // the others wait for the canary
	}
	if r.Rate <= 0 {
		return n
	}
	r.allowance = min(r.allowance+r.Rate*dt, max(1, r.Rate))
	n = min(n, int(r.allowance))
	r.allowance -= float64(n)
	return n
}

// ended counts a command of a rollout whose end is on disk. The caller holds
// mu.
func (l *Ledger) ended(r *rollout, o *open) {
	if o.Expires.IsZero() {
		return // it never had its turn
	}
	r.outstanding--
	if o.State != Done {
		r.failed++
	}
	if r.failed > r.Failures {
		l.halt(r, TooManyFailures)
	}
	l.nudge()
}

// halt stops a rollout; what waited for its turn fails. The caller holds mu.
func (l *Ledger) halt(r *rollout, why Reason) {
	if r.State == Stopped {
		return
	}
	r.State, r.Reason = Stopped, why
	for _, o := range r.waiting {
		l.end(o, Failed, RolloutStopped)
	}
	r.waiting = nil
}

// finish ends a rollout of which nothing is outstanding. The caller holds mu.
func (l *Ledger) finish(r *rollout, now time.Time) {
	if len(r.waiting) > 0 || r.outstanding > 0 {
		return
	}
	if r.State != Stopped {
		r.State = Complete
	}
	r.Ended = now
	l.changed = append(l.changed, r.Rollout)
	delete(l.rollouts, r.ID)
}

// Pause holds a rollout back; what was released goes on. Errors: ErrUnknown,
// ErrEnded.
func (l *Ledger) Pause(ctx context.Context, id string) error {
	return l.steer(ctx, id, func(r *rollout) { r.State = Paused })
}

// Resume lets a paused rollout go on. Errors: ErrUnknown, ErrEnded.
func (l *Ledger) Resume(ctx context.Context, id string) error {
	return l.steer(ctx, id, func(r *rollout) { r.State = Running })
}

// Stop ends a rollout: what was not released fails, what was released is taken
// back. Errors: ErrUnknown, ErrEnded.
func (l *Ledger) Stop(ctx context.Context, id string) error {
	return l.steer(ctx, id, func(r *rollout) {
		l.halt(r, Canceled)
		for _, o := range l.open {
			if o.Rollout == id {
				l.end(o, Failed, Canceled)
			}
		}
	})
}

func (l *Ledger) steer(ctx context.Context, id string, change func(*rollout)) error {
	l.mu.Lock()
	r := l.rollouts[id]
	if r == nil || r.State == Stopped {
		l.mu.Unlock()
		found, err := l.Rollout(ctx, id)
		if err != nil {
			return err
		}
		return fmt.Errorf("rollout %q %w: it is %s", id, ErrEnded, found.State)
	}
	change(r)
	l.changed = append(l.changed, r.Rollout)
	f := l.next
	l.mu.Unlock()
	return l.written(ctx, f)
}

// Rollout returns a rollout as it is on disk, or ErrUnknown.
func (l *Ledger) Rollout(ctx context.Context, id string) (Rollout, error) {
	found, err := l.readRollouts(ctx, "id = ?", 1, id)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("rollout %q %w; see `hub rollout list`", id, ErrUnknown)
	}
	if err != nil {
		return Rollout{}, err
	}
	return found[0], nil
}

// Rollouts returns up to limit rollouts whose region begins with a prefix, the
// newest first, that are older than the id before; empty begins with the
// newest.
func (l *Ledger) Rollouts(ctx context.Context, region, before string, limit int) ([]Rollout, error) {
	return l.readRollouts(ctx, "(? = '' OR id < ?) AND substr(region, 1, length(?)) = ?", limit, before, before, region, region)
}

func (l *Ledger) readRollouts(ctx context.Context, where string, limit int, args ...any) (all []Rollout, err error) {
	err = l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		r, err := scanRollout(rows)
		all = append(all, r)
		return err
	}, "SELECT "+rolloutColumns+" FROM rollouts WHERE "+where+" ORDER BY id DESC LIMIT ?", append(slices.Clone(args), limit)...)
	return all, err
}

// Counts returns how many commands of a rollout are in each state.
func (l *Ledger) Counts(ctx context.Context, id string) (map[State]int, error) {
	n := map[State]int{}
	for _, s := range States() {
		n[s] = 0
	}
	err := l.deps.Records.Each(ctx, func(rows *sql.Rows) error {
		var s State
		var count int
		if err := rows.Scan(&s, &count); err != nil {
			return err
		}
		n[s] = count
		return nil
	}, "SELECT state, count(*) FROM commands WHERE rollout = ? GROUP BY state", id)
	return n, err
}
