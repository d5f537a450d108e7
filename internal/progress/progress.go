// Package progress tells a person at a terminal how far long work has come: in
// one line that is written over, and not at all where the output is a file or a
// pipe.
package progress

import (
	"fmt"
	"io"
	"os"
	"sync"
	"time"
)

// every is the least time between two lines that are shown.
const every = 100 * time.Millisecond

// erase goes to the begin of the line and clears it (ECMA-48, EL).
const erase = "\r\x1b[K"

// Line is the line at the end of a terminal. What is written to it passes
// through and scrolls up above the line, so that a log may share the terminal.
type Line struct {
	out      io.Writer
	terminal bool

	mu    sync.Mutex // guards what follows, and writes to out
	text  string
	shown time.Time
}

// On returns a line on out. It stays silent unless out is a terminal.
func On(out io.Writer) *Line {
	f, ok := out.(*os.File)
	return &Line{out: out, terminal: ok && isTerminal(f)}
}

// isTerminal is also true of /dev/null, where nobody reads what is written.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// Say replaces the line, at most ten times a second.
func (l *Line) Say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.terminal || time.Since(l.shown) < every {
		return
	}
	l.shown, l.text = time.Now(), fmt.Sprintf(format, args...)
	fmt.Fprint(l.out, erase+l.text)
}

// Clear takes the line away: before an answer is printed, and at the end.
func (l *Line) Clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text != "" {
		l.shown, l.text = time.Time{}, ""
		fmt.Fprint(l.out, erase)
	}
}

// Write passes p on, above the line. p ends with a newline.
func (l *Line) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text == "" {
		return l.out.Write(p)
	}
	fmt.Fprint(l.out, erase)
	n, err := l.out.Write(p)
	fmt.Fprint(l.out, l.text)
	return n, err
}

// Every calls say now and then until the returned function is called, which
// also clears the line.
func (l *Line) Every(say func()) (stop func()) {
	if !l.terminal {
		return func() {}
	}
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				say()
			case <-over:
				return
			}
		}
	}()
	return func() {
		close(over)
		<-done
		l.Clear()
	}
}
