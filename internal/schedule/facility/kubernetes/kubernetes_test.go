package kubernetes

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

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

func engine(t *testing.T, c Config) *Engine {
	t.Helper()
	e, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	return e
}

// conform holds the engine of a cluster against the contract.
func conform(t *testing.T, c Config) {
	dir, n := t.TempDir(), 0
	scheduletest.Run(t, func(t *testing.T) scheduletest.Fixture {
		n++
		c := c
		c.Facility = fmt.Sprintf("f%d", n)
		shell := scheduletest.Shell{Dir: filepath.Join(dir, c.Facility)}
		if err := os.Mkdir(shell.Dir, 0o755); err != nil {
			t.Fatal(err)
		}
		return scheduletest.Fixture{
			Engine: engine(t, c), Reopen: func() facility.Engine { return engine(t, c) },
			Began: shell.Began, Alive: shell.Alive, Release: shell.Release,
			Member: scheduletest.Anywhere(c.Facility, "main"), Limits: true,
			Payload: func(s scheduletest.Script) json.RawMessage {
				return payload(t, Payload{Container: Container{Image: "sh", Command: []string{"/bin/sh", "-c", shell.Script(s)}}})
			},
		}
	})
}

// small is a cluster in this process.
func small(t *testing.T) (*server, Config) {
	t.Helper()
	s := newServer(t)
	c := Config{Facility: "here", URL: s.URL, Namespace: "songhua"}
	theirs := c
	theirs.URL += played
	a, err := newAPI(theirs)
	if err != nil {
		t.Fatal(err)
	}
	newNode(t, a)
	newController(t, a)
	return s, c
}

func TestTheContract(t *testing.T) {
	_, c := small(t)
	conform(t, c)
}
