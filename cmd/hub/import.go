package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/backfill"
	"github.com/songhua-io/hub/internal/backfill/file"
	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/progress"
)

const importsPath = "/api/v1/imports"

// importing is what the flags of hub import ask for.
type importing struct {
	*remote
	read    file.Options
	create  createDevices
	dry     bool
	rejects string // directory
}

func importCommand() *cobra.Command {
	i := &importing{remote: &remote{}}
	var zone, separator, precision string
	c := &cobra.Command{
		Use:   "import FILE…",
		Short: "Bring history into a running hub: CSV, line protocol, OpenMetrics, Prometheus blocks",
		Long: "Bring history into a running hub. Samples go the way of all: grades, models and quality apply,\nand reserved labels come from the registry. They are no sign of life of a device.\n" +
			"Interrupted at any point, the hub's end included, the same command goes on where it was, without\ngap or duplicate. What is refused stands, line by line, in FILE.rejects.csv.\n" +
			"将历史数据导入运行中的枢纽；无论何时中断，重新执行同一命令即从断点继续，不缺不重；被拒的行写入 FILE.rejects.csv。",
		Example: "  hub import 2024.csv --zone Asia/Shanghai --dry-run\n  hub import 2024.csv --zone Asia/Shanghai\n" +
			"  hub import station.csv --device station-3 --time 观测时间 --time-format '%Y/%m/%d %H:%M' --zone Asia/Shanghai\n" +
			"  hub import export.lp --format influx --device-from host --create node\n  hub import /var/lib/prometheus/data/01JD… --format prometheus-blocks --device-from instance --create node",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usageError{errors.New("name the FILE to import; see hub import --help")}
			}
			return nil
		},
	}
	f := c.Flags()
	f.StringVar(&i.read.Format, "format", "", "`form` of the files: csv, influx, openmetrics or prometheus-blocks (default: by the name)")
	f.StringVar(&i.read.Device, "device", "", "`id` of the device that all samples are of")
	f.StringVar(&i.read.DeviceFrom, "device-from", "device", "`name` of the column, tag or label that names the device")
	f.StringVar(&i.read.Time, "time", "time", "CSV: `column` with the time")
	f.StringVar(&i.read.TimeFormat, "time-format", "", "CSV: `form` of times: s, ms, us, ns, or such as %Y-%m-%d %H:%M:%S (default: recognised)")
	f.StringVar(&zone, "zone", "", "CSV: time `zone` of times that name none, such as Asia/Shanghai")
	f.StringArrayVar(&i.read.Tags, "tag", nil, "CSV: `column` that is a tag, may be repeated")
	f.StringVar(&separator, "separator", ",", "CSV: `character` between fields")
	f.StringVar(&precision, "precision", "ns", "line protocol: `unit` of times: ns, us, ms or s")
	f.StringVar(&i.create.kind, "create", "", "register devices that are not there, of this `kind`")
	f.StringVar(&i.create.region, "region", "", "division `code` of devices that are registered")
	f.StringVar(&i.create.site, "site", "", "`id` of the site of devices that are registered")
	f.BoolVar(&i.dry, "dry-run", false, "store nothing: count samples, and name what would be refused")
	f.StringVar(&i.rejects, "rejects", "", "`directory` of FILE.rejects.csv (default: beside the file)")
	_ = c.MarkFlagDirname("rejects")
	_ = c.RegisterFlagCompletionFunc("format", cobra.FixedCompletions(file.Formats(), cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("create", cobra.FixedCompletions([]string{"sensor", "rsu", "node", "gateway", "meter"}, cobra.ShellCompDirectiveNoFileComp))
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if zone != "" {
			if i.read.Zone, err = time.LoadLocation(zone); err != nil {
				return usageError{fmt.Errorf("--zone %q: %w; write a name such as Asia/Shanghai", zone, err)}
			}
		}
		if r := []rune(separator); len(r) == 1 {
			i.read.Separator = r[0]
		} else {
			return usageError{fmt.Errorf("--separator %q is not one character", separator)}
		}
		var known bool
		if i.read.Precision, known = map[string]time.Duration{"ns": time.Nanosecond, "us": time.Microsecond, "ms": time.Millisecond, "s": time.Second}[precision]; !known {
			return usageError{fmt.Errorf("--precision %q is none of ns, us, ms and s", precision)}
		}
		return i.all(cmd, args)
	}
	return i.register(c)
}

