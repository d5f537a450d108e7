package api

import (
	"context"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/quality"
)

// dayOut is a day of a dataset.
type dayOut struct {
	quality.Measured
	// Shares are left out where nothing could be measured.
	Shares map[catalog.Dimension]float64 `json:"shares" doc:"by dimension, from 0 to 1; of timeliness the 95th percentile of the delay in seconds. A dimension that could not be measured is absent"`
}

type qualityOut struct {
	Body struct {
		Dataset  string            `json:"dataset"`
		Measured *time.Time        `json:"measured" doc:"when it was measured last; null: not yet"`
		Findings []quality.Finding `json:"findings" doc:"those that are open, by kind: incomplete, stale, late, implausible, inconsistent, unreachable, unit, copy"`
		Items    []dayOut          `json:"items" doc:"days of China's time, the newest first"`
		Next     string            `json:"next,omitempty"`
	}
}

type qualityIn struct {
	ID string `path:"id"`
	Paging
}

func (a *API) datasetQuality(ctx context.Context, in *qualityIn) (*qualityOut, error) {
	r, err := a.dataset(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	below, err := in.after()
	if err != nil {
		return nil, err
	}
	days, err := a.Quality.History(ctx, r.ID, quality.Day(below), in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &qualityOut{}
	b := &out.Body
	b.Dataset, b.Findings, b.Items = r.ID, []quality.Finding{}, []dayOut{}
	b.Findings = append(b.Findings, a.Quality.Findings(r.ID)...)
	if m := a.Quality.Latest(r.ID); m != nil {
		b.Measured = moment(m.At)
	}
	if len(days) > in.Limit {
		days = days[:in.Limit]
		b.Next = cursor(string(days[in.Limit-1].Day))
	}
	for _, m := range days {
		d := dayOut{Measured: *m, Shares: map[catalog.Dimension]float64{}}
		for _, dimension := range catalog.Dimensions() {
			if v, ok := m.Share(dimension); ok {
				d.Shares[dimension] = v
			}
		}
		b.Items = append(b.Items, d)
	}
	return out, nil
}
