package api

import (
	"context"
	"strconv"
	"time"

	"github.com/songhua-io/hub/internal/schedule"
	"github.com/songhua-io/hub/internal/schedule/plan"
)

// Until says how far a forecast of capacity goes.
type Until struct {
	Paging
	Until string `query:"until" doc:"how long from now (24h), or a time (RFC 3339); seven days at most, 24h when absent"`
}

type freeOut struct {
	Facility string           `json:"facility"`
	Pool     string           `json:"pool"`
	Total    map[string]int64 `json:"total"`
	Steps    []freeStepOut    `json:"steps" doc:"the first is what is free now"`
}

type freeStepOut struct {
	Start time.Time        `json:"start"`
	End   time.Time        `json:"end"`
	Free  map[string]int64 `json:"free" doc:"by plan: without what is leased and does not end before, and what deferred work is to use"`
	Low   map[string]int64 `json:"p10,omitempty" doc:"by the forecast of free capacity (PUT /api/v1/signals/free/{pool}), where there is one"`
	Mid   map[string]int64 `json:"p50,omitempty"`
	High  map[string]int64 `json:"p90,omitempty"`
}

func (u Until) until(now time.Time) (time.Time, error) {
	if u.Until == "" {
		return now.Add(24 * time.Hour), nil
	}
	at, err := time.Parse(time.RFC3339, u.Until)
	if err != nil {
		d, err := time.ParseDuration(u.Until)
		if err != nil {
			return at, fault("query.until", u.Until, strconv.Quote(u.Until)+" is neither a duration such as 24h nor a time such as 2026-11-27T00:00:00Z")
		}
		at = now.Add(d)
	}
	if !at.After(now) || at.Sub(now) > plan.MaxAhead {
		return at, fault("query.until", u.Until, at.Format(time.RFC3339)+" is not within the next seven days")
	}
	return at, nil
}

func (a *API) capacityForecast(ctx context.Context, in *Until) (*pageOut[freeOut], error) {
	until, err := in.until(a.Now())
	if err != nil {
		return nil, err
	}
	after, err := in.after()
	if err != nil {
		return nil, err
	}
	i, err := a.inventory(ctx)
	if err != nil {
		return nil, err
	}
	part, next := cut(i.pools(), func(p schedule.Pool) string { return p.ID }, after, in.Limit)
	ids := make([]string, len(part))
	for j := range part {
		ids[j] = part[j].ID
	}
	steps := a.Scheduler.Forecast(ids, until)
	out := newPage[freeOut](len(part))
	for _, p := range part {
		one := freeOut{Facility: p.Facility, Pool: p.ID, Total: showAmount(i.capacity[p.ID].Capacity), Steps: []freeStepOut{}}
		for _, s := range steps[p.ID] {
			one.Steps = append(one.Steps, freeStepOut{s.Start.UTC(), s.End.UTC(), showAmount(s.Free), showSome(s.Low), showSome(s.Median), showSome(s.High)})
		}
		out.Body.Items = append(out.Body.Items, one)
	}
	out.Body.Next = next
	return out, nil
}

func showSome(v *schedule.Vector) map[string]int64 {
	if v == nil {
		return nil
	}
	return showAmount(*v)
}
