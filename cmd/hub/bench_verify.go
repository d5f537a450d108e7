package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/client"
	"github.com/songhua-io/hub/internal/progress"
	"github.com/songhua-io/hub/internal/simulate/load"
)

// settleBench is how long verifyBench waits for an engine elsewhere to take more.
const settleBench = 5 * time.Second

// verifyBench asks how many samples of every device are stored, for as long as
// they become more: an engine elsewhere has them after a while. Fewer than were
// acknowledged are a loss; more can only be those whose answer was cut off by the
// end of the run.
func verifyBench(ctx context.Context, out io.Writer, line *progress.Line, c *client.Client, r *load.Result) error {
	all, lost, before := 0, 0, -1
	for {
		stored := map[string]int{}
		metrics := r.Lines[0].Config.Metrics
		for metric := range metrics {
			line.Say("verifying, series %d of %d", metric+1, metrics)
			if err := countStored(ctx, c, r, fmt.Sprintf("load_%02d", metric), stored); err != nil {
				return fmt.Errorf("verify: %w", err)
			}
		}
		line.Clear()
		all, lost = 0, 0
		for _, l := range r.Lines {
			acknowledged := 0
			for range l.Ledger.All {
				acknowledged += l.Config.Samples
			}
			all += stored[l.Device]
			lost += max(0, acknowledged-stored[l.Device])
		}
		if lost == 0 || all <= before {
			break
		}
		before = all
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(settleBench):
		}
	}
	fmt.Fprintf(out, "verified: %d samples acknowledged, %d stored, %d lost\n", r.Samples, all, lost)
	if lost > 0 {
		return fmt.Errorf("%d acknowledged samples are lost", lost)
	}
	return nil
}

// countStored adds how many samples of a metric are stored of each device of
// the run.
func countStored(ctx context.Context, c *client.Client, r *load.Result, metric string, stored map[string]int) error {
	first, longest := r.Lines[0], 0
	for _, l := range r.Lines {
		longest = max(longest, l.Ledger.Next())
	}
	span := time.Duration(longest*first.Config.Samples/first.Config.Metrics)*time.Millisecond + time.Minute
	run := first.Device[:strings.LastIndexByte(first.Device, '-')]
	q := query("query", fmt.Sprintf(`sum by (device) (count_over_time(%s{device=~"%s-.*"}[%dms]))`, metric, run, 2*span.Milliseconds()),
		"time", fmt.Sprint(first.Config.Start.Add(span).Unix()))
	var answer struct {
		Data struct {
			Result []struct {
				Metric struct{ Device string }
				Value  [2]any
			}
		}
	}
	if err := c.Call(ctx, http.MethodGet, "/prometheus/api/v1/query", q, nil, &answer); err != nil {
		return err
	}
	for _, series := range answer.Data.Result {
		n := 0
		if _, err := fmt.Sscan(fmt.Sprint(series.Value[1]), &n); err != nil {
			return err
		}
		stored[series.Metric.Device] += n
	}
	return nil
}
