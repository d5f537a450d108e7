package crash

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// disk is an ext4 file system in a file, mounted by loop device, whose power
// can be cut: what was written and not fsynced is gone afterwards.
type disk struct{ image, at string }

// newDisk makes a disk of the given size in MiB. Where the machine allows no
// loop mount it returns an error that says so.
func newDisk(t *testing.T, mib int) (*disk, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("a loop mount needs root")
	}
	d := &disk{image: filepath.Join(t.TempDir(), "disk.img"), at: filepath.Join(t.TempDir(), "disk")}
	if err := os.Mkdir(d.at, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Create(d.image)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(mib) << 20); err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := sh("mkfs.ext4", "-q", "-F", d.image); err != nil {
		return nil, err
	}
	if err := d.mount(); err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = sh("umount", "-l", d.at) })
	return d, nil
}

// needDisk is newDisk for tests that cannot do without. A container seldom has
// loop devices, also in CI: what can be shown without them is shown by
// TestAFailedFsyncIsTheEnd.
func needDisk(t *testing.T, mib int) *disk {
	t.Helper()
	d, err := newDisk(t, mib)
	if err != nil {
		t.Skipf("no disk that can be broken: %v", err)
	}
	return d
}

func (d *disk) mount() error { return sh("mount", "-o", "loop", d.image, d.at) }

// cut takes the power away: the file system drops everything that was not made
// durable, its journal included, and fails every call from here on
// (EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH).
func (d *disk) cut() error {
	f, err := os.Open(d.at)
	if err != nil {
		return err
	}
	defer f.Close()
	const shutdown, noLogFlush = 0x8004587d, 2
	flags := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), shutdown, uintptr(unsafe.Pointer(&flags))); errno != 0 {
		return fmt.Errorf("shut the file system down: %w", errno)
	}
	return nil
}

// powerUp mounts the disk again after a cut, when nobody has files open there.
func (d *disk) powerUp() error {
	if err := sh("umount", d.at); err != nil {
		return err
	}
	return d.mount()
}

func sh(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}
