package main

import (
	"net/http"

	"github.com/spf13/cobra"

	"github.com/songhua-io/hub/internal/client"
)

const correctionsPath = "/api/v1/corrections"

// correctCommand corrects samples that are stored.
func correctCommand() *cobra.Command {
	r := &remote{}
	c := struct {
		Device  string            `json:"device"`
		Metric  string            `json:"metric"`
		Labels  map[string]string `json:"labels,omitempty"`
		Time    string            `json:"time,omitempty"`
		From    string            `json:"from,omitempty"`
		To      string            `json:"to,omitempty"`
		Old     *float64          `json:"old,omitempty"`
		Value   *float64          `json:"value,omitempty"`
		Factor  *float64          `json:"factor,omitempty"`
		Offset  *float64          `json:"offset,omitempty"`
		Remove  bool              `json:"remove,omitempty"`
		Restore bool              `json:"restore,omitempty"`
		Reason  string            `json:"reason"`
		Ticket  string            `json:"ticket,omitempty"`
	}{}
	var at, from, to string
	var tags []string
	var old, value, factor, offset float64
	cmd := &cobra.Command{
		Use:   "correct DEVICE METRIC",
		Short: "Correct stored samples; the raw values stay",
		Long: "Correct stored samples. The raw values stay and are never changed: queries, pages and\nreleases show the corrected ones from now on, and `hub query --as-of` what was known before.\n" +
			"A later correction works on what earlier ones made of a sample; --restore brings the raw value back.\nDays that were released are released again by the next daily pass, with the reason; at once by `hub release make`.\n更正已存的样本：原值保留不变，查询、页面与发布自此显示更正后的值；以 `hub query --as-of` 查看此前所知。已发布的日期由下一次每日任务附原因重新发布，或以 `hub release make` 立即发布。",
		Example: "  hub correct probe-1 level --time 2026-11-01T08:00:00Z --value 3.2 --because 'misread by hand'\n" +
			"  hub correct probe-1 level --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --scale 1.02 --offset -0.3 --because 'calibration 2026-17'\n" +
			"  hub correct probe-1 level --from 72h --to 48h --remove --because 'sensor was out of the water' --ticket t-7",
		Args: exactArgs("DEVICE", "METRIC"),
	}
	f := cmd.Flags()
	f.StringVar(&at, "time", "", "the `time` of one sample: RFC 3339, or 2h for two hours ago")
	f.StringVar(&from, "from", "", "first `time` that is corrected")
	f.StringVar(&to, "to", "", "last `time` that is corrected")
	f.StringArrayVar(&tags, "label", nil, "`name=value` that a series must have besides, may be repeated")
	f.Float64Var(&old, "old", 0, "what the one sample is now, so that no other is corrected by mistake")
	f.Float64Var(&value, "value", 0, "what it should be")
	f.Float64Var(&factor, "scale", 0, "multiply by this `factor`")
	f.Float64Var(&offset, "offset", 0, "and add this")
	f.BoolVar(&c.Remove, "remove", false, "nothing was measured: show no sample")
	f.BoolVar(&c.Restore, "restore", false, "the raw value was right: show it again")
	f.StringVar(&c.Reason, "because", "", "`why`; kept with the correction")
	f.StringVar(&c.Ticket, "ticket", "", "the objection `id` that it answers: its thread shows the correction, the releases and who outside has them")
	cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
		c.Device, c.Metric = args[0], args[1]
		if c.Labels, err = pairs("label", tags); err != nil {
			return err
		}
		for _, m := range []struct {
			flag, is string
			to       *string
		}{{"time", at, &c.Time}, {"from", from, &c.From}, {"to", to, &c.To}} {
			if *m.to, err = moment(m.flag, m.is); err != nil {
				return err
			}
		}
		for _, n := range []struct {
			flag string
			is   *float64
			to   **float64
		}{{"old", &old, &c.Old}, {"value", &value, &c.Value}, {"scale", &factor, &c.Factor}, {"offset", &offset, &c.Offset}} {
			if f.Changed(n.flag) {
				*n.to = n.is
			}
		}
		return r.print(cmd, http.MethodPost, correctionsPath, c, []string{"id", "device", "metric", "labels", "from", "to", "operation", "old", "value", "factor", "offset", "samples", "by", "reason", "ticket", "at"})
	}
	_ = cmd.MarkFlagRequired("because")
	return r.register(cmd)
}

// correctionsCommand shows what was corrected.
func correctionsCommand() *cobra.Command {
	r := &remote{}
	var device, metric, ticket string
	var limit int
	list := &cobra.Command{
		Use:     "list",
		Short:   "List corrections, the newest first",
		Example: "  hub corrections list\n  hub corrections list --device probe-1 --metric level --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			hub, err := r.client()
			if err != nil {
				return err
			}
			all, err := client.Pages[map[string]any](cmd.Context(), hub, correctionsPath, query("device", device, "metric", metric, "ticket", ticket), limit)
			if err != nil {
				return err
			}
			return r.list(cmd, all, "nothing was corrected; `hub correct DEVICE METRIC` does",
				[]string{"id", "at", "by", "device", "metric", "labels", "from", "to", "operation", "old", "value", "factor", "offset", "samples", "reason", "ticket"}, nil)
		},
	}
	f := list.Flags()
	f.StringVar(&device, "device", "", "only of this `device`")
	f.StringVar(&metric, "metric", "", "only of this `metric`")
	f.StringVar(&ticket, "ticket", "", "only those that answer this objection `id`")
	f.IntVar(&limit, "limit", 0, "at most so many (0: all)")
	return r.register(group(&cobra.Command{Use: "corrections", Short: "See what was corrected of stored samples", Example: "  hub corrections list --device probe-1"}, list))
}
