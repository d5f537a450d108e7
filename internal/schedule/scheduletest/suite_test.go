package scheduletest

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) Fixture { return NewMemory(Faults{}).Fixture() })
}

// sham is a test whose failure is wanted.
type sham struct {
	ctx      context.Context
	failed   string
	cleanups []func()
}

func (s *sham) Helper()                           {}
func (s *sham) Context() context.Context          { return s.ctx }
func (s *sham) Cleanup(f func())                  { s.cleanups = append(s.cleanups, f) }
func (s *sham) Errorf(format string, args ...any) { s.failed = fmt.Sprintf(format, args...) }
func (s *sham) Fatalf(format string, args ...any) {
	s.Errorf(format, args...)
	runtime.Goexit()
}

// TestASuiteThatSeesEveryFault breaks each promise, and expects its test to fail.
func TestASuiteThatSeesEveryFault(t *testing.T) {
	for _, one := range []struct {
		promise string
		faults  Faults
	}{
		{"asked twice it runs once", Faults{RunsTwice: true}},
		{"a lower token is refused", Faults{ForgetsTokens: true}},
		{"the exit code comes back", Faults{LosesExitCode: true}},
		{"stop ends", Faults{StopsLater: true}},
		{"what was stopped does not begin late", Faults{ForgetsStops: true}},
		{"what is held does not begin", Faults{BeginsHeld: true}},
		{"what is held does not begin", Faults{HoldsAgain: true}},
		{"what is held may be stopped", Faults{ReleasesStopped: true}},
		{"the beginning of Watch is complete", Faults{BeginsShort: true}},
	} {
		promise, faults := one.promise, one.faults
		t.Run(promise, func(t *testing.T) {
			t.Parallel()
			s := &sham{ctx: t.Context()}
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() {
					for _, f := range s.cleanups {
						f()
					}
				}()
				for _, p := range promises {
					if p.name == promise {
						p.check(newBench(s, NewMemory(faults).Fixture(), time.Second))
					}
				}
			}()
			<-ended
			if s.failed == "" {
				t.Error("nothing was noticed")
			}
			t.Log(s.failed)
		})
	}
}
