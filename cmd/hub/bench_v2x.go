package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/progress"
	"github.com/songhua-io/hub/internal/simulate/load"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// roadBench is a load of roadside units.
type roadBench struct {
	remote   remote
	play     roads.Config
	window   int
	duration time.Duration
	address  string

	line    *progress.Line
	devices []benchDevice
	world   *roads.World
	index   map[string]int // of units, by serial number
}

func benchV2X() *cobra.Command {
	var b roadBench
	c := &cobra.Command{
		Use:   "v2x",
		Short: "Load the MQTT door with frames of roadside units (QoS 1), and verify that each was counted",
		Long: "v2x plays a road net in real time: each unit is a connection that publishes its frames (BSM, RSM, SPAT, MAP, RSI in UPER) when they are due.\n" +
			"A unit sends 5 RSM, 5 SPAT and 1 MAP a second or more, and a BSM a second of each connected vehicle: about 20 messages a second as the flags are.\n" +
			"At the end all minutes of all units are asked for: each acknowledged frame is counted in rsu_messages, once.",
		Example: "  hub bench v2x\n  hub bench v2x --units 100 --duration 30s\n  hub bench v2x --units 1000 --duration 5m --data ./songhua-data",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := b.check(); err != nil {
				return usageError{err}
			}
			b.line = progress.On(cmd.ErrOrStderr())
			return b.run(cmd.Context(), cmd.OutOrStdout())
		},
	}
	b.remote.register(c)
	f := c.Flags()
	f.IntVar(&b.play.Units, "units", 1000, "roadside units, each a connection and a device of its own")
	f.IntVar(&b.play.Vehicles, "vehicles", 18, "vehicles of each unit, on average")
	f.Float64Var(&b.play.Connected, "connected", 0.5, "`share` of vehicles that speak for themselves (BSM)")
	f.Uint64Var(&b.play.Seed, "seed", 1, "the same `number` plays the same")
	f.IntVar(&b.window, "window", 100, "messages of a connection that may be unacknowledged")
	f.DurationVar(&b.duration, "duration", time.Minute, "for how long")
	f.StringVar(&b.address, "address", "", "`address:port` of the door, where the hub is not on this machine")
	return c
}

func (b *roadBench) check() error {
	switch {
	case b.play.Units < 1 || b.play.Units > 10_000:
		return fmt.Errorf("--units %d: 1 to 10,000", b.play.Units)
	case b.play.Vehicles < 0 || b.play.Vehicles > 100 || !(b.play.Connected >= 0 && b.play.Connected <= 1):
		return fmt.Errorf("--vehicles %d, --connected %g: 0 to 100 vehicles, and a share of them from 0 to 1", b.play.Vehicles, b.play.Connected)
	case b.window < 1:
		return fmt.Errorf("--window %d: at least 1", b.window)
	case b.duration <= 0:
		return fmt.Errorf("--duration %s: longer than 0, such as 1m", b.duration)
	}
	return b.config().Check()
}

func (b *roadBench) config() load.Config {
	return load.Config{
		Address: b.address, Connections: b.play.Units, Window: b.window,
		Login: func(i int) (string, string) { return b.devices[i].ID, b.devices[i].Secret },
	}
}

func (b *roadBench) run(ctx context.Context, out io.Writer) (err error) {
	defer b.line.Clear()
	at, own, err := benchTarget(ctx, &b.remote)
	if err != nil {
		return err
	}
	defer func() { err = own.end(err) }()
	c, err := b.remote.client()
	if err != nil {
		return err
	}
	if b.address == "" {
		b.address = at.MQTT
	}
	if b.address == "" {
		return usageError{errors.New("where is the door? name the hub's data directory with --data, or the door with --address")}
	}
	b.line.Say("registering %d roadside units", b.play.Units)
	if b.devices, err = addBenchDevices(ctx, c, "rsu", b.play.Units); err != nil {
		return err
	}
	defer removeBenchDevices(context.WithoutCancel(ctx), c, b.devices)

	before, written := cpuSeconds(own), writtenBytes(own)
	r, late, err := b.send(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%d units: %d messages acknowledged in %s: %.0f messages/s, p50 %s, p99 %s, most %s; %d refused, %d connections broke; the play was behind by %s at most\n",
		b.play.Units, r.Acknowledged, r.Elapsed.Round(time.Millisecond), r.MessagesPerSecond(), r.Latencies.Quantile(0.5), r.Latencies.Quantile(0.99), r.Latencies.Max(),
		r.Refused, r.Broken, max(0, late).Round(time.Millisecond))
	if own != nil && r.Acknowledged > 0 {
		spent, n := cpuSeconds(own)-before, float64(r.Acknowledged)
		fmt.Fprintf(out, "hub: %.2f CPU seconds, %.1f %% of %d cores, %.1f µs a message; %.0f bytes a message written to disk, journal %.1f MB; resident memory %s\n",
			spent, 100*spent/r.Elapsed.Seconds()/float64(runtime.NumCPU()), runtime.NumCPU(), spent/n*1e6, (writtenBytes(own)-written)/n, float64(journalBytes(own))/1e6, residentMemory(own))
	}
	return b.verify(ctx, out, c, r)
}

