package crash

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest"
)

// failFsync makes every fsync and fdatasync of a running process fail with EIO
// from here on, by strace, and returns how to count those that failed.
func failFsync(t *testing.T, pid int) (failed func() int) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command("strace", "-f", "-p", strconv.Itoa(pid), "-o", trace,
		"-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	told, err := cmd.StderrPipe()
	must(t, err)
	if err := cmd.Start(); err != nil {
		unable(t, fmt.Errorf("%w; scripts/install-test-tools installs it", err))
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it lets the process go
		_ = cmd.Wait()
	})
	attached, said := make(chan bool), new(strings.Builder)
	go func() {
		defer close(attached)
		for lines := bufio.NewScanner(told); lines.Scan(); {
			fmt.Fprintln(said, lines.Text())
			if strings.Contains(lines.Text(), " attached") {
				attached <- true
				return
			}
		}
	}()
	select {
	case ok := <-attached:
		if !ok {
			unable(t, fmt.Errorf("strace cannot trace another process here: %s", said))
		}
	case <-time.After(patience):
		t.Fatal("strace was not attached")
	}
	return func() int {
		text, err := os.ReadFile(trace)
		must(t, err)
		return strings.Count(string(text), "(INJECTED)")
	}
}

// unable ends a test that needs what the machine does not have: with CI=true as
// a failure.
func unable(t *testing.T, err error) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(err)
	}
	t.Skip(err)
}

// answersWithoutFsync lets every fsync fail while no writer is at work, sets them
// to work, and returns how many of their reports were acknowledged until the hub
// ended or one was: each of them is a lie.
func (h *harness) answersWithoutFsync(metric string) (lies int) {
	h.t.Helper()
	failed := failFsync(h.t, h.hub.PID())
	before := h.answered()
	base := time.Now()
	_, end := h.write(func(*writer) feed { return fresh(metric, base) })
	limit := time.After(patience)
	for running := true; running && lies == 0; {
		select {
		case <-h.hub.Ended():
			running = false
		case <-limit:
			h.t.Fatalf("the hub neither answers nor ends without fsync\n%s", h.hub.Output())
		case <-time.After(time.Millisecond):
		}
		lies = h.answered() - before
	}
	end()
	lies = h.answered() - before
	if lies == 0 && failed() == 0 {
		h.t.Error("no fsync failed, so nothing was tested")
	}
	return lies
}

// TestAFailedFsyncIsTheEnd: the hub acknowledges nothing more, says why and ends
// with exit code 1; what it had acknowledged is there when the disk works again.
func TestAFailedFsyncIsTheEnd(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the hub")
	}
	h := start(t, hubtest.Build(t, ""), nil)
	h.publish("good")()
	if n := h.answersWithoutFsync("bad"); n != 0 {
		t.Errorf("%d reports were acknowledged without an fsync", n)
	}
	if code := h.hub.ExitCode(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	// Whichever writes first fails: the store, in the kernel's words, or the
	// database, in SQLite's.
	said := h.hub.Output()
	if !strings.Contains(said, "none of them was acknowledged") && !strings.Contains(said, "disk I/O error") {
		t.Errorf("the hub did not say what is wrong:\n%s", h.hub.Output())
	}
	h.launch()
	for _, metric := range []string{"good", "bad"} {
		if faults := h.compare(metric); len(faults) > 0 {
			t.Errorf("%s:\n%s", metric, list(faults))
		}
		h.sendAgain(metric)
	}
}
