// Package fence remembers, through restarts, the highest token that was asked
// for of each workload, for engines that cannot do so themselves.
package fence

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

// Keep is how long a mark is kept after it was last raised: longer than any
// request is under way.
const Keep = 30 * 24 * time.Hour

// mark is one line of the file: the newest of a name counts.
type mark struct {
	Of      string // a workload, or a lease of which nothing else is known
	Token   uint64
	Stopped bool // nothing may begin under the token any more
	Held    bool // the engine has it for sure, and nothing of it was let go before
	Taken   bool // the engine has it for sure, and all of it was let go
	At      time.Time
}

// Fence is the marks of one facility. All methods may be called from any
// goroutine.
type Fence struct {
	mu    sync.Mutex // what follows
	file  *os.File
	marks map[string]mark
}

// Open reads a file, without what is too old, or begins it.
func Open(path string) (*Fence, error) {
	f := &Fence{marks: map[string]mark{}}
	old, err := os.Open(path) //nolint:gosec // the hub's own
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, err
	default:
		err = f.read(old)
		_ = old.Close()
		if err != nil {
			return nil, fmt.Errorf("marks of fencing tokens %s: %w", path, err)
		}
	}
	return f, f.rewrite(path)
}

// read takes the marks of a file. A last line that was not written to its end
// was not acknowledged.
func (f *Fence) read(file *os.File) error {
	lines := bufio.NewReader(file)
	for n := 1; ; n++ {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return nil
		}
		var m mark
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if time.Since(m.At) < Keep {
			f.marks[m.Of] = m
		}
	}
}

// rewrite puts what counts into a new file.
func (f *Fence) rewrite(path string) error {
	next, err := os.OpenFile(path+".new", os.O_CREATE|os.O_TRUNC|os.O_WRONLY|os.O_APPEND, 0o600) //nolint:gosec // the hub's own
	if err != nil {
		return err
	}
	f.file = next
	for _, m := range f.marks {
		if err := f.append(m); err != nil {
			return err
		}
	}
	if err := errors.Join(next.Sync(), os.Rename(path+".new", path)); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

func (f *Fence) append(m mark) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = f.file.Write(append(line, '\n'))
	return err
}

// Close ends the writing.
func (f *Fence) Close() error { return f.file.Close() }

// Stage is how far the beginning of work had come before.
type Stage int

// The stages.
const (
	Fresh Stage = iota // nothing was asked of the engine
	Asked              // it is not known whether the engine has it, and nothing of it has begun
	Held               // the engine has it, and it is not known whether it has begun
	Taken              // the engine has it and began it, or had it
)

// Begin allows work to begin, and remembers its token. It is ErrFenced under a
// token below the highest, or one that was stopped.
func (f *Fence) Begin(w facility.Work) (Stage, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range []string{w.Workload, w.Lease} {
		if m := f.marks[of]; m.Token > w.Token || m.Token == w.Token && m.Stopped {
			return Fresh, fmt.Errorf("token %d of %s: %w: %d", w.Token, of, facility.ErrFenced, m.Token)
		}
	}
	switch m := f.marks[w.Workload]; {
	case m.Token != w.Token:
		return Fresh, f.raise(mark{Of: w.Workload, Token: w.Token})
	case m.Taken:
		return Taken, nil
	case m.Held:
		return Held, nil
	}
	return Asked, nil
}

// Reach remembers how far work has come whose Begin was allowed.
func (f *Fence) Reach(w facility.Work, s Stage) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.raise(mark{Of: w.Workload, Token: w.Token, Held: s == Held, Taken: s == Taken})
}

// Open reports whether the taking of a lease is under way, or was broken off: not
// everything of it is there.
func (f *Fence) Open(workload string, token uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.marks[workload]
	return m.Token == token && !m.Held && !m.Taken && !m.Stopped
}

// End remembers that nothing begins under a token any more, nor under a lower
// one of the same workload.
func (f *Fence) End(w facility.Work) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.marks[w.Workload].Token > w.Token {
		return nil
	}
	of := w.Workload
	if of == "" {
		of = w.Lease
	}
	return f.raise(mark{Of: of, Token: w.Token, Stopped: true, Taken: f.marks[of].Taken && f.marks[of].Token == w.Token})
}

func (f *Fence) raise(m mark) error {
	was := f.marks[m.Of]
	m.At = was.At
	if was == m {
		return nil
	}
	m.At = time.Now().UTC()
	if err := errors.Join(f.append(m), f.file.Sync()); err != nil {
		return fmt.Errorf("remember token %d of %s: %w", m.Token, m.Of, err)
	}
	f.marks[m.Of] = m
	return nil
}