// send plays for as long as was asked.
func (b *roadBench) send(ctx context.Context) (*load.Result, time.Duration, error) {
	begin := time.Now().Add(time.Second)
	b.play.Start, b.play.Device = begin, func(i int) string { return b.devices[i].ID }
	b.world, b.index = roads.New(b.play), map[string]int{}
	for i, u := range b.world.Units() {
		b.index[u.Name] = i
	}
	defer b.line.Every(func() { b.line.Say("sending, %.0f of %.0f s", time.Since(begin).Seconds(), b.duration.Seconds()) })()
	return load.Road(ctx, b.config(), load.Play{Now: b.world.Now(), Tick: roads.Tick, Length: b.duration, Step: func(send func(int, string, []byte)) {
		b.world.Step(func(u roads.Uplink) {
			if u.Payload[0] != '{' { // what units say of themselves has no part in the load
				send(b.index[u.Unit], u.Topic, u.Payload)
			}
		})
		b.world.Forget()
	}})
}

// beyond is how far units have to be past a minute for the hub to write it.
const beyond = 2 * time.Minute

// pass has each unit, and a vehicle that it hears, tell of a while later: its
// minutes are over with that. Framed uplinks say of when they are.
func (b *roadBench) pass(ctx context.Context) error {
	later := b.play
	later.Start, later.Speech = time.Now().Add(beyond), map[int]roads.Speech{}
	for i := range later.Units {
		later.Speech[i] = roads.Framed
	}
	w := roads.New(later)
	_, _, err := load.Road(ctx, b.config(), load.Play{Now: time.Now(), Tick: roads.Tick, Length: time.Second, Step: func(send func(int, string, []byte)) {
		w.Step(func(u roads.Uplink) {
			if u.Message == "SPAT" || u.Message == "BSM" {
				send(b.index[u.Unit], u.Topic, u.Payload)
			}
		})
	}})
	return err
}

// verifyLimit is how long the hub may take to write the last minutes.
const verifyLimit = 5 * time.Minute

// verify waits until each acknowledged message is counted in the minutes of its
// unit.
func (b *roadBench) verify(ctx context.Context, out io.Writer, c *client.Client, r *load.Result) error {
	last := b.world.Now()
	if err := b.pass(ctx); err != nil {
		return fmt.Errorf("send what ends the minutes: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, verifyLimit)
	defer cancel()
	look := time.NewTicker(time.Second)
	defer look.Stop()
	for {
		counted, err := b.counted(ctx, c, last)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		all, lost, more := 0, 0, 0
		for _, l := range r.Lines {
			n := counted[l.Device]
			all += n
			lost += max(0, l.Ledger.Count-n)
			more += max(0, n-l.Ledger.Count)
		}
		b.line.Say("verifying, %d of %d messages are counted", all, r.Acknowledged)
		if lost == 0 || more > 0 || ctx.Err() != nil {
			b.line.Clear()
			fmt.Fprintf(out, "verified: %d messages acknowledged, %d counted, %d lost, %d counted twice\n", r.Acknowledged, all, lost, more)
			if lost > 0 || more > 0 {
				return fmt.Errorf("%d acknowledged messages are not counted, and %d more than were acknowledged", lost, more)
			}
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
}

// counted is how many messages of each unit are in minutes that are written.
func (b *roadBench) counted(ctx context.Context, c *client.Client, last time.Time) (map[string]int, error) {
	first := b.devices[0].ID
	end := last.Truncate(time.Minute).Add(time.Minute)
	q := query("query", fmt.Sprintf(`sum by (device) (sum_over_time(rsu_messages{device=~"%s-.*"}[%ds]))`, first[:strings.LastIndexByte(first, '-')], int(end.Sub(b.play.Start).Seconds())+120),
		"time", fmt.Sprint(end.Unix()))
	var answer struct {
		Data struct {
			Result []struct {
				Metric struct{ Device string }
				Value  [2]any
			}
		}
	}
	if err := c.Call(context.WithoutCancel(ctx), http.MethodGet, "/prometheus/api/v1/query", q, nil, &answer); err != nil {
		return nil, err
	}
	counted := map[string]int{}
	for _, series := range answer.Data.Result {
		n := 0
		if _, err := fmt.Sscan(fmt.Sprint(series.Value[1]), &n); err != nil {
			return nil, err
		}
		counted[series.Metric.Device] = n
	}
	return counted, nil
}
