package whole

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/facility/agent"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

// node is an agent's program that runs work, on a machine of its own as far as
// the hub knows.
type node struct {
	*program
	t            *testing.T
	binary, name string
	file         string // its config
	data         string
}

// newNode registers and starts one; compute is that of its file.
func (s *site) newNode(t *testing.T, binary, name, compute string) *node {
	t.Helper()
	secret := s.AddDevice(t, name, "node")
	dir := t.TempDir()
	n := &node{t: t, binary: binary, name: name, file: filepath.Join(dir, "agent.yaml"), data: filepath.Join(dir, "data")}
	text := fmt.Sprintf("device: %s\ndata: %s\nstatus_interval: 1s\nuplink: {url: %q, secret: %s}\nsources: {gpu: {enabled: false}, host: {interval: 1s}}\n%s",
		name, n.data, "mqtt://"+s.MQTT, secret, compute)
	if err := os.WriteFile(n.file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n.run()
	return n
}

func (n *node) run() {
	n.t.Helper()
	n.program = startProgram(n.t, n.binary, "run", "--config", n.file)
}

// kill ends the agent as a fault does, and nothing that it started.
func (n *node) kill() {
	n.t.Helper()
	if err := n.cmd.Process.Kill(); err != nil {
		n.t.Fatal(err)
	}
	<-n.ended
}

// allowing is a compute section that lets work do what a shell can.
func allowing(t *testing.T) string {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("compute: {enabled: true, allow: [/bin/sh], user: %s}\n", me.Username)
}

// remote are what an engine needs, over the API of a hub.
func (s *site) remote() agent.Deps {
	return agent.Deps{
		Ask: s.askDevice,
		Reported: func(ctx context.Context, device string) (json.RawMessage, error) {
			var twin told
			err := s.Do(ctx, "GET", "/api/v1/devices/"+device+"/twin", nil, &twin)
			return twin.Reported.Config, err
		},
		Online: func(string) bool { return true },
		Nodes:  func(context.Context, string) ([]string, error) { return []string{"node-1"}, nil },
	}
}

func (s *site) askDevice(ctx context.Context, device, name string, params json.RawMessage) (json.RawMessage, error) {
	var c struct {
		ID, State string
		Result    json.RawMessage
	}
	err := s.Do(ctx, "POST", "/api/v1/devices/"+device+"/commands", map[string]any{"name": name, "params": params}, &c)
	for err == nil && c.State != "done" {
		if c.State == "failed" || c.State == "expired" {
			return nil, fmt.Errorf("%s: %s", c.State, c.Result)
		}
		if err = ctx.Err(); err == nil {
			time.Sleep(5 * time.Millisecond)
			err = s.Do(ctx, "GET", "/api/v1/commands/"+c.ID, nil, &c)
		}
	}
	return c.Result, err
}

// fleet is an engine's, and hears what devices report as a hub's does.
func (s *site) fleet(t *testing.T) facility.Engine {
	f := agent.New(s.remote())
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for last := ""; ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
			config, err := s.remote().Reported(ctx, "node-1")
			if err == nil && string(config) != last {
				last = string(config)
				f.Heard("node-1", config)
			}
		}
	}()
	t.Cleanup(func() { stop(); <-ended })
	return f.Engine("room-1")
}

// TestAgentsKeepWhatEnginesPromise holds an agent's program behind a hub
// against the suite of all engines.
func TestAgentsKeepWhatEnginesPromise(t *testing.T) {
	s := newSite(t)
	s.newNode(t, buildAgent(t), "node-1", allowing(t))
	scheduletest.Run(t, func(t *testing.T) scheduletest.Fixture {
		shell := scheduletest.Shell{Dir: t.TempDir()}
		member := scheduletest.Anywhere("room-1", "room-1-cpu")
		member.Node = "node-1"
		return scheduletest.Fixture{
			Engine: s.fleet(t), Reopen: func() facility.Engine { return s.fleet(t) },
			Payload: func(do scheduletest.Script) json.RawMessage { return command(shell.Script(do)) },
			Began:   shell.Began, Alive: shell.Alive, Release: shell.Release, Member: member, Limits: true,
		}
	})
}

func command(script string) json.RawMessage {
	text, err := json.Marshal(map[string]any{"command": []string{"/bin/sh", "-c", script}})
	if err != nil {
		panic(err) // texts
	}
	return text
}

type object = map[string]any

// declare makes a facility whose nodes are the devices.
func (s *site) declare(t *testing.T, nodes ...string) {
	t.Helper()
	all := make([]object, len(nodes))
	for i, n := range nodes {
		all[i] = object{"id": n, "cpu_milli": 4000, "memory_mib": 4096}
	}
	s.put(t, "facilities/room-1", object{"names": object{"zh": "边缘机房", "en": "Edge room"}, "region": "222400"})
	s.put(t, "pools/room-1-nodes", object{"facility": "room-1", "engine": "agent", "nodes": all})
}

func (s *site) submit(t *testing.T, name string, payload json.RawMessage, members int) string {
	t.Helper()
	return s.post(t, object{"name": name, "payload": payload, "tasks": []object{{"name": "main", "count": members, "cpu_milli": 1500, "memory_mib": 64, "duration": "1h"}}})
}

