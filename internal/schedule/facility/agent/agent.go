// Package agent runs work by the edge agents of a facility: the nodes of its
// pools are devices, and the id of a node is that of its device. Orders go as
// commands, which devices get at least once; that they run once is the agent's,
// by lease and token. How far work is stands in what agents report as their
// configuration: they say it again at each connection, and the hub has the
// newest on disk.
package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/schedule/facility"
)

// Deps are what engines work with. All are required.
type Deps struct {
	// Ask has a device do a command, and returns what it answered. It may be
	// delivered more than once, and also where Ask fails. What will never work
	// is facility.ErrRefused, wrapped.
	Ask func(ctx context.Context, device, name string, params json.RawMessage) (json.RawMessage, error)
	// Reported returns the configuration that a device has reported last; nil
	// where it has none.
	Reported func(ctx context.Context, device string) (json.RawMessage, error)
	// Online reports whether a device is connected or was heard of lately.
	Online func(device string) bool
	// Nodes are those of the pools of a facility that have this engine.
	Nodes func(ctx context.Context, facility string) ([]string, error)
}

const (
	// atOnce is how many nodes are asked at once for one lease.
	atOnce = 16
	// look is how often one looks whether a facility is there, and whether a
	// node has come to an end that nobody heard of.
	look = 5 * time.Second
)

// Fleet is the agents of all facilities. All methods may be called from any
// goroutine.
type Fleet struct {
	deps Deps

	mu sync.Mutex // what follows
	// heard is what devices that run work reported.
	heard map[string][]status
	// news is closed, and replaced, when something was heard.
	news chan struct{}
}

// New returns the fleet of the devices.
func New(deps Deps) *Fleet {
	return &Fleet{deps: deps, heard: map[string][]status{}, news: make(chan struct{})}
}

// Engine returns the engine of a facility.
func (f *Fleet) Engine(id string) facility.Engine {
	return &engine{fleet: f, id: id, nodes: map[string]bool{}}
}

// Heard takes the configuration that a device has reported, once the hub has
// it on disk.
func (f *Fleet) Heard(device string, config json.RawMessage) {
	all, runs := readStatuses(config)
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ran := f.heard[device]; !runs && !ran {
		return
	}
	f.heard[device] = all
	close(f.news)
	f.news = make(chan struct{})
}

// recall reads what a device said before this fleet was made.
func (f *Fleet) recall(ctx context.Context, device string) error {
	f.mu.Lock()
	_, known := f.heard[device]
	f.mu.Unlock()
	if known {
		return nil
	}
	config, err := f.deps.Reported(ctx, device)
	if err != nil {
		return fmt.Errorf("node %s: %w", device, err)
	}
	all, _ := readStatuses(config)
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.heard[device]; !known { // what came meanwhile is newer
		f.heard[device] = all
	}
	return nil
}

// find returns what a device said of a token, and what ends the wait for more.
func (f *Fleet) find(device string, token uint64) (s status, found bool, news <-chan struct{}) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.heard[device], func(s status) bool { return s.Token == token })
	if i < 0 {
		return s, false, f.news
	}
	return f.heard[device][i], true, f.news
}

func (f *Fleet) ask(ctx context.Context, device, name string, params any) (a answer, err error) {
	text, err := json.Marshal(params)
	if err != nil {
		return a, err
	}
	text, err = f.deps.Ask(ctx, device, name, text)
	if err == nil {
		err = json.Unmarshal(text, &a)
	}
	if err != nil {
		return a, fmt.Errorf("node %s: %s: %w", device, name, err)
	}
	return a, a.err(device)
}

// engine is the agents of one facility.
type engine struct {
	fleet *Fleet
	id    string

	mu sync.Mutex
	// nodes are those that may have work.
	nodes map[string]bool
}

// Start implements facility.Engine. It returns when every node has taken its
// members and the hub has that on disk. Where one refuses, those that have
// taken theirs are stopped. Nodes hold what they have until all have theirs.
func (e *engine) Start(ctx context.Context, w facility.Work) error {
	all, err := orders(w)
	if err != nil {
		return err
	}
	e.add(all)
	if w.Hold || len(all) > 1 {
		err = e.every(ctx, all, true)
	}
	if err == nil && !w.Hold {
		err = e.every(ctx, all, false)
	}
	if !errors.Is(err, facility.ErrRefused) || len(all) == 1 {
		return err
	}
	if failed := e.Stop(ctx, w); failed != nil { // so that it is asked again
		return fmt.Errorf("%v; and the nodes that have taken it cannot be stopped: %w", err, failed)
	}
	return err
}

