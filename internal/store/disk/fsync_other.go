//go:build !linux && !songhua_ack_before_fsync

package disk

import "os"

func fdatasync(f *os.File) error { return f.Sync() }
