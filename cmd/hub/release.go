package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	releases "github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/client"
)

const releasesPath = "/api/v1/releases"

// releaseArgs are DATASET and VERSION.
func releaseArgs(args []string) (dataset string, version int64, err error) {
	version, err = strconv.ParseInt(args[1], 10, 64)
	if err != nil || version < 1 {
		err = usageError{fmt.Errorf("VERSION %q is no number from 1 on; `hub release list %s` shows which there are", args[1], args[0])}
	}
	return args[0], version, err
}

func releasePath(args []string) (string, error) {
	dataset, version, err := releaseArgs(args)
	return releasesPath + "/" + url.PathEscape(dataset) + "/" + strconv.FormatInt(version, 10), err
}

func releaseCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "release",
		Short:   "Releases of datasets: list, download, compare, verify, make",
		Long:    "release works with the immutable versions of datasets (docs/formats/release.md). get goes on where it broke off and checks every hash; verify makes the files again and compares them byte by byte, also without a hub.\n数据集的发布版本：列出、下载（可续传并校验散列）、比较、核对（重新制作并逐字节比较，可离线）、制作。",
		Example: "  hub release list soil\n  hub release get soil 3 --to soil-3\n  hub release verify --dir soil-3",
	}, releaseList(r), releaseShow(r), releaseGet(r), releaseDiff(r), releaseVerify(r), releaseMake(r)))
}

// byGrant adds the flag that names a grant.
func byGrant(c *cobra.Command, grant *string) *cobra.Command {
	c.Flags().StringVar(grant, "grant", "", "the part that this `grant` gives; without it what your own grants give, or all")
	return c
}

func releaseList(r *remote) *cobra.Command {
	var grant string
	return byGrant(&cobra.Command{
		Use:     "list [DATASET]",
		Short:   "List releases, of one dataset or of all",
		Long:    "list shows releases as you get them: all of what is opened to everybody, and of other data the part that your grant gives, with its columns. Rows and hashes of a part are known after the first download.\n列出发布版本：无条件开放者为全部，其余为授权所及的部分及其字段；部分的行数与散列在首次下载后可知。",
		Example: "  hub release list soil\n  hub release list soil --grant g-7",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, releasesPath, query("dataset", first(args), "grant", grant), 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "there is no release; make one with `hub release make DATASET --day DAY`",
				[]string{"dataset", "version", "from", "to", "rows", "grant", "columns", "replaces", "reason", "made", "removed"}, flatRelease)
		},
	}, &grant)
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// flatRelease prepares a release for a row of a table.
func flatRelease(m map[string]any) {
	if p, ok := m["period"].(map[string]any); ok {
		m["from"], m["to"] = p["from"], p["to"]
	}
	if reason, ok := m["reason"].(map[string]any); ok {
		m["reason"] = reason["zh"]
	}
	if columns, ok := m["columns"].([]any); ok {
		m["columns"] = strings.Trim(fmt.Sprint(columns), "[]")
	}
	if gone, ok := m["removed"].(map[string]any); ok {
		m["removed"] = gone["at"]
	}
}

func releaseShow(r *remote) *cobra.Command {
	var grant string
	return byGrant(&cobra.Command{
		Use:     "show DATASET VERSION",
		Short:   "Show the manifest of a release: files, hashes, recipe",
		Example: "  hub release show soil 3\n  hub release show soil 3 --grant g-7",
		Args:    exactArgs("DATASET", "VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := releasePath(args)
			if err != nil {
				return err
			}
			return r.show(cmd, path+option(grant))
		},
	}, &grant)
}

// option is a query that names a grant; empty for none.
func option(grant string) string {
	if grant == "" {
		return ""
	}
	return "?" + query("grant", grant).Encode()
}

