package source

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/edge/backoff"
)

// Supervisor keeps one source running: it starts it again after a failure with
// a growing, jittered pause, and knows how it is.
type Supervisor struct {
	name   string
	source Source
	limit  int // of a message, in bytes
	log    *slog.Logger
	now    func() time.Time

	mu     sync.Mutex
	status Status
}

// Status is how a source is.
type Status struct {
	Name string
	// Up is whether the last reading gave a record and no part failed since.
	Up bool
	// Samples and Messages count what was kept since the start, Failures how
	// often the source or a part of it failed.
	Samples, Messages, Failures uint64
	// Dropped counts what the source could not keep, and what of its records is
	// too large for any message.
	Dropped uint64
	// Last is when it last gave a record; zero when it never did.
	Last time.Time
	// Err is the last failure, kept after a recovery; nil when there was none.
	Err error
}

// Supervise returns a supervisor of the source; Run starts it. limit bounds what
// goes into one message, in bytes.
func Supervise(name string, s Source, limit int, log *slog.Logger, now func() time.Time) *Supervisor {
	return &Supervisor{name: name, source: s, limit: limit, log: log.With("source", name), now: now, status: Status{Name: name}}
}

// Status returns how the source is at this moment.
func (s *Supervisor) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Run runs the source until the context ends. It returns early, with fatal's
// error, only when fatal says that an error concerns the whole agent.
func (s *Supervisor) Run(ctx context.Context, put Put, fatal func(error) bool) error {
	var pause backoff.Backoff
	for {
		kept := s.Status().Messages
		err := s.attempt(ctx, put)
		if ctx.Err() != nil {
			return nil
		}
		if fatal(err) {
			return fmt.Errorf("source %s: %w", s.name, err)
		}
		if s.Status().Messages > kept {
			pause.Reset()
		}
		wait := pause.Next()
		s.failed(err)
		s.log.Warn("source_failed", "error", err, "retry_in", wait.Round(time.Millisecond))
		if !backoff.Sleep(ctx, wait) {
			return nil
		}
	}
}

var errEnded = errors.New("the source ended by itself")

// attempt runs the source once. A panic of one source is its failure, not the
// agent's end.
func (s *Supervisor) attempt(ctx context.Context, put Put) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	err = s.source.Run(ctx, func(ctx context.Context, r Record) error {
		r, large := Fit(r, s.limit)
		if err := put(ctx, r); err != nil {
			return err
		}
		r.Dropped += uint64(len(large))
		r.Faults = slices.Concat(r.Faults, large)
		s.kept(r)
		return nil
	})
	if err == nil {
		err = errEnded
	}
	return err
}

func (s *Supervisor) kept(r Record) {
	fault := errors.Join(r.Faults...)
	s.mu.Lock()
	was := s.status
	s.status.Up = fault == nil
	s.status.Samples += uint64(len(r.Samples))
	s.status.Dropped += r.Dropped
	s.status.Messages++
	s.status.Last = s.now()
	if fault != nil {
		s.status.Err = fault
		s.status.Failures++
	}
	s.mu.Unlock()
	switch {
	case fault != nil && (was.Up || was.Err == nil || was.Err.Error() != fault.Error()):
		s.log.Warn("source_part_failed", "error", fault)
	case fault == nil && !was.Up && was.Err != nil:
		s.log.Info("source_recovered")
	}
}

func (s *Supervisor) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Up = false
	s.status.Failures++
	s.status.Err = err
}
