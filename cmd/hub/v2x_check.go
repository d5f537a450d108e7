package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/road"
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
				return fmt.Errorf("topic %q is of no dialect that the hub knows; V2X.RSU.HB.UP, V2X/RSU/ESN/SPAT/UP and v2x/v1/rsu/ESN/map/up are", args[0])
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

// checked reads a message as its topic says: JSON, or a frame in hex or as it is
// on the wire, alone or framed.
func checked(set *dialect.Set, route dialect.Route, data []byte) ([]dialect.Finding, error) {
	now := time.Now()
	data = bytes.TrimSpace(data)
	if bytes.HasPrefix(data, []byte("{")) {
		_, findings, err := set.ReadJSON(route, data, now)
		return findings, err
	}
	if raw, err := hex.DecodeString(string(data)); err == nil {
		data = raw
	}
	err := frameOf(route, data, now)
	if err == nil || !route.MayBeFramed() {
		return nil, err
	}
	framed, head := v2x.ReadFramed(data, route.Kind == road.KindBSM)
	if head != nil {
		return nil, err // it is no uplink either
	}
	for {
		frame, err := framed.Next()
		if frame == nil || err != nil {
			return nil, err
		}
		if err := frameOf(route, frame, now); err != nil {
			return nil, err
		}
	}
}

// frameOf reports what is wrong with a frame that came on a topic.
func frameOf(route dialect.Route, data []byte, now time.Time) error {
	var frames dialect.Frames
	m, err := frames.Read(data, now)
	if err == nil && m.Kind != route.Kind {
		err = fmt.Errorf("the frame is of kind %s, and its topic of %s", m.Kind, route.Kind)
	}
	return err
}
