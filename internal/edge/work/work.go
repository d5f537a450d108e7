// Package work runs what a lease lets a machine run, and nothing else: each
// member once, however often it is asked for, and none under a token that a
// higher one or a stop has fenced. What was taken is on disk before that is
// said, and goes on while the agent is away: every member has a supervisor, a
// process of its own that limits it, keeps its outputs and writes down how it
// ended.
package work

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// look is the time between looks at members. What one looks at is a lock, so
// that those of an agent before this one are followed like its own.
const look = 200 * time.Millisecond

// Deps are what a Runner works with. All are required.
type Deps struct {
	// Dir is where work lies; it is made when absent.
	Dir string
	// Save replaces a file, whole or not at all after a power cut.
	Save func(path string, text []byte) error
	// Supervisor is the program, with its arguments, that calls [Supervise] on
	// the directory that it is given as the last one.
	Supervisor []string
	// Changed is called after each change of what [Runner.Report] says.
	Changed func()
	Log     *slog.Logger
	Now     func() time.Time
}

// Runner runs work. Its methods may be called from any goroutine.
type Runner struct {
	cfg     Config
	deps    Deps
	account *user.User // nil: the agent's own

	mu   sync.Mutex
	book book
}

// Open reads what was taken before.
func Open(cfg Config, deps Deps) (*Runner, error) {
	r := &Runner{cfg: cfg, deps: deps}
	if cfg.Enabled {
		var err error
		if r.account, err = cfg.account(os.Geteuid()); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(deps.Dir, 0o711); err != nil {
			return nil, err
		}
		if r.account != nil {
			if err := passable(deps.Dir); err != nil {
				return nil, err
			}
		}
	}
	return r, r.book.load(deps.Dir)
}

// Start takes work. It is on disk when Start returns Taken, and begins as soon
// as nothing of the same workload runs under a lower token, unless it is held.
func (r *Runner) Start(o Order) (Answer, error) {
	if why := o.fault(); why != "" {
		return Answer{Outcome: Refused, Message: why}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch known, why := r.book.judge(o.Which()); {
	case why != "":
		return Answer{Outcome: Fenced, Message: why}, nil
	case known:
		return r.letGo(o)
	}
	if why := r.refusal(o); why != "" {
		return Answer{Outcome: Refused, Message: why}, nil
	}
	b := r.book.clone()
	gone := b.take(o, r.deps.Now())
	if err := r.keep(b); err != nil {
		return Answer{}, err
	}
	for _, dir := range gone {
		if err := os.RemoveAll(r.path(dir)); err != nil {
			r.deps.Log.Warn("work_not_removed", "dir", dir, "error", err)
		}
	}
	r.deps.Log.Info("work_taken", "workload", o.Workload, "lease", o.Lease, "token", o.Token, "members", len(o.Members))
	r.advance()
	return Answer{Outcome: Taken}, nil
}

// letGo begins what is held, once it is ordered without. The caller holds mu.
func (r *Runner) letGo(o Order) (Answer, error) {
	if b := r.book.clone(); !o.Hold && b.letGo(o) {
		if err := r.keep(b); err != nil {
			return Answer{}, err
		}
		r.advance()
	}
	return Answer{Outcome: Taken}, nil
}

// Which names the work of the order.
func (o Order) Which() Which { return Which{o.Workload, o.Lease, o.Token} }

// refusal is why the order will not run here as things are.
func (r *Runner) refusal(o Order) string {
	for _, p := range o.Programs {
		if why := r.cfg.refusal(p.Command, p.Env); why != "" {
			return why
		}
	}
	members, cpu, memory := 0, int64(0), int64(0)
	add := func(m Member) { members++; cpu += m.CPUMilli; memory += m.MemoryMiB }
	for _, m := range o.Members {
		add(m)
	}
	for _, w := range r.book.Works {
		// What this order replaces ends before it begins.
		if w.state().over() || w.Workload == o.Workload {
			continue
		}
		for _, m := range w.Members {
			if !m.State.over() {
				add(m.Member)
			}
		}
	}
	switch bound := int64(r.cfg.MaxMemory) >> 20; {
	case members > r.cfg.MaxMembers:
		return fmt.Sprintf("with it %d members would run, and compute.max_members of this agent is %d", members, r.cfg.MaxMembers)
	case r.cfg.MaxCPU > 0 && cpu > int64(r.cfg.MaxCPU)*1000:
		return fmt.Sprintf("with it %d mCPU would be used, and compute.max_cpu of this agent is %d", cpu, r.cfg.MaxCPU)
	case bound > 0 && memory > bound:
		return fmt.Sprintf("with it %d MiB would be used, and compute.max_memory of this agent is %s", memory, r.cfg.MaxMemory)
	}
	return ""
}

// Stop ends work, so that nothing will ever begin under its token; also where
// that was never seen. Who asks repeats it until nothing runs.
func (r *Runner) Stop(w Which) (Answer, error) {
	if !idPattern.MatchString(w.Workload) || w.Token == 0 {
		return Answer{Outcome: Refused, Message: fmt.Sprintf("workload %.80q and token %d do not name a lease", w.Workload, w.Token)}, nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if b := r.book.clone(); b.stop(w, r.deps.Now()) {
		if err := r.keep(b); err != nil {
			return Answer{}, err
		}
		r.advance()
	}
	a := Answer{Outcome: Taken}
	for _, k := range r.book.Works {
		if k.Workload == w.Workload && k.Token <= w.Token {
			a.Running += k.running()
		}
	}
	return a, nil
}

// Report is what the hub is told: all that is under way and the newest of what
// is over, the newest last. What members wrote at their end is cut so that it
// fits.
func (r *Runner) Report() []Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Status, len(r.book.Works))
	room := maxTails
	for i, w := range slices.Backward(r.book.Works) {
		all[i] = w.status()
		if n := len(all[i].Message); n > maxShort && n > room {
			all[i].Message = shorten(all[i].Message, maxShort)
		}
		room -= len(all[i].Message)
	}
	return all
}

