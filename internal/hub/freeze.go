package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/backup"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/store/local"
)

const (
	frozenDir = "frozen"
	backupDir = "backup" // what `hub backup` remembers
	// frozenFor is how long a freeze stays that nobody removes, and whose owner, if it
	// has one, is there.
	frozenFor = 24 * time.Hour
)

// leftOut are the names in a data directory that a backup has not. The journal of
// open minutes holds keys that are destroyed within the hour, so that nobody can
// be followed any longer: a copy would keep them. The rest is of the running
// process, or made anew.
var leftOut = []string{trafficDir, frozenDir, backupDir, cutsDir, addressFile, "admin.token", "agent"}

// LeftOut reports whether a path in a data directory, with slashes, is not part of
// a backup.
func LeftOut(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	return slices.Contains(leftOut, top) || path == seriesDir+"/lock" || path == queueDir+"/lock" || path == recordsFile+"-shm" || strings.HasSuffix(path, ".tmp")
}

// freezer freezes the hub's directories, one moment at a time.
type freezer struct {
	h *hub

	mu     sync.Mutex
	frozen *api.Frozen
	owner  string // of frozen; empty when it has none
	timer  *time.Timer
}

// newFreezer also removes what a hub before left frozen.
func (h *hub) newFreezer() (*freezer, error) {
	f := &freezer{h: h}
	for _, dir := range f.roots() {
		if err := os.RemoveAll(dir); err != nil {
			return nil, fmt.Errorf("remove what was frozen: %w", err)
		}
	}
	watchBackups(h.at.Data, h.metrics)
	h.stack.onStop("freezes", func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.thaw()
	})
	return f, nil
}

// roots are the folders that freezes are in.
func (f *freezer) roots() []string {
	all := []string{filepath.Join(f.h.at.Data, frozenDir)}
	if f.h.graded != nil {
		all = append(all, filepath.Join(f.h.cfg.Store.GradedDir, frozenDir))
	}
	return all
}

// Freeze implements [api.Freezes].
func (f *freezer) Freeze(ctx context.Context) (api.Frozen, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.orphaned() {
		if err := f.remove(); err != nil {
			return api.Frozen{}, err
		}
	}
	if f.frozen != nil {
		return api.Frozen{}, fmt.Errorf("the hub %w since %s, as %s, for another backup; wait for it, or remove it with DELETE /api/v1/freezes/%s", api.ErrFrozen, f.frozen.At.Format(time.RFC3339), f.frozen.ID, f.frozen.ID)
	}
	now := f.h.clock().UTC()
	x := api.Frozen{ID: now.Format("20060102T150405.000Z"), At: now, Expires: now.Add(frozenFor), Counts: map[string]int64{}}
	f.frozen = &x // to be removed, in part too
	// Who may not read the lock leaves freezes to those who remove them.
	f.owner, _ = freezeOwner(f.h.at.Data)
	if err := f.freeze(ctx, &x); err != nil {
		return api.Frozen{}, errors.Join(err, f.thaw())
	}
	f.timer = time.AfterFunc(lookForOwner, func() { f.look(x.ID) })
	return x, nil
}

// freeze goes from what is told last to what is told first: devices are there
// before their series, and entries of the record of changes before their
// checkpoint.
func (f *freezer) freeze(ctx context.Context, x *api.Frozen) error {
	x.Data = filepath.Join(f.h.at.Data, frozenDir, x.ID)
	if err := os.MkdirAll(x.Data, 0o700); err != nil {
		return err
	}
	if err := f.h.series.Freeze(ctx, filepath.Join(x.Data, seriesDir)); err != nil {
		return err
	}
	if f.h.graded != nil {
		x.Graded = filepath.Join(f.h.cfg.Store.GradedDir, frozenDir, x.ID)
		if err := os.MkdirAll(filepath.Dir(x.Graded), 0o700); err != nil {
			return err
		}
		if err := f.h.graded.Freeze(ctx, x.Graded); err != nil {
			return err
		}
	}
	if err := f.h.desk.Copy(filepath.Join(x.Data, deskDir)); err != nil {
		return err
	}
	if err := f.copyFiles(ctx, x.Data); err != nil {
		return err
	}
	if err := f.h.records.Copy(ctx, filepath.Join(x.Data, recordsFile)); err != nil {
		return err
	}
	return countFrozen(ctx, x)
}

