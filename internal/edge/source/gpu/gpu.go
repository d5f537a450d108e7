// Package gpu reads NVIDIA accelerators through the nvidia-smi program in its
// loop mode, or through dcgm-exporter. A machine without accelerators is no
// failure.
package gpu

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/backoff"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/source/program"
	"github.com/songhua-io/hub/internal/edge/source/scrape"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Config says how the accelerators are read.
type Config struct {
	// Enabled turns the source on; without accelerators it stays silent.
	Enabled bool `yaml:"enabled"`
	source.Common
	source.Interval
	// Command is the nvidia-smi program.
	Command string `yaml:"command"`
	// DCGM is the URL of a dcgm-exporter to read instead of the program.
	DCGM string `yaml:"dcgm"`
}

// DefaultConfig reads every 10 s.
func DefaultConfig() Config {
	return Config{Enabled: true, Interval: source.Interval{Interval: 10 * time.Second}, Command: "nvidia-smi"}
}

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := append(c.CheckInterval(path), c.CheckTags(path)...)
	if c.Command == "" {
		errs = append(errs, strict.Fault(path, "command", "is empty; write nvidia-smi, or set enabled: false"))
	}
	if c.DCGM != "" {
		if err := scrape.CheckURL(c.DCGM); err != nil {
			errs = append(errs, strict.Fault(path, "dcgm", "%v", err))
		}
	}
	return errs
}

// column is a field of nvidia-smi, or a metric of dcgm-exporter, and what it
// becomes.
type column struct {
	field, dcgm, metric, unit string
	// smi and exporter turn the two's values into the unit.
	smi, exporter float64
}