// Bounds of a report, in bytes: the configuration that it is a part of has 60 KiB.
const (
	maxTails = 12 << 10
	maxShort = 120
)

// List shows the work of a lease, or with an empty one of all.
func (r *Runner) List(lease string) []Status {
	all := r.Report()
	return slices.DeleteFunc(all, func(s Status) bool { return lease != "" && s.Lease != lease })
}

// Run follows the members until the context ends; they do not end with it.
func (r *Runner) Run(ctx context.Context) error {
	t := time.NewTicker(look)
	defer t.Stop()
	for {
		r.mu.Lock()
		r.advance()
		r.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

// keep makes b what is known, once it is on disk. The caller holds mu.
func (r *Runner) keep(b book) error {
	if err := b.save(r.deps.Dir, r.deps.Save); err != nil {
		return fmt.Errorf("work is not taken: %w", err)
	}
	r.book = b
	r.deps.Changed()
	return nil
}

// advance begins what may begin, stops what is to stop, and takes down what
// has ended. The caller holds mu.
func (r *Runner) advance() {
	if !slices.ContainsFunc(r.book.Works, func(w record) bool { return !w.state().over() }) {
		return
	}
	b, changed := r.book.clone(), false
	for i := range b.Works {
		w := &b.Works[i]
		for j := range w.Members {
			m := &w.Members[j]
			if m.State.over() {
				continue
			}
			before := *m
			r.move(b, w, m)
			changed = changed || m.progress != before.progress
		}
		if w.state() != r.book.Works[i].state() {
			w.At = r.deps.Now().UTC()
		}
	}
	if !changed {
		return
	}
	if err := r.keep(b); err != nil {
		// It is seen again at the next look: what ended is on disk beside the member.
		r.deps.Log.Error("work_not_kept", "error", err)
	}
}

// move takes one member as far as it goes now.
func (r *Runner) move(b book, w *record, m *member) {
	dir := r.path(m.dir(w.Token))
	switch {
	case held(dir):
		m.State = Running
		if w.Stop {
			terminate(dir)
		}
	case m.State == Running || begun(dir):
		end, err := readEnd(dir)
		if err != nil && killMarked(mark(w.Which, m.Member)) > 0 {
			m.State = Running // until nothing is left of it
			return
		}
		m.progress = end.progress(w.Stop, err)
		r.deps.Log.Info("work_ended", "lease", w.Lease, "task", m.Task, "index", m.Index, "state", m.State, "exit_code", m.ExitCode)
	case w.Stop:
		m.State = Stopped
	case !w.Hold && !b.older(w):
		m.State = Running
		if err := r.spawn(w, m, dir); err != nil {
			m.progress = progress{State: Failed, ExitCode: notRun, Message: fmt.Sprintf("it could not be started: %v", err)}
			r.deps.Log.Warn("work_not_started", "lease", w.Lease, "task", m.Task, "error", err)
		}
	}
}

func (r *Runner) path(dir string) string { return filepath.Join(r.deps.Dir, dir) }
