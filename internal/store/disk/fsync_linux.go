//go:build !songhua_ack_before_fsync

package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// fdatasync writes the file's data, and its size where that changed, to the disk.
func fdatasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
