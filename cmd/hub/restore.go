package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/backup"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/progress"
)

// restoreRun is one `hub restore` or `hub drill`.
type restoreRun struct {
	repository
	at, data, graded string
	dry, leaveGraded bool
}

func (r *restoreRun) flags(c *cobra.Command) {
	r.register(c, true)
	c.Flags().StringVar(&r.at, "at", "", "the newest backup that is not after this `time` (2026-11-26T08:00:00+08:00, or 2h for two hours ago); default the newest")
}

func restoreCommand() *cobra.Command {
	r := &restoreRun{}
	c := &cobra.Command{
		Use:     "restore PLACE",
		Short:   "Bring a backup back into an empty directory",
		Long:    "restore writes the data directory of a backup. It refuses a directory in which something lies, checks every chunk, and leaves the directory absent until all of it is there. Start the hub on it with `hub serve --data DIR`.",
		Example: "  hub restore /mnt/backup/hub --identity hub-backup.key --data /var/lib/songhua\n  hub restore /mnt/backup/hub --identity hub-backup.key --at 2026-11-26T08:00:00+08:00 --data /srv/old\n  hub restore s3://province/hub --identity hub-backup.key --data /srv/new --dry-run",
		Args:    onePlace("restore"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.restore(cmd, args[0])
		},
	}
	r.flags(c)
	c.Flags().StringVar(&r.data, "data", config.Default().Data, "data `directory` to be: absent or empty")
	c.Flags().StringVar(&r.graded, "graded", "", "`directory` for the store of graded series, on an encrypted volume")
	c.Flags().BoolVar(&r.leaveGraded, "without-graded", false, "leave the store of graded series out")
	c.Flags().BoolVar(&r.dry, "dry-run", false, "say what would be restored, and whether all of it is there; write nothing")
	_ = c.MarkFlagDirname("data")
	_ = c.MarkFlagDirname("graded")
	return c
}

func (r *restoreRun) restore(cmd *cobra.Command, place string) error {
	dir, err := filepath.Abs(r.data)
	if err != nil {
		return err
	}
	s, err := r.begin(cmd.Context(), place)
	if err != nil {
		return err
	}
	defer s.end() //nolint:errcheck // it was only read
	into := map[string]string{"": dir}
	switch {
	case !s.graded():
	case r.graded != "":
		if into[backup.GradedBelow], err = filepath.Abs(r.graded); err != nil {
			return err
		}
	case !r.leaveGraded:
		return usageError{errors.New("the backup has a store of graded series: say with --graded where on an encrypted volume it goes, or --without-graded")}
	}
	if r.dry {
		return s.dry(cmd, into)
	}
	if err := s.restore(cmd, into); err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "backup %s is in %s: %d files, %s\nstart it with `hub serve --data %s`\n", s.point.Name, dir, len(s.manifest.Files), bytesText(s.manifest.Size()), dir)
	return nil
}

// restoring is a backup that was found.
type restoring struct {
	*restoreRun
	repo     *backup.Repository
	end      func() error
	point    backup.Point
	manifest *backup.Manifest
}

func (r *restoreRun) begin(ctx context.Context, place string) (*restoring, error) {
	until := time.Time{}
	if r.at != "" {
		text, err := moment("at", r.at)
		if err != nil {
			return nil, err
		}
		if until, err = time.Parse(time.RFC3339Nano, text); err != nil {
			return nil, err
		}
	}
	keys, err := r.keys()
	if err != nil {
		return nil, err
	}
	s := &restoring{restoreRun: r}
	if s.repo, s.end, err = r.open(ctx, place); err != nil {
		return nil, err
	}
	if s.point, err = s.repo.Newest(ctx, until); err == nil {
		s.manifest, err = s.repo.Manifest(ctx, s.point, keys)
	}
	if err != nil {
		return nil, errors.Join(err, s.end())
	}
	return s, nil
}

func (s *restoring) graded() bool {
	return slices.ContainsFunc(s.manifest.Files, func(f backup.File) bool {
		return len(f.Path) > len(backup.GradedBelow) && f.Path[:len(backup.GradedBelow)+1] == backup.GradedBelow+"/"
	})
}

