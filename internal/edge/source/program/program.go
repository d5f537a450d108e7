// Package program runs programs that end with the agent, together with all
// that they started.
package program

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// drain is how long output is read after the program ended: what it left
// behind may hold the pipe.
const drain = time.Second

// Command returns a program in a process group of its own. When the context
// ends the group is killed; when the agent is, the program. Whoever started it
// calls [End] once it waited for it.
func Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd) }
	cmd.WaitDelay = drain
	return cmd
}

// End kills what the program started and left behind.
func End(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = killGroup(cmd) // mostly there is nobody
	}
}

func killGroup(cmd *exec.Cmd) error {
	err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}

// Head is a writer that keeps the first bytes and takes the rest away. The
// buffer is no embedded field: its ReadFrom would pass the bound by.
type Head struct {
	kept  bytes.Buffer
	limit int
	over  bool
}

// NewHead keeps up to limit bytes.
func NewHead(limit int) *Head { return &Head{limit: limit} }

// Write never fails.
func (h *Head) Write(p []byte) (int, error) {
	n := min(len(p), h.limit-h.kept.Len())
	h.over = h.over || n < len(p)
	h.kept.Write(p[:n])
	return len(p), nil
}

// Bytes is what was kept.
func (h *Head) Bytes() []byte { return h.kept.Bytes() }

// Over reports whether more was written.
func (h *Head) Over() bool { return h.over }
