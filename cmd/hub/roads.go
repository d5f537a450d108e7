package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const roadsPath = "/api/v1/roads"

func unitPath(id string) string { return roadsPath + "/units/" + url.PathEscape(id) }

func rsuList(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "list",
		Short:   "List roadside units: whether they are there, and what is wrong",
		Example: "  hub rsu list\n  hub rsu list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.all(cmd, roadsPath+"/units", "no roadside unit has sent messages of the road; docs/roads.md says how to connect one",
				[]string{"id", "name", "region", "state", "heard", "messages/s", "offset_s", "checks", "deviations"}, flatUnit)
		},
	}
}

func flatUnit(u map[string]any) {
	p, _ := u["presence"].(map[string]any)
	u["state"], u["offset_s"] = p["state"], u["clock_offset_seconds"]
	sum := 0.0
	rates, _ := u["rates"].(map[string]any)
	for _, rate := range rates {
		v, _ := rate.(float64)
		sum += v
	}
	u["messages/s"] = fmt.Sprintf("%.1f", sum)
	u["checks"] = fieldsOf(u["faults"], "check")
}

// fieldsOf joins a field of objects, each value once.
func fieldsOf(all any, field string) string {
	list, _ := all.([]any)
	var out []string
	for _, o := range list {
		o, _ := o.(map[string]any)
		if s := fmt.Sprint(o[field]); !strings.Contains(" "+strings.Join(out, " ")+" ", " "+s+" ") {
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

func rsuShow(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "show ID",
		Short:   "Show a roadside unit as the hub knows it",
		Example: "  hub rsu show rsu-7",
		Args:    exactArgs("ID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return r.show(cmd, unitPath(args[0])) },
	}
}

// finding is what a check finds, or a deviation, as a person reads it.
type finding struct {
	Check string `json:"check"`
	Kind  string `json:"kind"`
	Code  string `json:"code"`
	Path  string `json:"path"`
	Text  said   `json:"text"`
	Fix   said   `json:"fix"`
	Last  string `json:"last"`
	Count int64  `json:"count"`
}

func rsuConformance(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "conformance ID",
		Short:   "Say what a unit's messages get wrong, and what checks find",
		Example: "  hub rsu conformance rsu-7",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if r.json {
				return r.show(cmd, unitPath(args[0])+"/conformance")
			}
			hub, err := r.client()
			if err != nil {
				return err
			}
			return conformance(cmd.Context(), hub, args[0], cmd.OutOrStdout())
		},
	}
}

func conformance(ctx context.Context, hub *client.Client, id string, out io.Writer) error {
	var report struct{ Deviations []finding }
	if err := hub.Call(ctx, http.MethodGet, unitPath(id)+"/conformance", nil, nil, &report); err != nil {
		return err
	}
	var unit struct{ Faults []finding }
	if err := hub.Call(ctx, http.MethodGet, unitPath(id), nil, nil, &unit); err != nil {
		return err
	}
	if len(report.Deviations)+len(unit.Faults) == 0 {
		_, err := fmt.Fprintln(out, said{"消息符合标准，检查无问题", "its messages are as the standard has them, and checks find nothing"})
		return err
	}
	rows := [][]string{{"about", "times", "last", "what"}}
	for _, d := range report.Deviations {
		rows = append(rows, []string{d.Kind + " " + d.Code, fmt.Sprint(d.Count), cell(d.Last), cell(d.Text.String())})
	}
	for _, f := range unit.Faults {
		rows = append(rows, []string{f.Check, fmt.Sprint(f.Count), cell(f.Last), cell(f.Text.String()) + "; " + f.Fix.String()})
	}
	return table(out, rows)
}

func rsuEvidence(r *remote) *cobra.Command {
	var check string
	c := &cobra.Command{
		Use:     "evidence ID",
		Short:   "Show raw messages that checks found fault with, as hex; that you did is put on record",
		Long:    "evidence shows what is kept for ten minutes of messages that checks found fault with. They are as the unit sent them, ids\nof vehicles included; the record of changes has who read them (docs/roads.md).",
		Example: "  hub rsu evidence rsu-7\n  hub rsu evidence rsu-7 --check transition --json",
		Args:    exactArgs("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			var page struct {
				Items []map[string]any `json:"items"`
			}
			if err := hub.Call(cmd.Context(), http.MethodGet, unitPath(args[0])+"/evidence", query("check", check), nil, &page); err != nil {
				return err
			}
			return r.list(cmd, page.Items, "no message is kept: no check found fault in the last ten minutes", []string{"at", "check", "kind", "hex"}, nil)
		},
	}
	c.Flags().StringVar(&check, "check", "", "only of this `check`, such as transition")
	return c
}

func roadsCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "roads",
		Short:   "What roadside units tell of roads: traffic, signals and events",
		Example: "  hub roads events\n  hub roads links\n  hub roads intersections",
	}, roadsEvents(r), roadsLinks(r), roadsIntersections(r)))
}

func roadsEvents(r *remote) *cobra.Command {
	var all bool
	c := &cobra.Command{
		Use:     "events",
		Short:   "List active events of the road, the newest first",
		Example: "  hub roads events\n  hub roads events --all --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			only := query("active", "true")
			if all {
				only = nil
			}
			events, err := client.Pages[map[string]any](cmd.Context(), hub, roadsPath+"/events", only, 0)
			if err != nil {
				return err
			}
			return r.list(cmd, events, "no event is told", []string{"first", "end", "state", "type", "event", "source", "unit", "also_by", "description"}, flatRoadEvent)
		},
	}
	c.Flags().BoolVar(&all, "all", false, "those that are over, too")
	return c
}

func flatRoadEvent(e map[string]any) {
	e["state"] = "over"
	switch {
	case e["past_end"] == true:
		e["state"] = "past its end"
	case e["active"] == true:
		e["state"] = "active"
	}
	name, _ := e["name"].(map[string]any)
	zh, _ := name["zh"].(string)
	en, _ := name["en"].(string)
	e["event"] = said{zh, en}.String()
	also, _ := e["also_by"].([]any)
	e["also_by"] = strings.Trim(fmt.Sprint(also), "[]")
}

func roadsLinks(r *remote) *cobra.Command {
	var geo bool
	c := &cobra.Command{
		Use:     "links",
		Short:   "List links with flow and speed of the last minute",
		Example: "  hub roads links\n  hub roads links --geojson > links.geojson",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if geo {
				return r.geoJSON(cmd)
			}
			return r.all(cmd, roadsPath+"/links", "no unit has told a map yet; docs/roads.md says what is needed",
				[]string{"from", "to", "name", "unit", "at", "flow", "km/h", "p85", "limit", "occupancy", "queue"}, flatLink)
		},
	}
	c.Flags().BoolVar(&geo, "geojson", false, "print GeoJSON (RFC 7946) with the lines")
	return c
}

func flatLink(l map[string]any) {
	for to, from := range map[string]string{"km/h": "mean_speed", "p85": "p85_speed", "limit": "speed_limit"} {
		if v, ok := l[from].(float64); ok {
			l[to] = fmt.Sprintf("%.0f", v*3.6)
		}
	}
	for field, format := range map[string]string{"occupancy": "%.2f", "queue": "%.0f"} {
		if v, ok := l[field].(float64); ok {
			l[field] = fmt.Sprintf(format, v)
		}
	}
}

// geoJSON prints all links as one collection.
func (r *remote) geoJSON(cmd *cobra.Command) error {
	hub, err := r.client()
	if err != nil {
		return err
	}
	features := []json.RawMessage{}
	for cursor := ""; ; {
		var page struct {
			Features []json.RawMessage `json:"features"`
			Next     string            `json:"next_cursor"`
		}
		if err := hub.Call(cmd.Context(), http.MethodGet, roadsPath+"/links", query("format", "geojson", "limit", "1000", "cursor", cursor), nil, &page); err != nil {
			return err
		}
		features = append(features, page.Features...)
		if cursor = page.Next; cursor == "" {
			return printJSON(cmd.OutOrStdout(), map[string]any{"type": "FeatureCollection", "features": features})
		}
	}
}

func roadsIntersections(r *remote) *cobra.Command {
	return &cobra.Command{
		Use:     "intersections",
		Short:   "List intersections with what their signals show",
		Example: "  hub roads intersections",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return r.all(cmd, roadsPath+"/intersections", "no unit has told signals yet; docs/roads.md says what is needed",
				[]string{"node", "unit", "at", "lights", "control", "checks"}, flatIntersection)
		},
	}
}

func flatIntersection(i map[string]any) {
	var lights []string
	phases, _ := i["phases"].([]any)
	for _, p := range phases {
		p, _ := p.(map[string]any)
		lights = append(lights, fmt.Sprintf("%v:%v", p["id"], p["light"]))
	}
	status, _ := i["status"].([]any)
	i["lights"], i["control"], i["checks"] = strings.Join(lights, " "), strings.Trim(fmt.Sprint(status), "[]"), fieldsOf(i["faults"], "check")
}