func releaseDiff(r *remote) *cobra.Command {
	var grant string
	var against int64
	c := byGrant(&cobra.Command{
		Use:     "diff DATASET VERSION",
		Short:   "Show what a release changes of the one that it replaces, or of any other",
		Long:    "diff shows what is different between two versions: rows added, removed and changed, and examples. By a grant, the parts are compared that it gives, and nothing else is told.\n比较两个版本：新增、删除与更改的行及示例；按授权读取者比较其所得的部分。",
		Example: "  hub release diff soil 3\n  hub release diff soil 9 --against 3\n  hub release diff soil 9 --against 3 --grant g-7",
		Args:    exactArgs("DATASET", "VERSION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := releasePath(args)
			if err != nil {
				return err
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			if against != 0 || grant != "" {
				q := query("grant", grant)
				if against != 0 {
					q.Set("against", strconv.FormatInt(against, 10))
				}
				var found map[string]any
				if err := hub.Call(cmd.Context(), http.MethodGet, path+"/diff", q, nil, &found); err != nil {
					return err
				}
				return printJSON(cmd.OutOrStdout(), found)
			}
			var m releases.Manifest
			if err := hub.Call(cmd.Context(), http.MethodGet, path, nil, nil, &m); err != nil {
				return err
			}
			if m.Replaces == 0 {
				return fmt.Errorf("release %d of dataset %s replaces none", m.Version, m.Dataset)
			}
			return printJSON(cmd.OutOrStdout(), map[string]any{"replaces": m.Replaces, "reason": m.Reason, "diff": m.Diff})
		},
	}, &grant)
	c.Flags().Int64Var(&against, "against", 0, "the `version` that counts as the one before; without it the one that it replaces")
	return c
}

func releaseMake(r *remote) *cobra.Command {
	var day, from, to, zh, en, ticket string
	var replaces int64
	c := &cobra.Command{
		Use:     "make DATASET",
		Short:   "Make a release now",
		Example: "  hub release make soil --day 2026-11-01\n  hub release make soil --from 2026-11-01T00:00:00+08:00 --to 2026-11-02T00:00:00+08:00\n  hub release make soil --day 2026-11-01 --replaces 2 --reason 迟到数据 --reason-en 'late data' --ticket t-7",
		Args:    exactArgs("DATASET"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if day != "" {
				var err error
				if from, to, err = wholeDay(day); err != nil {
					return err
				}
			}
			begins, err := moment("from", from)
			if err != nil {
				return err
			}
			ends, err := moment("to", to)
			if err != nil {
				return err
			}
			body := map[string]any{"dataset": args[0], "from": begins, "to": ends}
			if replaces != 0 {
				body["replaces"], body["reason"] = replaces, releases.Text{ZH: zh, EN: en}
			}
			if ticket != "" {
				body["ticket"] = ticket
			}
			return r.act(cmd, releasesPath, body, []string{"dataset", "version", "from", "to", "rows", "replaces", "reason"}, flatRelease)
		},
	}
	f := c.Flags()
	f.StringVar(&day, "day", "", "`day` of China's time (UTC+8) that it is of, such as 2026-11-01")
	f.StringVar(&from, "from", "", "`time` where its period begins, instead of --day")
	f.StringVar(&to, "to", "", "`time` where it ends")
	f.Int64Var(&replaces, "replaces", 0, "the `version` that it corrects")
	f.StringVar(&zh, "reason", "", "`why` it corrects one, in Chinese")
	f.StringVar(&en, "reason-en", "", "`why`, in English")
	f.StringVar(&ticket, "ticket", "", "the `objection` that it answers; who filed it is told")
	c.MarkFlagsOneRequired("day", "from")
	c.MarkFlagsMutuallyExclusive("day", "from")
	c.MarkFlagsRequiredTogether("from", "to")
	return c
}

// wholeDay is from when to when a day of China's time is.
func wholeDay(day string) (from, to string, err error) {
	begin, err := time.ParseInLocation(time.DateOnly, day, time.FixedZone("UTC+8", 8*60*60))
	if err != nil {
		return "", "", usageError{fmt.Errorf("--day %q is no day; write it like 2026-11-01", day)}
	}
	return begin.Format(time.RFC3339), begin.AddDate(0, 0, 1).Format(time.RFC3339), nil
}

func releaseGet(r *remote) *cobra.Command {
	var to, grant string
	c := &cobra.Command{
		Use:     "get DATASET VERSION [FILE...]",
		Short:   "Download the files of a release; what is there already goes on where it broke off",
		Long:    "get downloads the files of a release, or of the part that your grant gives, and checks every hash.\n下载发布版本的文件，或授权所及的部分，并校验每个散列。",
		Example: "  hub release get soil 3 --to soil-3\n  hub release get soil 3 data.parquet\n  hub release get soil 3 --grant g-7",
		Args:    cobra.MinimumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			dataset, version, err := releaseArgs(args)
			if err != nil {
				return err
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			if to == "" {
				to = fmt.Sprintf("%s-%d", dataset, version)
			}
			err = fetchRelease(cmd, hub, fmt.Sprintf("/catalog/dataset/%s/release/%d/", url.PathEscape(dataset), version), option(grant), to, args[2:])
			if p, ok := errors.AsType[*client.Problem](err); ok && p.Status == http.StatusNotFound {
				return fmt.Errorf("there is no release %d of dataset %s to be downloaded; `hub release list %s` shows which there are (%w)", version, dataset, dataset, err)
			}
			return err
		},
	}
	c.Flags().StringVar(&to, "to", "", "`directory` to write to (default: DATASET-VERSION)")
	_ = c.MarkFlagDirname("to")
	return byGrant(c, &grant)
}

// fetchRelease downloads the manifest, and then the files that it names.
func fetchRelease(cmd *cobra.Command, hub *client.Client, path, option, dir string, names []string) error {
	in, err := hub.Stream(cmd.Context(), path+releases.ManifestFile+option, nil)
	if err != nil {
		return err
	}
	text, err := io.ReadAll(in)
	if err := errors.Join(err, in.Close()); err != nil {
		return err
	}
	m, err := releases.ParseManifest(text)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, releases.ManifestFile), text, 0o644); err != nil {
		return err
	}
	for _, name := range names {
		if m.File(name) == nil {
			return fmt.Errorf("release %d of dataset %s has no file %q; `hub release show %s %d` lists them", m.Version, m.Dataset, name, m.Dataset, m.Version)
		}
	}
	for _, f := range m.Files {
		if len(names) > 0 && !slices.Contains(names, f.Name) {
			continue
		}
		if err := fetchFile(cmd.Context(), hub, path+f.Name+option, filepath.Join(dir, f.Name), f); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", f.SHA256, filepath.Join(dir, f.Name))
	}
	return nil
}

