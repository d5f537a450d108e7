//go:build !linux

package backup

import "os"

// beginWriting has nothing to ask of this kernel.
func beginWriting(*os.File, int64, int64) {}
