package local

import (
	"errors"
	"fmt"
)

// low is the free space below which the store says that it will soon stop.
const low = 2 * reserve

// Ready returns why commits fail, or will soon; nil when all is well. It does
// not wait for a commit that is under way.
func (d *DB) Ready() error {
	if d.mu.TryLock() {
		failed, closed := d.failed, d.closed
		d.mu.Unlock()
		switch {
		case failed != nil:
			return fmt.Errorf("the store failed: %w", failed)
		case closed:
			return errors.New("the store is closed")
		}
	}
	free, err := d.free(d.cfg.Dir)
	if err != nil {
		return fmt.Errorf("free space of %s: %w", d.cfg.Dir, err)
	}
	if free < low {
		return fmt.Errorf("disk of %s is nearly full: %d MiB are free, the store stops below %d MiB; free space or move the data directory", d.cfg.Dir, free>>20, reserve>>20)
	}
	return nil
}
