package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const devicesPath = "/api/v1/devices"

func deviceCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "device",
		Short:   "Register devices and see whether they are there",
		Example: "  hub device add probe-1 --kind sensor --site plant-a --region 220100\n  hub device list --presence offline",
	},
		deviceAdd(r, "add"), deviceAdd(r, "adopt"), deviceKnocks(r), deviceList(r), deviceShow(r), deviceReplace(r),
		deviceAct(r, "disable", "End a device's connections and refuse it", nil),
		deviceAct(r, "enable", "Let a disabled device in again", nil),
		deviceAct(r, "rotate", "Give a device a new secret; the old one stops to work at once", []string{"id", "secret"}),
		deviceRemove(r)))
}

// device is a device as the API shows it.
type device = map[string]any

// deviceAdd registers a device; adopt does so for one that has knocked.
func deviceAdd(r *remote, verb string) *cobra.Command {
	d := struct {
		ID      string            `json:"id"`
		Kind    string            `json:"kind,omitempty"`
		Site    string            `json:"site,omitempty"`
		Region  string            `json:"region,omitempty"`
		Tags    map[string]string `json:"tags,omitempty"`
		Period  string            `json:"period,omitempty"`
		Lat     *float64          `json:"lat,omitempty"`
		Lon     *float64          `json:"lon,omitempty"`
		Gateway string            `json:"gateway,omitempty"`
		Grade   string            `json:"grade,omitempty"`
		Model   string            `json:"model,omitempty"`
		Secret  string            `json:"secret,omitempty"`
		Awaited bool              `json:"awaited,omitempty"`
		Again   string            `json:"again,omitempty"`
	}{}
	var tags []string
	var lat, lon float64
	c := &cobra.Command{
		Use:     "add ID",
		Short:   "Register a device; its secret is printed this once",
		Example: "  hub device add probe-1\n  hub device add rsu-7 --kind rsu --site ring-road --region 220100 --tag lane=2 --period 1s --lat 43.88 --lon 125.32",
		Args:    exactArgs("ID"),
	}
	if verb == "adopt" {
		c.Use, c.Short = "adopt ID", "Register an unknown device that asked to be let in"
		c.Long = "Register an unknown device that asked to be let in (hub device knocks). A roadside unit\nthat a gateway spoke for is registered as it described itself: kind, gateway, name and\nplace, and its serial number as the tag esn, where no flag says otherwise."
		c.Example = "  hub device knocks\n  hub device adopt probe-9 --site plant-a --region 220100\n  hub device adopt R328328 --as rsu-7 --region 220104"
	}
	var as string
	f := c.Flags()
	if verb == "adopt" {
		f.StringVar(&as, "as", "", "`id` of a roadside unit, where that is not to be its serial number")
	}
	f.StringVar(&d.Kind, "kind", "sensor", "sensor, rsu, node, gateway or meter")
	f.StringVar(&d.Site, "site", "", "`id` of the site that it stands at")
	f.StringVar(&d.Region, "region", "", "six-digit division `code` (220100 is Changchun)")
	f.StringArrayVar(&tags, "tag", nil, "`name=value`, may be repeated")
	f.StringVar(&d.Period, "period", "", "how often it reports, such as 60s")
	f.Float64Var(&lat, "lat", 0, "`degrees` north, WGS 84")
	f.Float64Var(&lon, "lon", 0, "`degrees` east, WGS 84")
	f.StringVar(&d.Gateway, "gateway", "", "`id` of the device that may send for it")
	f.StringVar(&d.Model, "model", "", "`id` of what its kind of device measures (hub model list)")
	f.StringVar(&d.Grade, "grade", "", "general, important or core (GB/T 43697); ungraded when left out")
	f.StringVar(&d.Secret, "secret", "", "a `secret` of your own, 16 to 128 characters")
	f.BoolVar(&d.Awaited, "awaited", false, "no secret yet: it gets its credentials when it enrols with a token")
	f.StringVar(&d.Again, "again", "", "`why` it collects again what a published dataset shares; kept in the record of changes")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		d.ID = args[0]
		if d.Tags, err = pairs("tag", tags); err != nil {
			return err
		}
		if f.Changed("lat") {
			d.Lat = &lat
		}
		if f.Changed("lon") {
			d.Lon = &lon
		}
		if verb == "adopt" {
			k, err := r.knocked(cmd, d.ID)
			if err != nil {
				return err
			}
			if k.Kind == "" && as != "" {
				return usageError{fmt.Errorf("--as %s is for roadside units; device %s knocked under the id that it has", as, d.ID)}
			}
			if k.Kind != "" {
				k.describe(&d.Kind, &d.Gateway, &d.Lat, &d.Lon, &d.Tags, f.Changed)
				d.ID = cmp.Or(as, d.ID)
			}
		}
		return r.print(cmd, http.MethodPost, devicesPath, d, []string{"id", "awaited", "secret"})
	}
	_ = c.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions([]string{"sensor", "rsu", "node", "gateway", "meter"}, cobra.ShellCompDirectiveNoFileComp))
	return c
}

