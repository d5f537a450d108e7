package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

var facilities = kept{
	noun: "facility", article: "a", path: "/api/v1/facilities",
	fields:  []string{"id", "state", "region", "grid_zone", "version"},
	columns: []string{"id", "zh", "en", "region", "state", "security_grade", "grid_zone", "pools", "nodes", "leases"},
	flat:    bothNames,
}

func facilityCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "facility",
		Short:   "Places with compute: data centres, edge rooms, cloud regions",
		Example: "  hub facility add changchun-1.yaml\n  hub facility cordon changchun-1",
	}, facilities.add(r, "changchun-1.yaml"), facilities.list(r), facilities.show(r, "changchun-1"),
		facilityBecome(r, "ready", "Let new work go there again"),
		facilityBecome(r, "cordon", "Let no new work go there; what runs goes on"),
		facilityBecome(r, "drain", "Let no new work go there, and move what can be moved"),
		facilityBecome(r, "lose", "Say that it cannot be reached: its leases are fenced, its work is planned anew"),
		facilities.remove(r, "changchun-1")))
}

func facilityBecome(r *remote, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Example: "  hub facility " + verb + " changchun-1",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodPost, facilities.of(args[0])+"/"+verb, nil, facilities.fields)
		},
	}
}

var pools = kept{
	noun: "pool", article: "a", path: "/api/v1/pools",
	fields:  []string{"id", "facility", "engine", "version"},
	columns: []string{"id", "facility", "arch", "engine", "model", "nodes", "cpu_free", "memory_free", "accelerators_free", "leases"},
	flat: func(p map[string]any) {
		if a, ok := p["accelerator"].(map[string]any); ok {
			p["model"] = a["model"]
		}
		c, _ := p["capacity"].(map[string]any)
		free, _ := c["free"].(map[string]any)
		p["nodes"] = c["nodes"]
		p["cpu_free"], p["memory_free"], p["accelerators_free"] = free["cpu_milli"], free["memory_mib"], free["accelerator_milli"]
	},
}

func poolCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "pool",
		Short:   "Equal nodes of a facility: the unit of capacity",
		Example: "  hub pool add cc1-a100.yaml\n  hub pool list",
	}, pools.add(r, "cc1-a100.yaml"), pools.list(r), pools.show(r, "cc1-a100"), pools.remove(r, "cc1-a100")))
}
