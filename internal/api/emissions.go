package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/songhua-io/hub/internal/schedule/signal"
)

// The paths of the Carbon Aware SDK's WebApi over the carbon signals: a location
// is a grid zone, a rating is in g/kWh.

type emissionOut struct {
	Location string    `json:"location"`
	Time     time.Time `json:"time"`
	Rating   float64   `json:"rating"`
}

type emissionsOut struct{ Body []emissionOut }

// EmissionSpan is the time that is asked for.
type EmissionSpan struct {
	Time   string `query:"time" doc:"from; RFC 3339 or a date"`
	ToTime string `query:"toTime" doc:"until; now when absent"`
}

type emissionQuery struct {
	Location string `query:"location" required:"true"`
	EmissionSpan
}

type emissionsQuery struct {
	Locations []string `query:"locations,explode" required:"true" maxItems:"100"`
	EmissionSpan
}

func sdkTime(at, s string, absent time.Time) (time.Time, error) {
	if s == "" {
		return absent, nil
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fault("query."+at, s, fmt.Sprintf("%s %q is no time; write 2026-01-31T08:00:00Z", at, s))
}

func (a *API) carbonOf(zone string) (*signal.Series, error) {
	if s := a.Scheduler.Signals().Of(signal.Carbon, zone); s != nil {
		return s, nil
	}
	return nil, newProblem(http.StatusNotFound, "there is no carbon signal of location "+zone+"; GET /api/v1/signals lists those that are")
}

func (a *API) ratings(span EmissionSpan, zones ...string) (all []emissionOut, err error) {
	from, err := sdkTime("time", span.Time, time.Time{})
	if err != nil {
		return nil, err
	}
	to, err := sdkTime("toTime", span.ToTime, a.Now())
	if err != nil {
		return nil, err
	}
	all = []emissionOut{}
	for _, zone := range zones {
		s, err := a.carbonOf(zone)
		if err != nil {
			return nil, err
		}
		for _, step := range s.Steps {
			if step.End.After(from) && step.Start.Before(to) {
				all = append(all, emissionOut{zone, step.Start, step.Value})
			}
		}
	}
	return all, nil
}

func (a *API) emissions(_ context.Context, in *emissionQuery) (*emissionsOut, error) {
	all, err := a.ratings(in.EmissionSpan, in.Location)
	return &emissionsOut{all}, err
}

func (a *API) bestEmissions(_ context.Context, in *emissionsQuery) (*emissionsOut, error) {
	all, err := a.ratings(in.EmissionSpan, in.Locations...)
	best := []emissionOut{}
	for _, e := range all {
		if len(best) > 0 && e.Rating < best[0].Rating {
			best = best[:0]
		}
		if len(best) == 0 || e.Rating == best[0].Rating {
			best = append(best, e)
		}
	}
	return &emissionsOut{best}, err
}

type forecastPoint struct {
	Location string    `json:"location"`
	Time     time.Time `json:"timestamp"`
	Duration int       `json:"duration" doc:"minutes"`
	Value    float64   `json:"value"`
}

type forecastOut struct {
	Requested time.Time       `json:"requestedAt"`
	Generated time.Time       `json:"generatedAt"`
	Location  string          `json:"location"`
	Start     time.Time       `json:"dataStartAt"`
	End       time.Time       `json:"dataEndAt"`
	Window    int             `json:"windowSize" doc:"minutes"`
	Optimal   *forecastPoint  `json:"optimalDataPoint"`
	Data      []forecastPoint `json:"forecastData" doc:"the mean over a window that begins then"`
}

type forecastQuery struct {
	Location []string `query:"location,explode" required:"true" maxItems:"100"`
	Start    string   `query:"dataStartAt" doc:"the earliest of the forecast when absent"`
	End      string   `query:"dataEndAt" doc:"the latest of the forecast when absent"`
	Window   int      `query:"windowSize" minimum:"0" maximum:"525600" doc:"minutes; one step of the forecast when absent"`
}

type forecastsOut struct{ Body []forecastOut }

func (a *API) emissionForecasts(_ context.Context, in *forecastQuery) (*forecastsOut, error) {
	out := &forecastsOut{Body: []forecastOut{}}
	for _, zone := range in.Location {
		s, err := a.carbonOf(zone)
		if err != nil {
			return nil, err
		}
		one, err := in.forecast(s, a.Now().UTC())
		if err != nil {
			return nil, err
		}
		out.Body = append(out.Body, one)
	}
	return out, nil
}

func (in *forecastQuery) forecast(s *signal.Series, now time.Time) (f forecastOut, err error) {
	first, last := s.Steps[0], s.Steps[len(s.Steps)-1]
	f = forecastOut{Requested: now, Generated: s.Issued.UTC(), Location: s.Zone, Window: in.Window, Data: []forecastPoint{}}
	if f.Start, err = sdkTime("dataStartAt", in.Start, first.Start); err != nil {
		return f, err
	}
	if f.End, err = sdkTime("dataEndAt", in.End, last.End); err != nil {
		return f, err
	}
	if f.Window == 0 {
		f.Window = max(1, int(first.End.Sub(first.Start).Minutes()))
	}
	window := time.Duration(f.Window) * time.Minute
	for _, step := range s.Steps {
		from := step.Start
		if from.Before(f.Start) && step.End.After(f.Start) {
			from = f.Start
		}
		if from.Before(f.Start) || from.Add(window).After(f.End) {
			continue
		}
		if mean, known := s.Mean(from, from.Add(window)); known >= 1 {
			f.Data = append(f.Data, forecastPoint{s.Zone, from, f.Window, mean})
		}
	}
	for i := range f.Data {
		if f.Optimal == nil || f.Data[i].Value < f.Optimal.Value {
			f.Optimal = &f.Data[i]
		}
	}
	return f, nil
}
