package slurm

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/facility"
	"github.com/songhua-io/hub/internal/schedule/scheduletest"
)

func payload(t *testing.T, p Payload) json.RawMessage {
	t.Helper()
	doc, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

// cluster is a real Slurm.
type cluster struct{ *scheduletest.Cluster }

// engine is one of a facility of its own, on a cluster that many share.
func (c *cluster) engine(t *testing.T, id string) *Engine {
	t.Helper()
	e, err := Open(Config{Facility: id, URL: c.URL, Directory: c.Dir, Poll: 100 * time.Millisecond, State: filepath.Join(c.Dir, id+".fences")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

func TestSlurm(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts Slurm")
	}
	c := &cluster{scheduletest.NewCluster(t)}
	n := 0
	scheduletest.Run(t, func(t *testing.T) scheduletest.Fixture {
		n++
		id := fmt.Sprintf("f%d", n)
		shell := scheduletest.Shell{Dir: filepath.Join(c.Dir, id)}
		if err := errors.Join(os.Mkdir(shell.Dir, 0o755), os.Chmod(shell.Dir, 0o777)); err != nil {
			t.Fatal(err)
		}
		return scheduletest.Fixture{
			Engine: c.engine(t, id), Reopen: func() facility.Engine { return c.engine(t, id) },
			Began: shell.Began, Alive: shell.Alive, Release: shell.Release,
			Member: scheduletest.Anywhere(id, "main"),
			Payload: func(s scheduletest.Script) json.RawMessage {
				return payload(t, Payload{Script: "#!/bin/sh\n" + shell.Script(s)})
			},
		}
	})
	t.Run("what will never work is refused", func(t *testing.T) { refuses(t, c) })
	t.Run("a submission that was broken off is finished", func(t *testing.T) { brokenOff(t, c) })
	t.Run("members know which they are", func(t *testing.T) { environment(t, c) })
}

func work(token uint64, p json.RawMessage, members ...facility.Member) facility.Work {
	return facility.Work{Workload: fmt.Sprintf("w-%d", token), Lease: fmt.Sprintf("l-%d", token), Token: token, Payload: p, Members: members}
}

func refuses(t *testing.T, c *cluster) {
	e := c.engine(t, "refuses")
	m := scheduletest.Anywhere("refuses", "main")
	large := m
	large.Use[schedule.CPUMilli] = 1_000_000
	for name, w := range map[string]facility.Work{
		"partition": work(1, payload(t, Payload{Script: "#!/bin/sh\n", Partition: "nope"}), m),
		"too large": work(2, payload(t, Payload{Script: "#!/bin/sh\n"}), m, large),
		"no script": work(3, payload(t, Payload{Script: "echo"}), m),
		"a key":     work(4, json.RawMessage(`{"script":"#!/bin/sh","nodes":3}`), m),
	} {
		if err := e.Start(t.Context(), w); !errors.Is(err, facility.ErrRefused) {
			t.Errorf("%s: %v, want it refused", name, err)
		}
	}
	c.Until("the end of what was refused", func() bool {
		by, err := e.leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range by {
			for _, jobs := range f.jobs {
				if slices.ContainsFunc(jobs, func(j job) bool { return !j.over() }) {
					return false
				}
			}
		}
		return true
	})
}

// brokenOff submits as a hub that dies before it knows of it: once more than it
// should, and nothing is let go.
func brokenOff(t *testing.T, c *cluster) {
	e := c.engine(t, "broken")
	mark := filepath.Join(c.Dir, "broken")
	w := work(7, payload(t, Payload{Script: "#!/bin/sh\necho run >> " + mark + "\n"}), scheduletest.Anywhere("broken", "main"))
	if _, err := e.fence.Begin(w); err != nil {
		t.Fatal(err)
	}
	all, err := e.wanted(w)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := e.rest.submit(t.Context(), all[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	var f *found
	c.Until("the end of both jobs", func() bool {
		by, err := e.leases(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		f = by[7]
		return f.jobs[0][0].over() && f.jobs[0][1].over()
	})
	ran, err := os.ReadFile(mark)
	if err != nil || string(ran) != "run\n" {
		t.Errorf("%q, %v, want one run", ran, err)
	}
	if r, there := f.report(map[int]job{}); r.State != facility.Succeeded || !there {
		t.Errorf("%+v, want it succeeded", r)
	}
}

func environment(t *testing.T, c *cluster) {
	e := c.engine(t, "env")
	out := filepath.Join(c.Dir, "env")
	m := scheduletest.Anywhere("env", "main")
	m.Task, m.Index = "train", 3
	w := work(9, payload(t, Payload{Script: "#!/bin/sh\necho $SONGHUA_WORKLOAD $SONGHUA_TASK $SONGHUA_INDEX $MINE > " + out + "\n", Env: map[string]string{"MINE": "mine"}}), m)
	if err := e.Start(t.Context(), w); err != nil {
		t.Fatal(err)
	}
	c.Until("what it says", func() bool {
		said, _ := os.ReadFile(out)
		return string(said) == "w-9 train 3 mine\n"
	})
	// A step that cannot tell Slurm of its end any more would outlive the test.
	if err := e.Stop(t.Context(), w); err != nil {
		t.Error(err)
	}
}

// TestVersionsAndTokens speaks to a slurmrestd that is none: which versions it
// offers, and what is said to it over HTTP.
func TestVersionsAndTokens(t *testing.T) {
	offered := `{"paths":{"/slurm/v0.0.36/job/submit":{},"/slurm/v0.0.99/job/submit":{}}}`
	var user, token string
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, token = r.Header.Get("X-SLURM-USER-NAME"), r.Header.Get("X-SLURM-USER-TOKEN")
		if r.URL.Path == "/openapi/v3" {
			_, _ = w.Write([]byte(offered))
			return
		}
		_, _ = w.Write([]byte(`{"errors":[],"jobs":[]}`))
	}))
	defer s.Close()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := newRest(Config{URL: s.URL, User: "hub", TokenFile: file})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.jobs(t.Context()); err == nil || !strings.Contains(err.Error(), "v0.0.36 v0.0.99") {
		t.Errorf("%v, want an error that says what is offered", err)
	}
	offered = strings.Replace(offered, "v0.0.36", "v0.0.38", 1)
	if err := os.WriteFile(file, []byte("second\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.jobs(t.Context()); err != nil || user != "hub" || token != "second" {
		t.Errorf("%v, user %q, token %q, want hub and second", err, user, token)
	}
}
