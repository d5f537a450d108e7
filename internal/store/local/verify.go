package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"github.com/oklog/ulid/v2"

	"github.com/songhua-io/hub/internal/store/disk"
)

// Finding is a place of a store that is damaged.
type Finding struct {
	File   string
	Offset int64 // byte in File where the fault was seen; -1 when only the file is known
	Damage string
}

func (f Finding) String() string {
	if f.Offset < 0 {
		return f.File + ": " + f.Damage
	}
	return fmt.Sprintf("%s: byte %d: %s", f.File, f.Offset, f.Damage)
}

// Verify reads every block, log segment, checkpoint and head chunk of the store
// in dir, late data included, and reports what is damaged. It changes nothing
// and opens nothing for writing; the store must not be in use. It returns an
// error when it could not look at everything, not for what it found.
//
// A log whose last record is cut short is reported: a crash did that, and the
// next Open repairs it. Nothing acknowledged is lost by such a cut.
func Verify(ctx context.Context, dir string, report func(Finding)) error {
	if _, err := os.Stat(dir); err != nil {
		return explain(dir, err)
	}
	release, err := disk.HoldUnused(dir)
	if err != nil {
		return explain(dir, err)
	}
	v := &verifier{report: report}
	err = v.part(ctx, dir)
	if late := filepath.Join(dir, "late"); err == nil && exists(late) {
		err = v.part(ctx, late)
	}
	if err := errors.Join(err, release()); err != nil {
		return explain(dir, err)
	}
	return nil
}

// Unused fails with EAGAIN when a process has the store in dir open, and
// otherwise keeps others out until release is called. It creates nothing.
func Unused(dir string) (release func() error, err error) {
	if release, err = disk.HoldUnused(dir); err != nil {
		return nil, explain(dir, err)
	}
	return release, nil
}

type verifier struct{ report func(Finding) }

func (v *verifier) damaged(file string, offset int64, err error) {
	v.report(Finding{file, offset, err.Error()})
}

// part verifies one TSDB directory.
func (v *verifier) part(ctx context.Context, dir string) error {
	blocks, err := subfolders(dir, func(name string) bool { _, err := ulid.ParseStrict(name); return err == nil })
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if err := ctx.Err(); err != nil {
			return err
		}
		v.block(ctx, filepath.Join(dir, b))
	}
	for _, logs := range []string{"wal", "wbl"} {
		if err := v.log(ctx, filepath.Join(dir, logs)); err != nil {
			return err
		}
	}
	return v.headChunks(ctx, filepath.Join(dir, "chunks_head"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// subfolders returns the folders of dir with fitting names; none when dir is absent.
func subfolders(dir string, fits func(string) bool) ([]string, error) {
	entries, err := entriesOf(dir)
	var names []string
	for _, e := range entries {
		if e.IsDir() && fits(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, err
}

func entriesOf(dir string) ([]fs.DirEntry, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return entries, err
}

// numbered returns the files of dir whose names are numbers, in rising order.
func numbered(dir string) (names []string, numbers []int, err error) {
	entries, err := entriesOf(dir)
	for _, e := range entries {
		n, parseErr := strconv.Atoi(e.Name())
		if parseErr == nil && !e.IsDir() {
			names, numbers = append(names, e.Name()), append(numbers, n)
		}
	}
	return names, numbers, err
}
