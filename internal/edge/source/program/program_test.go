package program

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"time"
)

// gone reports whether no such process runs; one that nobody waits for does
// not.
func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return true
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(state, "Z")
}

func awaitGone(t *testing.T, pid string) {
	t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); !gone(pid); <-time.After(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("process %s runs still", pid)
		}
	}
}

// start runs a script and returns what it prints first: the process that it
// started.
func start(t *testing.T, ctx context.Context, script string) (pid string, wait func() error) {
	t.Helper()
	cmd := Command(ctx, "sh", "-c", script)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(out)
	line, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line), func() error {
		defer End(cmd)
		_, _ = io.Copy(io.Discard, in)
		return cmd.Wait()
	}
}

func TestWhatAProgramStartedEndsWithTheContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	pid, wait := start(t, ctx, "sleep 600 & echo $!; wait")
	if gone(pid) {
		t.Fatal("it does not run")
	}
	cancel()
	if wait() == nil {
		t.Error("a killed program is no failure")
	}
	awaitGone(t, pid)
}

func TestWhatAProgramLeavesBehindEnds(t *testing.T) {
	pid, wait := start(t, t.Context(), "sleep 600 >/dev/null & echo $!")
	if err := wait(); err != nil {
		t.Error(err)
	}
	awaitGone(t, pid)
}

func TestTheHeadIsKept(t *testing.T) {
	h := NewHead(5)
	for _, s := range []string{"abc", "def", "ghi"} {
		if n, err := h.Write([]byte(s)); n != 3 || err != nil {
			t.Error(n, err)
		}
	}
	if string(h.Bytes()) != "abcde" || !h.Over() {
		t.Errorf("%q", h.Bytes())
	}
}
