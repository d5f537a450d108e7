package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/simulate/roads"
)

func v2xSimulate() *cobra.Command {
	var c roads.Config
	var faults, speeches []string
	var truth, start string
	var length time.Duration
	cmd := &cobra.Command{
		Use:     "simulate",
		Short:   "Play a road net and print what its roadside units send, one line of JSON each",
		Long:    "simulate plays intersections with signals, vehicles and roadside units, deterministic by seed. A line holds the\ntime, the unit, the message, its topic of MQTT and its payload: a frame or framed uplink in hex, or JSON. --truth writes beside what truly happened.",
		Example: "  hub v2x simulate --units 9 --length 1m --truth truth.jsonl > uplinks.jsonl\n  hub v2x simulate --units 4 --fault 0=no_yellow --fault 1=fixed_id --speech 2=openv2x",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if c.Faulty, err = eachAt("fault", faults, c.Units, roads.Faults); err != nil {
				return usageError{err}
			}
			if c.Speech, err = eachAt("speech", speeches, c.Units, roads.Speeches); err != nil {
				return usageError{err}
			}
			if c.Start, err = time.Parse(time.RFC3339, start); err != nil {
				return usageError{fmt.Errorf("--start %q is no time such as 2026-11-26T08:00:00Z", start)}
			}
			if c.Units < 1 || c.Units > 10_000 || c.Vehicles < 0 || c.Vehicles > 100 {
				return usageError{fmt.Errorf("--units %d is not between 1 and 10,000, or --vehicles %d not between 0 and 100", c.Units, c.Vehicles)}
			}
			w := roads.New(c)
			out := bufio.NewWriter(cmd.OutOrStdout())
			for end := w.Now().Add(length); w.Now().Before(end) && err == nil && cmd.Context().Err() == nil; {
				w.Step(func(u roads.Uplink) {
					payload := u.Payload
					if payload[0] != '{' {
						payload = strconv.AppendQuote(nil, hex.EncodeToString(payload))
					}
					_, failed := fmt.Fprintf(out, `{"at": %q, "unit": %q, "message": %q, "topic": %q, "payload": %s}`+"\n", w.Now().Format(time.RFC3339Nano), u.Unit, u.Message, u.Topic, payload)
					if failed != nil {
						err = failed
					}
				})
			}
			if err != nil {
				return err
			}
			if err := out.Flush(); err != nil || truth == "" {
				return err
			}
			f, err := os.Create(truth)
			if err != nil {
				return err
			}
			if err := w.Truth().Write(f); err != nil {
				return err
			}
			return f.Close()
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&c.Seed, "seed", 1, "the same `number` plays the same")
	f.IntVar(&c.Units, "units", 4, "intersections, each with a unit")
	f.IntVar(&c.Vehicles, "vehicles", 8, "vehicles of each unit, on average")
	f.Float64Var(&c.Connected, "connected", 0.3, "`share` of vehicles that speak for themselves (BSM)")
	f.StringVar(&start, "start", "2026-11-26T08:00:00Z", "`time` at which the play begins")
	f.DurationVar(&length, "length", 10*time.Second, "how long is played")
	f.StringArrayVar(&faults, "fault", nil, "`unit=fault`, from 0; faults: "+names(roads.Faults))
	f.StringArrayVar(&speeches, "speech", nil, "`unit=speech`, from 0, where it is not frames alone: "+names(roads.Speeches))
	f.StringVar(&truth, "truth", "", "`file` for what truly happened")
	return cmd
}

func names[T ~string](all []T) string {
	text := make([]string, len(all))
	for i, one := range all {
		text[i] = string(one)
	}
	return strings.Join(text, ", ")
}

// eachAt reads which unit has which of a list.
func eachAt[T ~string](flag string, given []string, units int, of []T) (map[int]T, error) {
	at := map[int]T{}
	for _, one := range given {
		unit, which, _ := strings.Cut(one, "=")
		n, err := strconv.Atoi(unit)
		if err != nil || n < 0 || n >= units || !slices.Contains(of, T(which)) {
			return nil, fmt.Errorf("--%s %q is not a unit from 0 to %d, = and one of %s", flag, one, units-1, names(of))
		}
		at[n] = T(which)
	}
	return at, nil
}
