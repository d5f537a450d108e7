package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/simulate"
)

// demo is a hub with a fleet that reports to it, and with facilities whose
// compute it schedules.
type demo struct {
	serve serveFlags
	fleet
}

// fleet is what is simulated.
type fleet struct {
	simulate.Config
	compute bool
}

func demoCommand() *cobra.Command {
	d := demo{fleet: fleet{Config: simulate.Config{Seed: 1}}}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show everything: the hub, this machine as a node, and a simulated fleet",
		Long: "demo runs the hub in a fresh directory (or --data), an edge agent that reports this machine, a simulated fleet that reports through the real doors,\n" +
			"roadside units of a road net, every second one with a fault, which report as those in the field do (page /roads; --rsus 0 leaves them out),\n" +
			"and four simulated facilities of Jilin whose compute the hub schedules (page /compute; --compute=false leaves them out).\n" +
			"Datasets of these are in the public catalogue, and the days before are released (hub dataset list, hub release list).\n" +
			"The fresh directory is removed at the end, unless the demo failed; what --data names is kept, with the key of releases beside it (DIR-releases.key).\n" +
			"演示：在新目录中运行枢纽，本机作为节点上报，并有一支模拟设备群经真实入口上报，一片路网的路侧单元按现场各家的写法上报（每两台有一台带故障，页面 /roads；--rsus 0 可省去），另有吉林四处模拟算力设施由枢纽调度（页面 /compute；--compute=false 可省去）。上述数据编成数据集进入公共数据目录，并发布此前两日的版本。新目录在结束时删除（失败时保留）；--data 指定的目录总是保留，发布密钥在其旁（DIR-releases.key）。",
		Example: "  hub demo\n  hub demo --sensors 1000 --http 127.0.0.1:9090\n  hub demo --data ./demo-data",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return d.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	d.serve.register(c)
	f := c.Flags()
	f.IntVar(&d.Sensors, "sensors", 200, "simulated sensors")
	f.IntVar(&d.RSUs, "rsus", 20, "simulated roadside units, of a road net")
	f.IntVar(&d.Nodes, "nodes", 10, "simulated compute nodes")
	f.Uint64Var(&d.Seed, "seed", d.Seed, "the same seed gives the same fleet")
	f.BoolVar(&d.compute, "compute", true, "simulated facilities, and workloads for them")
	return c
}

// run removes the directory that it made itself, unless something failed.
func (d *demo) run(ctx context.Context, out, errs io.Writer) (err error) {
	if d.Sensors < 0 || d.RSUs < 0 || d.Nodes < 0 {
		return usageError{errors.New("--sensors, --rsus and --nodes are 0 or more")}
	}
	fresh := d.serve.data == ""
	cfg, err := d.serve.load()
	if err != nil {
		return err
	}
	if cfg.Listen.MQTT == "off" || cfg.Listen.CoAP == "off" || cfg.Listen.HTTP == "off" {
		return usageError{errors.New("the fleet of the demo reports by MQTT, CoAP and HTTP: none of --mqtt, --coap and --http can be off")}
	}
	if d.serve.config == "" {
		cfg.Log.Level = "warn"
		cfg.Catalog.Classes = demoClasses
		cfg.Releases.Publish.LookBack = demoPast // the fleet remembers no whole day before
		cfg.Releases.Publish.Delay = 0           // nothing comes late of days that are made up
	}
	if fresh {
		dir, failed := os.MkdirTemp("", "songhua-demo-")
		if failed != nil {
			return fmt.Errorf("make a directory for the demo: %w; name one with --data", failed)
		}
		defer func() { err = removeUnless(err, dir) }()
		cfg.Data = filepath.Join(dir, "data")
	}
	if err := keyOfReleases(&cfg); err != nil {
		return err
	}
	log := logger(cfg.Log, errs)
	cfg.Memory.Apply(log)
	d.Start = time.Now()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var failed error // of the fleet; the hub waits for Ready before Run returns
	err = hub.Run(ctx, cfg, hub.Options{
		Log: log, Version: version(), Before: d.pastUnless(cfg.Data),
		Ready: func(ctx context.Context, at hub.Addresses) {
			if failed = report(ctx, at, d.fleet, out, log); failed != nil {
				failed = fmt.Errorf("the demo's fleet: %w", failed)
				stop()
			}
		},
	})
	return errors.Join(failed, err)
}

// keyOfReleases makes the key under which releases of important data are stored,
// beside the data directory, unless there is one or the config names one.
func keyOfReleases(cfg *config.Config) error {
	if cfg.Releases.KeyFile != "" {
		return nil
	}
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return fmt.Errorf("data directory %q: %w", cfg.Data, err)
	}
	cfg.Releases.KeyFile = data + "-releases.key"
	key := make([]byte, 32)
	rand.Read(key) //nolint:errcheck // never fails (crypto/rand)
	if err := os.MkdirAll(filepath.Dir(data), 0o700); err != nil {
		return fmt.Errorf("create the directory of the demo: %w", err)
	}
	f, err := os.OpenFile(cfg.Releases.KeyFile, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the key of releases: %w", err)
	}
	_, err = fmt.Fprintf(f, "%x\n", key)
	return errors.Join(err, f.Close())
}

// removeUnless removes a directory, unless there is an error: then it says
// where what was kept lies.
func removeUnless(err error, dir string) error {
	if err != nil {
		return fmt.Errorf("%w; what the demo kept lies in %s", err, dir)
	}
	return os.RemoveAll(dir)
}

// report reports this machine and the fleet until ctx ends, which is no error,
// or one of them fails.
func report(ctx context.Context, at hub.Addresses, fleet fleet, out io.Writer, log *slog.Logger) error {
	token, err := os.ReadFile(at.TokenFile)
	if err != nil {
		return fmt.Errorf("read the admin token: %w", err)
	}
	admin := strings.TrimSpace(string(token))
	printAddresses(out, at)
	fmt.Fprintf(out, "\nopen   %s/?token=%s\n", at.HTTP, admin)
	fmt.Fprintf(out, "ask    hub query 'host_cpu_percent' --data %s\n", at.Data)
	fmt.Fprintf(out, "stop   Ctrl-C\n\n")

	told := make(chan struct{})
	doors := simulate.Doors{MQTT: at.MQTT, CoAP: at.CoAP, HTTP: at.HTTP, Admin: admin, Told: func() { close(told) }}
	group, both := errgroup.WithContext(ctx)
	group.Go(func() error { return reportThisMachine(both, at, admin, log) })
	group.Go(func() error {
		return simulate.Run(both, fleet.Config, doors, simulate.SecretsOf(admin), log)
	})
	group.Go(func() error { return publishCatalog(both, at, admin, fleet, told, log) })
	if fleet.compute {
		group.Go(func() error { return simulate.Compute(both, fleet.Seed, doors, log) })
	}
	if err := group.Wait(); ctx.Err() == nil {
		return err
	}
	return nil
}
