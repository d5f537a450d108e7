package work

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// group is the cgroup of a member; without a directory the member has none, and
// what it uses is looked at instead.
type group struct {
	dir string
	fd  *os.File
}

// cpuPeriod is that of cpu.max, in microseconds.
const cpuPeriod = 100_000

func newGroup(o order) (group, error) {
	if o.Cgroup == "" {
		return group{}, nil
	}
	if err := os.Mkdir(o.Cgroup, 0o755); err != nil && !os.IsExist(err) {
		return group{}, fmt.Errorf("compute.cgroup: %w", err)
	}
	limits := map[string]string{"pids.max": "4096"}
	if o.Member.CPUMilli > 0 {
		limits["cpu.max"] = fmt.Sprintf("%d %d", max(o.Member.CPUMilli*cpuPeriod/1000, 1000), cpuPeriod)
	}
	if o.Member.MemoryMiB > 0 {
		limits["memory.max"] = fmt.Sprint(o.Member.MemoryMiB << 20)
		limits["memory.swap.max"] = "0"
	}
	for name, value := range limits {
		// A kernel without swap accounting has no memory.swap.max.
		err := os.WriteFile(filepath.Join(o.Cgroup, name), []byte(value), 0)
		if err != nil && name != "memory.swap.max" {
			return group{}, fmt.Errorf("compute.cgroup: %w; delegate the directory to the agent and write +cpu +memory +pids into its cgroup.subtree_control", err)
		}
	}
	fd, err := os.Open(o.Cgroup)
	return group{o.Cgroup, fd}, err
}

// attach makes the next program begin in the group.
func (g group) attach(a *syscall.SysProcAttr) {
	if g.fd != nil {
		a.UseCgroupFD, a.CgroupFD = true, int(g.fd.Fd())
	}
}

// over reports whether the processes use more memory than they may, where no
// kernel sees to it.
func (g group) over(m Member, pids func() []int) (usedMiB int64, over bool) {
	if g.dir != "" || m.MemoryMiB == 0 {
		return 0, false
	}
	usedMiB = residentMiB(pids())
	return usedMiB, usedMiB > m.MemoryMiB
}

// verdict is why the kernel ended something of the group; empty when it did not.
func (g group) verdict() string {
	if g.dir == "" {
		return ""
	}
	text, err := os.ReadFile(filepath.Join(g.dir, "memory.events"))
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if n, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok && n != "0" {
			return "it used more memory than its limit, and the kernel ended " + n + " of its processes"
		}
	}
	return ""
}

func (g group) kill() {
	if g.dir != "" {
		_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) // kernels before 5.14 have none; the tree is killed too
	}
}

func (g group) remove() {
	if g.fd != nil {
		_ = g.fd.Close()
		_ = os.Remove(g.dir) // an empty group costs nothing
	}
}
