package main

import (
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/road/dialect"
)

func rsuCommand() *cobra.Command {
	r := &remote{}
	return r.register(group(&cobra.Command{
		Use:     "rsu",
		Short:   "Roadside units: how they are, and orders in the dialect that each speaks",
		Long:    "list, show, conformance and evidence say what units tell and what is wrong with it (docs/roads.md). Orders are commands (hub command list --device ID): they wait until the unit listens,\nand end when it acknowledges them. What they may say: docs/formats/roads-down.md.",
		Example: "  hub rsu list\n  hub rsu conformance rsu-7\n  hub rsu config rsu-7 '{\"bsmConfig\": {\"upLimit\": 50}}' --wait 30s\n  hub rsu query rsu-7 '{\"infoId\": 1}' --wait 30s",
	}, rsuList(r), rsuShow(r), rsuConformance(r), rsuEvidence(r),
		rsuOrder(r, dialect.OrderConfig, "Set what a unit samples and how much it sends (CONFIG.DOWN)", `{"bsmConfig": {"sampleMode": "ByID", "upLimit": 50}}`),
		rsuOrder(r, dialect.OrderManage, "Set heartbeat and logs, or restart a unit (MNG.DOWN)", `{"HBRate": 60, "logLevel": "WARN"}`),
		rsuOrder(r, dialect.OrderMap, "Give a unit a map (MAP.DOWN)", "map.json"),
		rsuOrder(r, dialect.OrderRSI, "Have a unit tell vehicles of an event (RSI.DOWN)", `{"rsi": {"alertID": "a-1", "eventType": 707, "duration": 600}}`),
		rsuOrder(r, dialect.OrderQuery, "Have a unit tell how much it sent (INFOQuery)", `{"infoId": 1}`),
		rsuOrder(r, dialect.OrderOTA, "Have a unit fetch new software (OTA.DOWN)", "ota.json")))
}

func rsuOrder(r *remote, o dialect.Order, short, example string) *cobra.Command {
	a := &asked{Name: "v2x." + string(o)}
	var wait time.Duration
	if example[0] == '{' {
		example = "'" + example + "'"
	}
	c := &cobra.Command{
		Use:     string(o) + " ID JSON|FILE|-",
		Short:   short,
		Example: "  hub rsu " + string(o) + " rsu-7 " + example + " --wait 30s",
		Args:    exactArgs("ID", "JSON"),
	}
	c.Flags().StringVar(&a.ExpiresIn, "expires-in", "", "how long it may wait, such as 90s (default 5m)")
	c.Flags().DurationVar(&wait, "wait", 0, "wait so `long` for its end")
	c.RunE = func(cmd *cobra.Command, args []string) (err error) {
		if a.Params, err = jsonFrom(cmd.InOrStdin(), args[1]); err != nil {
			return err
		}
		return r.issue(cmd, args[0], a, wait)
	}
	return c
}

// issue asks a device for something and prints the command; with a time to wait, as
// it is at its end.
func (r *remote) issue(cmd *cobra.Command, device string, a *asked, wait time.Duration) error {
	if wait <= 0 {
		return r.print(cmd, http.MethodPost, devicePath(device)+"/commands", a, []string{"id", "state", "expires"})
	}
	hub, err := r.client()
	if err != nil {
		return err
	}
	var made struct{ ID string }
	if err := hub.Call(cmd.Context(), http.MethodPost, devicePath(device)+"/commands", nil, a, &made); err != nil {
		return err
	}
	return r.print(cmd, http.MethodGet, commandsPath+"/"+url.PathEscape(made.ID)+"?wait="+min(wait, time.Minute).String(), nil, commandFields)
}