// all imports files one after the other.
func (i *importing) all(cmd *cobra.Command, paths []string) error {
	hub, err := i.client()
	if err != nil {
		return err
	}
	var results []*result
	for _, path := range paths {
		read := i.read
		if read.Format == "" {
			if read.Format, err = formatOf(path); err != nil {
				return usageError{err}
			}
		}
		parts := []string{path}
		if read.Format == file.Blocks {
			if parts, err = file.BlocksIn(path); err != nil {
				return err
			}
		}
		for _, p := range parts {
			r, err := i.one(cmd, hub, p, read)
			if err != nil {
				return err
			}
			results = append(results, r)
		}
	}
	return i.report(cmd, results)
}

// formatOf tells the format of a file by its name.
func formatOf(path string) (string, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return file.Blocks, nil
	}
	switch strings.ToLower(filepath.Ext(path)) {
	case ".csv":
		return file.CSV, nil
	case ".lp", ".influx":
		return file.Influx, nil
	case ".om", ".openmetrics":
		return file.OpenMetrics, nil
	}
	return "", fmt.Errorf("the name of %s does not tell its format; say --format %s", path, strings.Join(file.Formats(), "|"))
}

// result is what became of a file.
type result struct {
	File     string         `json:"file"`
	ID       string         `json:"id"`
	Accepted int64          `json:"accepted"`
	Rejected int64          `json:"rejected"`
	Rejects  string         `json:"rejects,omitempty"` // file
	Reasons  map[string]int `json:"reasons,omitempty"` // of this run
	Created  int            `json:"created,omitempty"` // devices
	Before   int64          `json:"before,omitempty"`  // samples that were in from a run before
	Seconds  float64        `json:"seconds"`
	DryRun   bool           `json:"dry_run,omitempty"`
}

func (i *importing) report(cmd *cobra.Command, all []*result) error {
	rejected := int64(0)
	for _, r := range all {
		rejected += r.Rejected
	}
	if i.json {
		if err := printJSON(cmd.OutOrStdout(), map[string]any{"items": all}); err != nil {
			return err
		}
	} else {
		for _, r := range all {
			r.print(cmd)
		}
	}
	if rejected > 0 {
		verb := "were"
		if i.dry {
			verb = "would be"
		}
		return fmt.Errorf("%d samples and lines %s refused; %s names each", rejected, verb, all[len(all)-1].Rejects)
	}
	return nil
}

func (r *result) print(cmd *cobra.Command) {
	verb := "imported"
	if r.DryRun {
		verb = "could be imported"
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s: %d samples %s, %d refused, in %.1f s", r.File, r.Accepted, verb, r.Rejected, r.Seconds)
	if n := r.Accepted - r.Before; r.Seconds > 0 && n > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), " (%.0f/s)", float64(n)/r.Seconds)
	}
	if r.Before > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "; %d of them before", r.Before)
	}
	if r.Created > 0 {
		fmt.Fprintf(cmd.OutOrStdout(), "; %d devices registered", r.Created)
	}
	fmt.Fprintln(cmd.OutOrStdout())
	for _, reason := range slices.Sorted(maps.Keys(r.Reasons)) {
		fmt.Fprintf(cmd.OutOrStdout(), "  %s: %d\n", reason, r.Reasons[reason])
	}
}

// transfer is one file on its way.
type transfer struct {
	*importing
	hub     *client.Client
	path    string
	state   backfill.Import
	result  *result
	rejects *rejectsFile
	missing map[string]bool // devices that a dry run would register
	encoder codec.RemoteWriteEncoder
}

