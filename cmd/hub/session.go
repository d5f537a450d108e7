package main

import (
	"net/url"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const sessionsPath = "/api/v1/sessions"

func sessionCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "session",
		Short:   "See who is signed in to the pages, and end sessions",
		Example: "  hub session list\n  hub session end s-8iTrWv0w4Q2x",
	}, sessionList(r), sessionEnd(r)))
}

func sessionList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List who is signed in to the pages",
		Example: "  hub session list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, sessionsPath, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "nobody is signed in", []string{"id", "name", "via", "role", "region", "origin", "created", "last_use", "expires"}, nil)
		},
	}
}

func sessionEnd(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "end ID",
		Short:   "End a session at once; who held it may sign in again, with what the issuer or the token gives then",
		Example: "  hub session end s-8iTrWv0w4Q2x",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.gone(cmd, sessionsPath+"/"+url.PathEscape(args[0]), "session "+args[0]+" is over")
		},
	}
}
