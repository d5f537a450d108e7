//go:build !songhua_ack_before_fsync

package disk

import "os"

// Sync returns when the file's content is safe on the disk.
func Sync(f *os.File) error { return fdatasync(f) }
