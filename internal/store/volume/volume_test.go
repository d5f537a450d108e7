package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// machine is a host in a directory: /sys/dev/block with its devices, and the
// mounts of /proc.
type machine struct {
	host
	root string
	t    *testing.T
}

func newMachine(t *testing.T) *machine {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	m := &machine{root: root, t: t}
	m.host = host{
		proc: filepath.Join(root, "proc"), sys: filepath.Join(root, "sys"),
		policy: func(string) bool { return false },
		device: func(string) (number, number, error) { return number{}, number{}, fs.ErrNotExist },
	}
	return m
}

func (m *machine) file(name, text string) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
		m.t.Fatal(err)
	}
}

// block makes a device at a place below /sys/devices; uuid is empty for one
// that is not mapped, slaves are places of others.
func (m *machine) block(number, at, uuid string, slaves ...string) {
	m.t.Helper()
	m.file(filepath.Join("sys/devices", at, "dev"), number)
	if uuid != "" {
		m.file(filepath.Join("sys/devices", at, "dm/uuid"), uuid+"\n")
	}
	for _, s := range slaves {
		m.link(filepath.Join("sys/devices", at, "slaves", filepath.Base(s)), filepath.Join("sys/devices", s))
	}
	m.link(filepath.Join("sys/dev/block", number), filepath.Join("sys/devices", at))
}

func (m *machine) link(at, to string) {
	m.t.Helper()
	at = filepath.Join(m.root, at)
	if err := errors.Join(os.MkdirAll(filepath.Dir(at), 0o700), os.Symlink(filepath.Join(m.root, to), at)); err != nil {
		m.t.Fatal(err)
	}
}

