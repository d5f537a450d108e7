package command_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/registry"
)

// house is a ledger over a real database with registered devices.
type house struct {
	*command.Ledger
	dir    string
	end    func()
	refuse error
}

func open(tb testing.TB, dir string, cfg command.Config) *house {
	tb.Helper()
	db, err := records.Open(tb.Context(), filepath.Join(dir, "records.db"))
	if err != nil {
		tb.Fatal(err)
	}
	sealer, err := registry.OpenSealer(filepath.Join(dir, "secrets.key"))
	if err != nil {
		tb.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	reg, err := registry.Open(tb.Context(), registry.Config{Records: db, Sealer: sealer, Log: log, Now: time.Now})
	if err != nil {
		tb.Fatal(err)
	}
	if reg.Len() == 0 {
		specs := make([]registry.Spec, 1000)
		for i := range specs {
			specs[i] = registry.Spec{ID: fmt.Sprintf("t%d", i), Region: "220100"}
		}
		if _, err := reg.CreateBatch(tb.Context(), specs); err != nil {
			tb.Fatal(err)
		}
	}
	h := &house{dir: dir}
	h.Ledger, err = command.Open(tb.Context(), cfg, command.Deps{
		Records: db, Registered: func(id string) bool { return reg.Device(id) != nil },
		Check: func(string, string, json.RawMessage) error { return h.refuse },
		Log:   log, Clock: time.Now, Metrics: prometheus.NewRegistry(),
	})
	if err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- h.Run(ctx) }()
	h.end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			tb.Error(err)
		}
		if err := db.Close(); err != nil {
			tb.Error(err)
		}
	})
	tb.Cleanup(h.end)
	return h
}

// inbox is a device that listens.
type inbox struct {
	letters chan command.Letter
	stop    func()
}

// patience is how long a test waits for what a machine that is busy with others does
// in its own time.
const patience = 2 * time.Minute

func (h *house) listen(device string) *inbox {
	b := &inbox{letters: make(chan command.Letter, 1000)}
	b.stop = h.Listen(device, func(l command.Letter) bool { b.letters <- l; return true })
	return b
}

func (b *inbox) next(t *testing.T) command.Letter {
	t.Helper()
	select {
	case l := <-b.letters:
		return l
	case <-time.After(patience):
		t.Fatal("no command came")
	}
	panic("unreachable")
}

func (h *house) issue(t *testing.T, device string, r command.Request) string {
	t.Helper()
	c, err := h.Issue(t.Context(), device, r)
	if err != nil {
		t.Fatal(err)
	}
	return c.ID
}

func (h *house) state(t *testing.T, id string) command.State {
	t.Helper()
	c, err := h.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return c.State
}

