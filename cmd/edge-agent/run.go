package main

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/edge"
)

func newRun() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "run --config FILE",
		Short:   "Read the sources and send to the hub until a signal comes",
		Example: "  edge-agent run --config /etc/songhua/edge-agent.yaml",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			cfg.Version = version()
			return edge.Run(c.Context(), cfg, newLog(cfg.Log, c.ErrOrStderr()), time.Now)
		},
	}
	configFlag(c, &file)
	return c
}

// newLog writes what the config asks for; the config was checked.
func newLog(cfg edge.LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Level)); err != nil {
		panic(fmt.Sprintf("log level %q passed the checks: %v", cfg.Level, err))
	}
	opts := &slog.HandlerOptions{Level: level}
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
