package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/backup"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/progress"
)

// repository is what all commands about backups share.
type repository struct {
	endpoint   string
	identities []string
	json       bool
}

func (r *repository) register(c *cobra.Command, reads bool) {
	c.Flags().StringVar(&r.endpoint, "endpoint", os.Getenv("AWS_ENDPOINT_URL"), "`URL` of the service for s3:// (or AWS_ENDPOINT_URL; default AWS)")
	c.Flags().BoolVar(&r.json, "json", false, "print JSON")
	if reads {
		c.Flags().StringArrayVar(&r.identities, "identity", nil, "`file` of age-keygen that opens the backups; may be given more than once")
	}
}

// isArchive says that a place is one file, by its name.
func isArchive(place string) bool { return strings.HasSuffix(place, ".tar") }

// open opens a place with backups to read.
func (r *repository) open(ctx context.Context, place string) (*backup.Repository, func() error, error) {
	t, err := r.target(ctx, place, false)
	if err != nil {
		return nil, nil, err
	}
	repo, err := backup.Open(ctx, t)
	if err != nil {
		return nil, nil, errors.Join(err, t.Close())
	}
	return repo, t.Close, nil
}

func (r *repository) target(ctx context.Context, place string, write bool) (backup.Target, error) {
	switch {
	case strings.HasPrefix(place, "s3://"):
		return backup.OpenS3(ctx, place, r.endpoint)
	case strings.Contains(place, "://"):
		return nil, usageError{fmt.Errorf("%q is no place for backups: name a folder, a file that ends with .tar, or s3://BUCKET/PREFIX", place)}
	case isArchive(place) && write:
		return backup.CreateArchive(place)
	case isArchive(place):
		return backup.OpenArchive(place)
	}
	if info, err := os.Stat(place); err == nil && !info.IsDir() {
		return nil, usageError{fmt.Errorf("%s is a file; name a folder, or a file that ends with .tar", place)}
	} else if errors.Is(err, fs.ErrNotExist) && !write {
		return nil, fmt.Errorf("%w; name the place that `hub backup` wrote to", err)
	}
	return backup.OpenDirectory(place)
}

func (r *repository) keys() (all []age.Identity, err error) {
	for _, name := range r.identities {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		ids, err := backup.ParseIdentities(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, ids...)
	}
	return all, nil
}

func backupCommand() *cobra.Command {
	b := &backupRun{}
	c := &cobra.Command{
		Use:   "backup PLACE",
		Short: "Copy all that a hub keeps to a folder, a file or S3, encrypted; list, verify and prune copies",
		Long: `backup copies what the hub of a data directory keeps, while it runs or when it is stopped, to PLACE: a folder, a file that ends with .tar, or s3://BUCKET/PREFIX.
What was acknowledged before it began is in the copy. After the first, only what is new is sent. Everything is encrypted with age before it leaves the machine, and read back after it was written.
The journal of open minutes of roadside units is left out: its keys are destroyed within the hour.`,
		Example: "  age-keygen -o hub-backup.key    # keep it away from the hub\n  hub backup /mnt/backup/hub --recipient age1…\n  hub backup /mnt/backup/hub      # the next ones know their recipients\n  hub backup s3://province/hub --endpoint https://s3.example.org --recipient age1…\n  hub backup list /mnt/backup/hub\n  hub backup verify /mnt/backup/hub\n  hub backup prune /mnt/backup/hub --older 720h",
		Args:    cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{fmt.Errorf("backup takes one place, but got %d: a folder, a file that ends with .tar, or s3://BUCKET/PREFIX", len(args))}
			}
			return b.run(cmd, args[0])
		},
	}
	b.register(c, false)
	c.Flags().StringArrayVar(&b.recipients, "recipient", nil, "who can read the backups of a new place: age1…, or a line of an SSH key; may be given more than once")
	c.Flags().StringVar(&b.recipientsFile, "recipients-file", "", "`file` with a recipient on each line")
	c.Flags().BoolVar(&b.plain, "unencrypted", false, "do not encrypt the backups of a new place: whoever reads it has all data, keys and secrets")
	c.Flags().StringVar(&b.data, "data", config.Default().Data, "data `directory` of the hub")
	c.Flags().StringVar(&b.graded, "graded", "", "the `directory` that store.graded_dir names, of a hub that does not run")
	_ = c.MarkFlagDirname("data")
	_ = c.MarkFlagDirname("graded")
	c.AddCommand(backupList(), backupVerify(), backupPrune())
	return c
}

