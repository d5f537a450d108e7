package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/progress"
)

func newSpool() *cobra.Command {
	c := &cobra.Command{
		Use:     "spool",
		Short:   "Look at what waits on disk, or send it",
		Example: "  edge-agent spool inspect --config agent.yaml\n  edge-agent spool drain --config agent.yaml",
		Args:    exactly(0),
		RunE:    func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newInspect(), newDrain())
	return c
}

func newInspect() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "inspect --config FILE",
		Short:   "Say what waits and what was lost; changes nothing, the agent may run",
		Example: "  edge-agent spool inspect --config agent.yaml",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			r, err := spool.Inspect(edge.SpoolDir(cfg))
			if err != nil {
				return err
			}
			return printReport(c.OutOrStdout(), edge.SpoolDir(cfg), r)
		},
	}
	configFlag(c, &file)
	return c
}

func printReport(w io.Writer, dir string, r spool.Report) error {
	_, err := fmt.Fprintf(w, "directory  %s\non disk    %d bytes in %d segments\nwaiting    %d blocks, %d samples%s\nlost       %d blocks, %d samples since the spool was made\n",
		dir, r.Bytes, r.Segments, r.Blocks, r.Samples, between(r.From, r.To), r.Lost.Blocks, r.Lost.Samples)
	if err == nil && r.Damaged > 0 {
		_, err = fmt.Fprintf(w, "damaged    %d places cannot be read\n", r.Damaged)
	}
	for _, l := range r.Unreported {
		if err == nil {
			_, err = fmt.Fprintf(w, "  not yet told to the hub: %s, %d blocks, %d samples%s\n", l.Reason, l.Blocks, l.Samples, between(l.From, l.To))
		}
	}
	return err
}

func between(from, to int64) string {
	if to == 0 {
		return ""
	}
	text := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(time.RFC3339) }
	return fmt.Sprintf(", %s to %s", text(from), text(to))
}

func newDrain() *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "drain --config FILE",
		Short:   "Send what waits, read nothing, and end when all is delivered; the agent must not run",
		Example: "  edge-agent spool drain --config agent.yaml",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			cfg, err := loadConfig(file)
			if err != nil {
				return err
			}
			line := progress.On(c.ErrOrStderr())
			return edge.Drain(c.Context(), cfg, newLog(cfg.Log, line), time.Now, line)
		},
	}
	configFlag(c, &file)
	return c
}
