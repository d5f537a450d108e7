//go:build songhua_ack_before_fsync

package local

import "os"

// durable breaks the promise of the package: it returns at once. The crash
// harness is built with it to prove that it notices.
func durable(*os.File) error { return nil }
