package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/progress"
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
		Example: "  hub bench mqtt\n  hub bench mqtt --samples 20\n  hub bench mqtt --connections 500 --window 1\n  hub bench coap --connections 100 --window 1\n  hub bench http --samples 20 --window 1\n  hub bench v2x --units 1000 --duration 2m",
	}
	return group(c,
		benchDoor("mqtt", "MQTT QoS 1", 50, 50, load.MQTT, func(at hub.Addresses) string { return at.MQTT }),
		benchDoor("coap", "CoAP, confirmable", 100, 1, load.CoAP, func(at hub.Addresses) string { return at.CoAP }),
		benchDoor("http", "HTTP POST", 50, 1, load.HTTP, func(at hub.Addresses) string {
			_, address, _ := strings.Cut(at.HTTP, "://")
			return address
		}),
		benchV2X(),
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
			if err := f.check(); err != nil {
				return usageError{err}
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), progress.On(cmd.ErrOrStderr()), send, door)
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

// check refuses what cannot be run before a hub is started for it.
func (f *benchFlags) check() error {
	// A flag that says 0 means 0; only in load.Config does that stand for the default.
	for _, n := range []struct {
		flag  string
		value int
	}{{"window", f.load.Window}, {"samples", f.load.Samples}, {"metrics", f.load.Metrics}} {
		if n.value < 1 {
			return fmt.Errorf("--%s %d: at least 1", n.flag, n.value)
		}
	}
	if f.duration <= 0 {
		return fmt.Errorf("--duration %s: longer than 0, such as 10s", f.duration)
	}
	return f.load.Check()
}

func (f *benchFlags) run(ctx context.Context, out io.Writer, line *progress.Line, send sender, door func(hub.Addresses) string) (err error) {
	defer line.Clear()
	at, own, err := benchTarget(ctx, &f.remote)
	if err != nil {
		return err
	}
	defer func() { err = own.end(err) }()
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
	line.Say("registering %d devices", f.load.Connections)
	devices, err := addBenchDevices(ctx, c, "sensor", f.load.Connections)
	if err != nil {
		return err
	}
	defer removeBenchDevices(context.WithoutCancel(ctx), c, devices)
	f.load.Login = func(i int) (string, string) { return devices[i].ID, devices[i].Secret }

	before := cpuSeconds(own)
	result, err := f.send(ctx, line, send)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, result)
	if own != nil && result.Samples > 0 {
		spent := cpuSeconds(own) - before
		fmt.Fprintf(out, "hub: %.2f CPU seconds, %.2f per million samples; resident memory %s\n", spent, spent/float64(result.Samples)*1e6, residentMemory(own))
	}
	return verifyBench(ctx, out, line, c, result)
}

// send sends for as long as was asked.
func (f *benchFlags) send(ctx context.Context, line *progress.Line, send sender) (*load.Result, error) {
	timed, cancel := context.WithTimeout(ctx, f.duration)
	defer cancel()
	begin := time.Now()
	defer line.Every(func() { line.Say("sending, %.0f of %.0f s", time.Since(begin).Seconds(), f.duration.Seconds()) })()
	return send(timed, f.load)
}

// benchTarget is the hub that is loaded: the one that is named, or one of our own.
func benchTarget(ctx context.Context, r *remote) (hub.Addresses, *ownHub, error) {
	if r.where.Data != "" {
		at, err := hub.ReadAddresses(r.where.Data)
		return at, nil, err
	}
	if r.where.URL != "" || os.Getenv("HUB_URL") != "" {
		return hub.Addresses{}, nil, nil
	}
	program, err := os.Executable()
	if err != nil {
		return hub.Addresses{}, nil, err
	}
	own, at, err := startOwnHub(ctx, program)
	if err != nil {
		return at, nil, err
	}
	r.where.Data = at.Data
	return at, own, nil
}

type benchDevice struct{ ID, Secret string }

func addBenchDevices(ctx context.Context, c *client.Client, kind string, n int) ([]benchDevice, error) {
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
			batch.Devices = append(batch.Devices, spec{ID: fmt.Sprintf("bench-%s-%05d", run, i), Kind: kind, Period: "10s"})
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
