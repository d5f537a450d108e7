package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/hub"
	"github.com/songhua-io/hub/internal/simulate"
)

func demoCommand() *cobra.Command {
	var flags serveFlags
	fleet := simulate.Config{Seed: 1}
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show everything: the hub, this machine as a node, and a simulated fleet",
		Long: "demo runs the hub in a fresh directory (or --data), an edge agent that reports this machine, and a simulated fleet that reports through the real doors.\n" +
			"演示：在新目录中运行枢纽，本机作为节点上报，并有一支模拟设备群经真实入口上报。",
		Example: "  hub demo\n  hub demo --sensors 1000 --http 127.0.0.1:9090\n  hub demo --data ./demo-data",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if flags.data == "" {
				dir, err := os.MkdirTemp("", "songhua-demo-")
				if err != nil {
					return fmt.Errorf("make a directory for the demo: %w; name one with --data", err)
				}
				flags.data = dir
			}
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			if flags.config == "" {
				cfg.Log.Level = "warn"
			}
			log := logger(cfg.Log, cmd.ErrOrStderr())
			fleet.Start = time.Now()
			return hub.Run(cmd.Context(), cfg, hub.Options{
				Log: log, Version: version(),
				Ready: func(ctx context.Context, at hub.Addresses) {
					if err := runDemo(ctx, at, fleet, cmd.OutOrStdout(), log); err != nil && ctx.Err() == nil {
						log.Error("demo_failed", "error", err)
					}
				},
			})
		},
	}
	flags.register(c)
	c.Flags().IntVar(&fleet.Sensors, "sensors", 200, "simulated sensors")
	c.Flags().IntVar(&fleet.RSUs, "rsus", 20, "simulated roadside units")
	c.Flags().IntVar(&fleet.Nodes, "nodes", 10, "simulated compute nodes")
	c.Flags().Uint64Var(&fleet.Seed, "seed", fleet.Seed, "the same seed gives the same fleet")
	return c
}

// runDemo reports this machine and the fleet until ctx ends.
func runDemo(ctx context.Context, at hub.Addresses, fleet simulate.Config, out io.Writer, log *slog.Logger) error {
	token, err := os.ReadFile(at.TokenFile)
	if err != nil {
		return fmt.Errorf("read the admin token: %w", err)
	}
	admin := strings.TrimSpace(string(token))
	printAddresses(out, at)
	fmt.Fprintf(out, "\nopen   %s/?token=%s\n", at.HTTP, admin)
	fmt.Fprintf(out, "ask    hub query 'host_cpu_percent' --data %s\n", at.Data)
	fmt.Fprintf(out, "stop   Ctrl-C\n\n")

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return reportThisMachine(ctx, at, admin, log) })
	group.Go(func() error {
		doors := simulate.Doors{MQTT: at.MQTT, CoAP: at.CoAP, HTTP: at.HTTP, Admin: func() string { return admin }}
		return simulate.Run(ctx, fleet, doors, simulate.SecretsOf(admin), log)
	})
	return group.Wait()
}

// reportThisMachine registers this machine as a node and runs an edge agent.
func reportThisMachine(ctx context.Context, at hub.Addresses, admin string, log *slog.Logger) error {
	id := thisMachine()
	sum := sha256.Sum256([]byte("this machine " + admin))
	secret := fmt.Sprintf("%x", sum)
	device := map[string]any{"id": id, "kind": "node", "site": "this-machine", "region": "220100", "period": "10s", "secret": secret}
	if err := register(ctx, at.HTTP, admin, device); err != nil {
		return err
	}
	cfg := edge.DefaultConfig()
	cfg.Device = id
	cfg.Data = filepath.Join(at.Data, "agent")
	cfg.StatusInterval = 10 * time.Second
	cfg.Uplink.URL = "mqtt://" + at.MQTT
	cfg.Uplink.Secret = secret
	return edge.Run(ctx, cfg, log, time.Now)
}

// thisMachine is a device id made of the host's name.
func thisMachine() string {
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "this-machine"
	}
	id := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
			return r
		}
		return '-'
	}, name)
	return strings.TrimLeft(id[:min(len(id), 64)], "-._")
}

// register adds a device; one that is there already is no error.
func register(ctx context.Context, base, token string, device map[string]any) error {
	body, err := json.Marshal(device)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/api/v1/devices", bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusCreated || resp.StatusCode == http.StatusConflict {
		return nil
	}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096))
	return fmt.Errorf("register %v: %s: %s", device["id"], resp.Status, text)
}
