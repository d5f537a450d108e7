package work

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestMain is also the supervisor, and an agent that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == "member" {
		if err := Supervise(os.Args[2], save); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func save(path string, text []byte) error {
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// machine is a runner over a directory that outlives it.
type machine struct {
	*Runner
	t    *testing.T
	cfg  Config
	dir  string
	stop func()
}

func newMachine(t *testing.T, change func(*Config)) *machine {
	t.Helper()
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Enabled, cfg.Allow, cfg.Env, cfg.User = true, []string{"/bin/", "/usr/bin/"}, []string{"JOB_*"}, me.Username
	if change != nil {
		change(&cfg)
	}
	m := &machine{t: t, cfg: cfg, dir: t.TempDir()}
	m.open()
	t.Cleanup(m.clear)
	return m
}

func (m *machine) open() {
	m.t.Helper()
	var err error
	m.Runner, err = Open(m.cfg, Deps{
		Dir: m.dir, Save: save, Supervisor: []string{"/proc/self/exe", "member"}, Changed: func() {},
		Log: slog.New(slog.NewTextHandler(m.t.Output(), nil)), Now: time.Now,
	})
	if err != nil {
		m.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = m.Run(ctx) }()
	m.stop = func() { cancel(); <-ended }
}

// again is the agent after a restart.
func (m *machine) again() { m.t.Helper(); m.stop(); m.open() }

// clear ends what a test left.
func (m *machine) clear() {
	for _, s := range m.Report() {
		if !s.State.over() {
			_, _ = m.Stop(s.Which)
		}
	}
	m.until("all is over", func() bool {
		for _, s := range m.Report() {
			if !s.State.over() {
				return false
			}
		}
		return true
	})
	m.stop()
}

func (m *machine) until(what string, ok func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(3 * time.Minute); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("not within three minutes: %s; %+v", what, m.Report())
		}
	}
}

func shell(token uint64, script string) Order {
	return Order{
		Workload: "w-1", Lease: fmt.Sprintf("l-%d", token), Token: token, Total: 1,
		Programs: map[string]Program{"main": {Command: []string{"/bin/sh", "-c", script}}}, Members: []Member{{Task: "main"}},
	}
}

func (m *machine) start(o Order, want Outcome) Answer {
	m.t.Helper()
	a, err := m.Start(o)
	if err != nil || a.Outcome != want {
		m.t.Fatalf("start: %+v, %v; want %s", a, err, want)
	}
	return a
}

func (m *machine) becomes(token uint64, want State) (s Status) {
	m.t.Helper()
	m.until(fmt.Sprintf("token %d is %s", token, want), func() bool {
		for _, s = range m.Report() {
			if s.Token == token && s.State == want {
				return true
			}
		}
		return false
	})
	return s
}

// child awaits the process id that a program wrote.
func (m *machine) child(token uint64, file string) int {
	m.t.Helper()
	pid := 0
	m.until("the program wrote "+file, func() bool {
		text, err := os.ReadFile(m.file(token, file))
		if err != nil || !strings.HasSuffix(string(text), "\n") {
			return false
		}
		pid, err = strconv.Atoi(strings.TrimSpace(string(text)))
		return err == nil
	})
	return pid
}

func (m *machine) file(token uint64, name string) string {
	return filepath.Join(m.dir, fmt.Sprintf("%d-main-0", token), filesDir, name)
}

