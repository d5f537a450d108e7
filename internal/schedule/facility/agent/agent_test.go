package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
)

// room is devices that answer by themselves, and say at once what they have.
type room struct {
	*Fleet
	mu      sync.Mutex
	refuses string // node
	dark    bool
	asked   []string
	began   []string // nodes
	has     map[string][]status
}

func newRoom(t *testing.T) *room {
	r := &room{has: map[string][]status{}}
	r.Fleet = New(Deps{
		Ask:      r.ask,
		Reported: func(_ context.Context, device string) (json.RawMessage, error) { return r.says(device), nil },
		Online:   func(string) bool { r.mu.Lock(); defer r.mu.Unlock(); return !r.dark },
		Nodes:    func(context.Context, string) ([]string, error) { return []string{"n1", "n2"}, nil },
	})
	return r
}

func (r *room) ask(_ context.Context, device, name string, params json.RawMessage) (json.RawMessage, error) {
	var o order
	if err := json.Unmarshal(params, &o); err != nil {
		return nil, err
	}
	r.mu.Lock()
	r.asked = append(r.asked, name+" "+device)
	if name == "work.start" && device == r.refuses {
		r.mu.Unlock()
		return json.RawMessage(`{"outcome": "refused", "message": "no room"}`), nil
	}
	state := facility.Running
	switch {
	case name == "work.stop":
		state = facility.Stopped
	case o.Hold:
		state = facility.Waiting
	default:
		r.began = append(r.began, device)
	}
	r.mu.Unlock()
	r.tell(device, status{which: o.which, State: state, Members: max(len(o.Members), 1), Total: max(o.Total, 1)})
	return json.RawMessage(`{"outcome": "taken"}`), nil
}

func (r *room) tell(device string, s ...status) {
	r.mu.Lock()
	r.has[device] = s
	r.mu.Unlock()
	r.Heard(device, r.says(device))
}

func (r *room) says(device string) json.RawMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, err := json.Marshal(map[string]any{"agent": map[string]any{"work": append([]status{}, r.has[device]...)}})
	if err != nil {
		panic(err)
	}
	return text
}

func work(payload string, nodes ...string) facility.Work {
	w := facility.Work{Workload: "w", Lease: "l", Token: 7, Payload: json.RawMessage(payload)}
	for i, n := range nodes {
		w.Members = append(w.Members, facility.Member{Assignment: schedule.Assignment{Task: "main", Index: i, Pool: "p", Node: n, Devices: []uint8{1, 3}}})
	}
	return w
}

func TestWhatOneNodeRefusesNoNodeKeeps(t *testing.T) {
	r := newRoom(t)
	r.refuses = "n2"
	e := r.Engine("f")
	if err := e.Start(t.Context(), work(`{"command": ["/bin/true"]}`, "n1", "n1", "n2")); !errors.Is(err, facility.ErrRefused) {
		t.Fatal(err)
	}
	s, found, _ := r.find("n1", 7)
	if found && s.State != facility.Stopped {
		t.Errorf("n1 has it still: %+v", s)
	}
	if fmt.Sprint(r.asked[len(r.asked)-1][:9]) != "work.stop" {
		t.Errorf("asked: %v", r.asked)
	}
	if len(r.began) > 0 {
		t.Errorf("%v began although another node refused", r.began)
	}
}

func TestNodesBeginWhenAllHaveTheirs(t *testing.T) {
	r := newRoom(t)
	e := r.Engine("f")
	w := work(`{"command": ["/bin/true"]}`, "n1", "n2")
	w.Hold = true
	for range 2 {
		if err := e.Start(t.Context(), w); err != nil || len(r.began) > 0 {
			t.Fatalf("%v, %v began, want none", err, r.began)
		}
	}
	w.Hold = false
	if err := e.Start(t.Context(), w); err != nil || len(r.began) != 2 {
		t.Errorf("%v, %v began, want both", err, r.began)
	}
	if len(r.asked) != 4 {
		t.Errorf("asked %v, want each node twice", r.asked)
	}
	alone := work(`{"command": ["/bin/true"]}`, "n1")
	alone.Token = 8
	if err := e.Start(t.Context(), alone); err != nil || len(r.asked) != 5 {
		t.Errorf("%v, asked %v, want one node once", err, r.asked)
	}
}

func TestWorkThatNoAgentCanRunIsRefused(t *testing.T) {
	e := newRoom(t).Engine("f")
	for name, w := range map[string]facility.Work{
		"no payload":        work(``, "n1"),
		"no command":        work(`{"tasks": {"other": {"command": ["/bin/true"]}}}`, "n1"),
		"a pool of classes": work(`{"command": ["/bin/true"]}`, ""),
	} {
		if err := e.Start(t.Context(), w); !errors.Is(err, facility.ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestALeaseIsOverWhenAllOfItsNodesSaySo(t *testing.T) {
	is := func(state facility.Progress, members, code int) []status {
		return []status{{which: which{"w", "l", 7}, State: state, Members: members, Total: 3, ExitCode: code, Message: string(state)}}
	}
	for want, nodes := range map[facility.Progress]map[string][]status{
		facility.Waiting:   {"n1": is(facility.Waiting, 2, 0)},
		facility.Running:   {"n1": is(facility.Failed, 2, 4)}, // n2 has not spoken
		facility.Succeeded: {"n1": is(facility.Succeeded, 2, 0), "n2": is(facility.Succeeded, 1, 0)},
		facility.Stopped:   {"n1": is(facility.Stopped, 2, 143), "n2": is(facility.Succeeded, 1, 0)},
		facility.Failed:    {"n1": is(facility.Stopped, 2, 143), "n2": is(facility.Failed, 1, 3)},
	} {
		if r := reports(nodes)[7]; r.State != want || r.State == facility.Failed && (r.ExitCode != 3 || r.Message != "failed") {
			t.Errorf("%v: %+v, want %s", nodes, r, want)
		}
	}
}

// TestWatchSaysWhatIsOnDiskFirst and ends when no node can be seen.
func TestWatchSaysWhatIsOnDiskFirst(t *testing.T) {
	r := newRoom(t)
	r.has["n1"] = []status{{which: which{"w", "l", 7}, State: facility.Running, Members: 1, Total: 1}}
	seen := make(chan facility.Report, 10)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Engine("f").Watch(ctx, func(x facility.Report) { seen <- x }) }()
	if x := <-seen; x.Token != 7 || x.State != facility.Running {
		t.Errorf("%+v", x)
	}
	if x := <-seen; !x.Complete {
		t.Errorf("%+v", x)
	}
	r.tell("n1", status{which: which{"w", "l", 7}, State: facility.Succeeded, Members: 1, Total: 1})
	if x := <-seen; x.State != facility.Succeeded {
		t.Errorf("%+v", x)
	}
	stop()
	<-ended
	r.mu.Lock()
	r.dark = true
	r.mu.Unlock()
	if err := r.Engine("f").Watch(t.Context(), func(facility.Report) {}); err == nil {
		t.Error("a facility of which no node is online is seen")
	}
}
