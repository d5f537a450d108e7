package storetest

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
)

// Lack is a promise that an engine cannot keep. docs/formats/engines.md lists
// those of all engines.
type Lack struct {
	Promise string // its name in the suite
	Why     string
}

// confirm fails when the engine keeps the promise after all.
func (l Lack) confirm(b *bench, check func(*bench)) {
	b.Helper()
	told := &verdict{TB: b.TB}
	b.TB = told
	done := make(chan struct{})
	go func() { // what ends a check ends its goroutine
		defer close(done)
		check(b)
	}()
	<-done
	b.TB = told.TB
	switch {
	case told.skipped != "":
		b.Skip(told.skipped)
	case len(told.wrong) == 0:
		b.Errorf("the engine keeps %q, but is said to lack it: %s; take it off its lacks", l.Promise, l.Why)
	default:
		b.Logf("lacking: %s\n%s", l.Why, told.wrong[0])
	}
}

// verdict keeps what a check finds wrong instead of failing the test.
type verdict struct {
	testing.TB
	mu      sync.Mutex
	wrong   []string
	skipped string
}

func (v *verdict) say(text string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.wrong = append(v.wrong, text)
}

func (v *verdict) Error(args ...any)                 { v.say(fmt.Sprintln(args...)) }
func (v *verdict) Errorf(format string, args ...any) { v.say(fmt.Sprintf(format, args...)) }
func (v *verdict) Fail()                             { v.say("failed") }

func (v *verdict) Fatal(args ...any) {
	v.Error(args...)
	runtime.Goexit()
}

func (v *verdict) Fatalf(format string, args ...any) {
	v.Errorf(format, args...)
	runtime.Goexit()
}

func (v *verdict) FailNow() {
	v.Fail()
	runtime.Goexit()
}

func (v *verdict) Failed() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.wrong) > 0
}

func (v *verdict) Skip(args ...any) {
	v.skipped = fmt.Sprintln(args...)
	runtime.Goexit()
}
