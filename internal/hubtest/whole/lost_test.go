package whole

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

// soon is how long a facility may not be seen here.
const soon = "schedule:\n  lost_after: 5s\n"

// TestWhatALostRoomHadRunsElsewhereOnce kills the only agent of a room, whose
// work goes on there unseen, and brings it back.
func TestWhatALostRoomHadRunsElsewhereOnce(t *testing.T) {
	s := newSite(t, soon)
	binary := buildAgent(t)
	nodes := map[string]*node{}
	for i, room := range []string{"room-1", "room-2"} {
		name := fmt.Sprint("node-", i+1)
		nodes[room] = s.newNode(t, binary, name, allowing(t))
		s.put(t, "facilities/"+room, object{"names": object{"zh": "机房", "en": "Room"}, "region": "222400"})
		s.put(t, "pools/"+room+"-nodes", object{"facility": room, "engine": "agent", "nodes": []object{{"id": name, "cpu_milli": 4000, "memory_mib": 4096}}})
	}
	shell := scheduletest.Shell{Dir: t.TempDir()}
	id := s.submit(t, "moves", command(shell.Script(scheduletest.Script{Mark: "moves", Hold: true})), 1)
	s.becomes(t, id, "running")
	eventually(t, patience, "it runs", func() bool { return shell.Began("moves") == 1 })
	first := s.lease(t, id)
	nodes[first.Facility].kill()
	s.standing(t, first.Facility, "lost")
	eventually(t, patience, "it runs elsewhere", func() bool { return shell.Began("moves") == 2 })
	s.becomes(t, id, "running")
	second := s.lease(t, id)
	if second.Facility == first.Facility || second.Token <= first.Token {
		t.Errorf("it runs in %s under %d, after %s under %d", second.Facility, second.Token, first.Facility, first.Token)
	}
	if n := shell.Alive("moves"); n != 2 {
		t.Errorf("%d members run, want the lost one, which nobody could stop, and the other", n)
	}
	nodes[first.Facility].run()
	s.standing(t, first.Facility, "ready")
	eventually(t, patience, "the end of what was lost", func() bool { return shell.Alive("moves") == 1 })
	shell.Release("moves")
	s.becomes(t, id, "succeeded")
	if n := shell.Began("moves"); n != 2 {
		t.Errorf("it began %d times, want once in each room", n)
	}
}

type lease struct {
	ID, Facility, Output string
	Token                uint64
}

// lease is the one under which a workload runs, or ran last.
func (s *site) lease(t *testing.T, id string) lease {
	t.Helper()
	var w struct {
		Lease  lease
		Leases []lease
	}
	if err := s.Do(t.Context(), "GET", "/api/v1/workloads/"+id, nil, &w); err != nil {
		t.Fatal(err)
	}
	if w.Lease.ID == "" && len(w.Leases) > 0 {
		return w.Leases[len(w.Leases)-1]
	}
	return w.Lease
}

// TestSlurmBehindTheHub runs work by a real Slurm, as its owner sees it over
// HTTP, and takes slurmrestd and slurmctld away while it runs.
func TestSlurmBehindTheHub(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts Slurm")
	}
	c := scheduletest.NewCluster(t)
	s := newSite(t, soon, fmt.Sprintf("  engines:\n    - {facility: centre, kind: slurm, url: %q, directory: %s, poll: 100ms}\n", c.URL, c.Dir))
	s.put(t, "facilities/centre", object{"names": object{"zh": "智算中心", "en": "Centre"}, "region": "220100"})
	s.put(t, "pools/centre-main", object{"facility": "centre", "engine": "slurm", "classes": []object{{"count": 1, "cpu_milli": 16000, "memory_mib": 4096}}})
	shell := scheduletest.Shell{Dir: filepath.Join(c.Dir, "marks")}
	if err := os.Mkdir(shell.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(shell.Dir, 0o777); err != nil { //nolint:gosec // jobs are another user's
		t.Fatal(err)
	}
	script := func(first string, do scheduletest.Script) json.RawMessage {
		text, err := json.Marshal(map[string]string{"script": "#!/bin/sh\n" + first + "\n" + shell.Script(do)})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}

	fails := s.submit(t, "fails", script("echo said by $SONGHUA_WORKLOAD", scheduletest.Script{Mark: "fails", Exit: 7}), 1)
	if text := s.becomes(t, fails, "failed"); !strings.Contains(text, `"exit_code"`) || !strings.Contains(text, `"7"`) {
		t.Errorf("the exit code has not come back: %s", text)
	}
	path := s.lease(t, fails).Output
	said, err := os.ReadFile(strings.Replace(path, "*", "0", 1))
	if err != nil || string(said) != "said by "+fails+"\n" {
		t.Errorf("output %q at %s, %v", said, path, err)
	}

	held := s.submit(t, "held", script("", scheduletest.Script{Mark: "held", Hold: true}), 2)
	eventually(t, patience, "it runs", func() bool { return shell.Began("held") == 2 })
	if err := s.Do(t.Context(), "DELETE", "/api/v1/workloads/"+held, nil, nil); err != nil {
		t.Fatal(err)
	}
	s.becomes(t, held, "cancelled")
	eventually(t, patience, "nothing is left of what was cancelled", func() bool { return shell.Alive("held") == 0 })

	stays := s.submit(t, "stays", script("", scheduletest.Script{Mark: "stays", Hold: true}), 1)
	s.becomes(t, stays, "running")
	was := s.lease(t, stays)
	for _, part := range []string{"slurmrestd", "slurmctld"} {
		c.Stop(part)
		s.standing(t, "centre", "lost")
		s.becomes(t, stays, "queued") // nobody else can take it
		if part == "slurmctld" {
			s.Kill() // and the hub is away, too
			s.start()
		}
		c.Start(part)
		s.standing(t, "centre", "ready")
		s.becomes(t, stays, "running")
		if is := s.lease(t, stays); is != was {
			t.Errorf("after %s was away it runs under %+v, want %+v", part, is, was)
		}
	}
	shell.Release("stays")
	s.becomes(t, stays, "succeeded")
	if n := shell.Began("stays"); n != 1 {
		t.Errorf("it began %d times, want once", n)
	}
}
