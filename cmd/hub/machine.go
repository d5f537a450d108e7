package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/hub"
)

// reportThisMachine registers this machine as a node and runs an edge agent.
func reportThisMachine(ctx context.Context, at hub.Addresses, admin string, log *slog.Logger) error {
	cfg := edge.DefaultConfig()
	cfg.Version, cfg.Device = version(), thisMachine()
	cfg.Data = filepath.Join(at.Data, "agent")
	cfg.StatusInterval = 10 * time.Second
	cfg.Uplink.URL = "mqtt://" + at.MQTT
	sum := sha256.Sum256([]byte("this machine " + admin))
	cfg.Uplink.Secret = fmt.Sprintf("%x", sum)

	api, err := client.New(at.HTTP, admin)
	if err != nil {
		return err
	}
	device := map[string]any{"id": cfg.Device, "kind": "node", "site": "this-machine", "region": "220100", "period": "10s", "secret": cfg.Uplink.Secret}
	err = api.Call(ctx, http.MethodPost, devicesPath, nil, device, nil)
	var known *client.Problem
	if errors.As(err, &known) && known.Status == http.StatusConflict {
		err = nil // an earlier demo registered it
	}
	if err != nil {
		return fmt.Errorf("register this machine as %s: %w", cfg.Device, err)
	}
	return edge.Run(ctx, cfg, log, time.Now)
}

// thisMachine is a device id made of the host's name.
func thisMachine() string {
	name, err := os.Hostname()
	if err != nil {
		name = ""
	}
	id := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', r == '-', r == '.', r == '_':
			return r
		}
		return '-'
	}, name)
	if id = strings.TrimLeft(id[:min(len(id), 64)], "-._"); id == "" {
		return "this-machine"
	}
	return id
}
