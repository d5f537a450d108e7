package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/store/local"
)

// Verify walks everything that a stopped hub keeps in dir, reports a line for
// each damaged place, and returns how many there are. The series are only
// read; the database is opened, which repairs what a crash left half done.
func Verify(ctx context.Context, dir string, report func(string)) (findings int, err error) {
	if _, err := os.Stat(filepath.Join(dir, addressFile)); err == nil {
		return 0, fmt.Errorf("%s may be in use (%s is there); stop the hub first, or remove that file when none runs", dir, addressFile)
	}
	found := func(line string) {
		findings++
		report(line)
	}
	if err := verifyRecords(ctx, filepath.Join(dir, recordsFile), found); err != nil {
		return findings, err
	}
	err = local.Verify(ctx, filepath.Join(dir, seriesDir), func(f local.Finding) { found(f.String()) })
	return findings, err
}

func verifyRecords(ctx context.Context, path string, found func(string)) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("%w; is this the data directory of a hub?", err)
	}
	db, err := records.Open(ctx, path)
	if err != nil {
		found(err.Error())
		return nil
	}
	if err := db.Check(ctx); err != nil {
		found(err.Error())
	} else if n, _, err := (audit.Log{DB: db}).Verify(ctx); err != nil {
		found(fmt.Sprintf("%s: the record of changes after entry %d: %v", path, n, err))
	}
	return errors.Join(db.Close())
}
