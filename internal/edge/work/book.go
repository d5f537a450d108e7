package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	// maxOver bounds the works that are remembered after their end, with what
	// they wrote.
	maxOver = 64
	// maxFences bounds the workloads whose token is remembered one by one.
	maxFences = 4096
)

// book is what was taken and what is fenced. It is replaced, never changed.
type book struct {
	// Floor is the highest token that is not remembered by its workload any
	// more; tokens rise within a facility, so that new ones are above it.
	Floor  uint64           `json:"floor"`
	Fences map[string]fence `json:"fences"`
	// Works are in the order in which they came.
	Works []record `json:"works"`
}

// fence is the highest token that was seen of a workload.
type fence struct {
	Token uint64 `json:"token"`
	// Stopped means that nothing begins under the token itself either.
	Stopped bool `json:"stopped,omitempty"`
}

// record is the work of a lease.
type record struct {
	Which
	Name     string             `json:"name,omitempty"`
	Total    int                `json:"total"`
	Programs map[string]Program `json:"programs"`
	Members  []member           `json:"members"`
	// Hold means that it does not begin yet, Stop that it is to end.
	Hold bool      `json:"hold,omitempty"`
	Stop bool      `json:"stop,omitempty"`
	At   time.Time `json:"at"`
}

type member struct {
	Member
	progress
}

// progress is how far a member is.
type progress struct {
	State    State  `json:"state"`
	ExitCode int    `json:"exit_code,omitempty"`
	Message  string `json:"message,omitempty"`
	TimedOut bool   `json:"timed_out,omitempty"`
}

func file(dir string) string { return filepath.Join(dir, "work.json") }

