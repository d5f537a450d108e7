package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
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
	// The first demo in a directory sets up what an operator would: the model of
	// agents, the device, and what its agent is to do.
	var known *client.Problem
	for _, c := range []struct {
		method, path string
		body         any
	}{
		{http.MethodPut, modelPath(edge.ModelID), json.RawMessage(edge.Model())},
		{http.MethodPost, devicesPath, map[string]any{"id": cfg.Device, "kind": "node", "model": edge.ModelID, "site": "this-machine", "region": "220100", "period": "10s", "secret": cfg.Uplink.Secret}},
		{http.MethodPut, twinPath(cfg.Device) + "/wanted", map[string]any{"sources": map[string]any{"host": map[string]string{"interval": "5s"}}}},
	} {
		err := api.Call(ctx, c.method, c.path, nil, c.body, nil)
		conflict := errors.As(err, &known) && known.Status == http.StatusConflict
		if conflict && c.method == http.MethodPost {
			break // an earlier demo did it
		}
		if err != nil && !conflict { // the model may be that of a file
			return fmt.Errorf("register this machine as %s: %w", cfg.Device, err)
		}
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
