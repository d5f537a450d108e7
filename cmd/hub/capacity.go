package main

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const noPool = "there is no pool; add one with `hub pool add FILE`"

func capacityCommand() *cobra.Command {
	r, until := &remote{}, ""
	c := &cobra.Command{
		Use:     "capacity",
		Short:   "What each pool has, what is leased and what is free, now or later",
		Example: "  hub capacity\n  hub capacity --until 24h",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if until != "" {
				return r.forecast(cmd, until)
			}
			return r.all(cmd, "/api/v1/capacity", noPool, []string{"facility", "pool", "nodes", "total", "leased", "free", "whole_devices"}, nil)
		},
	}
	c.Flags().StringVar(&until, "until", "", "what will be free until `then`: how long from now (24h), or a time (RFC 3339)")
	return r.register(c)
}

// freeSteps are what of a pool will be free.
type freeSteps struct {
	Facility string `json:"facility"`
	Pool     string `json:"pool"`
	Steps    []struct {
		Start time.Time        `json:"start"`
		End   time.Time        `json:"end"`
		Free  map[string]int64 `json:"free"`
		Low   map[string]int64 `json:"p10,omitempty"`
		Mid   map[string]int64 `json:"p50,omitempty"`
		High  map[string]int64 `json:"p90,omitempty"`
	} `json:"steps"`
}

// forecast lists what will be free, one line for each step of each pool.
func (r *remote) forecast(cmd *cobra.Command, until string) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	all, err := client.Pages[freeSteps](cmd.Context(), hub, "/api/v1/capacity/forecast", query("until", until), 0)
	if err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), map[string]any{"items": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), noPool)
		return nil
	}
	rows := [][]string{{"facility", "pool", "from", "to", "free", "p10"}}
	for _, p := range all {
		for _, s := range p.Steps {
			rows = append(rows, []string{p.Facility, p.Pool, s.Start.Local().Format("01-02 15:04"), s.End.Local().Format("01-02 15:04"), amounts(s.Free), amounts(s.Low)})
		}
	}
	return table(cmd.OutOrStdout(), rows)
}

// amounts writes amounts of resources in the order of their names.
func amounts(m map[string]int64) (s string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		s += " " + name + "=" + strconv.FormatInt(m[name], 10)
	}
	if s == "" {
		return "-"
	}
	return s[1:]
}

// outlook is what would become of all that waits.
type outlook struct {
	Placed     int     `json:"placed"`
	Deferred   int     `json:"deferred"`
	Waiting    int     `json:"waiting"`
	Displaced  int     `json:"displaced"`
	EnergyKWh  float64 `json:"energy_kwh"`
	CarbonKg   float64 `json:"carbon_kg"`
	Cost       float64 `json:"cost"`
	Facilities []struct {
		Facility string             `json:"facility"`
		Used     map[string]float64 `json:"used"`
	} `json:"facilities"`
}

func simulateCommand() *cobra.Command {
	r := &remote{}
	return r.register(&cobra.Command{
		Use:     "simulate FILE",
		Short:   "What would become of what waits with other capacity, other curves or more work",
		Long:    "simulate sends a scenario in YAML or JSON: facilities and pools (added or replaced, by id), remove_pools, states of\nfacilities, signals, and workloads besides those that wait. Nothing is kept or promised.",
		Example: "  hub simulate more-a100.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := document(args[0])
			if err != nil {
				return err
			}
			return r.simulate(cmd, body)
		},
	})
}

func (r *remote) simulate(cmd *cobra.Command, body any) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	var both struct {
		Before outlook `json:"before"`
		After  outlook `json:"after"`
	}
	if err := hub.Call(cmd.Context(), http.MethodPost, "/api/v1/simulate", nil, body, &both); err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), both)
	}
	return table(cmd.OutOrStdout(), compare(both.Before, both.After))
}

// compare is a table of two outlooks.
func compare(before, after outlook) [][]string {
	count := func(n int) string { return strconv.Itoa(n) }
	figure := func(v float64) string { return strconv.FormatFloat(v, 'f', 2, 64) }
	line := func(zh, en, a, b string) []string { return []string{said{zh, en}.String(), a, b} }
	rows := [][]string{
		line("推演", "simulation", said{"现状", "as it is"}.String(), said{"假设", "as it would be"}.String()),
		line("可放置", "placed", count(before.Placed), count(after.Placed)),
		line("推迟", "deferred", count(before.Deferred), count(after.Deferred)),
		line("等待", "waiting", count(before.Waiting), count(after.Waiting)),
		line("失去资源池的租约", "leases without a pool", count(before.Displaced), count(after.Displaced)),
		line("能耗（千瓦时）", "energy, kWh", figure(before.EnergyKWh), figure(after.EnergyKWh)),
		line("二氧化碳（千克）", "CO2, kg", figure(before.CarbonKg), figure(after.CarbonKg)),
		line("费用（元）", "cost, yuan", figure(before.Cost), figure(after.Cost)),
	}
	type use struct{ facility, resource string }
	var seen []use
	used := [2]map[use]float64{{}, {}}
	for i, o := range []outlook{before, after} {
		for _, f := range o.Facilities {
			for resource, share := range f.Used {
				u := use{f.Facility, resource}
				used[i][u] = share
				seen = append(seen, u)
			}
		}
	}
	slices.SortFunc(seen, func(a, b use) int {
		return cmp.Or(cmp.Compare(a.facility, b.facility), cmp.Compare(a.resource, b.resource))
	})
	for _, u := range slices.Compact(seen) {
		share := func(m map[use]float64) string {
			if v, there := m[u]; there {
				return fmt.Sprintf("%.0f%%", 100*v)
			}
			return "-"
		}
		rows = append(rows, line(u.facility+" 占用 "+u.resource, u.facility+" in use, "+u.resource, share(used[0]), share(used[1])))
	}
	return rows
}
