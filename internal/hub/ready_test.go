package hub

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestReadyzSaysWhatFails takes the parts of a whole hub away one by one.
func TestReadyzSaysWhatFails(t *testing.T) {
	cfg := config.Default()
	cfg.Data = t.TempDir()
	cfg.Listen = config.Listen{HTTP: "127.0.0.1:0", MQTT: "127.0.0.1:0", MQTTS: config.Off, CoAP: config.Off, CoAPS: config.Off}
	log := slog.New(slog.DiscardHandler)
	h := &hub{
		cfg: cfg, options: Options{Log: log, Version: "test"}, log: log, metrics: prometheus.NewRegistry(), started: time.Now(), stack: newStack(log),
		clock: time.Now,
	}
	if err := h.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.stack.stop() }) // its parts were broken
	ready := func() (int, string) {
		resp, err := http.Get(h.at.HTTP + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, string(text)
	}
	if code, text := ready(); code != http.StatusOK {
		t.Fatalf("at the start: %d %s", code, text)
	}
	if _, err := h.registry.Create(t.Context(), registry.Spec{ID: "t1", Kind: string(telemetry.KindSensor)}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, says string
		fail       func() error
	}{
		{"the database takes nothing", "presence is not written down", func() error {
			err := h.records.Close()
			h.presence.Connected("t1")
			return err
		}},
		{"the store is closed", "the store is closed", h.series.Close},
		{"a commit failed", "telemetry is not taken", func() error {
			if h.pipeline.Write([]telemetry.Point{{Series: 1, Time: 1, Value: 1}}) == nil {
				t.Error("a closed store took a point")
			}
			return nil
		}},
	} {
		if err := c.fail(); err != nil {
			t.Fatal(err)
		}
		// Presence is written from a goroutine of its own.
		deadline := time.Now().Add(patience)
		code, text := ready()
		for ; !strings.Contains(text, c.says) && time.Now().Before(deadline); code, text = ready() {
		}
		if code != http.StatusServiceUnavailable || !strings.Contains(text, c.says) {
			t.Errorf("%s: %d %s", c.name, code, text)
		}
	}
}
