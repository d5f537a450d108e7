package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/hub"
)

const auditPath = "/api/v1/audit"

func auditCommand() *cobra.Command {
	r := &remote{}
	asking := []*cobra.Command{auditList(r), auditExport(r), auditKey(r)}
	for _, c := range asking {
		r.register(c)
	}
	return group(&cobra.Command{
		Use:     "audit",
		Short:   "Who changed what; export it, and verify that nothing was altered",
		Example: "  hub audit list --object 'device probe-1'\n  hub audit export --out audit.ndjson\n  hub audit verify /var/lib/songhua",
	}, append(asking, auditVerify())...)
}

// auditChoice are the flags that narrow which entries are meant.
type auditChoice struct{ since, until, actor, action, object, origin string }

func (a *auditChoice) register(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&a.since, "since", "", "from this `time` on, such as 24h for a day ago, or 2026-01-31T08:00:00Z")
	f.StringVar(&a.until, "until", "", "before this `time`")
	f.StringVar(&a.actor, "actor", "", "`name` of the token, or what else acted")
	f.StringVar(&a.action, "action", "", "such as devices.write")
	f.StringVar(&a.object, "object", "", "a `part` of what was changed, such as 'device probe-1'")
	f.StringVar(&a.origin, "origin", "", "`address` of the caller")
}

func (a *auditChoice) query() (url.Values, error) {
	since, err := moment("since", a.since)
	if err != nil {
		return nil, err
	}
	until, err := moment("until", a.until)
	return query("since", since, "until", until, "actor", a.actor, "action", a.action, "object", a.object, "origin", a.origin), err
}

func auditList(r *remote) *cobra.Command {
	var choice auditChoice
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List changes, the newest first",
		Example: "  hub audit list --since 24h\n  hub audit list --actor grafana --action devices.write --limit 20 --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := choice.query()
			if err != nil {
				return err
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, auditPath, q, limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no change matches", []string{"seq", "at", "actor", "origin", "action", "object"}, nil)
		},
	}
	choice.register(c)
	c.Flags().IntVar(&limit, "limit", 100, "how many at most (0: all)")
	return c
}

func auditKey(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "key",
		Short:   "Print the public keys that checkpoints are signed with; keep them elsewhere",
		Example: "  hub audit key > audit.pub\n  hub audit key --json    # with the newest checkpoint",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			var answer map[string]any
			if err := hub.Call(cmd.Context(), http.MethodGet, auditPath+"/key", nil, nil, &answer); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			keys, _ := answer["keys"].([]any)
			for _, key := range keys {
				fmt.Fprintln(cmd.OutOrStdout(), key)
			}
			return nil
		},
	}
}

func auditExport(r *remote) *cobra.Command {
	var choice auditChoice
	var out string
	var after int64
	c := &cobra.Command{
		Use:     "export",
		Short:   "Export changes as lines that verify with the public key alone",
		Long:    "export writes lines of JSON (docs/formats/audit.md), the oldest first. With --out, an export that broke off goes on where it ended.",
		Example: "  hub audit export --out audit.ndjson\n  hub audit export --object 'token ' > tokens.ndjson",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := choice.query()
			if err != nil {
				return err
			}
			if after > 0 {
				q.Set("after", strconv.FormatInt(after, 10))
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			if out == "" {
				_, err := exportPart(cmd.Context(), hub, q, cmd.OutOrStdout())
				return err
			}
			return exportTo(cmd.Context(), hub, q, out)
		},
	}
	choice.register(c)
	c.Flags().StringVar(&out, "out", "", "write to this `file`, and go on with it when it is there and not whole")
	c.Flags().Int64Var(&after, "after", 0, "only entries behind this `number`")
	_ = c.MarkFlagFilename("out")
	return c
}

// exportTo exports to a file: parts follow each other until one has its end.
func exportTo(ctx context.Context, hub *client.Client, q url.Values, path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	err = func() error {
		for {
			last, whole, err := keptOf(f)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if whole {
				return nil
			}
			if last > 0 {
				q.Set("after", strconv.FormatInt(last, 10))
			}
			if n, err := exportPart(ctx, hub, q, f); err != nil && (n == 0 || ctx.Err() != nil || !errors.Is(err, errBrokeOff)) {
				return err
			}
		}
	}()
	return errors.Join(err, f.Sync(), f.Close())
}

// exportLine is what is looked at of a line of an export.
type exportLine struct {
	Seq   int64           `json:"seq"`
	Proof json.RawMessage `json:"proof"`
	End   json.RawMessage `json:"end"`
}

// keptOf finds the last line of an export that the rest can follow, which is the
// last entry with a proof, and cuts off what is behind it.
func keptOf(f *os.File) (last int64, whole bool, err error) {
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return 0, false, err
	}
	lines, at, keep := bufio.NewReader(f), int64(0), int64(0)
	for {
		text, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, false, err
		}
		at += int64(len(text))
		var l exportLine
		if json.Unmarshal(text, &l) != nil {
			break
		}
		whole = l.End != nil
		if whole || l.Proof != nil {
			keep = at
		}
		if l.Proof != nil {
			last = l.Seq
		}
	}
	if err := f.Truncate(keep); err != nil {
		return 0, false, err
	}
	_, err = f.Seek(keep, io.SeekStart)
	return last, whole, err
}

var errBrokeOff = errors.New("the export broke off")

