package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/songhua-io/hub/internal/hub"
)

// ownHub is a hub that bench runs as a child, so that its CPU time is its own.
type ownHub struct {
	cmd  *exec.Cmd
	dir  string
	said tail
	over chan struct{} // closed once the child has ended
}

// How long an own hub may take to open its doors and to close them.
const (
	ownHubStart = 2 * time.Minute
	ownHubStop  = 2 * time.Minute
)

// startOwnHub runs a program as a hub in a directory below the working one, on
// the disk that is measured, and waits until it is ready.
func startOwnHub(ctx context.Context, program string) (*ownHub, hub.Addresses, error) {
	none := hub.Addresses{}
	dir, err := os.MkdirTemp(".", ".songhua-bench-")
	if err != nil {
		return nil, none, fmt.Errorf("make a directory for the hub: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, none, err
	}
	o := &ownHub{
		dir: dir, over: make(chan struct{}),
		cmd: exec.Command(program, "serve", "--data", dir, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--coap", "127.0.0.1:0"),
	}
	o.cmd.Stderr = &o.said
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := o.cmd.Start(); err != nil {
		return nil, none, errors.Join(fmt.Errorf("start the hub of the bench: %w", err), os.RemoveAll(dir))
	}
	go func() {
		_ = o.cmd.Wait() // ProcessState says how it ended
		close(o.over)
	}()
	at, err := o.ready(ctx)
	if err != nil {
		return nil, none, o.end(err)
	}
	return o, at, nil
}

// ready waits until the hub says that it is.
func (o *ownHub) ready(ctx context.Context) (hub.Addresses, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, ownHubStart, fmt.Errorf("the hub of the bench was not ready within %s", ownHubStart))
	defer cancel()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		if at, err := hub.ReadAddresses(o.dir); err == nil && isReady(ctx, at.HTTP) {
			return at, nil
		}
		select {
		case <-look.C:
		case <-o.over:
			return hub.Addresses{}, errors.New("the hub of the bench did not start")
		case <-ctx.Done():
			return hub.Addresses{}, fmt.Errorf("%w; its last words:\n%s", context.Cause(ctx), o.said.text())
		}
	}
}

func isReady(ctx context.Context, base string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/readyz", nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// end stops the hub, removes its directory, and returns why the bench failed,
// with what the hub said last where it was the hub that failed. A nil ownHub is
// somebody else's.
func (o *ownHub) end(failed error) error {
	if o == nil {
		return failed
	}
	select {
	case <-o.over:
		if !o.cmd.ProcessState.Success() { // Ctrl-C at a terminal ends both, and the hub in good order
			failed = errors.Join(failed, fmt.Errorf("the hub of the bench ended by itself: %s; its last words:\n%s", o.cmd.ProcessState, o.said.text()))
		}
	default:
		_ = o.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-o.over:
		case <-time.After(ownHubStop):
			_ = o.cmd.Process.Kill()
			<-o.over
			failed = errors.Join(failed, fmt.Errorf("the hub of the bench did not stop within %s; its last words:\n%s", ownHubStop, o.said.text()))
		}
	}
	return errors.Join(failed, os.RemoveAll(o.dir))
}

// tail keeps the last of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

const maxTail = 4 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.kept))
}

// cpuSeconds is what the hub's process has spent so far (proc(5), fields 14 and
// 15 of stat, in hundredths of a second); 0 where that cannot be read.
func cpuSeconds(o *ownHub) float64 {
	if o == nil {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", o.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return (user + system) / 100
}

// writtenBytes is what the hub's process has had written to disk so far (proc(5),
// write_bytes of io); 0 where that cannot be read.
func writtenBytes(o *ownHub) (n float64) {
	if o == nil {
		return 0
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", o.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			n, _ = strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return n
}

// journalBytes is how long the journal of open minutes is, which begins anew each
// hour, or when it is long.
func journalBytes(o *ownHub) (n int64) {
	files, _ := filepath.Glob(filepath.Join(o.dir, "traffic", "*.log"))
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}

// residentMemory is the hub's VmRSS, as the kernel writes it.
func residentMemory(o *ownHub) string {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", o.cmd.Process.Pid))
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
