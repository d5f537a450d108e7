package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/simulate/load"
)

// benchFlags say what a run of the load generator sends.
type benchFlags struct {
	remote   remote
	load     load.Config
	duration time.Duration
	format   string
	address  string
}

func benchCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "bench",
		Short: "Load a hub, count what it acknowledges, and verify that nothing is lost",
		Long: "bench sends telemetry as devices do, each message with its own samples, counts acknowledgements, and then asks the hub for what it stored.\n" +
			"Without --data or --hub it starts a hub of its own, as a process of its own in a fresh directory, and ends it afterwards.",
		Example: "  hub bench mqtt\n  hub bench mqtt --samples 20\n  hub bench mqtt --connections 500 --window 1\n  hub bench coap --connections 100 --window 1\n  hub bench http --samples 20 --window 1",
	}
	return group(c,
		benchDoor("mqtt", "MQTT QoS 1", 50, 50, load.MQTT, func(at hub.Addresses) string { return at.MQTT }),
		benchDoor("coap", "CoAP, confirmable", 100, 1, load.CoAP, func(at hub.Addresses) string { return at.CoAP }),
		benchDoor("http", "HTTP POST", 50, 1, load.HTTP, func(at hub.Addresses) string {
			_, address, _ := strings.Cut(at.HTTP, "://")
			return address
		}),
	)
}

type sender func(context.Context, load.Config) (*load.Result, error)

func benchDoor(name, what string, connections, window int, send sender, door func(hub.Addresses) string) *cobra.Command {
	var f benchFlags
	c := &cobra.Command{
		Use:     name,
		Short:   "Load the " + strings.ToUpper(name) + " door (" + what + ")",
		Example: "  hub bench " + name + " --duration 10s\n  hub bench " + name + " --samples 20 --data ./songhua-data",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			format, err := load.ParseFormat(f.format)
			if err != nil {
				return usageError{err}
			}
			f.load.Format = format
			return f.run(cmd.Context(), cmd.OutOrStdout(), send, door)
		},
	}
	f.remote.register(c)
	flags := c.Flags()
	flags.IntVar(&f.load.Connections, "connections", connections, "how many connections send, each a device of its own")
	flags.IntVar(&f.load.Window, "window", window, "messages of a connection that may be unacknowledged")
	flags.IntVar(&f.load.Samples, "samples", 1, "samples of a message")
	flags.IntVar(&f.load.Metrics, "metrics", 20, "time series of a device, at most 100; a multiple of --samples")
	flags.Float64Var(&f.load.Rate, "rate", 0, "messages a second over all connections; 0 is as fast as the hub answers")
	flags.DurationVar(&f.duration, "duration", 10*time.Second, "for how long")
	flags.StringVar(&f.format, "format", "senml", "senml, senml-cbor or influx")
	flags.StringVar(&f.address, "address", "", "`address:port` of the door, where the hub is not on this machine")
	return c
}

func (f *benchFlags) run(ctx context.Context, out io.Writer, send sender, door func(hub.Addresses) string) error {
	at, own, err := f.target(ctx)
	if err != nil {
		return err
	}
	defer own.end()
	c, err := f.remote.client()
	if err != nil {
		return err
	}
	if f.load.Address = f.address; f.address == "" {
		f.load.Address = door(at)
	}
	if f.load.Address == "" {
		return usageError{errors.New("where is the door? name the hub's data directory with --data, or the door with --address")}
	}
	devices, err := addBenchDevices(ctx, c, f.load.Connections)
	if err != nil {
		return err
	}
	defer removeBenchDevices(context.WithoutCancel(ctx), c, devices)
	f.load.Login = func(i int) (string, string) { return devices[i].ID, devices[i].Secret }

	before := cpuSeconds(own)
	timed, cancel := context.WithTimeout(ctx, f.duration)
	defer cancel()
	result, err := send(timed, f.load)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, result)
	if own != nil && result.Samples > 0 {
		spent := cpuSeconds(own) - before
		fmt.Fprintf(out, "hub: %.2f CPU seconds, %.2f per million samples; resident memory %s\n", spent, spent/float64(result.Samples)*1e6, residentMemory(own))
	}
	return verifyBench(ctx, out, c, result)
}

// target is the hub that is loaded: the one that is named, or one of our own.
func (f *benchFlags) target(ctx context.Context) (hub.Addresses, *ownHub, error) {
	if f.remote.where.Data != "" {
		at, err := hub.ReadAddresses(f.remote.where.Data)
		return at, nil, err
	}
	if f.remote.where.URL != "" || os.Getenv("HUB_URL") != "" {
		return hub.Addresses{}, nil, nil
	}
	own, at, err := startOwnHub(ctx)
	if err != nil {
		return at, nil, err
	}
	f.remote.where.Data = at.Data
	return at, own, nil
}

// ownHub is a hub that bench runs as a child, so that its CPU time is its own.
type ownHub struct {
	cmd *exec.Cmd
	dir string
}

