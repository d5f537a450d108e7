package work

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// descendants are all processes below pid, whatever group or session they are of.
func descendants(pid int) (below []int) {
	children := map[int][]int{}
	for _, p := range processes() {
		if parent := parentOf(p); parent > 0 {
			children[parent] = append(children[parent], p)
		}
	}
	for next := children[pid]; len(next) > 0; next = next[1:] {
		below = append(below, next[0])
		next = append(next, children[next[0]]...)
	}
	return below
}

func processes() (all []int) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1) // those that were read count
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// parentOf reads the parent from /proc/PID/stat, whose second field is a name
// that may hold anything; 0 for a process that is gone.
func parentOf(pid int) int {
	text, err := os.ReadFile(proc(pid, "stat"))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}

func signalAll(pids []int, s syscall.Signal) {
	for _, pid := range pids {
		_ = syscall.Kill(pid, s) // it may have ended
	}
}

// killMarked kills the processes of a member whose supervisor is gone, and
// returns how many there were.
func killMarked(mark string) (n int) {
	for _, pid := range processes() {
		env, err := os.ReadFile(proc(pid, "environ"))
		if err != nil || !bytes.Contains(append([]byte{0}, env...), []byte("\x00"+mark+"\x00")) {
			continue
		}
		if syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}

// residentMiB is the memory of processes, shared pages counted once each time.
func residentMiB(pids []int) (sum int64) {
	page := int64(os.Getpagesize())
	for _, pid := range pids {
		text, err := os.ReadFile(proc(pid, "statm"))
		if err != nil {
			continue
		}
		if fields := strings.Fields(string(text)); len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64) // the kernel's own number
			sum += pages * page
		}
	}
	return sum >> 20
}

func proc(pid int, file string) string { return filepath.Join("/proc", strconv.Itoa(pid), file) }