// print sends a request about one object and prints these fields of the
// answer, or all of it as JSON.
func (r *remote) print(cmd *cobra.Command, method, path string, body any, fields []string) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	var answer map[string]any
	if err := hub.Call(cmd.Context(), method, path, nil, body, &answer); err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), answer)
	}
	if fields == nil {
		fields = slices.Sorted(maps.Keys(answer))
	}
	return printFields(cmd.OutOrStdout(), answer, fields)
}

func printFields(w io.Writer, object map[string]any, fields []string) error {
	var rows [][]string
	for _, f := range fields {
		if v, ok := object[f]; ok {
			rows = append(rows, []string{f, cell(v)})
		}
	}
	if len(rows) == 0 {
		return nil
	}
	return table(w, rows)
}

// labelled writes the fields of an object as name=value, in order.
func labelled(object map[string]any) []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(object)) {
		all = append(all, name+"="+cell(object[name]))
	}
	return all
}

func deviceList(r *remote) *cobra.Command {
	var kind, site, model, region, presence, text string
	var limit int
	c := &cobra.Command{
		Use:     "list",
		Short:   "List devices",
		Example: "  hub device list\n  hub device list --kind rsu --region 2201 --presence offline --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[device](cmd.Context(), hub, devicesPath, query("kind", kind, "site", site, "model", model, "region", region, "presence", presence, "q", text), limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "no device matches; register one with `hub device add ID`",
				[]string{"id", "kind", "site", "region", "state", "since", "last_seen", "series"}, func(d device) {
					if p, ok := d["presence"].(map[string]any); ok {
						d["state"], d["since"] = p["state"], p["since"]
					}
					if d["awaited"] == true {
						d["state"] = "awaited"
					}
					if d["disabled"] == true {
						d["state"] = "disabled"
					}
				})
		},
	}
	f := c.Flags()
	f.StringVar(&kind, "kind", "", "only of this `kind`")
	f.StringVar(&site, "site", "", "only at this `site`")
	f.StringVar(&model, "model", "", "only of this `model`")
	f.StringVar(&region, "region", "", "only where the division code begins with this `prefix`")
	f.StringVar(&presence, "presence", "", "only in this `state`: online, late, offline or never")
	f.StringVar(&text, "search", "", "only where the id or a tag's value holds this `text`")
	f.IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return c
}

// list prints objects as a table with these columns, or as JSON. Flat prepares
// an object for the table.
func (r *remote) list(cmd *cobra.Command, all []map[string]any, none string, columns []string, flat func(map[string]any)) error {
	if r.json {
		if all == nil {
			all = []map[string]any{}
		}
		return printJSON(cmd.OutOrStdout(), map[string]any{"items": all})
	}
	if len(all) == 0 {
		fmt.Fprintln(cmd.ErrOrStderr(), none)
		return nil
	}
	rows := [][]string{columns}
	for _, object := range all {
		if flat != nil {
			flat(object)
		}
		row := make([]string, len(columns))
		for i, name := range columns {
			row[i] = cell(object[name])
		}
		rows = append(rows, row)
	}
	return table(cmd.OutOrStdout(), rows)
}

func deviceShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show all that is known of a device",
		Example: "  hub device show probe-1",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodGet, devicePath(args[0]), nil, []string{"id", "kind", "site", "region", "tags", "period", "learned_period", "lat", "lon",
				"gateway", "model", "grade", "effective_grade", "awaited", "certificate_ends", "disabled", "presence", "last_seen", "last_event", "series", "samples", "states", "version", "created", "updated"})
		},
	}
}

func deviceAct(r *remote, verb, short string, fields []string) *cobra.Command {
	if fields == nil {
		fields = []string{"id", "disabled", "version"}
	}
	return &cobra.Command{
		Use:     verb + " ID",
		Short:   short,
		Example: "  hub device " + verb + " probe-1",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.print(cmd, http.MethodPost, devicePath(args[0])+"/"+verb, nil, fields)
		},
	}
}

func deviceRemove(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "remove ID",
		Short:   "Forget a device; its series stay",
		Example: "  hub device remove probe-1",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.gone(cmd, devicePath(args[0]), "device "+args[0]+" is removed")
		},
	}
}

// gone deletes an object and says so.
func (r *remote) gone(cmd *cobra.Command, path, done string) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	if err := hub.Call(cmd.Context(), http.MethodDelete, path, nil, nil, nil); err != nil {
		return err
	}
	if r.json {
		return printJSON(cmd.OutOrStdout(), map[string]bool{"removed": true})
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), done)
	return err
}
