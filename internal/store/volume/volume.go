// Package volume tells whether what is written to a directory reaches its disk
// encrypted: below it (dm-crypt), in the file system (fscrypt), or above it
// (gocryptfs). It asks the kernel and reads nothing of the disk.
package volume

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Encrypted returns by what means the volume of a directory is encrypted:
// "dm-crypt", "fscrypt" or "gocryptfs". The error says on what it lies instead,
// as the end of a sentence. Art. 74(3)
func Encrypted(dir string) (string, error) {
	return host{proc: "/proc", sys: "/sys", device: device, policy: hasPolicy}.encrypted(dir)
}

// host is where the kernel answers.
type host struct {
	proc, sys string
	// device returns the device number of a file's file system, and of the file
	// itself where it is a device.
	device func(path string) (of, self number, err error)
	policy func(dir string) bool // of fscrypt
}

// number is a device number.
type number struct{ major, minor uint32 }

func (n number) String() string { return fmt.Sprintf("%d:%d", n.major, n.minor) }

// mount is one line of mountinfo (proc_pid_mountinfo(5)).
type mount struct {
	device              number
	point, kind, source string
}

func (h host) encrypted(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir)
	}
	if err != nil {
		return "", err
	}
	if h.policy(dir) {
		return "fscrypt", nil
	}
	m, err := h.mountOf(dir)
	if err != nil {
		return "", err
	}
	on := fmt.Sprintf("%s lies on %s (%s on %s)", dir, m.source, m.kind, m.point)
	switch {
	case m.kind == "fuse.gocryptfs":
		return "gocryptfs", nil
	case m.kind == "btrfs":
		return "", fmt.Errorf("%s, which may span several disks; use ext4 or xfs on dm-crypt, or gocryptfs on top of it", on)
	}
	block := m.device
	if block.major == 0 { // a file system without a device of its own number
		if _, block, err = h.device(m.source); err != nil || block.major == 0 {
			return "", fmt.Errorf("%s, which is no disk of this machine", on)
		}
	}
	ok, err := h.crypted(filepath.Join(h.sys, "dev", "block", block.String()), 0)
	if err != nil {
		return "", fmt.Errorf("%s: %w", on, err)
	}
	if !ok {
		return "", fmt.Errorf("%s, which is not encrypted", on)
	}
	return "dm-crypt", nil
}

// mountOf returns the mount that a directory lies on.
func (h host) mountOf(dir string) (mount, error) {
	of, _, err := h.device(dir)
	if err != nil {
		return mount{}, err
	}
	f, err := os.Open(filepath.Join(h.proc, "self", "mountinfo"))
	if errors.Is(err, fs.ErrNotExist) {
		return mount{}, errors.New("this system does not tell what is mounted (no /proc/self/mountinfo), so nothing can be said of encryption")
	}
	if err != nil {
		return mount{}, err
	}
	defer f.Close()
	var found mount
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		m, err := parseMount(lines.Text())
		if err != nil {
			return mount{}, err
		}
		// Of two mounts on one point the later one is seen.
		if within(dir, m.point) && len(m.point) >= len(found.point) {
			found = m
		}
	}
	if err := lines.Err(); err != nil {
		return mount{}, err
	}
	// One that is mounted over a directory further up hides what is found here.
	if found.point == "" || found.device != of && found.kind != "btrfs" {
		return mount{}, fmt.Errorf("the kernel does not tell on what %s lies", dir)
	}
	return found, nil
}

func within(dir, point string) bool {
	return dir == point || strings.HasPrefix(dir, strings.TrimSuffix(point, "/")+"/")
}

func parseMount(line string) (mount, error) {
	before, after, ok := strings.Cut(line, " - ")
	head, tail := strings.Fields(before), strings.Fields(after)
	if !ok || len(head) < 5 || len(tail) < 2 {
		return mount{}, fmt.Errorf("/proc/self/mountinfo has a line that cannot be read: %.100q", line)
	}
	n, err := parseNumber(head[2])
	return mount{device: n, point: unescape(head[4]), kind: tail[0], source: unescape(tail[1])}, err
}

func parseNumber(s string) (number, error) {
	major, minor, _ := strings.Cut(strings.TrimSpace(s), ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	if err := cmp.Or(errA, errB); err != nil {
		return number{}, fmt.Errorf("%q is no device number", s)
	}
	return number{uint32(a), uint32(b)}, nil
}

// unescape reads the octal escapes of mountinfo (blanks, backslashes).
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// maxLayers bounds how many block devices lie on each other.
const maxLayers = 16

// crypted reports whether all that reaches a block device goes through
// dm-crypt: it is one itself, or everything that it consists of is.
func (h host) crypted(path string, layer int) (bool, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return false, fmt.Errorf("the kernel does not describe its device: %w", err)
	}
	if layer > maxLayers {
		return false, fmt.Errorf("its device has more than %d layers", maxLayers)
	}
	if isCrypt(filepath.Join(path, "dm", "uuid")) {
		return true, nil
	}
	slaves, err := os.ReadDir(filepath.Join(path, "slaves"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, s := range slaves {
		if ok, err := h.crypted(filepath.Join(path, "slaves", s.Name()), layer+1); !ok || err != nil {
			return false, err
		}
	}
	if len(slaves) > 0 {
		return true, nil
	}
	if _, err := os.Stat(filepath.Join(path, "partition")); err == nil {
		return h.crypted(filepath.Dir(path), layer+1) // a part of the device around it
	}
	return false, nil
}

// isCrypt reports whether the uuid of a mapped device is one that cryptsetup
// gives to dm-crypt. Its other targets check what is read and encrypt nothing.
func isCrypt(path string) bool {
	text, err := os.ReadFile(path)
	kind, ok := strings.CutPrefix(string(text), "CRYPT-")
	if err != nil || !ok {
		return false
	}
	for _, other := range []string{"VERITY", "INTEGRITY", "SUBDEV"} {
		if strings.HasPrefix(kind, other) {
			return false
		}
	}
	return true
}