func (e *engine) add(all map[string]*order) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for node := range all {
		e.nodes[node] = true
	}
}

// every hands each node its order.
func (e *engine) every(ctx context.Context, all map[string]*order, hold bool) error {
	group, one := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for node, o := range all {
		if s, found, _ := e.fleet.find(node, o.Token); hold && found && !s.State.Over() {
			continue // it has it
		}
		o.Hold = hold
		group.Go(func() error { return e.hand(one, node, o) })
	}
	return group.Wait()
}

func (e *engine) hand(ctx context.Context, node string, o *order) error {
	if _, err := e.fleet.ask(ctx, node, "work.start", o); err != nil {
		return err
	}
	for {
		_, found, news := e.fleet.find(node, o.Token)
		if found {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s has taken the work and has not reported it: %w", node, ctx.Err())
		case <-news:
		}
	}
}

// Stop implements facility.Engine. Work is known by its token alone as well.
func (e *engine) Stop(ctx context.Context, w facility.Work) error {
	nodes := map[string]bool{}
	for _, m := range w.Members {
		nodes[m.Node] = true
	}
	e.fleet.mu.Lock()
	for node, all := range e.fleet.heard {
		for _, s := range all {
			if s.Token == w.Token && s.Lease == w.Lease && e.has(node) {
				nodes[node], w.Workload = true, s.Workload
			}
		}
	}
	e.fleet.mu.Unlock()
	delete(nodes, "")
	group, one := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for node := range nodes {
		group.Go(func() error { return e.end(one, node, which{w.Workload, w.Lease, w.Token}) })
	}
	return group.Wait()
}

func (e *engine) has(node string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.nodes[node]
}

// end asks a node until nothing runs there.
func (e *engine) end(ctx context.Context, node string, w which) error {
	for {
		a, err := e.fleet.ask(ctx, node, "work.stop", w)
		if err != nil || a.Running == 0 {
			return err
		}
		if err := e.over(ctx, node, w.Token); err != nil {
			return err
		}
	}
}

// over waits until a node says that the work is over, but no longer than look.
func (e *engine) over(ctx context.Context, node string, token uint64) error {
	enough := time.NewTimer(look)
	defer enough.Stop()
	for {
		s, found, news := e.fleet.find(node, token)
		if found && s.State.Over() {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("node %s is stopping the work: %w", node, ctx.Err())
		case <-enough.C:
			return nil
		case <-news:
		}
	}
}

// Watch implements facility.Engine. It sees the facility as long as one of its
// nodes is online; of the others it has what they said last.
func (e *engine) Watch(ctx context.Context, report func(facility.Report)) error {
	nodes, err := e.fleet.deps.Nodes(ctx, e.id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	for _, n := range nodes {
		e.nodes[n] = true
	}
	e.mu.Unlock()
	if err := e.seen(); err != nil {
		return err
	}
	for _, n := range nodes {
		if err := e.fleet.recall(ctx, n); err != nil {
			return err
		}
	}
	again := time.NewTicker(look)
	defer again.Stop()
	told := map[uint64]facility.Report{}
	for begun := false; ; begun = true {
		now, news := e.view()
		for token, r := range now {
			if told[token] != r {
				report(r)
			}
		}
		told = now
		if !begun {
			report(facility.Report{Complete: true})
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		case <-again.C:
			if err := e.seen(); err != nil {
				return err
			}
		}
	}
}

// view is what all nodes say, and what ends the wait for more.
func (e *engine) view() (map[uint64]facility.Report, <-chan struct{}) {
	f := e.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	nodes := map[string][]status{}
	e.mu.Lock()
	for n := range e.nodes {
		nodes[n] = f.heard[n] // replaced, never changed
	}
	e.mu.Unlock()
	return reports(nodes), f.news
}

// seen is an error when no node is there.
func (e *engine) seen() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for n := range e.nodes {
		if e.fleet.deps.Online(n) {
			return nil
		}
	}
	if len(e.nodes) == 0 {
		return nil
	}
	return fmt.Errorf("none of the %d nodes of facility %s is online; see to their agents and their way to the hub", len(e.nodes), e.id)
}
