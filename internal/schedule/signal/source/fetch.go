package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// maxBody bounds a file or an answer.
const maxBody = 16 << 20

// file reads a forecast from a file.
func (s *source) file(context.Context) (*signal.Series, error) {
	f, err := os.Open(s.File)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was read only
	about, err := f.Stat()
	if err != nil {
		return nil, err
	}
	text, err := bounded(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.File, err)
	}
	var doc json.RawMessage
	if faults := strict.Decode(text, &doc); len(faults) > 0 {
		return nil, fmt.Errorf("%s:%d: %s: %s", s.File, faults[0].Line, faults[0].Path, faults[0].Msg)
	}
	var forecast signal.Forecast
	if err := json.Unmarshal(doc, &forecast); err != nil {
		return nil, fmt.Errorf("%s: %w", s.File, err)
	}
	if forecast.IssuedAt.IsZero() {
		forecast.IssuedAt = about.ModTime()
	}
	return checked(forecast.Series(signal.Kind(s.Kind), s.Zone))
}

func bounded(r io.Reader) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxBody+1))
	if len(text) > maxBody {
		err = fmt.Errorf("has more than %d bytes", maxBody)
	}
	return text, err
}

// query makes a forecast of what was measured: what was will be again.
func (s *source) query(ctx context.Context, ask func(context.Context, string, time.Time) (float64, bool, error), now time.Time) (*signal.Series, error) {
	shift, step := or(s.Shift, usualShift), or(s.Step, usualStep)
	end := now.UTC().Truncate(step)
	f := &signal.Series{Kind: signal.Kind(s.Kind), Zone: s.Zone, Issued: now.UTC()}
	for at := end.Add(-shift); at.Before(end); at = at.Add(step) {
		// The value of a step is what was there in its middle.
		v, ok, err := ask(ctx, s.Query, at.Add(step/2))
		if err != nil {
			return nil, err
		}
		if ok {
			f.Steps = append(f.Steps, signal.Step{Start: at.Add(shift), End: at.Add(shift + step), Value: v, Low: v, High: v})
		}
	}
	if len(f.Steps) == 0 {
		return nil, fmt.Errorf("the query %s has no value in the last %v", s.Query, shift)
	}
	return checked(f, f.Check(""))
}

// service is one that speaks the WebApi of the Carbon Aware SDK.
type service struct {
	Config
	url  string
	http *http.Client
}

func newService(c Config) *service {
	location := c.Location
	if location == "" {
		location = c.Zone
	}
	return &service{
		Config: c,
		url:    strings.TrimSuffix(c.CarbonAware, "/") + "/emissions/forecasts/current?location=" + url.QueryEscape(location),
		// Elsewhere nobody is to see the token.
		http: &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// sdkForecast is a forecast as the SDK has it, as far as it is read.
type sdkForecast struct {
	Generated time.Time `json:"generatedAt"`
	Data      []struct {
		Time     time.Time `json:"timestamp"`
		Duration float64   `json:"duration"` // minutes
		Value    float64   `json:"value"`
	} `json:"forecastData"`
}

func (s *service) fetch(ctx context.Context) (*signal.Series, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if s.TokenFile != "" {
		token, err := os.ReadFile(s.TokenFile)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	}
	res, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was read only
	if res.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", s.CarbonAware, res.Status)
	}
	text, err := bounded(res.Body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.CarbonAware, err)
	}
	var all []sdkForecast
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, fmt.Errorf("%s: %w", s.CarbonAware, err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%s has %d forecasts for one location", s.CarbonAware, len(all))
	}
	return all[0].series(s.Zone)
}

// series turns the means over windows into steps: a window that reaches beyond
// the start of the next one ends there.
func (f *sdkForecast) series(zone string) (*signal.Series, error) {
	if f.Generated.IsZero() {
		return nil, errors.New("the forecast does not say when it was generated")
	}
	s := &signal.Series{Kind: signal.Carbon, Zone: zone, Issued: f.Generated.UTC()}
	for i, p := range f.Data {
		end := p.Time.Add(time.Duration(p.Duration * float64(time.Minute)))
		if i+1 < len(f.Data) && f.Data[i+1].Time.Before(end) {
			end = f.Data[i+1].Time
		}
		s.Steps = append(s.Steps, signal.Step{Start: p.Time.UTC(), End: end.UTC(), Value: p.Value, Low: p.Value, High: p.Value})
	}
	return checked(s, s.Check(""))
}