// post submits a workload.
func (s *site) post(t *testing.T, workload object) string {
	t.Helper()
	var w struct{ ID string }
	if err := s.Do(t.Context(), "POST", "/api/v1/workloads", workload, &w); err != nil {
		t.Fatal(err)
	}
	return w.ID
}

// put declares things by their paths.
func (s *site) put(t *testing.T, path string, what object) {
	t.Helper()
	if err := s.Do(t.Context(), "PUT", "/api/v1/"+path, what, nil); err != nil {
		t.Fatal(err)
	}
}

// standing awaits a state of a facility.
func (s *site) standing(t *testing.T, facility, want string) {
	t.Helper()
	eventually(t, patience, facility+" is "+want, func() bool {
		var f struct{ State string }
		return s.Do(t.Context(), "GET", "/api/v1/facilities/"+facility, nil, &f) == nil && f.State == want
	})
}

// becomes awaits a state of a workload, and returns the workload as the API
// shows it.
func (s *site) becomes(t *testing.T, id, want string) (text string) {
	t.Helper()
	eventually(t, patience, "workload is "+want, func() bool {
		var w json.RawMessage
		var state struct{ State string }
		if s.Do(t.Context(), "GET", "/api/v1/workloads/"+url.PathEscape(id), nil, &w) != nil || json.Unmarshal(w, &state) != nil {
			return false
		}
		text = string(w)
		if slices.Contains([]string{"succeeded", "failed", "cancelled"}, state.State) && state.State != want {
			t.Fatalf("it is %s: %s", state.State, text)
		}
		return state.State == want
	})
	return text
}

// TestWorkRunsOnceAcrossEveryFault submits work to a hub, kills the hub and the
// agent in turn while it runs, and counts how often it began.
func TestWorkRunsOnceAcrossEveryFault(t *testing.T) {
	s := newSite(t)
	binary := buildAgent(t)
	one, two := s.newNode(t, binary, "node-1", allowing(t)), s.newNode(t, binary, "node-2", allowing(t))
	s.declare(t, "node-1", "node-2")
	shell := scheduletest.Shell{Dir: t.TempDir()}
	id := s.submit(t, "survivor", command(shell.Script(scheduletest.Script{Mark: "survivor", Hold: true, Exit: 3})), 4)
	eventually(t, patience, "four members run", func() bool { return shell.Began("survivor") == 4 })
	s.becomes(t, id, "running")
	s.Kill()
	one.kill()
	s.start()
	s.becomes(t, id, "running")
	one.run()
	two.kill()
	two.run()
	s.Kill()
	s.start()
	s.becomes(t, id, "running")
	one.kill() // and its members end while it is away
	shell.Release("survivor")
	eventually(t, patience, "all members ended", func() bool { return shell.Alive("survivor") == 0 })
	one.run()
	if text := s.becomes(t, id, "failed"); !strings.Contains(text, "3") {
		t.Error(text)
	}
	if n := shell.Began("survivor"); n != 4 {
		t.Errorf("%d members began, not 4", n)
	}
	for _, n := range []string{"node-1", "node-2"} {
		config, err := s.remote().Reported(t.Context(), n)
		if err != nil || !strings.Contains(string(config), "exit code 3") {
			t.Errorf("%s reports %s, %v", n, config, err)
		}
	}
	held := s.submit(t, "held", command(shell.Script(scheduletest.Script{Mark: "held", Hold: true})), 1)
	eventually(t, patience, "it runs", func() bool { return shell.Began("held") == 1 })
	if err := s.Do(t.Context(), "DELETE", "/api/v1/workloads/"+held, nil, nil); err != nil {
		t.Fatal(err)
	}
	s.becomes(t, held, "cancelled")
	eventually(t, patience, "nothing is left of what was cancelled", func() bool { return shell.Alive("held") == 0 })
}

// TestAHubCannotRunWhatTheFileOfAnAgentDoesNotAllow asks as whoever has the hub
// could: by commands, and by a configuration.
func TestAHubCannotRunWhatTheFileOfAnAgentDoesNotAllow(t *testing.T) {
	s := newSite(t)
	binary := buildAgent(t)
	s.newNode(t, binary, "node-1", "")
	mark := filepath.Join(t.TempDir(), "mark")
	e := s.fleet(t)
	member := scheduletest.Anywhere("room-1", "room-1-cpu")
	member.Task = "main"
	start := func(token uint64, want string) {
		t.Helper()
		member.Node = "node-1"
		err := e.Start(t.Context(), facility.Work{
			Workload: "w-1", Lease: "l-1", Token: token, Payload: command("touch " + mark), Members: []facility.Member{member},
		})
		if !errors.Is(err, facility.ErrRefused) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%v, want it refused: %s", err, want)
		}
	}
	start(1, "compute.enabled is false")
	if err := s.Do(t.Context(), "PUT", "/api/v1/devices/node-1/twin/wanted", object{"compute": object{"enabled": true, "allow": []string{"/"}, "user": "root"}}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the agent refuses the configuration", func() bool {
		var twin told
		return s.Do(t.Context(), "GET", "/api/v1/devices/node-1/twin", nil, &twin) == nil && twin.Standing == "refused" &&
			strings.Contains(fmt.Sprint(twin.Reported.Errors), "the hub cannot change it")
	})
	start(2, "compute.enabled is false")
	if _, err := os.Stat(mark); err == nil {
		t.Error("it ran")
	}
}
