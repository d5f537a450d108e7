package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/simulate"
)

func newSimulate() *cobra.Command {
	fleet := simulate.Config{}
	var hub, mqtt, coap, token string
	c := &cobra.Command{
		Use:   "simulate --token T",
		Short: "Be a fleet of sensors, roadside units and nodes that reports to a hub",
		Long: "simulate registers a fleet with the hub, sends its last hours, and then reports what it measures until a signal comes.\n" +
			"The same seed gives the same devices and the same readings. Roadside units play a road net. A share of the sensors reports by CoAP without DTLS, which a hub takes on its own machine only.",
		Example: "  edge-agent simulate --token $(cat songhua-data/admin.token)\n  edge-agent simulate --hub http://127.0.0.1:8080 --sensors 1000 --seed 7 --token T",
		Args:    exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if token == "" {
				return usageError{errors.New("simulate registers devices: show a token of role admin or operator with --token")}
			}
			if u, err := url.Parse(hub); err != nil || u.Host == "" {
				return usageError{fmt.Errorf("--hub %q is no URL such as http://127.0.0.1:8080", hub)}
			}
			fleet.Start = time.Now()
			doors := simulate.Doors{MQTT: mqtt, CoAP: coap, HTTP: hub, Admin: token}
			log := slog.New(slog.NewTextHandler(c.ErrOrStderr(), nil))
			return simulate.Run(c.Context(), fleet, doors, simulate.SecretsOf(token), log)
		},
	}
	f := c.Flags()
	f.StringVar(&hub, "hub", "http://127.0.0.1:8080", "`URL` of the hub")
	f.StringVar(&mqtt, "mqtt", "127.0.0.1:1883", "MQTT `address:port` of the hub")
	f.StringVar(&coap, "coap", "127.0.0.1:5683", "CoAP `address:port` of the hub")
	f.StringVar(&token, "token", "", "`token` that may register devices")
	f.IntVar(&fleet.Sensors, "sensors", 200, "simulated sensors")
	f.IntVar(&fleet.RSUs, "rsus", 20, "simulated roadside units, of a road net")
	f.IntVar(&fleet.Nodes, "nodes", 10, "simulated compute nodes")
	f.Uint64Var(&fleet.Seed, "seed", 1, "the same seed gives the same fleet")
	return c
}