// columns is what is asked for besides index and name.
func columns() []column {
	const mib = 1 << 20
	return []column{
		{"utilization.gpu", "DCGM_FI_DEV_GPU_UTIL", "gpu_utilization_percent", "%", 1, 1},
		{"utilization.memory", "DCGM_FI_DEV_MEM_COPY_UTIL", "gpu_memory_utilization_percent", "%", 1, 1},
		{"memory.used", "DCGM_FI_DEV_FB_USED", "gpu_memory_used_bytes", "By", mib, mib},
		{"memory.total", "DCGM_FI_DEV_FB_TOTAL", "gpu_memory_total_bytes", "By", mib, mib},
		{"temperature.gpu", "DCGM_FI_DEV_GPU_TEMP", "gpu_temperature_celsius", "Cel", 1, 1},
		{"power.draw", "DCGM_FI_DEV_POWER_USAGE", "gpu_power_watts", "W", 1, 1},
		{"power.limit", "DCGM_FI_DEV_POWER_MGMT_LIMIT", "gpu_power_limit_watts", "W", 1, 1},
		{"clocks.sm", "DCGM_FI_DEV_SM_CLOCK", "gpu_clock_hertz", "Hz", 1e6, 1e6},
		{"fan.speed", "DCGM_FI_DEV_FAN_SPEED", "gpu_fan_percent", "%", 1, 1},
		{"", "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "gpu_energy_joules_total", "J", 0, 1e-3},
	}
}

// lookAgain is how long a machine without accelerators is left alone.
const lookAgain = time.Hour

// New returns the source.
func New(cfg Config, now func() time.Time) source.Source {
	reader := &reader{cfg: cfg, now: now}
	return source.Func(func(ctx context.Context, put source.Put) error {
		put = source.Tagged(put, cfg.Tags)
		if cfg.DCGM != "" {
			return runExporter(ctx, cfg, now, put)
		}
		for {
			if err := reader.run(ctx, put); !errors.Is(err, errNone) {
				return err
			}
			if err := put(ctx, source.Record{}); err != nil {
				return err
			}
			if !backoff.Sleep(ctx, lookAgain) {
				return nil
			}
		}
	})
}

// reader reads from nvidia-smi.
type reader struct {
	cfg Config
	now func() time.Time
	// seen says that there were accelerators: that they are gone is a failure.
	seen bool
}

var (
	// errNone says that the machine has no accelerators, or none that can be used.
	errNone  = errors.New("no accelerators")
	errEnded = errors.New("no more lines")
)

// run reads the lines of nvidia-smi, one for each accelerator and interval. The
// lines of one interval come in one burst and share its time.
func (g *reader) run(ctx context.Context, put source.Put) error {
	path, err := exec.LookPath(g.cfg.Command)
	if errors.Is(err, exec.ErrNotFound) && !g.seen {
		return errNone
	}
	if err != nil {
		return err
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := program.Command(running, path, arguments(g.cfg.Interval.Interval)...)
	defer program.End(cmd)
	complaint := program.NewHead(1 << 10)
	cmd.Stderr = complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	err = g.lines(ctx, out, complaint, put)
	stop()
	ended := cmd.Wait()
	switch {
	case err != nil:
		return err
	case !g.seen && unusable(cmd.ProcessState.ExitCode()):
		return errNone
	}
	return fmt.Errorf("%s ended: %w: %s", path, errors.Join(ended, errEnded), bytes.TrimSpace(complaint.Bytes()))
}

// unusable reports whether nvidia-smi ended because there is no accelerator (6)
// or no driver of one (9): machines from images for both kinds are such.
func unusable(exit int) bool { return exit == 6 || exit == 9 }

// lines puts the lines. Those before the first one of values say why there is
// none, and nvidia-smi prints them here.
func (g *reader) lines(ctx context.Context, out io.Reader, complaint io.Writer, put source.Put) error {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		r := source.At(g.now())
		err := addLine(r, lines.Text())
		if err != nil && !g.seen {
			fmt.Fprintln(complaint, lines.Text())
			continue
		}
		g.seen = true
		r.Fault(err)
		if err := put(ctx, r.Record); err != nil {
			return err
		}
	}
	return lines.Err()
}

func arguments(interval time.Duration) []string {
	fields := []string{"index", "name"}
	for _, c := range columns() {
		if c.field != "" {
			fields = append(fields, c.field)
		}
	}
	return []string{"--query-gpu=" + strings.Join(fields, ","), "--format=csv,noheader,nounits", fmt.Sprintf("--loop-ms=%d", interval.Milliseconds())}
}

// addLine reads the values of one accelerator. What it does not have, written
// [N/A] or [Not Supported], is left out.
func addLine(r *source.Reading, line string) error {
	values := strings.Split(line, ",")
	for i := range values {
		values[i] = strings.TrimSpace(values[i])
	}
	if len(values) < 2 || !isNumber(values[0]) {
		return fmt.Errorf("%.100q is no line of values", line)
	}
	gpu, model, i := values[0], values[1], 2
	for _, c := range columns() {
		if c.field == "" || i >= len(values) {
			continue
		}
		if v, err := strconv.ParseFloat(values[i], 64); err == nil {
			r.Add(c.metric, c.unit, v*c.smi, "gpu", gpu, "model", model)
		}
		i++
	}
	return nil
}

func isNumber(s string) bool {
	_, err := strconv.Atoi(s)
	return err == nil
}

func runExporter(ctx context.Context, cfg Config, now func() time.Time, put source.Put) error {
	client := &http.Client{Timeout: max(cfg.Interval.Interval, 10*time.Second), Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	return source.Every(ctx, cfg.Interval.Interval, put, func(ctx context.Context) (source.Record, error) {
		body, err := scrape.Fetch(ctx, client, cfg.DCGM, "")
		if err != nil {
			return source.Record{}, err
		}
		at := now()
		r := source.At(at)
		r.Faults, err = scrape.Parse(body, at.UnixMilli(), func(s telemetry.Sample) { addMetric(r, s) })
		return r.Record, err
	})
}

// addMetric translates a metric of dcgm-exporter; others are left out.
func addMetric(r *source.Reading, s telemetry.Sample) {
	for _, c := range columns() {
		if c.dcgm == string(s.Metric) {
			tags := []string{"gpu", tag(s, "gpu"), "model", tag(s, "modelName")}
			if id := tag(s, "GPU_I_ID"); id != "" {
				tags = append(tags, "mig", id)
			}
			r.Add(c.metric, c.unit, s.Value*c.exporter, tags...)
		}
	}
}

func tag(s telemetry.Sample, name string) string {
	for _, t := range s.Tags {
		if string(t.Name) == name {
			return string(t.Value)
		}
	}
	return ""
}