// copyFiles takes everything else: files that are replaced or only grow are
// copied, and those of releases, which never change, linked.
func (f *freezer) copyFiles(ctx context.Context, to string) error {
	from := f.h.at.Data
	return filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || rel == "." {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case LeftOut(rel), rel == seriesDir, rel == deskDir, strings.HasPrefix(rel, recordsFile):
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		case e.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		case strings.HasPrefix(rel, "catalog/"):
			return os.Link(path, filepath.Join(to, rel))
		}
		return copyFile(path, filepath.Join(to, rel))
	})
}

func copyFile(from, to string) error {
	src, err := os.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, info.Mode().Perm())
	if err != nil {
		return err
	}
	_, err = io.Copy(dst, src)
	return errors.Join(err, dst.Close())
}

// countFrozen counts what is in a freeze.
func countFrozen(ctx context.Context, x *api.Frozen) error {
	counts, err := CountRows(ctx, x.Data)
	if err != nil {
		return err
	}
	x.Counts = counts
	return nil
}

// CountRows returns how many rows each table has in the database of a directory
// that nobody uses.
func CountRows(ctx context.Context, dir string) (map[string]int64, error) {
	db, err := records.OpenReadOnly(filepath.Join(dir, recordsFile))
	if err != nil {
		return nil, err
	}
	counts, err := db.Counts(ctx)
	return counts, errors.Join(err, db.Close())
}

// Thaw implements [api.Freezes].
func (f *freezer) Thaw(id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.frozen == nil || f.frozen.ID != id {
		return fmt.Errorf("freeze %.40q: %w", id, api.ErrNotFrozen)
	}
	return f.remove()
}

// remove is thaw of a freeze that was made, and tells of what stays. The caller
// holds mu.
func (f *freezer) remove() error {
	id := f.frozen.ID
	if err := f.thaw(); err != nil {
		f.h.log.Error("freeze_not_removed", "id", id, "error", err, "way_out", "the next start of the hub removes it")
		return err
	}
	return nil
}

// thaw removes what is frozen. The caller holds mu.
func (f *freezer) thaw() error {
	if f.frozen == nil {
		return nil
	}
	f.frozen = nil
	if f.timer != nil {
		f.timer.Stop()
	}
	var errs []error
	for _, dir := range f.roots() {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// HoldStopped keeps a hub from starting in a directory whose hub does not run. It
// fails with EAGAIN while one does.
func HoldStopped(dir string) (release func() error, err error) {
	if _, err := os.Stat(filepath.Join(dir, recordsFile)); err != nil {
		return nil, fmt.Errorf("%w; is this the data directory of a hub?", err)
	}
	return local.Unused(filepath.Join(dir, seriesDir))
}

// BackupState is what `hub backup` and `hub drill` leave in a data directory for
// the hub to tell.
type BackupState struct {
	Backup time.Time `json:"backup,omitzero"` // end of the last one that succeeded
	Drill  time.Time `json:"drill,omitzero"`  // of the last restore that was tried and found whole
}

// BackupMemory is the file that remembers what the last backup to a place found.
func BackupMemory(dir, repository string) string {
	return filepath.Join(dir, backupDir, repository+".json")
}

func backupStateFile(dir string) string { return filepath.Join(dir, backupDir, "state.json") }

// ReadBackupState reads it; the zero state where there is none.
func ReadBackupState(dir string) (s BackupState, err error) {
	text, err := os.ReadFile(backupStateFile(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// NoteBackupState changes it.
func NoteBackupState(dir string, change func(*BackupState)) error {
	s, err := ReadBackupState(dir)
	if err != nil {
		s = BackupState{}
	}
	change(&s)
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	t, err := backup.OpenDirectory(filepath.Join(dir, backupDir))
	if err != nil {
		return err
	}
	return t.Put(context.Background(), "state.json", append(text, '\n'))
}

// watchBackups shows how old the newest backup and the newest drill are. Art. 78
func watchBackups(dir string, reg prometheus.Registerer) {
	for name, help := range map[string]string{
		"hub_backup_last_success_timestamp_seconds":       "When the last backup ended well; 0: never.",
		"hub_backup_drill_last_success_timestamp_seconds": "When a backup was last restored on trial and found whole; 0: never.",
	} {
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			s, err := ReadBackupState(dir)
			at := s.Backup
			if strings.Contains(name, "drill") {
				at = s.Drill
			}
			if err != nil || at.IsZero() {
				return 0
			}
			return float64(at.UnixMilli()) / 1000
		}))
	}
}