// fetchFile downloads one file beside its name, goes on with what lies there from
// before, and gives it its name when its hash is right.
func fetchFile(ctx context.Context, hub *client.Client, path, to string, f releases.File) error {
	if sum, n, err := sumFile(to); err == nil && n == f.Size && sum == f.SHA256 {
		return nil
	}
	part := to + ".part"
	_, n, err := sumFile(part)
	if err != nil || n > f.Size {
		n = 0
	}
	if n < f.Size || n == 0 {
		if err := appendFrom(ctx, hub, path, part, n, `"`+f.SHA256+`"`); err != nil {
			return fmt.Errorf("%w; run this again to go on", err)
		}
	}
	sum, _, err := sumFile(part)
	if err != nil {
		return err
	}
	if sum != f.SHA256 {
		return errors.Join(fmt.Errorf("its sha-256 is %s and should be %s; what was downloaded is removed, run this again", sum, f.SHA256), os.Remove(part))
	}
	return os.Rename(part, to)
}

// appendFrom downloads what follows the first n bytes of the file with a tag.
func appendFrom(ctx context.Context, hub *client.Client, path, part string, n int64, tag string) (err error) {
	in, from, err := hub.Resume(ctx, path, n, tag)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if err := out.Truncate(from); err != nil {
		return err
	}
	if _, err := out.Seek(from, io.SeekStart); err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return err
}

func sumFile(path string) (sum string, n int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	h := sha256.New()
	n, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), n, errors.Join(err, f.Close())
}

func releaseVerify(r *remote) *cobra.Command {
	var dir string
	c := &cobra.Command{
		Use:     "verify [DATASET VERSION]",
		Short:   "Make the files of a release again and compare them byte by byte; with --dir those that were downloaded, without a hub",
		Example: "  hub release verify soil 3\n  hub release verify --dir soil-3",
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			var report releases.Report
			switch {
			case dir != "" && len(args) == 0:
				found, err := releases.VerifyDir(cmd.Context(), dir)
				if err != nil {
					return err
				}
				report = *found
			case dir == "" && len(args) == 2:
				path, err := releasePath(args)
				if err != nil {
					return err
				}
				hub, err := r.client()
				if err != nil {
					return err
				}
				if err := hub.Call(cmd.Context(), http.MethodPost, path+"/verify", nil, nil, &report); err != nil {
					return err
				}
			default:
				return usageError{errors.New("verify takes DATASET and VERSION, or --dir DIR with files that were downloaded")}
			}
			return r.printReport(cmd, &report)
		},
	}
	c.Flags().StringVar(&dir, "dir", "", "`directory` with files that were downloaded, the manifest among them")
	_ = c.MarkFlagDirname("dir")
	return c
}

func (r *remote) printReport(cmd *cobra.Command, report *releases.Report) error {
	out := cmd.OutOrStdout()
	if r.json {
		if err := printJSON(out, report); err != nil {
			return err
		}
	} else {
		fmt.Fprintf(out, "release %s/%d, manifest sha-256 %s\n", report.Dataset, report.Version, report.Manifest)
		for _, f := range report.Files {
			rebuilt := f.Rebuilt
			if rebuilt == "" {
				rebuilt = "-"
			}
			fmt.Fprintf(out, "%-24s stored %-8s made again %-9s %s\n", f.Name, f.Stored, rebuilt, f.Detail)
		}
	}
	if !report.OK() {
		return fmt.Errorf("release %s/%d is not what was released", report.Dataset, report.Version)
	}
	return nil
}