func gone(pid int) bool {
	stat, err := os.ReadFile(proc(pid, "stat"))
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func TestAProgramRunsOnceAndItsEndIsTold(t *testing.T) {
	m := newMachine(t, nil)
	o := shell(7, `echo run >> runs; pwd; echo "$JOB_NAME on $CUDA_VISIBLE_DEVICES and $ASCEND_RT_VISIBLE_DEVICES"; echo no luck >&2; exit 3`)
	o.Members[0].Devices = []int{2, 5}
	o.Programs["main"] = Program{o.Programs["main"].Command, map[string]string{"JOB_NAME": "seven"}}
	m.start(o, Taken)
	m.start(o, Taken)
	s := m.becomes(7, Failed)
	if s.ExitCode != 3 || !strings.Contains(s.Message, "no luck") || s.Members != 1 || s.Total != 1 {
		t.Errorf("%+v", s)
	}
	m.again()
	m.start(o, Taken)
	m.becomes(7, Failed)
	if n := len(m.Report()); n != 1 {
		t.Errorf("it is known %d times", n)
	}
	if text, err := os.ReadFile(m.file(7, "runs")); err != nil || string(text) != "run\n" {
		t.Errorf("runs: %q, %v", text, err)
	}
	out, err := os.ReadFile(filepath.Join(m.dir, "7-main-0", stdoutFile))
	if err != nil || !strings.Contains(string(out), "seven on 2,5 and 2,5") || !strings.HasPrefix(string(out), m.dir) {
		t.Errorf("output: %q, %v", out, err)
	}
	done := shell(8, "true")
	done.Workload = "w-2"
	m.start(done, Taken)
	m.becomes(8, Succeeded)
}

func TestALowerTokenIsRefusedAlsoAfterARestart(t *testing.T) {
	m := newMachine(t, nil)
	m.start(shell(5, "echo $$ > pid; exec sleep 600"), Taken)
	pid := m.child(5, "pid")
	m.start(shell(9, "echo $$ > pid; exec sleep 600"), Taken)
	m.becomes(5, Stopped)
	if !gone(pid) {
		t.Error("what a higher token replaces runs still")
	}
	m.becomes(9, Running)
	for range 2 {
		a := m.start(shell(5, "true"), Fenced)
		if !strings.Contains(a.Message, "below 9") {
			t.Error(a.Message)
		}
		m.again()
	}
	// Stopped before it came: it never begins.
	if _, err := m.Stop(Which{"w-3", "l-20", 20}); err != nil {
		t.Fatal(err)
	}
	m.again()
	never := shell(20, "true")
	never.Workload = "w-3"
	m.start(never, Fenced)
}

func TestProgramsOutliveTheAgent(t *testing.T) {
	m := newMachine(t, nil)
	m.start(shell(1, "echo $$ > pid; until [ -e go ]; do sleep 0.05; done; echo done; exit 4"), Taken)
	pid := m.child(1, "pid")
	m.again()
	m.becomes(1, Running)
	m.stop() // it ends while the agent is away
	if err := os.WriteFile(m.file(1, "go"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.until("the program ended", func() bool { return gone(pid) && !held(filepath.Join(m.dir, "1-main-0")) })
	m.open()
	if s := m.becomes(1, Failed); s.ExitCode != 4 || !strings.Contains(s.Message, "done") {
		t.Errorf("%+v", s)
	}
}

func TestALostSupervisorTakesAllWithIt(t *testing.T) {
	m := newMachine(t, nil)
	m.start(shell(1, "setsid sleep 600 & echo $! > child; echo $$ > pid; wait"), Taken)
	pid, child := m.child(1, "pid"), m.child(1, "child")
	var b began
	text, err := os.ReadFile(filepath.Join(m.dir, "1-main-0", beganFile))
	if err != nil || json.Unmarshal(text, &b) != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(b.PID)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Fatal(err)
	}
	if s := m.becomes(1, Failed); !strings.Contains(s.Message, "lost") {
		t.Errorf("%+v", s)
	}
	if !gone(pid) || !gone(child) {
		t.Error("a process is left")
	}
}

func TestStopEndsWhatProgramsStarted(t *testing.T) {
	m := newMachine(t, nil)
	// Its parent has gone, and it has a session of its own.
	o := shell(1, "(setsid sleep 600 & echo $! > child); echo $$ > pid; sleep 600")
	m.start(o, Taken)
	pid, child := m.child(1, "pid"), m.child(1, "child")
	if a, err := m.Stop(o.Which()); err != nil || a.Running != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	m.becomes(1, Stopped)
	if a, err := m.Stop(o.Which()); err != nil || a.Running != 0 {
		t.Fatalf("%+v, %v", a, err)
	}
	if !gone(pid) || !gone(child) {
		t.Error("a process is left")
	}
	m.start(o, Fenced)
}

func TestLimitsEndMembers(t *testing.T) {
	m := newMachine(t, nil)
	o := shell(1, "setsid sleep 600 & echo $! > child; wait")
	o.Members[0].LimitSeconds = 0.5
	m.start(o, Taken)
	child := m.child(1, "child")
	if s := m.becomes(1, Failed); !strings.Contains(s.Message, "longer than its limit of 500ms") || !s.TimedOut {
		t.Errorf("%+v", s)
	}
	if !gone(child) {
		t.Error("a process is left")
	}
	o = shell(2, "head -c 100000000 /dev/zero | tail -c 90000000 | sleep 600")
	o.Members[0].MemoryMiB = 32
	m.start(o, Taken)
	if s := m.becomes(2, Failed); !strings.Contains(s.Message, "its limit is 32 MiB") {
		t.Errorf("%+v", s)
	}
}

func TestWhatIsNotAllowedIsRefused(t *testing.T) {
	off := newMachine(t, func(c *Config) { *c = DefaultConfig() })
	if a := off.start(shell(1, "true"), Refused); !strings.Contains(a.Message, "compute.enabled is false") {
		t.Error(a.Message)
	}
	dir := t.TempDir()
	if err := os.Symlink("/bin/sh", filepath.Join(dir, "sh")); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t, func(c *Config) {
		c.Allow, c.MaxMembers, c.MaxCPU, c.MaxMemory = []string{"/bin/sleep", dir + "/"}, 2, 2, 1<<30
	})
	sleep := func(change func(*Order)) Order {
		o := shell(1, "")
		o.Programs["main"] = Program{Command: []string{"/bin/sleep", "0"}}
		change(&o)
		return o
	}
	for want, o := range map[string]Order{
		"not among compute.allow": shell(1, "true"),
		"whole path":              sleep(func(o *Order) { o.Programs["main"] = Program{Command: []string{"sleep", "0"}} }),
		"cannot be run":           sleep(func(o *Order) { o.Programs["main"] = Program{Command: []string{dir + "/none"}} }),
		"sh\" is not":             sleep(func(o *Order) { o.Programs["main"] = Program{Command: []string{dir + "/sh"}} }),
		"not among compute.env": sleep(func(o *Order) {
			o.Programs["main"] = Program{[]string{"/bin/sleep", "0"}, map[string]string{"LD_PRELOAD": "x"}}
		}),
		"compute.max_members": sleep(func(o *Order) {
			o.Members, o.Total = []Member{{Task: "main"}, {Task: "main", Index: 1}, {Task: "main", Index: 2}}, 3
		}),
		"compute.max_cpu":     sleep(func(o *Order) { o.Members[0].CPUMilli = 2001 }),
		"compute.max_memory":  sleep(func(o *Order) { o.Members[0].MemoryMiB = 1025 }),
		"is no member":        sleep(func(o *Order) { o.Members[0].Task = "../x" }),
		"none to run":         sleep(func(o *Order) { o.Members = nil }),
		"do not name a lease": sleep(func(o *Order) { o.Token = 0 }),
	} {
		if a := m.start(o, Refused); !strings.Contains(a.Message, want) {
			t.Errorf("%s: %s", want, a.Message)
		}
	}
	m.start(sleep(func(*Order) {}), Taken) // nothing of what was refused left a trace
	m.becomes(1, Succeeded)
}

func TestOutputsKeepTheNewest(t *testing.T) {
	m := newMachine(t, func(c *Config) { c.MaxOutput = 64 << 10 })
	m.start(shell(1, "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done"), Taken)
	if s := m.becomes(1, Succeeded); !strings.HasSuffix(s.Message, "line 19999") || len(s.Message) > maxTail+100 {
		t.Errorf("%d bytes: %.200s", len(s.Message), s.Message)
	}
	sum := int64(0)
	for _, name := range []string{stdoutFile, stdoutFile + ".1"} {
		st, err := os.Stat(filepath.Join(m.dir, "1-main-0", name))
		if err != nil {
			t.Fatal(err)
		}
		sum += st.Size()
	}
	if sum > 64<<10 {
		t.Errorf("%d bytes are kept", sum)
	}
}

func TestTheBookIsBounded(t *testing.T) {
	b := book{Fences: map[string]fence{}}
	for i := range uint64(maxFences + 100) {
		o := shell(i+1, "true")
		o.Workload = fmt.Sprintf("w-%d", i)
		b.take(o, time.Now())
		b.Works[len(b.Works)-1].Members[0].State = Succeeded
	}
	if len(b.Fences) > maxFences || len(b.Works) > maxOver+1 {
		t.Errorf("%d fences, %d works", len(b.Fences), len(b.Works))
	}
	if _, why := b.judge(Which{"w-0", "l-1", 1}); why == "" {
		t.Error("a token that is forgotten may come again")
	}
	if known, why := b.judge(Which{"new", "l", maxFences + 101}); known || why != "" {
		t.Error(why)
	}
}

// TestProgramsRunAsTheirUser and with nothing that the agent's own has.
func TestProgramsRunAsTheirUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Skip(err)
	}
	t.Setenv("SECRET", "of the agent")
	m := newMachine(t, nil)
	m.stop()
	m.cfg.User = "nobody"
	parent := filepath.Dir(m.dir)
	if err := os.Chmod(parent, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(m.cfg, Deps{Dir: m.dir}); err == nil || !strings.Contains(err.Error(), "cannot pass "+parent) {
		t.Errorf("a directory that its user cannot pass: %v", err)
	}
	if err := os.Chmod(parent, 0o711); err != nil {
		t.Fatal(err)
	}
	m.open()
	m.start(shell(1, `id -u > "$HOME/id"; env; grep SigIgn /proc/self/status`), Taken)
	s := m.becomes(1, Succeeded)
	if id := m.child(1, "id"); strconv.Itoa(id) != nobody.Uid {
		t.Errorf("it runs as %d", id)
	}
	if strings.Contains(s.Message, "SECRET") || !strings.Contains(s.Message, "SONGHUA_LEASE=l-1\n") {
		t.Error(s.Message)
	}
	_, mask, _ := strings.Cut(s.Message, "SigIgn:\t")
	if ignored, err := strconv.ParseUint(mask, 16, 64); err != nil || ignored&(1<<31-1) != 0 { // those beyond are the C library's
		t.Errorf("signals are ignored: %s, %v", mask, err)
	}
}

func TestAGroupHasTheLimitsOfItsMember(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "work-1") // files instead of a kernel's
	g, err := newGroup(order{Cgroup: dir, Member: Member{CPUMilli: 1500, MemoryMiB: 64}})
	if err != nil {
		t.Fatal(err)
	}
	defer g.remove()
	for name, want := range map[string]string{"cpu.max": "150000 100000", "memory.max": "67108864", "pids.max": "4096"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "memory.events"), []byte("oom 1\noom_kill 2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if why := g.verdict(); !strings.Contains(why, "ended 2 of its processes") {
		t.Error(why)
	}
}
