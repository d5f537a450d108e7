package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/hub"
)

// serveFlags are shared by serve and demo: what a person sets most, over the
// config file.
type serveFlags struct{ config, data, http, https, mqtt, mqtts, coap, coaps string }

func (f *serveFlags) register(c *cobra.Command) {
	flags := c.Flags()
	flags.StringVar(&f.config, "config", "", "config `file` (hub config prints one with every default)")
	flags.StringVar(&f.data, "data", "", "`directory` of everything the hub keeps")
	flags.StringVar(&f.http, "http", "", "HTTP `address:port` (port 0: any free one)")
	flags.StringVar(&f.https, "https", "", "HTTP over TLS `address:port`, or off (default: any free port where --http has port 0)")
	flags.StringVar(&f.mqtt, "mqtt", "", "MQTT `address:port`, or off")
	flags.StringVar(&f.mqtts, "mqtts", "", "MQTT over TLS `address:port`, or off (default: any free port where --mqtt has port 0)")
	flags.StringVar(&f.coap, "coap", "", "CoAP `address:port` (UDP), or off")
	flags.StringVar(&f.coaps, "coaps", "", "CoAP over DTLS `address:port` (UDP), or off (default: any free port where --coap has port 0)")
	for _, door := range []string{"http", "https", "mqtt", "mqtts", "coap", "coaps"} {
		_ = c.RegisterFlagCompletionFunc(door, cobra.NoFileCompletions)
	}
	_ = c.MarkFlagDirname("data")
	_ = c.MarkFlagFilename("config", "yaml", "yml")
}

// load reads the config file and lays the flags over it.
func (f *serveFlags) load() (config.Config, error) {
	c, err := config.Load(f.config)
	if err != nil {
		return c, err
	}
	for _, set := range []struct {
		flag string
		into *string
	}{
		{f.data, &c.Data}, {f.http, &c.Listen.HTTP}, {f.https, &c.Listen.HTTPS}, {f.mqtt, &c.Listen.MQTT}, {f.mqtts, &c.Listen.MQTTS},
		{f.coap, &c.Listen.CoAP}, {f.coaps, &c.Listen.CoAPS},
	} {
		if set.flag != "" {
			*set.into = set.flag
		}
	}
	if errs := c.Listen.Check("listen"); len(errs) > 0 {
		return c, usageError{errs[0]}
	}
	f.freePorts(&c.Listen)
	return c, nil
}

// freePorts moves an encrypted door off its well-known port when the plain one
// is to have any free port: who asks for that runs several hubs on a machine.
// Flags and config files that name the encrypted door have the last word.
func (f *serveFlags) freePorts(l *config.Listen) {
	if f.config != "" {
		return
	}
	if strings.HasSuffix(f.http, ":0") && f.https == "" {
		l.HTTPS = f.http
	}
	if strings.HasSuffix(f.mqtt, ":0") && f.mqtts == "" {
		l.MQTTS = f.mqtt
	}
	if strings.HasSuffix(f.coap, ":0") && f.coaps == "" {
		l.CoAPS = f.coap
	}
}

func serveCommand() *cobra.Command {
	var flags serveFlags
	c := &cobra.Command{
		Use:     "serve",
		Short:   "Run the hub; no config is needed",
		Example: "  hub serve\n  hub serve --data /var/lib/songhua --http 127.0.0.1:8080\n  hub serve --config /etc/songhua/hub.yaml",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := flags.load()
			if err != nil {
				return err
			}
			log := logger(cfg.Log, cmd.ErrOrStderr())
			cfg.Memory.Apply(log)
			return hub.Run(cmd.Context(), cfg, hub.Options{
				Log: log, Version: version(),
				Ready: func(_ context.Context, at hub.Addresses) { printAddresses(cmd.OutOrStdout(), at) },
			})
		},
	}
	flags.register(c)
	return c
}

// printAddresses prints the five lines that people and scripts read.
func printAddresses(w io.Writer, at hub.Addresses) {
	fmt.Fprintf(w, "data   %s\n", at.Data)
	fmt.Fprintf(w, "MQTT   %s\n", doors(at.MQTT, at.MQTTS, "TLS"))
	fmt.Fprintf(w, "CoAP   %s\n", doors(at.CoAP, at.CoAPS, "DTLS"))
	if at.HTTPS == "" {
		fmt.Fprintf(w, "HTTP   %s\n", at.HTTP)
	} else {
		fmt.Fprintf(w, "HTTP   %s (TLS %s)\n", at.HTTP, at.HTTPS)
	}
	fmt.Fprintf(w, "token  %s\n", at.TokenFile)
}

func doors(plain, encrypted, name string) string {
	var open []string
	if plain != "" {
		open = append(open, plain)
	}
	if encrypted != "" {
		open = append(open, encrypted+" ("+name+")")
	}
	if len(open) == 0 {
		return "off"
	}
	return strings.Join(open, ", ")
}

func logger(c config.Log, w io.Writer) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}