// exportPart copies what the hub sends and returns how many bytes came. An
// answer without its last line is errBrokeOff.
func exportPart(ctx context.Context, hub *client.Client, q url.Values, w io.Writer) (int64, error) {
	body, err := hub.Stream(ctx, auditPath+"/export", q)
	if err != nil {
		return 0, err
	}
	defer body.Close() //nolint:errcheck // read
	end := &lastBytes{}
	n, err := io.Copy(io.MultiWriter(w, end), body)
	if err == nil && !bytes.HasPrefix(end.line(), []byte(`{"end":`)) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return n, fmt.Errorf("%w after %d bytes: %w; --out FILE takes it up again", errBrokeOff, n, err)
	}
	return n, nil
}

// lastBytes keeps the end of what is written.
type lastBytes struct{ kept []byte }

func (l *lastBytes) Write(b []byte) (int, error) {
	const enough = 256 // the last line of an export is shorter
	l.kept = append(l.kept, b[max(0, len(b)-enough):]...)
	l.kept = l.kept[max(0, len(l.kept)-enough):]
	return len(b), nil
}

func (l *lastBytes) line() []byte {
	text := bytes.TrimRight(l.kept, "\n")
	return text[bytes.LastIndexByte(text, '\n')+1:]
}

func auditVerify() *cobra.Command {
	var export, keyFile string
	var checkpoints []string
	c := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Verify the record of changes of a stopped hub, or an export, offline",
		Long: "verify walks every entry, the hashes that chain them, the Merkle tree over them and the signatures of its checkpoints, and names the first damaged entry\n" +
			"and what happened to it. It exits with 1 then. Entries cut off at the end are found by a newer checkpoint: that of DIR, and those that --checkpoint names.",
		Example: "  hub audit verify /var/lib/songhua --checkpoint /mnt/other/songhua-audit-….checkpoints\n  hub audit verify --export audit.ndjson --key audit.pub",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 || len(args) == 1 && export != "" {
				return usageError{errors.New("audit verify takes one directory, or --export FILE")}
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			keys, err := givenKeys(keyFile)
			if err != nil {
				return err
			}
			if export != "" {
				return verifyExport(cmd, export, keys, checkpoints)
			}
			dir := config.Default().Data
			if len(args) == 1 {
				dir = args[0]
			}
			return verifyAudit(cmd, dir, keys, checkpoints)
		},
	}
	f := c.Flags()
	f.StringVar(&export, "export", "", "verify this `file` of hub audit export (- for standard input)")
	f.StringVar(&keyFile, "key", "", "`file` of the public keys (hub audit key), instead of those beside the record")
	f.StringArrayVar(&checkpoints, "checkpoint", nil, "`file` of checkpoints that were kept elsewhere (several times for several)")
	_ = errors.Join(c.MarkFlagFilename("export"), c.MarkFlagFilename("key"), c.MarkFlagFilename("checkpoint"))
	return c
}

// givenKeys reads the keys of a file that is named; no name is no keys.
func givenKeys(path string) (audit.Keys, error) {
	if path == "" {
		return audit.Keys{}, nil
	}
	if _, err := os.Stat(path); err != nil {
		return audit.Keys{}, err
	}
	keys, err := audit.ReadKeys(path)
	if err == nil && len(keys.List()) == 0 {
		err = fmt.Errorf("%s holds no key; `hub audit key` prints it", path)
	}
	return keys, err
}

// lookFor reports files that are named and not there.
func lookFor(files []string) error {
	for _, file := range files {
		if _, err := os.Stat(file); err != nil {
			return err
		}
	}
	return nil
}

func verifyAudit(cmd *cobra.Command, dir string, keys audit.Keys, checkpoints []string) error {
	if err := lookFor(checkpoints); err != nil {
		return err
	}
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%w; name the data directory of a hub", err)
	}
	report, n := findings(cmd)
	r, err := hub.VerifyAudit(cmd.Context(), dir, keys, checkpoints, report)
	if err != nil {
		return err
	}
	if *n > 0 {
		return fmt.Errorf("the record of changes in %s is damaged; entries 1 to %d are intact", dir, r.Entries)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d entries, intact; %s\n", dir, r.Entries, signedTo(r.Signed))
	return nil
}

func verifyExport(cmd *cobra.Command, path string, keys audit.Keys, checkpoints []string) error {
	if err := lookFor(checkpoints); err != nil {
		return err
	}
	in := cmd.InOrStdin()
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // read
		in = f
	}
	report, n := findings(cmd)
	outside := audit.Outside{Keys: keys}
	for _, file := range checkpoints {
		all, err := audit.ReadCheckpoints(file, keys, report)
		if err != nil {
			return err
		}
		outside.Checkpoints = append(outside.Checkpoints, all...)
	}
	r, err := audit.VerifyExport(in, outside, report)
	if err != nil {
		return err
	}
	if r.OwnKey {
		fmt.Fprintln(cmd.ErrOrStderr(), "note: no --key, so the export's own was taken: this shows that it is as it was written, not by whom")
	}
	if *n > 0 {
		return fmt.Errorf("the export %s is damaged", path)
	}
	what := "entries of a part of the record"
	switch {
	case r.Filtered:
		what = "chosen entries"
	case r.Whole:
		what = "entries, which are all up to its checkpoint"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d %s, intact; %s\n", path, r.Entries, what, signedTo(r.Signed))
	return nil
}

func findings(cmd *cobra.Command) (func(audit.Finding), *int) {
	n := 0
	return func(f audit.Finding) {
		n++
		fmt.Fprintf(cmd.OutOrStdout(), "%s: %s\n", f.How, f.Text)
	}, &n
}

func signedTo(c audit.Checkpoint) string {
	if c.Note == "" {
		return "nothing is signed yet"
	}
	return fmt.Sprintf("%d are signed by %s at %s", c.Size, c.Origin, c.At.Format(time.RFC3339))
}