func (h *house) becomes(t *testing.T, id string, want command.State) command.Command {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(2 * time.Millisecond) {
		c, err := h.Get(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if c.State == want {
			return c
		}
		if time.Since(begin) > patience {
			t.Fatalf("command is %s (%s), not %s", c.State, c.Reason, want)
		}
	}
}

func TestTheLifeOfACommand(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	id := h.issue(t, "t1", command.Request{Name: "reboot", Params: json.RawMessage(`{"delay":"5s"}`), Actor: "ops"})
	if s := h.state(t, id); s != command.Queued {
		t.Fatalf("a command for a device that does not listen is %s", s)
	}
	onDisk := make(chan command.State, 1)
	letters := make(chan command.Letter, 1)
	stop := h.Listen("t1", func(l command.Letter) bool {
		onDisk <- h.state(t, l.ID)
		letters <- l
		return true
	})
	defer stop()
	if s := <-onDisk; s != command.Sent {
		t.Errorf("while it is handed over it is %s on disk", s)
	}
	l := <-letters
	var read struct {
		ID, Name, Delivery string
		Params             json.RawMessage
	}
	if err := json.Unmarshal(l.Message, &read); err != nil || read.ID != id || read.Name != "reboot" || read.Delivery != "at_least_once" || string(read.Params) != `{"delay":"5s"}` {
		t.Errorf("the device reads %s (%v)", l.Message, err)
	}
	l.Received()
	h.becomes(t, id, command.Received)
	if err := h.Reply(t.Context(), "t2", id, []byte(`{"state":"done"}`)); !errors.Is(err, command.ErrUnknown) && !errors.Is(err, command.ErrEnded) {
		t.Errorf("another device's answer: %v", err)
	}
	for range 2 { // the same answer may come twice
		if err := h.Reply(t.Context(), "t1", id, []byte(`{"state":"done","result":{"uptime":1}}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.Reply(t.Context(), "t1", id, []byte(`{"state":"failed"}`)); !errors.Is(err, command.ErrEnded) {
		t.Errorf("another answer: %v", err)
	}
	c, err := h.Wait(t.Context(), id)
	if err != nil || c.State != command.Done || string(c.Result) != `{"uptime":1}` || c.Attempts != 1 || c.Received.IsZero() || c.Ended.IsZero() || c.Actor != "ops" {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestDeliveryIsAsDeclared(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	first := h.listen("t1")
	again := h.issue(t, "t1", command.Request{Name: "sync"})
	once := h.issue(t, "t1", command.Request{Name: "open-gate", Once: true})
	if a, b := first.next(t).ID, first.next(t).ID; a != again || b != once {
		t.Fatalf("handed %s, %s", a, b)
	}
	first.stop()
	second := h.listen("t1")
	if got := second.next(t); got.ID != again {
		t.Errorf("%s was handed again", got.ID)
	}
	later := h.issue(t, "t1", command.Request{Name: "sync"})
	if got := second.next(t).ID; got != later {
		t.Errorf("%s came instead of the next command", got)
	}
	second.stop()
	// A door that could not take it has certainly not sent it.
	refusals := make(chan string, 8)
	stop := h.Listen("t2", func(l command.Letter) bool { refusals <- l.ID; return false })
	untaken := h.issue(t, "t2", command.Request{Name: "open-gate", Once: true})
	<-refusals
	h.becomes(t, untaken, command.Queued)
	stop()
	if got := h.listen("t2").next(t); got.ID != untaken {
		t.Errorf("%s was handed", got.ID)
	}
}

// A listener that takes nothing any more keeps a command from another until it
// is gone, and no longer.
func TestWhatAListenerDidNotTakeGoesToTheOther(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	t.Cleanup(h.end)
	other := h.listen("t1")
	refused := make(chan string, 1)
	stop := h.Listen("t1", func(l command.Letter) bool { refused <- l.ID; return false })
	id := h.issue(t, "t1", command.Request{Name: "open-gate", Once: true})
	if got := <-refused; got != id {
		t.Fatalf("%s, want %s", got, id)
	}
	h.becomes(t, id, command.Queued)
	stop()
	if got := other.next(t); got.ID != id {
		t.Errorf("%s, want %s", got.ID, id)
	}
}

func TestARestartForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, command.DefaultConfig())
	box := h.listen("t1")
	sent := h.issue(t, "t1", command.Request{Name: "sync"})
	once := h.issue(t, "t1", command.Request{Name: "open-gate", Once: true})
	box.next(t)
	box.next(t)
	queued := h.issue(t, "t2", command.Request{Name: "sync"})
	h.end()

	h = open(t, dir, command.DefaultConfig())
	if got := h.listen("t1").next(t); got.ID != sent {
		t.Errorf("%s was handed again", got.ID)
	}
	if got := h.listen("t2").next(t); got.ID != queued {
		t.Errorf("%s was handed", got.ID)
	}
	if s := h.state(t, once); s != command.Sent {
		t.Errorf("the one that is delivered at most once is %s", s)
	}
	if err := h.Reply(t.Context(), "t1", once, []byte(`{}`)); err != nil {
		t.Error("its answer is not taken:", err)
	}
}

func TestADeviceIsNotFlooded(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	box := h.listen("t1")
	for range 20 {
		h.issue(t, "t1", command.Request{Name: "sync"})
	}
	for range 8 {
		box.next(t).Received()
	}
	for range 8 {
		if err := h.Reply(t.Context(), "t1", box.next(t).ID, []byte(`{}`)); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		box.next(t)
	}
}

func TestExpiryAndAnswersThatComeLate(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	id := h.issue(t, "t1", command.Request{Name: "sync", TTL: command.MinTTL})
	c := h.becomes(t, id, command.Expired)
	if c.Reason != command.TooLate {
		t.Errorf("reason %q", c.Reason)
	}
	if err := h.Reply(t.Context(), "t1", id, []byte(`{"result":7}`)); err != nil {
		t.Fatal(err)
	}
	if c := h.becomes(t, id, command.Expired); string(c.Result) != "7" {
		t.Errorf("the late answer is %q", c.Result)
	}
	select {
	case l := <-h.listen("t1").letters:
		t.Errorf("%s was handed after its expiry", l.ID)
	case <-time.After(50 * time.Millisecond):
	}
}

func TestWhatCannotBeAsked(t *testing.T) {
	cfg := command.DefaultConfig()
	cfg.MaxOpenPerDevice = 2
	h := open(t, t.TempDir(), cfg)
	for name, c := range map[string]struct {
		device string
		r      command.Request
		want   error
	}{
		"unknown device": {"nobody", command.Request{Name: "sync"}, command.ErrUnknown},
		"no name":        {"t1", command.Request{}, command.ErrInvalid},
		"bad name":       {"t1", command.Request{Name: "a b"}, command.ErrInvalid},
		"short":          {"t1", command.Request{Name: "sync", TTL: time.Millisecond}, command.ErrInvalid},
		"no JSON":        {"t1", command.Request{Name: "sync", Params: json.RawMessage("{")}, command.ErrInvalid},
		"too large":      {"t1", command.Request{Name: "sync", Params: make(json.RawMessage, command.MaxParams+1)}, command.ErrInvalid},
	} {
		if _, err := h.Issue(t.Context(), c.device, c.r); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	first := h.issue(t, "t1", command.Request{Name: "sync"})
	h.issue(t, "t1", command.Request{Name: "sync"})
	if _, err := h.Issue(t.Context(), "t1", command.Request{Name: "sync"}); !errors.Is(err, command.ErrFull) {
		t.Errorf("a third command: %v", err)
	}
	if err := h.Cancel(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if c := h.becomes(t, first, command.Failed); c.Reason != command.Canceled {
		t.Errorf("reason %q", c.Reason)
	}
	if err := h.Cancel(t.Context(), first); !errors.Is(err, command.ErrEnded) {
		t.Errorf("cancelled twice: %v", err)
	}
	h.issue(t, "t1", command.Request{Name: "sync"})
	h.refuse = errors.New("the model has no such command")
	if _, err := h.Issue(t.Context(), "t2", command.Request{Name: "sync"}); !errors.Is(err, h.refuse) {
		t.Errorf("what the model does not allow: %v", err)
	}
}

// fleet answers commands of devices at once, as good says.
func (h *house) fleet(t *testing.T, devices []string, good func(device string) bool) {
	for _, d := range devices {
		t.Cleanup(h.Listen(d, func(l command.Letter) bool {
			go func() {
				text := `{"state":"done"}`
				if !good(d) {
					text = `{"error":"out of memory"}`
				}
				// The test may have ended meanwhile.
				_ = h.Reply(context.Background(), d, l.ID, []byte(text))
			}()
			return true
		}))
	}
}

func names(n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("t%d", i)
	}
	return all
}

func (h *house) rollout(t *testing.T, id string, want command.Progress) (command.Rollout, map[command.State]int) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		r, err := h.Rollout(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		n, err := h.Counts(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		if r.State == want && (!r.Ended.IsZero() || want == command.Paused) {
			return r, n
		}
		if time.Since(begin) > patience {
			t.Fatalf("rollout is %s: %v", r.State, n)
		}
	}
}

func TestARolloutGoesToItsCanaryFirst(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	devices := names(200)
	var mu sync.Mutex
	var order []string
	h.fleet(t, devices, func(d string) bool {
		mu.Lock()
		defer mu.Unlock()
		order = append(order, d)
		return true
	})
	r, err := h.Roll(t.Context(), devices, command.Request{Name: "update"}, command.Plan{Canary: 5, Region: "22"})
	if err != nil {
		t.Fatal(err)
	}
	if _, n := h.rollout(t, r.ID, command.Complete); n[command.Done] != 200 {
		t.Errorf("states: %v", n)
	}
	slices.Sort(order[:5])
	if !slices.Equal(order[:5], devices[:5]) {
		t.Errorf("the first were %v", order[:5])
	}
}

func TestARolloutStopsWhenTooManyFail(t *testing.T) {
	h := open(t, t.TempDir(), command.DefaultConfig())
	devices := names(100)
	h.fleet(t, devices, func(d string) bool { return d != "t1" && d != "t2" })
	r, err := h.Roll(t.Context(), devices, command.Request{Name: "update"}, command.Plan{Canary: 5, Failures: 1})
	if err != nil {
		t.Fatal(err)
	}
	r, n := h.rollout(t, r.ID, command.Stopped)
	if r.Reason != command.TooManyFailures || n[command.Done] != 3 || n[command.Failed] != 97 {
		t.Errorf("%+v, %v", r, n)
	}
	all, err := h.List(t.Context(), command.Filter{Rollout: r.ID, State: command.Failed}, "", 200)
	if err != nil || len(all) != 97 {
		t.Fatalf("%d, %v", len(all), err)
	}
	why := map[command.Reason]int{}
	for _, c := range all {
		why[c.Reason]++
	}
	if why[command.ByDevice] != 2 || why[command.RolloutStopped] != 95 {
		t.Errorf("reasons: %v", why)
	}
}

func TestARolloutKeepsItsRateAndLivesThroughARestart(t *testing.T) {
	dir := t.TempDir()
	h := open(t, dir, command.DefaultConfig())
	devices := names(40)
	h.fleet(t, devices[:10], func(string) bool { return true })
	r, err := h.Roll(t.Context(), devices, command.Request{Name: "update"}, command.Plan{Rate: 20})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Pause(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	_, n := h.rollout(t, r.ID, command.Paused)
	if n[command.Done]+n[command.Sent] == 40 {
		t.Error("all were released at once")
	}
	h.end()
	h = open(t, dir, command.DefaultConfig())
	h.fleet(t, devices, func(string) bool { return true })
	if err := h.Resume(t.Context(), r.ID); err != nil {
		t.Fatal(err)
	}
	if r, n := h.rollout(t, r.ID, command.Complete); n[command.Done] != 40 {
		t.Errorf("%+v, %v", r, n)
	}
	if err := h.Stop(t.Context(), r.ID); !errors.Is(err, command.ErrEnded) {
		t.Errorf("stopped after its end: %v", err)
	}
	late, err := h.Roll(t.Context(), devices, command.Request{Name: "update"}, command.Plan{Rate: 0.01})
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Stop(t.Context(), late.ID); err != nil {
		t.Fatal(err)
	}
	if r, n := h.rollout(t, late.ID, command.Stopped); r.Reason != command.Canceled || n[command.Failed]+n[command.Done] != 40 {
		t.Errorf("%+v, %v", r, n)
	}
}

// BenchmarkCommands takes commands from their issue to their answer, durable at
// every step: 1,000 devices listen, and each answers at once.
func BenchmarkCommands(b *testing.B) {
	h := open(b, b.TempDir(), command.DefaultConfig())
	for _, d := range names(1000) {
		b.Cleanup(h.Listen(d, func(l command.Letter) bool {
			l.Received()
			go func() { _ = h.Reply(context.Background(), d, l.ID, []byte(`{}`)) }()
			return true
		}))
	}
	took := make([]time.Duration, b.N)
	gate := make(chan struct{}, 200)
	var wg sync.WaitGroup
	b.ResetTimer()
	for i := range b.N {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			begin := time.Now()
			c, err := h.Issue(b.Context(), fmt.Sprintf("t%d", i%1000), command.Request{Name: "sync"})
			if err != nil {
				b.Error(err)
				return
			}
			if c, err = h.Wait(b.Context(), c.ID); err != nil || c.State != command.Done {
				b.Errorf("%+v, %v", c, err)
			}
			took[i] = time.Since(begin)
		})
	}
	wg.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "commands/s")
	b.ReportMetric(float64(took[b.N*99/100].Milliseconds()), "p99-ms")
}
