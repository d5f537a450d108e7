package main

import (
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"
)

const authorityPath = "/api/v1/authority"

func caCommand() *cobra.Command {
	r := &remote{}
	c := r.register(group(&cobra.Command{
		Use:     "ca",
		Short:   "Show the hub's certificates and when they end; issue one to a device",
		Example: "  hub ca\n  hub ca export > hub-ca.pem\n  hub ca issue probe-1 --csr probe-1.csr > probe-1.pem",
	}, caExport(r), caIssue(r)))
	others := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return others(cmd, args)
		}
		return showCA(cmd, r)
	}
	return c
}

// authorityAnswer is the authority as the API shows it.
type authorityAnswer struct {
	Fingerprint  string           `json:"fingerprint"`
	Root         string           `json:"root"`
	Outside      bool             `json:"outside"`
	Certificates []map[string]any `json:"certificates"`
}

func (r *remote) authority(cmd *cobra.Command) (a authorityAnswer, err error) {
	hub, err := r.client()
	if err != nil {
		return a, err
	}
	return a, hub.Call(cmd.Context(), http.MethodGet, authorityPath, nil, nil, &a)
}

func showCA(cmd *cobra.Command, r *remote) error {
	a, err := r.authority(cmd)
	if err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), a)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "root  SHA-256 %s\n\n", a.Fingerprint)
	return r.list(cmd, a.Certificates, "", []string{"certificate", "subject", "names", "not_before", "not_after"}, nil)
}

func caExport(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "export",
		Short:   "Print the root certificate, for those who check the hub's",
		Example: "  hub ca export > hub-ca.pem\n  mosquitto_pub --cafile hub-ca.pem …",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a, err := r.authority(cmd)
			if err != nil {
				return err
			}
			if a.Outside {
				fmt.Fprintln(cmd.ErrOrStderr(), "note: the hub's own certificate is of an outside authority (tls.certificate); this root signs devices' certificates only")
			}
			_, err = io.WriteString(cmd.OutOrStdout(), a.Root)
			return err
		},
	}
}

func caIssue(r *remote) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:     "issue DEVICE --csr FILE",
		Short:   "Issue a certificate to a registered device, of a key that it made",
		Example: "  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout probe-1.key -subj / -out probe-1.csr\n  hub ca issue probe-1 --csr probe-1.csr > probe-1.pem",
		Args:    exactArgs("DEVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if file == "" {
				return usageError{fmt.Errorf("%s needs --csr: the certificate signing request that the device made", cmd.CommandPath())}
			}
			csr, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			var answer map[string]any
			if err := hub.Call(cmd.Context(), http.MethodPost, devicePath(args[0])+"/certificate", nil, map[string]string{"csr": string(csr)}, &answer); err != nil {
				return err
			}
			if r.json {
				return printJSON(cmd.OutOrStdout(), answer)
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), answer["certificate"])
			return err
		},
	}
	c.Flags().StringVar(&file, "csr", "", "PEM `file` of the request (PKCS#10)")
	_ = c.MarkFlagFilename("csr")
	return c
}