func TestVolumesOfAllKinds(t *testing.T) {
	const luks = "CRYPT-LUKS2-0f6ad45c6dfd4a7fa6a3d1d1f1a2d3e4-data"
	for _, c := range []struct {
		name    string
		devices func(m *machine)
		mounts  string // DATA stands for the directory that is asked about
		at      number // the file system of that directory
		source  number // of the mount's source, where it is asked
		policy  bool
		want    string
		fault   string
	}{
		{name: "LUKS", devices: func(m *machine) {
			m.block("8:1", "pci/sda/sda1", "")
			m.block("253:0", "virtual/dm-0", luks, "pci/sda/sda1")
		}, mounts: "36 1 253:0 / DATA rw shared:1 - ext4 /dev/mapper/data rw", at: number{253, 0}, want: "dm-crypt"},
		{name: "LVM on LUKS", devices: func(m *machine) {
			m.block("253:0", "virtual/dm-0", luks)
			m.block("253:1", "virtual/dm-1", "LVM-abc", "virtual/dm-0")
		}, mounts: "36 1 253:1 / DATA rw - xfs /dev/mapper/vg-data rw", at: number{253, 1}, want: "dm-crypt"},
		{name: "a partition of a RAID of two LUKS", devices: func(m *machine) {
			m.block("253:0", "virtual/dm-0", luks)
			m.block("253:1", "virtual/dm-1", "CRYPT-PLAIN-b")
			m.block("9:0", "virtual/md0", "", "virtual/dm-0", "virtual/dm-1")
			m.block("259:1", "virtual/md0/md0p1", "")
			m.file("sys/devices/virtual/md0/md0p1/partition", "1")
		}, mounts: "36 1 259:1 / DATA rw - ext4 /dev/md0p1 rw", at: number{259, 1}, want: "dm-crypt"},
		{name: "a RAID of which one half is plain", devices: func(m *machine) {
			m.block("253:0", "virtual/dm-0", luks)
			m.block("8:1", "pci/sda/sda1", "")
			m.block("9:0", "virtual/md0", "", "virtual/dm-0", "pci/sda/sda1")
		}, mounts: "36 1 9:0 / DATA rw - ext4 /dev/md0 rw", at: number{9, 0}, fault: "which is not encrypted"},
		{name: "LVM on a plain disk", devices: func(m *machine) {
			m.block("8:1", "pci/sda/sda1", "")
			m.block("253:1", "virtual/dm-1", "LVM-abc", "pci/sda/sda1")
		}, mounts: "36 1 253:1 / DATA rw - xfs /dev/mapper/vg-data rw", at: number{253, 1}, fault: "lies on /dev/mapper/vg-data (xfs on "},
		{name: "dm-verity checks and does not encrypt", devices: func(m *machine) {
			m.block("253:0", "virtual/dm-0", "CRYPT-VERITY-abc")
		}, mounts: "36 1 253:0 / DATA rw - ext4 /dev/mapper/data rw", at: number{253, 0}, fault: "which is not encrypted"},
		{name: "a plain partition", devices: func(m *machine) {
			m.block("8:0", "pci/sda", "")
			m.block("8:1", "pci/sda/sda1", "")
			m.file("sys/devices/pci/sda/sda1/partition", "1")
		}, mounts: "36 1 8:1 / DATA rw - ext4 /dev/sda1 rw", at: number{8, 1}, fault: "which is not encrypted"},
		{name: "gocryptfs", mounts: "36 1 0:52 / DATA rw - fuse.gocryptfs /home/u/cipher rw", at: number{0, 52}, want: "gocryptfs"},
		{name: "gocryptfs the other way round", mounts: "36 1 0:52 / DATA rw - fuse.gocryptfs-reverse /home/u/plain rw", at: number{0, 52}, fault: "no disk of this machine"},
		{name: "fscrypt", mounts: "", policy: true, want: "fscrypt"},
		{name: "in memory", mounts: "36 1 0:30 / DATA rw - tmpfs tmpfs rw", at: number{0, 30}, fault: "lies on tmpfs (tmpfs on "},
		{name: "the layers of a container", mounts: "36 1 0:44 / / rw - overlay overlay rw", at: number{0, 44}, fault: "no disk of this machine"},
		{name: "btrfs", mounts: "36 1 0:33 / DATA rw - btrfs /dev/mapper/data rw", at: number{0, 34}, fault: "may span several disks"},
		{name: "a file system that hides its disk", devices: func(m *machine) {
			m.block("253:0", "virtual/dm-0", luks)
		}, mounts: "36 1 0:33 / DATA rw - bcachefs /dev/mapper/data rw", at: number{0, 33}, source: number{253, 0}, want: "dm-crypt"},
		{name: "the last of two on one point", devices: func(m *machine) {
			m.block("253:0", "virtual/dm-0", luks)
			m.block("8:1", "pci/sda", "")
		}, mounts: "36 1 253:0 / DATA rw - ext4 /dev/mapper/data rw\n37 36 8:1 / DATA rw - ext4 /dev/sda1 rw", at: number{8, 1}, fault: "lies on /dev/sda1"},
		{name: "hidden by a mount further up", devices: func(m *machine) {
			m.block("253:0", "virtual/dm-0", luks)
			m.block("8:1", "pci/sda", "")
		}, mounts: "36 1 253:0 / DATA rw - ext4 /dev/mapper/data rw\n37 36 8:1 / / rw - ext4 /dev/sda1 rw", at: number{8, 1}, fault: "does not tell on what"},
		{name: "no such device in sys", mounts: "36 1 8:1 / DATA rw - ext4 /dev/sda1 rw", at: number{8, 1}, fault: "does not describe its device"},
		{name: "unreadable mounts", mounts: "what is this", at: number{8, 1}, fault: "cannot be read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMachine(t)
			dir := filepath.Join(m.root, "my data")
			if err := os.Mkdir(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if c.devices != nil {
				c.devices(m)
			}
			m.file("proc/self/mountinfo", "20 1 7:7 / / rw - ext4 /dev/root rw\n"+strings.ReplaceAll(c.mounts, "DATA", strings.ReplaceAll(dir, " ", `\040`)))
			m.policy = func(string) bool { return c.policy }
			m.device = func(path string) (number, number, error) {
				if path == dir {
					return c.at, number{}, nil
				}
				if c.source.major == 0 {
					return number{}, number{}, fs.ErrNotExist
				}
				return number{}, c.source, nil
			}
			how, err := m.encrypted(dir)
			if how != c.want || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
				t.Errorf("%q, %v; want %q, %q", how, err, c.want, c.fault)
			}
		})
	}
}

// The kernel of this machine is asked about a directory of this machine: it
// answers, and for a directory that is not there it does not.
func TestThisMachine(t *testing.T) {
	if how, err := Encrypted(t.TempDir()); how == "" && err == nil {
		t.Error("neither a means nor a reason")
	}
	if _, err := Encrypted(filepath.Join(t.TempDir(), "none")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
}
