package edge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/spool"
)

// roster runs the sources that are configured, and replaces those that change
// while the others go on. It is safe for use by several goroutines.
type roster struct {
	limit int // of a message, in bytes
	log   *slog.Logger
	now   func() time.Time
	// put is that of every source; it is replaced when the tags of the agent are.
	put atomic.Pointer[source.Put]
	// broken has the error that ends the agent.
	broken chan error

	changing sync.Mutex // held while sources are stopped and started

	mu      sync.Mutex
	ended   bool
	running []*running // in the order of the config
}

// running is a source that runs.
type running struct {
	named
	*source.Supervisor
	cancel context.CancelFunc
	done   chan struct{}
}

func newRoster(put source.Put, limit int, log *slog.Logger, now func() time.Time) *roster {
	r := &roster{limit: limit, log: log, now: now, broken: make(chan error, 1)}
	r.put.Store(&put)
	return r
}

// run returns when the context ended, or a source met what ends the agent, and
// every source has given its resources free.
func (r *roster) run(ctx context.Context) (err error) {
	select {
	case <-ctx.Done():
	case err = <-r.broken:
	}
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	r.ended = true
	last := r.running
	r.mu.Unlock()
	stop(last)
	return err
}

// set makes the sources those of the list, and returns those that it started.
// A source whose config did not change goes on undisturbed; one that did is
// stopped before its successor starts, so that a port or a session passes from
// one to the other.
func (r *roster) set(ctx context.Context, list []named) (started []*running) {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	before, ended := r.running, r.ended
	r.mu.Unlock()
	if ended {
		return nil
	}
	kept := make([]*running, len(list))
	var gone []*running
	for _, old := range before {
		i := slices.IndexFunc(list, func(n named) bool { return n.name == old.name && n.text == old.text })
		if i < 0 {
			gone = append(gone, old)
			continue
		}
		kept[i] = old
	}
	stop(gone)
	for i, n := range list {
		if kept[i] == nil {
			kept[i] = r.start(ctx, n)
			started = append(started, kept[i])
		}
	}
	r.mu.Lock()
	r.running = kept
	r.mu.Unlock()
	return started
}

// restart stops a source and starts it anew.
func (r *roster) restart(ctx context.Context, name string) error {
	r.changing.Lock()
	defer r.changing.Unlock()
	r.mu.Lock()
	i := slices.IndexFunc(r.running, func(s *running) bool { return s.name == name && name != selfName })
	ended := r.ended
	r.mu.Unlock()
	switch {
	case ended:
		return errEnded
	case i < 0:
		var names []string
		for _, s := range r.statuses() {
			names = append(names, s.Name)
		}
		return fmt.Errorf("%.70q is no source of this agent; it has %q", name, names)
	}
	old := r.running[i] // only who holds changing replaces elements
	stop([]*running{old})
	fresh := r.start(ctx, old.named)
	r.mu.Lock()
	r.running = slices.Clone(r.running)
	r.running[i] = fresh
	r.mu.Unlock()
	return nil
}

func (r *roster) start(ctx context.Context, n named) *running {
	ctx, cancel := context.WithCancel(ctx)
	s := &running{named: n, Supervisor: source.Supervise(n.name, n.build(), r.limit, r.log, r.now), cancel: cancel, done: make(chan struct{})}
	put := func(ctx context.Context, rec source.Record) error { return (*r.put.Load())(ctx, rec) }
	go func() {
		defer close(s.done)
		err := s.Run(ctx, put, func(err error) bool { return errors.Is(err, spool.ErrBroken) })
		if err == nil {
			return
		}
		select {
		case r.broken <- err:
		default: // another said it already
		}
	}()
	return s
}

// stop returns when all of them gave their resources free.
func stop(all []*running) {
	for _, s := range all {
		s.cancel()
	}
	for _, s := range all {
		<-s.done
	}
}

// statuses tells how the sources are, but for the agent's report of itself.
func (r *roster) statuses() (all []source.Status) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.running {
		if s.name != selfName {
			all = append(all, s.Status())
		}
	}
	return all
}