// backupRun is one `hub backup`.
type backupRun struct {
	repository
	recipients     []string
	recipientsFile string
	plain          bool
	data, graded   string
}

func (b *backupRun) run(cmd *cobra.Command, place string) error {
	ctx := cmd.Context()
	dir, err := filepath.Abs(b.data)
	if err != nil {
		return err
	}
	t, err := b.target(ctx, place, true)
	if err != nil {
		return err
	}
	result, err := b.write(cmd, t, dir)
	if err = errors.Join(err, t.Close()); err != nil {
		return err
	}
	if err := hub.NoteBackupState(dir, func(s *hub.BackupState) { s.Backup = time.Now().UTC() }); err != nil {
		return fmt.Errorf("the backup is whole, but its time could not be noted: %w", err)
	}
	if b.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"backup": result.Point.Name, "files": result.Files, "bytes": result.Size, "new_bytes": result.New, "sent_bytes": result.Kept})
	}
	fmt.Fprintf(cmd.OutOrStdout(), "backup %s: %d files, %s; %s of them new, %s sent\n", result.Point.Name, result.Files, bytesText(result.Size), bytesText(result.New), bytesText(result.Kept))
	return nil
}

func (b *backupRun) write(cmd *cobra.Command, t backup.Target, dir string) (backup.Result, error) {
	repo, err := b.prepare(cmd.Context(), t)
	if err != nil {
		return backup.Result{}, err
	}
	plan, release, err := b.plan(cmd.Context(), dir)
	if err != nil {
		return backup.Result{}, err
	}
	line := progress.On(cmd.ErrOrStderr())
	defer line.Clear()
	plan.Version, plan.Memory = version(), hub.BackupMemory(dir, repo.ID())
	plan.Progress = func(done int64) { line.Say("%s looked at", bytesText(done)) }
	result, err := repo.Write(cmd.Context(), plan)
	return result, errors.Join(err, release())
}

// prepare opens the place, or makes it one. To leave secrets unencrypted takes a
// word.
func (b *backupRun) prepare(ctx context.Context, t backup.Target) (*backup.Repository, error) {
	to := b.recipients
	if b.recipientsFile != "" {
		text, err := os.ReadFile(b.recipientsFile)
		if err != nil {
			return nil, err
		}
		to = append(to, string(text))
	}
	repo, err := backup.Open(ctx, t)
	switch {
	case err == nil && (len(to) > 0 || b.plain):
		return nil, usageError{fmt.Errorf("%s has backups, and their recipients are settled (%s); leave --recipient away, or choose a new place for others", t, strings.Join(repo.Recipients(), ", "))}
	case err == nil || !errors.Is(err, backup.ErrNoRepository):
		return repo, err
	case len(to) == 0 && !b.plain:
		return nil, usageError{fmt.Errorf("%s is new: say with --recipient who can read its backups (`age-keygen` makes one), or --unencrypted", t)}
	case len(to) > 0 && b.plain:
		return nil, usageError{errors.New("--unencrypted and --recipient exclude each other")}
	}
	return backup.Create(ctx, t, to)
}

// plan freezes what a running hub keeps, or takes what a stopped one left.
func (b *backupRun) plan(ctx context.Context, dir string) (backup.Plan, func() error, error) {
	release, err := hub.HoldStopped(dir)
	if errors.Is(err, syscall.EAGAIN) {
		return b.frozen(ctx, dir)
	}
	if err != nil {
		return backup.Plan{}, nil, err
	}
	p := backup.Plan{At: time.Now(), Sources: []backup.Source{{Root: dir, Skip: func(path string, _ bool) bool { return hub.LeftOut(path) }}}}
	if b.graded != "" {
		p.Sources = append(p.Sources, backup.Source{Root: b.graded, Below: backup.GradedBelow, Skip: func(path string, _ bool) bool { return path == "lock" || hub.LeftOut(path) }})
	}
	if p.Counts, err = hub.CountRows(ctx, dir); err != nil {
		return backup.Plan{}, nil, errors.Join(err, release())
	}
	return p, release, nil
}

