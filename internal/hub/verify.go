package hub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/authority"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/ingest/desk"
	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/traffic/intake"
)

// Verify walks everything that a stopped hub keeps in dir, reports a line for
// each damaged place, and returns how many there are. It only reads: what a
// crash left half done is read as the next start will read it. A hub that runs
// holds the lock of its store; that is how it is known, whatever else lies in
// the directory.
func Verify(ctx context.Context, dir string, report func(string)) (findings int, err error) {
	path := filepath.Join(dir, recordsFile)
	if _, err := os.Stat(path); err != nil {
		return 0, fmt.Errorf("%w; is this the data directory of a hub?", err)
	}
	found := func(line string) {
		findings++
		report(line)
	}
	err = verifySeries(ctx, dir, filepath.Join(dir, seriesDir), found)
	if errors.Is(err, syscall.EAGAIN) {
		return 0, err
	}
	authority.Verify(filepath.Join(dir, authorityDir), found)
	err = errors.Join(err, verifyRecords(ctx, dir, found), desk.Verify(filepath.Join(dir, deskDir), found), intake.Verify(filepath.Join(dir, trafficDir), found),
		release.VerifyTree(ctx, filepath.Join(dir, filepath.FromSlash(releasesDir)), found))
	return findings, err
}

// VerifyGraded does the same for the directory that store.graded_dir names.
func VerifyGraded(ctx context.Context, dir string, report func(string)) (findings int, err error) {
	if _, err := os.Stat(dir); err != nil {
		return 0, err
	}
	found := func(line string) {
		findings++
		report(line)
	}
	return findings, errors.Join(verifySeries(ctx, dir, dir, found), intake.Verify(filepath.Join(dir, trafficDir), found))
}

// verifySeries verifies a store; of is the directory that its hub runs in.
func verifySeries(ctx context.Context, of, dir string, found func(string)) error {
	err := local.Verify(ctx, dir, func(f local.Finding) { found(f.String()) })
	if errors.Is(err, syscall.EAGAIN) {
		return fmt.Errorf("a hub runs in %s; stop it first (%w)", of, err)
	}
	return err
}

func verifyRecords(ctx context.Context, dir string, found func(string)) error {
	path := filepath.Join(dir, recordsFile)
	db, err := records.OpenReadOnly(path)
	if err != nil {
		return err
	}
	damaged := db.Check(ctx)
	if err := errors.Join(ctx.Err(), db.Close()); err != nil {
		return err
	}
	if damaged != nil {
		found(damaged.Error())
		return nil
	}
	_, err = VerifyAudit(ctx, dir, audit.Keys{}, nil, func(f audit.Finding) { found(path + ": the record of changes: " + f.Text) })
	return err
}
