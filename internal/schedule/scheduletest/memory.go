package scheduletest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
)

// Memory is a facility in memory, with its engine. Its payload is a Script in
// JSON. All methods may be called from any goroutine.
type Memory struct {
	mu      sync.Mutex // what follows
	works   map[uint64]*run
	highest map[string]uint64 // token by workload
	ended   map[uint64]bool   // tokens that were stopped
	began   map[string]int    // by mark
	free    map[string]bool   // marks that were released
	gone    chan struct{}     // closes when the facility is cut off
	away    bool
	refuse  error
	more    chan struct{} // closes when something changes
	faults  Faults
}

// Faults break one promise each, to see that somebody notices.
type Faults struct {
	RunsTwice, ForgetsTokens, LosesExitCode, StopsLater, ForgetsStops, BeginsShort, BeginsHeld, HoldsAgain, ReleasesStopped bool
}

type run struct {
	facility.Report
	script  Script
	members []facility.Member
}

// NewMemory makes a facility where nothing runs.
func NewMemory(f Faults) *Memory {
	return &Memory{
		works: map[uint64]*run{}, highest: map[string]uint64{}, ended: map[uint64]bool{}, began: map[string]int{}, free: map[string]bool{},
		gone: make(chan struct{}), more: make(chan struct{}), faults: f,
	}
}

// errAway is what one gets who asks a facility that is cut off.
var errAway = errors.New("the facility is cut off")

// Cut cuts the facility off, and Mend brings it back. What runs there goes on.
func (m *Memory) Cut() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = true
	close(m.gone)
}

// Mend is the end of Cut.
func (m *Memory) Mend() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away, m.gone = false, make(chan struct{})
}

// Refuse lets every Start fail with an error from now on; nil: none.
func (m *Memory) Refuse(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.refuse = err
}

// Forget lets the facility lose all work, as one does whose disks are gone.
func (m *Memory) Forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.works)
}

// Began is that of a Fixture.
func (m *Memory) Began(mark string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.began[mark]
}

// Alive is that of a Fixture.
func (m *Memory) Alive(mark string) int { return m.count(mark, facility.Running) }

// Held counts members that were taken and have not begun.
func (m *Memory) Held(mark string) int { return m.count(mark, facility.Waiting) }

func (m *Memory) count(mark string, state facility.Progress) (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range m.works {
		if r.script.Mark == mark && r.State == state {
			n += len(r.members)
		}
	}
	return n
}

// Release is that of a Fixture.
func (m *Memory) Release(mark string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.free[mark] = true
	for _, r := range m.works {
		if r.script.Mark == mark && r.State == facility.Running {
			m.end(r)
		}
	}
}

// end lets a script come to its end. The caller holds mu.
func (m *Memory) end(r *run) {
	r.ExitCode = r.script.Exit
	if m.faults.LosesExitCode {
		r.ExitCode = 0
	}
	m.turn(r, facility.Succeeded)
	if r.script.Exit != 0 {
		m.turn(r, facility.Failed)
	}
}

// turn takes work to a state. The caller holds mu.
func (m *Memory) turn(r *run, to facility.Progress) {
	r.State, r.At = to, time.Now()
	close(m.more)
	m.more = make(chan struct{})
}

// Start implements facility.Engine.
func (m *Memory) Start(_ context.Context, w facility.Work) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.away:
		return errAway
	case m.refuse != nil:
		return m.refuse
	case w.Token < m.highest[w.Workload] && !m.faults.ForgetsTokens, m.ended[w.Token] && !m.faults.ForgetsStops && !m.faults.ReleasesStopped:
		return fmt.Errorf("token %d: %w", w.Token, facility.ErrFenced)
	}
	m.highest[w.Workload] = w.Token
	hold := w.Hold && !m.faults.BeginsHeld
	if r := m.works[w.Token]; r != nil && !m.faults.RunsTwice {
		switch {
		case r.State == facility.Waiting && !hold, r.State == facility.Stopped && m.faults.ReleasesStopped:
			m.begin(r)
		case r.State == facility.Running && hold && m.faults.HoldsAgain:
			m.turn(r, facility.Waiting)
		}
		return nil
	}
	r := &run{members: w.Members, Report: facility.Report{Lease: w.Lease, Token: w.Token}}
	if err := json.Unmarshal(w.Payload, &r.script); err != nil {
		return fmt.Errorf("%w: %w", facility.ErrRefused, err)
	}
	m.works[w.Token] = r
	if hold {
		m.turn(r, facility.Waiting)
		return nil
	}
	m.begin(r)
	return nil
}

// begin lets work run. The caller holds mu.
func (m *Memory) begin(r *run) {
	m.began[r.script.Mark] += len(r.members)
	m.turn(r, facility.Running)
	if !r.script.Hold || m.free[r.script.Mark] {
		m.end(r)
		return
	}
	for _, one := range r.members {
		if one.Limit > 0 {
			time.AfterFunc(one.Limit, func() { m.late(r) })
		}
	}
}

// late ends work at its limit.
func (m *Memory) late(r *run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !r.State.Over() {
		r.ExitCode, r.Message, r.TimedOut = 137, "it ran longer than its limit", true
		m.turn(r, facility.Failed)
	}
}

// Stop implements facility.Engine.
func (m *Memory) Stop(_ context.Context, w facility.Work) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away {
		return errAway
	}
	m.ended[w.Token] = true
	m.highest[w.Workload] = max(m.highest[w.Workload], w.Token)
	if r := m.works[w.Token]; r != nil && !r.State.Over() && !m.faults.StopsLater {
		m.turn(r, facility.Stopped)
	}
	return nil
}

// Watch implements facility.Engine.
func (m *Memory) Watch(ctx context.Context, report func(facility.Report)) error {
	told := map[uint64]facility.Progress{}
	for first := true; ; first = false {
		m.mu.Lock()
		away, gone, more := m.away, m.gone, m.more
		var news []facility.Report
		for token, r := range m.works {
			if told[token] != r.State && !(first && m.faults.BeginsShort && r.State.Over()) {
				told[token] = r.State
				news = append(news, r.Report)
			}
		}
		m.mu.Unlock()
		if away {
			return errAway
		}
		for _, r := range news {
			report(r)
		}
		if first {
			report(facility.Report{Complete: true})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-gone:
			return errAway
		case <-more:
		}
	}
}

// Fixture is the facility as the suite takes it.
func (m *Memory) Fixture() Fixture {
	return Fixture{
		Engine: m, Reopen: func() facility.Engine { return m }, Began: m.Began, Alive: m.Alive, Release: m.Release, Limits: true,
		Payload: func(s Script) json.RawMessage { return s.JSON() },
		Member:  facility.Member{Assignment: schedule.Assignment{Facility: "here", Pool: "here-cpu"}},
	}
}

// JSON is a script as Memory takes it.
func (s Script) JSON() json.RawMessage {
	doc, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has no parts that cannot be said
	}
	return doc
}
