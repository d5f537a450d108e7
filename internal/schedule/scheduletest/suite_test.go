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
	for promise, faults := range map[string]Faults{
		"asked twice it runs once":             {RunsTwice: true},
		"a lower token is refused":             {ForgetsTokens: true},
		"the exit code comes back":             {LosesExitCode: true},
		"stop ends":                            {StopsLater: true},
		"what was stopped does not begin late": {ForgetsStops: true},
		"the beginning of Watch is complete":   {BeginsShort: true},
	} {
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
