package main

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// script is a program that stands for a hub: $3 is its data directory.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "hub")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

func leftOver(t *testing.T) []os.DirEntry {
	t.Helper()
	left, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	return left
}

func TestABenchSaysWhyItsHubDidNotStart(t *testing.T) {
	for program, want := range map[string]string{
		script(t, "echo the disk is on fire >&2; exit 3"): "did not start\nthe hub of the bench ended by itself: exit status 3; its last words:\nthe disk is on fire",
		filepath.Join(t.TempDir(), "absent"):              "no such file",
	} {
		t.Chdir(t.TempDir())
		began := time.Now()
		_, _, err := startOwnHub(t.Context(), program)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		if time.Since(began) >= ownHubStart {
			t.Error("it waited for a hub that had ended")
		}
		if left := leftOver(t); len(left) > 0 {
			t.Errorf("%v was left", left)
		}
	}
}

func TestABenchWaitsForAHubThatIsReady(t *testing.T) {
	t.Chdir(t.TempDir())
	var asked atomic.Int64
	door := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) < 4 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer door.Close()
	own, at, err := startOwnHub(t.Context(), script(t, fmt.Sprintf(`echo '{"http": "%s"}' >"$3/hub.json"; exec sleep 1000`, door.URL)))
	if err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n != 4 || at.HTTP != door.URL {
		t.Errorf("ready at %s after %d answers, the fourth of which is the first 200", at.HTTP, n)
	}
	if err := own.end(nil); err != nil {
		t.Error(err)
	}
	if left := leftOver(t); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

func TestABenchThatIsStoppedStopsItsHub(t *testing.T) {
	t.Chdir(t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := startOwnHub(ctx, script(t, "exec sleep 1000")); err == nil {
		t.Error("no error")
	}
	if left := leftOver(t); len(left) > 0 {
		t.Errorf("%v was left", left)
	}
}

func TestATailKeepsTheEnd(t *testing.T) {
	var said tail
	for i := range 5000 {
		fmt.Fprintf(&said, "line %d\n", i)
	}
	if text := said.text(); len(text) > maxTail || !strings.HasSuffix(text, "line 4999") {
		t.Errorf("%d bytes: %q", len(text), text)
	}
}