func (s *restoring) dry(cmd *cobra.Command, into map[string]string) error {
	missing, err := s.repo.Missing(cmd.Context(), s.point)
	if err != nil {
		return err
	}
	for _, m := range missing {
		fmt.Fprintf(cmd.OutOrStdout(), "%s is gone or cut\n", m)
	}
	if len(missing) > 0 {
		return fmt.Errorf("backup %s lacks %d chunks; try an older one with --at", s.point.Name, len(missing))
	}
	for _, dir := range into {
		if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
			return fmt.Errorf("%s is not empty: it would be refused", dir)
		}
	}
	fmt.Fprintf(cmd.OutOrStdout(), "backup %s, written by version %s: %d files, %s, all there; %s would be made; nothing was written\n", s.point.Name, s.manifest.Version, len(s.manifest.Files), bytesText(s.manifest.Size()),
		strings.Join(slices.Sorted(maps.Values(into)), " and "))
	return nil
}

func (s *restoring) restore(cmd *cobra.Command, into map[string]string) error {
	keys, err := s.keys()
	if err != nil {
		return err
	}
	line, all := progress.On(cmd.ErrOrStderr()), s.manifest.Size()
	defer line.Clear()
	_, err = s.repo.Restore(cmd.Context(), backup.Restoration{Point: s.point, Identities: keys, Into: into, Progress: func(done int64) {
		line.Say("%s of %s restored", bytesText(done), bytesText(all))
	}})
	return err
}

func drillCommand() *cobra.Command {
	r := &restoreRun{}
	var scratch string
	c := &cobra.Command{
		Use:     "drill PLACE",
		Short:   "Restore a backup on trial, and check that all of it is whole",
		Long:    "drill restores a backup into a scratch directory, walks everything in it as `hub verify` does, opens the store, compares rows with the counts that were taken when the backup was made, and removes the directory. The time of the last good drill is a metric of the hub that --data names.",
		Example: "  hub drill /mnt/backup/hub --identity hub-backup.key\n  hub drill s3://province/hub --identity hub-backup.key --scratch /srv/scratch",
		Args:    onePlace("drill"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.drill(cmd, args[0], scratch)
		},
	}
	r.flags(c)
	c.Flags().StringVar(&scratch, "scratch", "", "`directory` in which to restore; default the system's for temporary files")
	c.Flags().StringVar(&r.data, "data", config.Default().Data, "data `directory` of the hub that tells of the drill")
	_ = c.MarkFlagDirname("scratch")
	_ = c.MarkFlagDirname("data")
	return c
}

func (r *restoreRun) drill(cmd *cobra.Command, place, scratch string) (err error) {
	s, err := r.begin(cmd.Context(), place)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.end()) }()
	root, err := os.MkdirTemp(scratch, "songhua-drill-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	began := time.Now()
	into := map[string]string{"": filepath.Join(root, "data"), backup.GradedBelow: filepath.Join(root, "graded")}
	if err := s.restore(cmd, into); err != nil {
		return err
	}
	took := time.Since(began)
	report, findings, err := hub.Drill(cmd.Context(), into[""], into[backup.GradedBelow], s.manifest.Counts, func(line string) { fmt.Fprintln(cmd.OutOrStdout(), line) })
	if err != nil {
		return err
	}
	if findings > 0 {
		return fmt.Errorf("backup %s of %s is not whole: %d findings", s.point.Name, place, findings)
	}
	if err := hub.NoteBackupState(r.data, func(s *hub.BackupState) { s.Drill = time.Now().UTC() }); err != nil {
		return fmt.Errorf("the drill went well, but its time could not be noted: %w", err)
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"backup": s.point.Name, "bytes": s.manifest.Size(), "restored_seconds": took.Seconds(), "rows": report.Rows, "series": report.Series, "samples": report.Samples})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "backup %s is whole: %s restored in %s, %d rows, %d series with %d samples\n", s.point.Name, bytesText(s.manifest.Size()), took.Round(time.Millisecond), report.Rows, report.Series, report.Samples)
	return nil
}
