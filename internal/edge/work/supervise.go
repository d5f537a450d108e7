package work

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// grace is the time between asking a member to end and killing it.
	grace = 10 * time.Second
	// watch is the time between looks at what a member uses.
	watch = 500 * time.Millisecond
	// niceness puts members behind what the machine does itself.
	niceness = 10
	// lockFD is where a supervisor has its lock.
	lockFD = 3
)

// Supervise is the life of a supervisor: it runs the member of a directory,
// with all that it starts, to its end and writes that down. save is
// [Deps].Save.
func Supervise(dir string, save func(string, []byte) error) error {
	unix.CloseOnExec(lockFD)
	// Its agent may go, and its terminal; only TERM ends it.
	// They are caught, since what is ignored would be by the program as well.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGINT)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	write := func(name string, v any) error {
		text, err := json.Marshal(v)
		if err != nil {
			return err
		}
		return save(filepath.Join(dir, name), text)
	}
	if err := write(beganFile, began{os.Getpid()}); err != nil {
		return err
	}
	e, err := supervise(dir, stop)
	if err != nil {
		e = ending{ExitCode: notRun, Why: fmt.Sprintf("it could not be started: %v", err)}
	}
	return write(endFile, e)
}

func supervise(dir string, stop <-chan os.Signal) (ending, error) {
	var o order
	text, err := os.ReadFile(filepath.Join(dir, orderFile))
	if err == nil {
		err = json.Unmarshal(text, &o)
	}
	if err != nil {
		return ending{}, err
	}
	// The program dies with the thread that started it, so that is kept.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	// What its processes leave behind comes to the supervisor, and not to init.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return ending{}, fmt.Errorf("become subreaper: %w", err)
	}
	group, err := newGroup(o)
	if err != nil {
		return ending{}, err
	}
	defer group.remove()
	p, err := run(dir, o, group)
	if err != nil {
		return ending{}, err
	}
	e := p.follow(stop)
	p.outputs.Wait()
	e.Tail = tail(dir)
	return e, nil
}

// process is the program of a member.
type process struct {
	order   order
	group   group
	pid     int
	outputs sync.WaitGroup
	ended   chan syscall.WaitStatus
}

func run(dir string, o order, g group) (*process, error) {
	p := &process{order: o, group: g, ended: make(chan syscall.WaitStatus, 1)}
	// The directory is entered here: its user may not pass those above it.
	if err := os.Chdir(filepath.Join(dir, filesDir)); err != nil {
		return nil, err
	}
	cmd := exec.Command(o.Command[0], o.Command[1:]...)
	cmd.Env = o.Env
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if o.Account != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: o.Account.UID, Gid: o.Account.GID, Groups: o.Account.Groups}
	}
	g.attach(cmd.SysProcAttr)
	stdout, err := p.output(filepath.Join(dir, stdoutFile))
	if err != nil {
		return nil, err
	}
	defer stdout.Close()
	stderr, err := p.output(filepath.Join(dir, stderrFile))
	if err != nil {
		return nil, err
	}
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	restore := limit(o.Member)
	err = cmd.Start()
	restore()
	if err != nil {
		return nil, err
	}
	p.pid = cmd.Process.Pid
	_ = unix.Setpriority(unix.PRIO_PROCESS, p.pid, niceness) // a courtesy
	return p, nil
}

// output returns what a program writes to; what comes is kept in a file.
func (p *process) output(path string) (*os.File, error) {
	in, out, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	p.outputs.Go(func() { drain(in, newBounded(path, p.order.MaxOutput/2)) })
	return out, nil
}

// limit sets what the next program inherits, and returns how to undo it.
func limit(m Member) (restore func()) {
	undo := []func(){}
	set := func(what int, value uint64) {
		var old unix.Rlimit
		if unix.Getrlimit(what, &old) != nil || old.Max < value {
			return // it is lower already
		}
		if unix.Setrlimit(what, &unix.Rlimit{Cur: value, Max: old.Max}) == nil {
			undo = append(undo, func() { _ = unix.Setrlimit(what, &old) })
		}
	}
	set(unix.RLIMIT_CORE, 0)
	if m.DiskGiB > 0 {
		set(unix.RLIMIT_FSIZE, uint64(m.DiskGiB)<<30)
	}
	return func() {
		for _, f := range undo {
			f()
		}
	}
}

// follow returns when neither the program nor anything that it started runs.
func (p *process) follow(stop <-chan os.Signal) (e ending) {
	look := time.NewTicker(watch)
	defer look.Stop()
	var deadline, kill <-chan time.Time
	if p.order.Member.LimitSeconds > 0 {
		deadline = time.After(p.order.Member.limit())
	}
	end := func(why string) {
		if kill != nil {
			return
		}
		e.Why = why
		signalAll(p.tree(), syscall.SIGTERM)
		kill = time.After(grace)
	}
	exits := make(chan os.Signal, 1)
	signal.Notify(exits, syscall.SIGCHLD)
	defer signal.Stop(exits)
	for {
		if status, over := p.reap(); over {
			e.ExitCode = code(status)
			if e.Why == "" {
				e.Why = p.group.verdict()
			}
			p.killRest()
			return e
		}
		select {
		case <-exits:
		case <-stop:
			e.Stopped = e.Stopped || kill == nil
			end("it was stopped")
		case <-deadline:
			e.TimedOut = kill == nil
			end(fmt.Sprintf("it ran longer than its limit of %s", p.order.Member.limit()))
		case <-kill:
			p.killTree()
		case <-look.C:
			if used, over := p.group.over(p.order.Member, p.tree); over && kill == nil {
				e.Why = fmt.Sprintf("it used %d MiB of memory; its limit is %d MiB", used, p.order.Member.MemoryMiB)
				kill = time.After(0)
			}
		}
	}
}

// reap takes the exit states of all that ended, and reports that of the program.
func (p *process) reap() (status syscall.WaitStatus, over bool) {
	for {
		var s syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &s, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return status, over
		}
		if pid == p.pid {
			status, over = s, true
		}
	}
}

func (p *process) tree() []int { return descendants(os.Getpid()) }

func (p *process) killTree() {
	p.group.kill()
	signalAll(p.tree(), syscall.SIGKILL)
}

// killRest ends what the program left behind. Each is a descendant until it is
// gone, whatever groups and sessions it made.
func (p *process) killRest() {
	for {
		p.killTree()
		_, _ = p.reap()
		if len(p.tree()) == 0 {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// code is an exit code as shells have it.
func code(s syscall.WaitStatus) int {
	if s.Signaled() {
		return 128 + int(s.Signal())
	}
	return s.ExitStatus()
}
