package main

import (
	"net/http"

	"github.com/spf13/cobra"
)

const networkPath = "/api/v1/network"

func networkCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "network",
		Short:   "How far facilities and regions lie from one another, and what moving data costs",
		Example: "  hub network set network.yaml\n  hub network show",
	}, networkShow(r), networkSet(r)))
}

func networkShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show",
		Short:   "Show the links, and the tiers that count where no link says",
		Example: "  hub network show",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.show(cmd, networkPath)
		},
	}
}

func networkSet(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "set FILE",
		Short:   "Declare the network from a file in YAML or JSON",
		Long:    "set sends links (from, to, rtt_ms, gbit_per_second; cost_per_gb and kwh_per_gb where known) and tiers (city, province,\ncountry) in place of those there. An end is a facility or a division code. The next decision goes by it.",
		Example: "  hub network set network.yaml",
		Args:    exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body, err := document(args[0])
			if err != nil {
				return err
			}
			return r.print(cmd, http.MethodPut, networkPath, body, []string{"version"})
		},
	}
}

var tenants = kept{
	noun: "tenant", article: "a", path: "/api/v1/tenants",
	fields:  []string{"id", "weight", "budget", "version"},
	columns: []string{"id", "zh", "en", "weight", "budget", "version"},
	flat:    bothNames,
}

func tenantCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "tenant",
		Short:   "Who workloads belong to: weights and budgets",
		Example: "  hub tenant add university.yaml\n  hub tenant list",
	}, tenants.add(r, "university.yaml"), tenants.list(r), tenants.show(r, "university"), tenants.remove(r, "university")))
}
