//go:build !songhua_ack_before_fsync

package local

import "os"

// durable returns when the file's content is safe on the disk.
func durable(f *os.File) error { return fdatasync(f) }
