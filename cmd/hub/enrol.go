package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const (
	enrolmentsPath = "/api/v1/enrolments"
	knocksPath     = "/api/v1/knocks"
)

func enrolCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "enrol",
		Aliases: []string{"enroll"},
		Short:   "Make and revoke tokens with which devices register themselves",
		Long:    "An enrolment token lets a number of devices register themselves and get a certificate: edge-agent enroll --hub URL --token T.\n注册令牌：设备凭它自行登记并取得证书。",
		Example: "  hub enrol add ring-road --kind rsu --site ring-road --region 220100 --prefix rsu- --count 200 --for 72h\n  hub enrol list\n  hub enrol revoke ring-road",
	}, enrolAdd(r), enrolList(r), enrolRevoke(r)))
}

func enrolAdd(r *remote) *cobra.Command {
	body := struct {
		Name    string     `json:"name"`
		Kind    string     `json:"kind,omitempty"`
		Site    string     `json:"site,omitempty"`
		Region  string     `json:"region,omitempty"`
		Prefix  string     `json:"prefix,omitempty"`
		Uses    int        `json:"uses"`
		Expires *time.Time `json:"expires,omitempty"`
	}{}
	var life time.Duration
	c := &cobra.Command{
		Use:     "add NAME",
		Short:   "Make a token; it is printed this once",
		Example: "  hub enrol add one-node --kind node\n  hub enrol add ring-road --kind rsu --region 220100 --prefix rsu- --count 200 --for 72h",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			body.Name = args[0]
			if life > 0 {
				end := time.Now().Add(life).UTC()
				body.Expires = &end
			}
			return r.print(cmd, http.MethodPost, enrolmentsPath, body, []string{"name", "kind", "site", "region", "prefix", "uses", "expires", "token"})
		},
	}
	f := c.Flags()
	f.StringVar(&body.Kind, "kind", "", "only sensor, rsu, node, gateway or meter")
	f.StringVar(&body.Site, "site", "", "only at this `site`")
	f.StringVar(&body.Region, "region", "", "only where the division code begins with this `prefix`")
	f.StringVar(&body.Prefix, "prefix", "", "only devices whose id begins with this `text`")
	f.IntVar(&body.Uses, "count", 1, "how many devices may enrol")
	f.DurationVar(&life, "for", 0, "how long it works, such as 72h (0: a day)")
	_ = c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"sensor", "rsu", "node", "gateway", "meter"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

func enrolList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List enrolment tokens and how often they were used",
		Example: "  hub enrol list",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, enrolmentsPath, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "there is no enrolment token; make one with `hub enrol add NAME`",
				[]string{"name", "kind", "site", "region", "prefix", "used", "uses", "created", "expires"}, nil)
		},
	}
}

func enrolRevoke(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke NAME",
		Short:   "End an enrolment token at once; devices that enrolled stay",
		Example: "  hub enrol revoke ring-road",
		Args:    exactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.gone(cmd, enrolmentsPath+"/"+url.PathEscape(args[0]), "enrolment "+args[0]+" is revoked")
		},
	}
}

func deviceKnocks(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "knocks",
		Short:   "List unknown devices that asked to be let in",
		Example: "  hub device knocks\n  hub device adopt probe-9 --kind sensor",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, knocksPath, nil, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no unknown device has asked", []string{"device", "door", "address", "count", "first", "last", "kind", "gateway", "name"}, nil)
		},
	}
}

// knock is an unknown device that asked, and what it said of itself.
type knock struct {
	Device  string   `json:"device"`
	Kind    string   `json:"kind"`
	Gateway string   `json:"gateway"`
	Name    string   `json:"name"`
	Lat     *float64 `json:"lat"`
	Lon     *float64 `json:"lon"`
}

// knocked returns the device among those that asked, or an error.
func (r *remote) knocked(cmd *cobra.Command, id string) (knock, error) {
	hub, err := r.client()
	if err != nil {
		return knock{}, err
	}
	all, err := client.Pages[knock](cmd.Context(), hub, knocksPath, nil, 0)
	if err != nil {
		return knock{}, err
	}
	for _, k := range all {
		if k.Device == id {
			return k, nil
		}
	}
	return knock{}, fmt.Errorf("device %q has not asked to be let in; `hub device knocks` lists those that did, `hub device add %s` registers it all the same", id, id)
}

// deviceReplace lets new hardware take a device's place.
func deviceReplace(r *remote) *cobra.Command {
	body := struct {
		Serial string `json:"serial,omitempty"`
		Model  string `json:"model,omitempty"`
		Secret bool   `json:"secret,omitempty"`
	}{}
	c := &cobra.Command{
		Use:   "replace ID",
		Short: "Let new hardware take a device's place; its history stays, old credentials stop to work at once",
		Long: "replace ends the secret, the certificates and the connections of the old hardware. The new one enrols with a token under the same id\n" +
			"(hub enrol add, edge-agent enroll), or works with the secret that --secret prints.",
		Example: "  hub device replace rsu-7 --serial A7-0021\n  hub device replace probe-1 --secret",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodPost, devicePath(args[0])+"/replace", body, []string{"id", "awaited", "tags", "secret"})
		},
	}
	f := c.Flags()
	f.StringVar(&body.Serial, "serial", "", "serial `number` of the new hardware; becomes the tag serial")
	f.StringVar(&body.Model, "model", "", "`model` of the new hardware; becomes the tag model")
	f.BoolVar(&body.Secret, "secret", false, "print a new secret, for hardware that does not enrol")
	return c
}

// describe fills in what a roadside unit said of itself, where no flag was given.
func (k knock) describe(kind, gateway *string, lat, lon **float64, tags *map[string]string, given func(flag string) bool) {
	if !given("kind") {
		*kind = k.Kind
	}
	if !given("gateway") {
		*gateway = k.Gateway
	}
	if *lat == nil && *lon == nil {
		*lat, *lon = k.Lat, k.Lon
	}
	if *tags == nil {
		*tags = map[string]string{}
	}
	for name, value := range map[string]string{"esn": k.Device, "name": k.Name} {
		if _, ok := (*tags)[name]; !ok && value != "" {
			(*tags)[name] = value
		}
	}
}
