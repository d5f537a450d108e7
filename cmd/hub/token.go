package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const tokensPath = "/api/v1/tokens"

func devicePath(id string) string { return devicesPath + "/" + url.PathEscape(id) }

func tokenCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "token",
		Short:   "Make and revoke tokens for people and programs",
		Example: "  hub token add grafana --role reader\n  hub token revoke grafana",
	}, tokenAdd(r), tokenList(r), tokenRevoke(r)))
}

func tokenAdd(r *remote) *cobra.Command {
	var role, region, grade string
	var life time.Duration
	c := &cobra.Command{
		Use:     "add NAME",
		Short:   "Make a token; it is printed this once",
		Example: "  hub token add grafana --role reader\n  hub token add changchun --role operator --region 2201 --for 720h\n  hub token add water --role reader --grade important",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if role == "" {
				return usageError{fmt.Errorf("%s needs --role: admin, operator, scheduler, steward, reader, gateway or public", cmd.CommandPath())}
			}
			body := map[string]any{"name": args[0], "role": role}
			if region != "" {
				body["region"] = region
			}
			if grade != "" {
				body["grade"] = grade
			}
			if life > 0 {
				body["expires"] = time.Now().Add(life).UTC()
			}
			return r.print(cmd, http.MethodPost, tokensPath, body, []string{"name", "role", "region", "grade", "expires", "token"})
		},
	}
	f := c.Flags()
	f.StringVar(&role, "role", "", "admin, operator, scheduler, steward, reader, gateway or public")
	f.StringVar(&region, "region", "", "narrow it to division codes with this `prefix`")
	f.StringVar(&grade, "grade", "", "the highest `grade` of data that it may see: general, important or core (default general; core for role admin)")
	f.DurationVar(&life, "for", 0, "how long it works, such as 720h (0: until it is revoked)")
	_ = c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions([]string{"admin", "operator", "scheduler", "steward", "reader", "gateway", "public"}, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("grade", cobra.FixedCompletions([]string{"general", "important", "core"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func tokenList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List tokens",
		Example: "  hub token list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, tokensPath, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "there is no token", []string{"name", "role", "region", "grade", "created", "expires", "last_use"}, nil)
		},
	}
}

func tokenRevoke(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME",
		Short:   "End a token at once",
		Example: "  hub token revoke grafana",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.gone(cmd, tokensPath+"/"+url.PathEscape(args[0]), "token "+args[0]+" is revoked")
		},
	}
}