func startOwnHub(ctx context.Context) (*ownHub, hub.Addresses, error) {
	dir, err := os.MkdirTemp(".", ".songhua-bench-")
	if err != nil {
		return nil, hub.Addresses{}, fmt.Errorf("make a directory for the hub: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, hub.Addresses{}, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, hub.Addresses{}, err
	}
	o := &ownHub{dir: dir, cmd: exec.Command(program, "serve", "--data", dir, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--coap", "127.0.0.1:0")}
	o.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := o.cmd.Start(); err != nil {
		return nil, hub.Addresses{}, err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && ctx.Err() == nil; time.Sleep(20 * time.Millisecond) {
		at, err := hub.ReadAddresses(dir)
		if err != nil {
			continue
		}
		if resp, err := http.Get(at.HTTP + "/readyz"); err == nil {
			resp.Body.Close()
			return o, at, nil
		}
	}
	o.end()
	return nil, hub.Addresses{}, errors.New("the hub of the bench was not ready within 30 s; run `hub serve` to see why")
}

// end stops the hub and removes its directory. A nil ownHub is somebody else's.
func (o *ownHub) end() {
	if o == nil {
		return
	}
	_ = o.cmd.Process.Signal(syscall.SIGTERM)
	_ = o.cmd.Wait()
	_ = os.RemoveAll(o.dir)
}

type benchDevice struct{ ID, Secret string }

func addBenchDevices(ctx context.Context, c *client.Client, n int) ([]benchDevice, error) {
	type spec struct {
		ID     string `json:"id"`
		Kind   string `json:"kind"`
		Period string `json:"period"`
	}
	run := time.Now().UTC().Format("20060102T150405")
	var all []benchDevice
	for len(all) < n {
		var batch struct {
			Devices []spec `json:"devices"`
		}
		for i := len(all); i < min(n, len(all)+5000); i++ {
			batch.Devices = append(batch.Devices, spec{ID: fmt.Sprintf("bench-%s-%05d", run, i), Kind: "sensor", Period: "10s"})
		}
		var made struct{ Devices []benchDevice }
		if err := c.Call(ctx, http.MethodPost, "/api/v1/devices:batch", nil, batch, &made); err != nil {
			return nil, fmt.Errorf("register the devices of the bench: %w", err)
		}
		all = append(all, made.Devices...)
	}
	return all, nil
}

func removeBenchDevices(ctx context.Context, c *client.Client, devices []benchDevice) {
	for _, d := range devices {
		if c.Call(ctx, http.MethodDelete, "/api/v1/devices/"+d.ID, nil, nil, nil) != nil {
			return // the hub is gone, and its own with it
		}
	}
}

// verifyBench asks how many samples of every device are stored. Fewer than
// were acknowledged are a loss; more can only be those whose answer was cut off
// by the end of the run.
func verifyBench(ctx context.Context, out io.Writer, c *client.Client, r *load.Result) error {
	stored := map[string]int{}
	for metric := range r.Lines[0].Config.Metrics {
		if err := countStored(ctx, c, r, fmt.Sprintf("load_%02d", metric), stored); err != nil {
			return fmt.Errorf("verify: %w", err)
		}
	}
	all, lost := 0, 0
	for _, l := range r.Lines {
		acknowledged := 0
		for range l.Ledger.All {
			acknowledged += l.Config.Samples
		}
		all += stored[l.Device]
		lost += max(0, acknowledged-stored[l.Device])
	}
	fmt.Fprintf(out, "verified: %d samples acknowledged, %d stored, %d lost\n", r.Samples, all, lost)
	if lost > 0 {
		return fmt.Errorf("%d acknowledged samples are lost", lost)
	}
	return nil
}

// countStored adds how many samples of a metric are stored of each device of
// the run.
func countStored(ctx context.Context, c *client.Client, r *load.Result, metric string, stored map[string]int) error {
	first, longest := r.Lines[0], 0
	for _, l := range r.Lines {
		longest = max(longest, l.Ledger.Next())
	}
	span := time.Duration(longest*first.Config.Samples/first.Config.Metrics)*time.Millisecond + time.Minute
	run := first.Device[:strings.LastIndexByte(first.Device, '-')]
	q := query("query", fmt.Sprintf(`sum by (device) (count_over_time(%s{device=~"%s-.*"}[%dms]))`, metric, run, 2*span.Milliseconds()),
		"time", fmt.Sprint(first.Config.Start.Add(span).Unix()))
	var answer struct {
		Data struct {
			Result []struct {
				Metric struct{ Device string }
				Value  [2]any
			}
		}
	}
	if err := c.Call(ctx, http.MethodGet, "/prometheus/api/v1/query", q, nil, &answer); err != nil {
		return err
	}
	for _, series := range answer.Data.Result {
		n := 0
		if _, err := fmt.Sscan(fmt.Sprint(series.Value[1]), &n); err != nil {
			return err
		}
		stored[series.Metric.Device] += n
	}
	return nil
}
