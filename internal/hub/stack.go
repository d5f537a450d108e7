package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// stack runs the parts of a hub. Parts are started in the order of the drawing
// and stopped in reverse: a part stops only after everything that feeds it has
// stopped, so what was received is committed and answered.
type stack struct {
	log   *slog.Logger
	parts []*part
	ended chan *part // the first part that ends by itself ends the hub
}

type part struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

func newStack(log *slog.Logger) *stack { return &stack{log: log, ended: make(chan *part, 1)} }

// start runs a part until the stack stops it. A part that ends by itself, with
// an error or without, ends the hub.
func (s *stack) start(name string, run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	p := &part{name: name, cancel: cancel, done: make(chan struct{})}
	s.parts = append(s.parts, p)
	go func() {
		p.err = run(ctx)
		close(p.done)
		select {
		case s.ended <- p:
		default:
		}
	}()
}

// onStop adds what is done when the stack comes to this point on its way down.
func (s *stack) onStop(name string, stop func() error) {
	s.start(name, func(ctx context.Context) error {
		<-ctx.Done()
		return stop()
	})
}

// wait blocks until ctx ends or a part does, then stops all parts in reverse.
// It returns why the hub ended, nil when ctx did and every part stopped well.
func (s *stack) wait(ctx context.Context) error {
	var failed error
	select {
	case <-ctx.Done():
	case p := <-s.ended:
		failed = p.failure()
	}
	return errors.Join(failed, s.stop())
}

// stop ends all parts in reverse and returns what went wrong on the way.
func (s *stack) stop() error {
	var errs []error
	for i := len(s.parts) - 1; i >= 0; i-- {
		p := s.parts[i]
		ended := p.over()
		begin := time.Now()
		p.cancel()
		<-p.done
		if !ended && p.err != nil && !errors.Is(p.err, context.Canceled) {
			errs = append(errs, fmt.Errorf("stop %s: %w", p.name, p.err))
		}
		s.log.Debug("part_stopped", "part", p.name, "seconds", time.Since(begin).Seconds())
	}
	s.parts = nil
	return errors.Join(errs...)
}

func (p *part) over() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *part) failure() error {
	if p.err == nil {
		return fmt.Errorf("%s ended by itself", p.name)
	}
	return fmt.Errorf("%s: %w", p.name, p.err)
}
