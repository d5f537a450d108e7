package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/edge"
)

func newEnroll() *cobra.Command {
	var e edge.Enrolment
	var tags []string
	c := &cobra.Command{
		Use:   "enroll --hub URL --token T",
		Short: "Make a key, get a certificate for it from a hub, and write a config that works with both",
		Long: "enroll registers this machine as a device with a token of `hub enrol add`. The key is made here and never leaves. When the answer of the\n" +
			"hub got lost, the same command may be given again. Run it as the user that the agent runs as.\n" +
			"注册：凭令牌将本机登记为设备。密钥在本机生成，永不外传。",
		Example: "  edge-agent enroll --hub https://hub.example:8443 --token she_…\n  edge-agent enroll --hub https://hub.example:8443 --token she_… --device rsu-7 --config /etc/songhua/edge-agent.yaml",
		Args:    exactly(0),
	}
	c.RunE = func(c *cobra.Command, _ []string) (err error) {
		if e.Hub == "" || e.Token == "" {
			return usageError{fmt.Errorf("%s needs --hub URL and --token T; `hub enrol add NAME` on the hub makes a token", c.CommandPath())}
		}
		if e.Device == "" {
			if e.Device, err = os.Hostname(); err != nil {
				return fmt.Errorf("this machine has no name (%w); name the device with --device", err)
			}
		}
		if e.Tags, err = pairs(tags); err != nil {
			return err
		}
		done, err := edge.Enrol(c.Context(), e)
		if err != nil {
			return err
		}
		return report(c.OutOrStdout(), e, done)
	}
	f := c.Flags()
	f.StringVar(&e.Hub, "hub", "", "`URL` of the hub, https://host:8443")
	f.StringVar(&e.Token, "token", "", "enrolment `token`")
	f.StringVar(&e.Device, "device", "", "`id` of the device (default: the name of this machine)")
	f.StringVar(&e.Config, "config", "edge-agent.yaml", "config `FILE` to write; one that is there stays as it is")
	f.StringVar(&e.Data, "data", "", "data `directory` of the agent (default: the config's)")
	f.StringVar(&e.CA, "ca", "", "PEM `file` of the authority of the hub's certificate (default: the one that the token names)")
	f.StringVar(&e.Kind, "kind", "", "sensor, rsu, node, gateway or meter, where the token leaves it open")
	f.StringVar(&e.Site, "site", "", "`id` of the site, where the token leaves it open")
	f.StringVar(&e.Region, "region", "", "six-digit division `code`, where the token leaves it open")
	f.StringArrayVar(&tags, "tag", nil, "`name=value`, may be repeated")
	_ = c.MarkFlagFilename("config", "yaml", "yml") // fails only for a flag that does not exist
	_ = c.MarkFlagFilename("ca", "pem", "crt")
	_ = c.MarkFlagDirname("data")
	return c
}

func pairs(list []string) (map[string]string, error) {
	all := map[string]string{}
	for _, s := range list {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return nil, usageError{fmt.Errorf("--tag %q is no name=value pair", s)}
		}
		all[name] = value
	}
	return all, nil
}

// report says what to do next.
func report(w io.Writer, e edge.Enrolment, done edge.Enrolled) error {
	if done.Written {
		_, err := fmt.Fprintf(w, "%s is enrolled; start it with `edge-agent run --config %s`\n", done.Device, e.Config)
		return err
	}
	u := done.Uplink
	_, err := fmt.Fprintf(w, "%s is enrolled; %s was there and stays as it is. It needs:\n\ndevice: %s\nuplink:\n  url: %s\n  renew: %s\n  tls:\n    ca: %s\n    certificate: %s\n    key: %s\n",
		done.Device, e.Config, done.Device, u.URL, u.Renew, u.TLS.CA, u.TLS.Certificate, u.TLS.Key)
	return err
}
