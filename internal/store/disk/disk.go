// Package disk is what engines ask of the file system: to make files durable,
// to say how much room is left, and to keep other processes out of a directory.
package disk

import (
	"errors"
	"os"
)

// SyncDir makes the entries of a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
