package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The files of a member, in its directory. The lock is held as long as its
// supervisor lives, by whichever agent that was started: it says so without
// process ids, which are given out again.
const (
	lockFile  = "lock"
	orderFile = "order.json"
	beganFile = "began.json" // written before the program runs
	endFile   = "end.json"
	filesDir  = "files" // its working directory
)

// order is what a supervisor is told.
type order struct {
	Mark    string   `json:"mark"`
	Command []string `json:"command"`
	Env     []string `json:"env"`
	Member  Member   `json:"member"`
	// Account runs the program; nil is the agent's own user.
	Account   *account `json:"account,omitempty"`
	MaxOutput int64    `json:"max_output"`
	Cgroup    string   `json:"cgroup,omitempty"`
}

type account struct {
	UID, GID uint32
	Groups   []uint32
}

// spawn starts the supervisor of a member, which holds the lock from its first
// moment on: an agent that ends here leaves no doubt behind.
func (r *Runner) spawn(w *record, m *member, dir string) error {
	p := w.Programs[m.Task]
	// What may be run is asked again: the file may have changed since.
	if why := r.cfg.refusal(p.Command, p.Env); why != "" {
		return errors.New(why)
	}
	o := order{Mark: mark(w.Which, m.Member), Command: p.Command, Member: m.Member, MaxOutput: int64(r.cfg.MaxOutput)}
	if r.cfg.Cgroup != "" {
		o.Cgroup = filepath.Join(r.cfg.Cgroup, "work-"+filepath.Base(dir))
	}
	files := filepath.Join(dir, filesDir)
	if err := os.MkdirAll(files, 0o711); err != nil {
		return err
	}
	if err := r.settle(&o, files); err != nil {
		return err
	}
	o.Env = environment(o, w, p, files)
	text, err := json.Marshal(o)
	if err == nil {
		err = r.deps.Save(filepath.Join(dir, orderFile), text)
	}
	if err != nil {
		return err
	}
	lock, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("%s: %w", lock.Name(), err)
	}
	cmd := exec.Command(r.deps.Supervisor[0], append(r.deps.Supervisor[1:len(r.deps.Supervisor):len(r.deps.Supervisor)], dir)...)
	cmd.ExtraFiles = []*os.File{lock}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what ends the agent does not end it
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // how it ended is on disk
	return nil
}

// settle gives the working directory to who runs the program.
func (r *Runner) settle(o *order, files string) error {
	if r.account == nil {
		return nil
	}
	ids, err := r.account.GroupIds()
	if err != nil {
		return fmt.Errorf("groups of %s: %w", r.account.Username, err)
	}
	numbers := make([]uint32, 0, len(ids)+2)
	for _, id := range append([]string{r.account.Uid, r.account.Gid}, ids...) {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return err
		}
		numbers = append(numbers, uint32(n))
	}
	o.Account = &account{numbers[0], numbers[1], numbers[2:]}
	return os.Chown(files, int(numbers[0]), int(numbers[1]))
}

// markName is the variable by which processes of a member are known whose
// supervisor was killed.
const markName = "SONGHUA_MEMBER"

func mark(w Which, m Member) string {
	return fmt.Sprintf("%s=%s/%d/%s/%d", markName, w.Lease, w.Token, m.Task, m.Index)
}

// environment is all that a program has: nothing of the agent's own, which may
// hold secrets.
func environment(o order, w *record, p Program, files string) []string {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8", "HOME=" + files, "TMPDIR=" + files}
	for k, v := range p.Env {
		env = append(env, k+"="+v)
	}
	ids := make([]string, len(o.Member.Devices))
	for i, d := range o.Member.Devices {
		ids[i] = strconv.Itoa(d)
	}
	list := strings.Join(ids, ",")
	// The last one counts: what was leased is not the program's to choose. An
	// empty list hides every device.
	return append(env, "CUDA_VISIBLE_DEVICES="+list, "ASCEND_VISIBLE_DEVICES="+list, "ASCEND_RT_VISIBLE_DEVICES="+list,
		"SONGHUA_WORKLOAD="+w.Workload, "SONGHUA_LEASE="+w.Lease, "SONGHUA_TASK="+o.Member.Task, "SONGHUA_INDEX="+strconv.Itoa(o.Member.Index), o.Mark)
}

// held reports whether the supervisor of a member lives.
func held(dir string) bool {
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil
}

// begun reports whether the program may have run.
func begun(dir string) bool {
	for _, name := range []string{beganFile, endFile} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			return true
		}
	}
	return false
}

// began is what a supervisor writes down before its program runs.
type began struct {
	PID int `json:"pid"` // of the supervisor
}

// terminate asks a supervisor to end its member; who asks repeats it. The
// handle of the process is taken before the lock is looked at, so that it is
// nobody else's.
func terminate(dir string) {
	var b began
	text, err := os.ReadFile(filepath.Join(dir, beganFile))
	if err != nil || json.Unmarshal(text, &b) != nil || b.PID < 2 {
		return
	}
	p, err := os.FindProcess(b.PID)
	if err != nil {
		return
	}
	defer p.Release() //nolint:errcheck // nothing is lost
	if held(dir) {
		_ = p.Signal(syscall.SIGTERM)
	}
}

// notRun is the exit code of what could not be run, as shells have it.
const notRun = 127

// ending is how a member ended, as its supervisor wrote it down.
type ending struct {
	ExitCode int `json:"exit_code"`
	// Why is why it was ended; empty when it ended by itself.
	Why     string `json:"why,omitempty"`
	Stopped bool   `json:"stopped,omitempty"`
	// TimedOut: it ran longer than its limit.
	TimedOut bool `json:"timed_out,omitempty"`
	// Tail is the end of what it wrote.
	Tail string `json:"tail,omitempty"`
}

func readEnd(dir string) (e ending, err error) {
	text, err := os.ReadFile(filepath.Join(dir, endFile))
	if err == nil {
		err = json.Unmarshal(text, &e)
	}
	return e, err
}

func (e ending) progress(stopped bool, lost error) progress {
	switch {
	case lost != nil && stopped:
		return progress{State: Stopped, ExitCode: 128 + int(syscall.SIGKILL), Message: "its supervisor was killed"}
	case lost != nil:
		return progress{State: Failed, ExitCode: 128 + int(syscall.SIGKILL), Message: "it is lost: its supervisor ended without a word, by a kill, a restart or a power cut of the machine"}
	}
	p := progress{State: Succeeded, ExitCode: e.ExitCode, Message: e.Why, TimedOut: e.TimedOut}
	if e.Why == "" && e.ExitCode != 0 {
		p.Message = fmt.Sprintf("exit code %d", e.ExitCode)
	}
	if e.Tail != "" {
		p.Message = strings.TrimPrefix(p.Message+"\n"+e.Tail, "\n")
	}
	switch {
	case e.Stopped:
		p.State = Stopped
	case e.ExitCode != 0 || e.Why != "":
		p.State = Failed
	}
	return p
}