func (b *book) load(dir string) error {
	b.Fences = map[string]fence{}
	text, err := os.ReadFile(file(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(text, b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w; without it nobody knows what runs here: end what runs, then remove the directory", file(dir), err)
	}
	return nil
}

func (b book) save(dir string, save func(string, []byte) error) error {
	text, err := json.Marshal(b)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	return save(file(dir), text)
}

// clone copies what take, stop and advance change.
func (b book) clone() book {
	fences := make(map[string]fence, len(b.Fences)+1)
	for k, v := range b.Fences {
		fences[k] = v
	}
	works := slices.Clone(b.Works)
	for i := range works {
		works[i].Members = slices.Clone(works[i].Members)
	}
	return book{b.Floor, fences, works}
}

// judge reports whether work was taken before, or why it is fenced.
func (b book) judge(w Which) (known bool, fenced string) {
	f, seen := b.Fences[w.Workload]
	switch {
	case !seen && w.Token <= b.Floor:
		return false, fmt.Sprintf("token %d is not above %d, and older ones are forgotten here", w.Token, b.Floor)
	case !seen || w.Token > f.Token:
		return false, ""
	case w.Token < f.Token:
		return false, fmt.Sprintf("token %d of workload %s is below %d, which was seen here", w.Token, w.Workload, f.Token)
	case f.Stopped:
		return false, fmt.Sprintf("token %d of workload %s was stopped here", w.Token, w.Workload)
	}
	return true, ""
}

// take adds work that was judged to be new, ends what it replaces, and returns
// the directories of what is forgotten for it.
func (b *book) take(o Order, now time.Time) (gone []string) {
	for i := range b.Works {
		if b.Works[i].Workload == o.Workload && !b.Works[i].state().over() {
			b.Works[i].Stop = true
		}
	}
	b.fence(o.Workload, fence{Token: o.Token})
	w := record{Which: o.Which(), Name: o.Name, Total: o.Total, Programs: o.Programs, Hold: o.Hold, At: now.UTC()}
	for _, m := range o.Members {
		w.Members = append(w.Members, member{m, progress{State: Waiting}})
	}
	b.Works = append(b.Works, w)
	over := 0
	for i := len(b.Works) - 1; i >= 0; i-- {
		if !b.Works[i].state().over() {
			continue
		}
		if over++; over > maxOver {
			for _, m := range b.Works[i].Members {
				gone = append(gone, m.dir(b.Works[i].Token))
			}
			b.Works = slices.Delete(b.Works, i, i+1)
		}
	}
	return gone
}

// letGo lets work begin that is held, and reports whether it was.
func (b *book) letGo(o Order) bool {
	i := slices.IndexFunc(b.Works, func(w record) bool { return w.Which == o.Which() && w.Hold })
	if i >= 0 {
		b.Works[i].Hold = false
	}
	return i >= 0
}

// stop fences a token and all below, and reports whether that was new.
func (b *book) stop(w Which, now time.Time) (changed bool) {
	switch f, seen := b.Fences[w.Workload]; {
	case !seen && w.Token <= b.Floor, seen && f.Token > w.Token, seen && f.Token == w.Token && f.Stopped:
	default:
		b.fence(w.Workload, fence{w.Token, true})
		changed = true
	}
	for i := range b.Works {
		k := &b.Works[i]
		if k.Workload == w.Workload && k.Token <= w.Token && !k.Stop && !k.state().over() {
			k.Stop, k.At, changed = true, now.UTC(), true
		}
	}
	return changed
}

// fence remembers a token, and forgets the lowest one that nothing runs under.
func (b *book) fence(workload string, f fence) {
	b.Fences[workload] = f
	if len(b.Fences) <= maxFences {
		return
	}
	live := map[string]bool{workload: true}
	for _, w := range b.Works {
		live[w.Workload] = live[w.Workload] || !w.state().over()
	}
	lowest := ""
	for k, v := range b.Fences {
		if !live[k] && (lowest == "" || v.Token < b.Fences[lowest].Token) {
			lowest = k
		}
	}
	b.Floor = max(b.Floor, b.Fences[lowest].Token)
	delete(b.Fences, lowest)
}

// older reports whether something of the same workload is not over yet.
func (b book) older(w *record) bool {
	return slices.ContainsFunc(b.Works, func(k record) bool {
		return k.Workload == w.Workload && k.Token < w.Token && !k.state().over()
	})
}

func (w record) running() (n int) {
	for _, m := range w.Members {
		if !m.State.over() {
			n++
		}
	}
	return n
}

// state is that of the members together: over when all are.
func (w record) state() State { return w.status().State }

func (w record) status() Status {
	s := Status{Which: w.Which, State: Succeeded, Members: len(w.Members), Total: w.Total, At: w.At}
	waiting, under := 0, 0
	for _, m := range w.Members {
		s.TimedOut = s.TimedOut || m.TimedOut
		switch {
		case m.State == Waiting:
			waiting++
			under++
		case m.State == Running:
			under++
		case m.State == Failed && (s.State != Failed || m.ExitCode > s.ExitCode):
			s.State, s.ExitCode, s.Message = Failed, m.ExitCode, m.told()
		case m.State == Stopped && s.State == Succeeded:
			s.State, s.ExitCode, s.Message = Stopped, m.ExitCode, m.told()
		case m.State == Succeeded && s.State == Succeeded && s.Message == "":
			s.Message = m.told()
		}
	}
	switch {
	case under > 0 && waiting == len(w.Members):
		s.State = Waiting
	case under > 0:
		s.State = Running
	}
	if under > 0 {
		s.ExitCode, s.Message = 0, ""
	}
	return s
}

func (m member) told() string {
	if m.Message == "" {
		return ""
	}
	return fmt.Sprintf("%s/%d: %s", m.Task, m.Index, m.Message)
}

// dir is where a member lies, beneath that of the work. A task's name has no slash.
func (m member) dir(token uint64) string { return fmt.Sprintf("%d-%s-%d", token, m.Task, m.Index) }

// shorten keeps the first line, as far as there is room.
func shorten(s string, n int) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.ToValidUTF8(s[:min(len(s), n)], "")
}
