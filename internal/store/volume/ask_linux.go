package volume

import (
	"encoding/binary"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

func device(path string) (of, self number, err error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return number{}, number{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	of = number{unix.Major(uint64(st.Dev)), unix.Minor(uint64(st.Dev))} //nolint:unconvert // 32 bits on some machines
	if st.Mode&unix.S_IFMT == unix.S_IFBLK {
		self = number{unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev))} //nolint:unconvert // as above
	}
	return of, self, nil
}

// hasPolicy reports whether a directory has an encryption policy of fscrypt,
// which all that is made in it has too (Documentation/filesystems/fscrypt.rst).
func hasPolicy(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	// struct fscrypt_get_policy_ex_arg: the room for a policy, and the policy.
	var arg [8 + 24]byte
	binary.NativeEndian.PutUint64(arg[:], uint64(len(arg)-8))
	for _, request := range []uintptr{unix.FS_IOC_GET_ENCRYPTION_POLICY_EX, unix.FS_IOC_GET_ENCRYPTION_POLICY} {
		_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(&arg)))
		switch errno {
		case 0:
			return true
		case unix.ENODATA:
			return false
		}
	}
	return false
}
