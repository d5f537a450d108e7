package local

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/songhua-io/hub/internal/store/disk"
)

// ahead is how much later than the store a sample may be that was committed
// elsewhere before there was the store.
const ahead = time.Hour

// Since returns the time from which the store holds all that was committed: later
// than the beginning when it was made beside an engine that was there before, or
// when its oldest went for want of space. The zero time when it is all there.
func (d *DB) Since() time.Time {
	if ms := d.since.Load(); ms != 0 {
		return time.UnixMilli(ms)
	}
	return time.Time{}
}

func (d *DB) sinceFile() string { return filepath.Join(d.cfg.Dir, "since") }

// frozen is the note of a copy: what was committed after it was made, it lacks.
const frozen = "frozen"

// loadSince reads what was noted; a directory without a note that holds no
// series yet begins now, as does a copy that Freeze made.
func (d *DB) loadSince() error {
	_, err := os.Stat(filepath.Join(d.cfg.Dir, "wal"))
	empty := errors.Is(err, fs.ErrNotExist)
	text, err := os.ReadFile(d.sinceFile())
	switch {
	case errors.Is(err, fs.ErrNotExist) && empty, strings.TrimSpace(string(text)) == frozen:
		return d.noteSince(time.Now().Add(ahead).UnixMilli())
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	ms, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	d.since.Store(ms)
	return err
}

// Missed notes that the store does not hold all that was committed until now:
// another engine took it alone.
func (d *DB) Missed() error { return d.noteSince(time.Now().Add(ahead).UnixMilli()) }

// noteSince makes a later time durable.
func (d *DB) noteSince(ms int64) error {
	if ms <= d.since.Load() {
		return nil
	}
	d.since.Store(ms)
	return replace(d.sinceFile(), strconv.FormatInt(ms, 10)+"\n")
}

// replace writes a small file so that a crash leaves the old one or the new one.
func replace(path, text string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return disk.SyncDir(filepath.Dir(path))
}

// noteGone notes that blocks go.
func (d *DB) noteGone(blocks []stored, gone map[ulid.ULID]bool) {
	end := int64(0)
	for _, b := range blocks {
		if gone[b.id] && !b.spent {
			end = max(end, b.end)
		}
	}
	if err := d.noteSince(end); err != nil {
		d.log.Error("store_since_not_noted", "error", err)
	}
}