func (b *backupRun) frozen(ctx context.Context, dir string) (backup.Plan, func() error, error) {
	r := &remote{}
	r.where.Data = dir
	c, err := r.client()
	if err != nil {
		return backup.Plan{}, nil, err
	}
	disown, err := hub.OwnFreezes(dir)
	if err != nil {
		return backup.Plan{}, nil, err
	}
	var f api.Frozen
	if err := c.Call(ctx, http.MethodPost, "/api/v1/freezes", nil, nil, &f); err != nil {
		return backup.Plan{}, nil, errors.Join(err, disown())
	}
	thaw := func() error {
		return errors.Join(c.Call(context.WithoutCancel(ctx), http.MethodDelete, "/api/v1/freezes/"+f.ID, nil, nil, nil), disown())
	}
	p := backup.Plan{At: f.At, Counts: f.Counts, Sources: []backup.Source{{Root: f.Data}}}
	if f.Graded != "" {
		p.Sources = append(p.Sources, backup.Source{Root: f.Graded, Below: backup.GradedBelow})
	}
	return p, thaw, nil
}

func backupList() *cobra.Command {
	r := &repository{}
	c := &cobra.Command{
		Use:     "list PLACE",
		Short:   "List the backups of a place",
		Example: "  hub backup list /mnt/backup/hub",
		Args:    onePlace("backup list"),
		RunE: func(cmd *cobra.Command, args []string) error {
			repo, end, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			points, err := repo.Points(cmd.Context())
			if err = errors.Join(err, end()); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), points)
			}
			for _, p := range points {
				fmt.Fprintln(cmd.OutOrStdout(), p.At.Format(time.RFC3339))
			}
			return nil
		},
	}
	r.register(c, false)
	return c
}

func onePlace(command string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return usageError{fmt.Errorf("%s takes one place, but got %d: a folder, a file that ends with .tar, or s3://BUCKET/PREFIX", command, len(args))}
		}
		return nil
	}
}

func backupVerify() *cobra.Command {
	r := &repository{}
	c := &cobra.Command{
		Use:     "verify PLACE",
		Short:   "Read all backups of a place and name what is damaged",
		Long:    "verify reads every chunk of every backup and checks its sum; with an identity it also opens it. It exits with 1 when something is damaged or gone.",
		Example: "  hub backup verify /mnt/backup/hub\n  hub backup verify /mnt/backup/hub --identity hub-backup.key",
		Args:    onePlace("backup verify"),
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := r.keys()
			if err != nil {
				return err
			}
			repo, end, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			line, damaged := progress.On(cmd.ErrOrStderr()), 0
			err = repo.Verify(cmd.Context(), keys, func(s string) {
				line.Clear()
				damaged++
				fmt.Fprintln(cmd.OutOrStdout(), s)
			}, func(done, of int64) { line.Say("%s of %s read", bytesText(done), bytesText(of)) })
			line.Clear()
			if err = errors.Join(err, end()); err != nil {
				return err
			}
			if damaged > 0 {
				return fmt.Errorf("%s has %d damaged places; make a new backup: it sends again what is gone or cut", args[0], damaged)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: no damage\n", args[0])
			return nil
		},
	}
	r.register(c, true)
	return c
}

func backupPrune() *cobra.Command {
	r := &repository{}
	var older time.Duration
	c := &cobra.Command{
		Use:     "prune PLACE",
		Short:   "Remove old backups, and what unfinished ones left",
		Example: "  hub backup prune /mnt/backup/hub --older 720h",
		Args:    onePlace("backup prune"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if older <= 0 {
				return usageError{errors.New("say with --older how old the backups are that go, such as --older 720h; the newest stays in any case")}
			}
			repo, end, err := r.open(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			now := time.Now()
			gone, err := repo.Prune(cmd.Context(), now, now.Add(-older))
			if err = errors.Join(err, end()); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), gone)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%d backups and %s removed\n", len(gone.Points), bytesText(gone.Bytes))
			return nil
		},
	}
	r.register(c, false)
	c.Flags().DurationVar(&older, "older", 0, "`age` from which on backups go")
	return c
}

func bytesText(n int64) string {
	const units = "kMGTP"
	if n < 1000 {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/1000, 0
	for f >= 999.95 && i < len(units)-1 {
		f, i = f/1000, i+1
	}
	return fmt.Sprintf("%.1f %cB", f, units[i])
}