func (i *importing) one(cmd *cobra.Command, hub *client.Client, path string, read file.Options) (r *result, err error) {
	ctx, line := cmd.Context(), progress.On(cmd.ErrOrStderr())
	defer line.Clear()
	id, size, err := file.ID(ctx, path, read, func(done, all int64) { line.Say("%s: reading %d of %d MB", path, done>>20, all>>20) })
	if err != nil {
		return nil, err
	}
	t := &transfer{importing: i, hub: hub, path: path, state: backfill.Import{ID: id, Next: 1}, result: &result{File: path, ID: id, DryRun: i.dry, Reasons: map[string]int{}}, missing: map[string]bool{}}
	if !i.dry {
		about := map[string]any{"name": filepath.Base(path), "format": read.Format, "size": size}
		if err := hub.Call(ctx, http.MethodPut, importsPath+"/"+id, nil, about, &t.state); err != nil {
			return nil, err
		}
	}
	t.result.Before = t.state.Accepted
	dir := i.rejects
	if dir == "" {
		dir = filepath.Dir(path)
	}
	// Its last part comes again: what was refused of it may not stand there.
	t.rejects, err = openRejects(filepath.Join(dir, filepath.Base(path)+".rejects.csv"), t.state.Next-1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.rejects.close()) }()
	begun := time.Now()
	err = t.run(ctx, read, func(at file.Mark) {
		line.Say("%s: %d samples, %d refused, %s", path, t.result.Accepted, t.result.Rejected, shareOf(at, size))
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w; %d samples are in: the same command goes on behind them", path, err, t.state.Accepted)
	}
	t.result.Seconds = time.Since(begun).Seconds()
	t.result.Rejects = t.rejects.name()
	return t.result, nil
}

func shareOf(at file.Mark, size int64) string {
	if size == 0 {
		return fmt.Sprintf("series %d", at.Offset)
	}
	return fmt.Sprintf("%d %%", at.Offset*100/size)
}

