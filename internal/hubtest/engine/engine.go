// Package engine runs the outside engines that keep series, influxd,
// victoria-metrics and prometheus, as child processes on loopback, so that tests
// can write to the real ones, kill and stall them.
package engine

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest/freeport"
)

// influxVersion and victoriaVersion are those of scripts/install-engines.
const (
	influxVersion   = "v1.8.10"
	victoriaVersion = "v1.140.0"
)

// readyWithin bounds how long a server may take to answer, on a loaded machine.
const readyWithin = 120 * time.Second

// Server is an engine that runs as a child process until the end of the test.
// Its methods are for one goroutine at a time.
type Server struct {
	URL string // "http://127.0.0.1:port", the same after Restart
	Dir string // what it keeps

	t      testing.TB
	path   string
	args   []string
	health string // path that answers 200 or 204 when it is ready
	output tail

	cmd   *exec.Cmd
	ended chan struct{} // closed when cmd has ended
}

// start runs the program with arguments made of a directory of the test and a
// port that stays its own. One that another test took meanwhile is replaced.
func start(t testing.TB, path, health string, args func(dir, address string) []string) *Server {
	t.Helper()
	s := &Server{Dir: t.TempDir(), t: t, path: path, health: health}
	t.Cleanup(s.Kill)
	var err error
	for range 3 {
		address := freeport.Address(t)
		s.URL, s.args = "http://"+address, args(s.Dir, address)
		if err = s.launch(); err == nil {
			return s
		}
	}
	t.Fatal(err)
	return nil
}

func (s *Server) launch() error {
	cmd, ended := exec.Command(s.path, s.args...), make(chan struct{})
	cmd.Stdout, cmd.Stderr = &s.output, &s.output
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait(); close(ended) }()
	s.cmd, s.ended = cmd, ended
	for deadline := time.Now().Add(readyWithin); time.Now().Before(deadline); {
		select {
		case <-ended:
			return fmt.Errorf("%s ended before it was ready: %v\n%s", filepath.Base(s.path), cmd.ProcessState, s.Output())
		case <-time.After(20 * time.Millisecond):
		}
		if s.ready() {
			return nil
		}
	}
	s.Kill()
	return fmt.Errorf("%s was not ready within %v\n%s", filepath.Base(s.path), readyWithin, s.Output())
}

var impatient = &http.Client{Timeout: 5 * time.Second}

func (s *Server) ready() bool {
	resp, err := impatient.Get(s.URL + s.health)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusNoContent
}

// Kill ends the server as kill -9 does, also one that is stopped, and returns
// when it has ended.
func (s *Server) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// Stop stalls the server: connections stay open, and nothing is answered. The
// signal takes effect when the kernel gets to it, so Stop waits for that where
// /proc tells.
func (s *Server) Stop() {
	s.t.Helper()
	s.signal(syscall.SIGSTOP)
	for deadline := time.Now().Add(readyWithin); s.runs(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			s.t.Fatalf("%s still runs %v after SIGSTOP", filepath.Base(s.path), readyWithin)
		}
	}
}

// runs is whether a thread of the server is in another state than stopped.
func (s *Server) runs() bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", s.cmd.Process.Pid))
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		if err != nil {
			continue // a thread that ended
		}
		if _, after, _ := strings.Cut(string(stat), ") "); !strings.HasPrefix(after, "T") {
			return true
		}
	}
	return false
}

// Cont lets a stopped server go on.
func (s *Server) Cont() { s.signal(syscall.SIGCONT) }

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatalf("%s: %v: %v", filepath.Base(s.path), sig, err)
	}
}

// Restart ends the server as Kill does if it still runs, and starts it again
// with the same directory and address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if err := s.launch(); err != nil {
		s.t.Fatal(err)
	}
}

// Output is the last that the server has printed.
func (s *Server) Output() string { return s.output.String() }

// built is the path of a program that scripts/install-engines builds.
func built(t testing.TB, name string) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(cache, "songhua", "engines-"+influxVersion+"-"+victoriaVersion, name)
	if _, err := os.Stat(path); err != nil {
		missing(t, name, "scripts/install-engines builds it")
	}
	return path
}

// missing skips the test, or fails it where everything must be there.
func missing(t testing.TB, name, wayOut string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this needs %s: %s", name, wayOut)
	}
	t.Skipf("this needs %s: %s", name, wayOut)
}

// tail keeps the last half of a mebibyte and more of what is written to it.
type tail struct {
	sync.Mutex
	buf bytes.Buffer
}

func (w *tail) Write(p []byte) (int, error) {
	w.Lock()
	defer w.Unlock()
	if w.buf.Len() > 1<<20 {
		w.buf.Next(w.buf.Len() / 2)
	}
	return w.buf.Write(p)
}

func (w *tail) String() string {
	w.Lock()
	defer w.Unlock()
	return w.buf.String()
}
