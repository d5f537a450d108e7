//go:build unix

package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// Free returns the space that the user may still use on dir's disk.
func Free(dir string) (uint64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, os.NewSyscallError("statfs", err)
	}
	return uint64(s.Bavail) * uint64(s.Bsize), nil
}