// run sends the parts of a file from where the hub stands. One part is read while
// another is sent.
func (t *transfer) run(ctx context.Context, read file.Options, say func(file.Mark)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	free, full, failed := make(chan *file.Part, 2), make(chan *file.Part), make(chan error, 1)
	free <- &file.Part{}
	free <- &file.Part{}
	number, err := t.begin(read)
	if err != nil {
		return err
	}
	if number == 0 {
		return nil
	}
	at := t.state.Mark
	if number < t.state.Next {
		at = t.state.Before
	}
	mark, err := file.ParseMark(at)
	if err != nil {
		return err
	}
	r, err := file.Open(t.path, read, mark)
	if err != nil {
		return err
	}
	ended := make(chan struct{})
	defer func() { cancel(); <-ended; _ = r.Close() }()
	go func() {
		defer close(ended)
		for {
			var p *file.Part
			select {
			case <-ctx.Done():
				return
			case p = <-free:
			}
			if err := r.Next(p); err != nil {
				failed <- err
				return
			}
			last := p.Last
			select {
			case <-ctx.Done():
				return
			case full <- p:
			}
			if last {
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return err
		case p := <-full:
			if err := t.part(ctx, number, p); err != nil {
				return err
			}
			say(p.Mark)
			if p.Last {
				return nil
			}
			number++
			free <- p
		}
	}
}

// begin returns the number of the part to go on with: the last one again, whose
// rejects may not have been written; 0 when the file is in.
func (t *transfer) begin(read file.Options) (int64, error) {
	t.result.Accepted, t.result.Rejected = t.state.Accepted, t.state.Rejected
	if t.state.Next == 1 {
		return 1, nil
	}
	before, err := file.ParseMark(t.state.Before)
	if err != nil {
		return 0, err
	}
	r, err := file.Open(t.path, read, before)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	p := &file.Part{}
	switch err := r.Next(p); {
	case err != nil:
		return 0, err
	case p.Mark.String() == t.state.Mark:
		return t.state.Next - 1, nil
	case t.state.Done:
		return 0, nil
	}
	return t.state.Next, nil // another edition made other parts
}

// part sends a part, and writes down what is refused of it.
func (t *transfer) part(ctx context.Context, number int64, p *file.Part) error {
	if t.create.kind != "" {
		if err := t.register(ctx, p); err != nil {
			return err
		}
	}
	body := p.Encode(&t.encoder, t.missing)
	q := query("part", strconv.FormatInt(number, 10), "mark", p.Mark.String(), "faults", strconv.Itoa(len(p.Faults)))
	if p.Last {
		q.Set("last", "true")
	}
	if t.dry {
		q.Set("dry_run", "true")
	}
	var answer backfill.Answer
	for {
		err := t.hub.Post(ctx, importsPath+"/"+t.state.ID+"/parts", q, "application/x-protobuf", body, &answer)
		var busy *client.Problem
		if !errors.As(err, &busy) || busy.Status != http.StatusServiceUnavailable && busy.Status != http.StatusTooManyRequests {
			if err != nil {
				return err
			}
			break
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	rejected, err := t.refused(number, p, answer.Rejected)
	if err != nil {
		return err
	}
	if answer.Import != nil {
		t.state = *answer.Import
		t.result.Accepted, t.result.Rejected = t.state.Accepted, t.state.Rejected
		return nil
	}
	t.result.Accepted += answer.Accepted
	p.Devices(func(device string, samples int) {
		if t.missing[device] {
			t.result.Accepted += int64(samples)
		}
	})
	t.result.Rejected += rejected
	return nil
}

// refused writes down what a part lost, by its lines.
func (t *transfer) refused(number int64, p *file.Part, all []backfill.Reject) (n int64, err error) {
	write := func(line int64, device, metric string, ms int64, stage, reason, detail string) {
		n++
		t.result.Reasons[reason]++
		at := ""
		if ms != 0 {
			at = time.UnixMilli(ms).UTC().Format("2006-01-02T15:04:05.999Z")
		}
		err = errors.Join(err, t.rejects.write(strconv.FormatInt(number, 10), strconv.FormatInt(line, 10), device, metric, at, stage, reason, detail))
	}
	for _, f := range p.Faults {
		write(f.Line, "", "", 0, "read", "malformed", f.Detail)
	}
	for _, r := range all {
		if r.Index < 0 {
			p.Of(r.Device, func(metric string, ms, line int64) { write(line, r.Device, metric, ms, r.Stage, r.Reason, r.Detail) })
			continue
		}
		device, metric, ms, line := p.At(r.Index)
		write(line, device, metric, ms, r.Stage, r.Reason, r.Detail)
	}
	return n, errors.Join(err, t.rejects.flush())
}

// rejectsFile names what was refused; it is made with the first.
type rejectsFile struct {
	path string
	f    *os.File
	w    *csv.Writer
}

var rejectsHead = []string{"part", "line", "device", "metric", "time", "stage", "reason", "detail"}

// openRejects keeps the rows of parts below one that comes again.
func openRejects(path string, again int64) (*rejectsFile, error) {
	r := &rejectsFile{path: path}
	old, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, err
	}
	defer old.Close()
	in := csv.NewReader(old)
	var kept [][]string
	keep := int64(0) // bytes
	for {
		row, err := in.Read()
		if err != nil { // its end, or where it was cut off
			break
		}
		if part, err := strconv.ParseInt(row[0], 10, 64); err == nil && part >= max(again, 1) {
			break
		}
		keep = in.InputOffset()
		kept = append(kept[:0], row)
	}
	if keep == 0 || again <= 0 || len(kept) == 0 {
		return r, os.Remove(path)
	}
	if r.f, err = os.OpenFile(path, os.O_WRONLY, 0o644); err != nil {
		return nil, err
	}
	if err := r.f.Truncate(keep); err != nil {
		return nil, err
	}
	_, err = r.f.Seek(keep, 0)
	r.w = csv.NewWriter(r.f)
	return r, err
}

func (r *rejectsFile) write(row ...string) (err error) {
	if r.f == nil {
		if r.f, err = os.Create(r.path); err != nil {
			return err
		}
		r.w = csv.NewWriter(r.f)
		if err := r.w.Write(rejectsHead); err != nil {
			return err
		}
	}
	return r.w.Write(row)
}

func (r *rejectsFile) flush() error {
	if r.w == nil {
		return nil
	}
	r.w.Flush()
	return r.w.Error()
}

// name is empty when there is no file.
func (r *rejectsFile) name() string {
	if r.f == nil {
		return ""
	}
	return r.path
}

func (r *rejectsFile) close() error {
	if r.f == nil {
		return nil
	}
	return errors.Join(r.flush(), r.f.Close())
}
