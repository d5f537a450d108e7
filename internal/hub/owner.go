package hub

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/songhua-io/hub/internal/store/disk"
)

// lookForOwner is how often the hub looks whether who asked for a freeze is there.
const lookForOwner = 5 * time.Second

// ownerDir holds the lock of the `hub backup` that is at it. The lock, not a
// timer, says that it is: a process that is slow or stopped has it, and one that is
// gone, however it ended, has not.
func ownerDir(dir string) string { return filepath.Join(dir, backupDir, "owner") }

// OwnFreezes makes the caller, of whom there is one at a time, the owner of the
// freezes that it then asks the hub of dir for: they end when it is gone.
func OwnFreezes(dir string) (release func() error, err error) {
	at := ownerDir(dir)
	if err := os.MkdirAll(at, 0o700); err != nil {
		return nil, err
	}
	release, err = disk.Hold(at)
	if errors.Is(err, syscall.EAGAIN) {
		return nil, fmt.Errorf("another backup of the running hub of %s is at it; wait for it", dir)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", at, err)
	}
	// Who it is stands in the file that is locked; of a process of before with the
	// same number the time differs.
	if err := os.WriteFile(filepath.Join(at, "lock"), fmt.Appendf(nil, "%d %d\n", os.Getpid(), time.Now().UnixNano()), 0o600); err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

// freezeOwner returns who owns freezes of dir now; empty when nobody does. The
// error says why it cannot tell.
func freezeOwner(dir string) (string, error) {
	release, err := disk.HoldUnused(ownerDir(dir))
	if err == nil {
		return "", release()
	}
	if !errors.Is(err, syscall.EAGAIN) {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(ownerDir(dir), "lock"))
	return string(text), err
}

// orphaned reports whether the owner of what is frozen is gone. What has none
// stays until it is removed or its time is over. The caller holds mu.
func (f *freezer) orphaned() bool {
	if f.frozen == nil || f.owner == "" {
		return false
	}
	now, err := freezeOwner(f.h.at.Data)
	return err == nil && now != f.owner
}

// look removes the freeze when its owner is gone or its time is over, and else
// looks again later.
func (f *freezer) look(id string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen == nil || f.frozen.ID != id {
		return
	}
	gone := f.orphaned()
	if !gone && f.h.clock().Before(f.frozen.Expires) {
		f.timer = time.AfterFunc(lookForOwner, func() { f.look(id) })
		return
	}
	f.h.log.Warn("freeze_removed", "id", id, "owner_gone", gone)
	f.remove() //nolint:errcheck // it has logged it
}
