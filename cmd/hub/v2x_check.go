package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/road/dialect"
)

func v2xCheck() *cobra.Command {
	return &cobra.Command{
		Use:     "check TOPIC [HEX|JSON|FILE|-]",
		Short:   "Say in what a message of a roadside unit is not as T/ITS 0117-2020 and its dialect have it",
		Example: "  hub v2x check V2X/RSU/R328328/BaseINFO/UP base.json",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := dialect.Load()
			if err != nil {
				return err
			}
			route, ok := set.Route(args[0])
			if !ok {
				return fmt.Errorf("topic %q is of no dialect that the hub knows", args[0])
			}
			in, err := frames(cmd, args[1:])
			if err != nil {
				return err
			}
			defer in.Close() //nolint:errcheck // it was read only
			data, err := io.ReadAll(io.LimitReader(in, maxFrame))
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s: %s, %s\n", route.Profile.ID, said{route.Profile.Names.ZH, route.Profile.Names.EN}, route.Kind)
			findings, err := checked(set, route, data)
			for _, f := range findings {
				zh, en := f.Text()
				fmt.Fprintln(out, said{zh, en})
			}
			if err == nil && len(findings) > 0 {
				err = fmt.Errorf("%d deviations", len(findings))
			}
			return err
		},
	}
}

// checked reads a message as its topic says: JSON, a frame in hex, or as it is on
// the wire.
func checked(set *dialect.Set, route dialect.Route, data []byte) ([]dialect.Finding, error) {
	now := time.Now()
	if len(data) > 0 && data[0] == '{' {
		_, findings, err := set.ReadJSON(route, data, now)
		return findings, err
	}
	if raw, err := hex.DecodeString(string(data)); err == nil {
		data = raw
	}
	var frames dialect.Frames
	_, err := frames.Read(data, now)
	return nil, err
}
