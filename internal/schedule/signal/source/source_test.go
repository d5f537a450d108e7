package source

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/schedule/signal"
)

var noon = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func write(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "forecast.yaml")
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestFile(t *testing.T) {
	name := write(t, "unit: CNY/kWh\npoints:\n  - {start: 2026-11-26T12:00:00Z, end: 2026-11-26T14:00:00Z, p10: 0.3, p50: 0.4, p90: 0.6}\n")
	if err := os.Chtimes(name, noon, noon); err != nil {
		t.Fatal(err)
	}
	s := source{Config: Config{Kind: "price", Zone: "CN-JL", File: name}}
	f, err := s.file(t.Context())
	if err != nil || !f.Issued.Equal(noon) || len(f.Steps) != 1 || f.Steps[0] != (signal.Step{Start: noon, End: noon.Add(2 * time.Hour), Value: 0.4, Low: 0.3, High: 0.6}) {
		t.Fatalf("%+v, %v", f, err)
	}
	for text, want := range map[string]string{
		"unit: g/kWh\npoints: [{start: 2026-11-26T12:00:00Z, end: 2026-11-26T14:00:00Z, value: 1}]": `unit: "g/kWh" is not that of price`,
		"unit: CNY/kWh\npoints: []":              "points: are 0",
		"unit: [":                                "forecast.yaml:",
		"unit: CNY/kWh\npoints: [{start: noon}]": "cannot parse",
	} {
		s.File = write(t, text)
		if _, err := s.file(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, without %s", text, err, want)
		}
	}
}

func TestQuery(t *testing.T) {
	s := source{Config: Config{Kind: "carbon", Zone: "CN-JL", Query: "grid_carbon", Step: time.Hour}}
	ask := func(_ context.Context, _ string, at time.Time) (float64, bool, error) {
		return float64(at.Hour()), at.Hour() != 3, nil
	}
	f, err := s.query(t.Context(), ask, noon.Add(10*time.Minute))
	if err != nil || len(f.Steps) != 23 || !f.Steps[0].Start.Equal(noon) || f.Steps[0].Value != 12 || !f.Steps[22].End.Equal(noon.Add(24*time.Hour)) || f.Steps[22].Value != 11 {
		t.Fatalf("%+v, %v", f, err)
	}
	if _, known := f.At(noon.Add(15*time.Hour + time.Minute)); known {
		t.Error("an hour without a value has one")
	}
	none := func(context.Context, string, time.Time) (float64, bool, error) { return 0, false, nil }
	if _, err := s.query(t.Context(), none, noon); err == nil || !strings.Contains(err.Error(), "no value in the last 24h") {
		t.Error(err)
	}
}

func TestCarbonAwareService(t *testing.T) {
	answer, status := `[{"generatedAt": "2026-11-26T12:00:00+00:00", "location": "eastus", "windowSize": 60, "forecastData": [
		{"location": "eastus", "timestamp": "2026-11-26T12:00:00+00:00", "duration": 60, "value": 359.2},
		{"location": "eastus", "timestamp": "2026-11-26T12:30:00+00:00", "duration": 60, "value": 366.1}]}]`, http.StatusOK
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/x/emissions/forecasts/current" || r.URL.Query().Get("location") != "eastus" || r.Header.Get("Authorization") != "Bearer s3cret" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.WriteHeader(status)
		w.Write([]byte(answer)) //nolint:errcheck // the client sees it
	}))
	defer srv.Close()
	s := newService(Config{Kind: "carbon", Zone: "CN-JL", CarbonAware: srv.URL + "/x/", Location: "eastus", TokenFile: write(t, "s3cret\n")})
	f, err := s.fetch(t.Context())
	if err != nil || !f.Issued.Equal(noon) || f.Zone != "CN-JL" || len(f.Steps) != 2 || f.Steps[0].End.Sub(f.Steps[0].Start) != 30*time.Minute || f.Steps[1].Value != 366.1 {
		t.Fatalf("%+v, %v", f, err)
	}
	for text, want := range map[string]string{"[]": "0 forecasts for one location", "<html>": "invalid character", `[{"forecastData": []}]`: "when it was generated"} {
		answer = text
		if _, err := s.fetch(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	status = http.StatusForbidden
	if _, err := s.fetch(t.Context()); err == nil || !strings.Contains(err.Error(), "403") || strings.Contains(err.Error(), "s3cret") {
		t.Error(err)
	}
}

// TestRounds: what was put once is not put again, and a failure is counted and
// leaves the next round to go on.
func TestRounds(t *testing.T) {
	puts, at := 0, noon
	var fails error
	r := prometheus.NewPedanticRegistry()
	s := New([]Config{{Kind: "carbon", Zone: "CN-JL", Query: "q", Step: time.Hour}}, Deps{
		Ask: func(context.Context, string, time.Time) (float64, bool, error) { return 1, true, fails },
		Put: func(context.Context, *signal.Series) (bool, error) { puts++; return true, nil },
		Log: slog.New(slog.DiscardHandler), Clock: func() time.Time { return at }, Metrics: r,
	})
	for i, want := range []int{1, 1, 2, 2, 3} {
		switch i {
		case 2:
			at = at.Add(time.Minute)
		case 3:
			at, fails = at.Add(time.Minute), errors.New("the store is away")
		case 4:
			fails = nil
		}
		if s.round(t.Context(), s.all[0]); puts != want {
			t.Errorf("round %d: %d were put, not %d", i, puts, want)
		}
	}
	all, err := r.Gather()
	if err != nil || len(all) != 1 || all[0].Metric[0].Counter.GetValue() != 1 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestConfig(t *testing.T) {
	good := Config{Kind: "carbon", Zone: "CN-JL", CarbonAware: "https://carbon.example", TokenFile: "t"}
	if errs := good.Check(""); len(errs) > 0 {
		t.Error(errs)
	}
	for want, change := range map[string]func(*Config){
		"kind: ":                            func(c *Config) { c.Kind = "wind" },
		"zone: ":                            func(c *Config) { c.Zone = "" },
		"and here 2 do":                     func(c *Config) { c.File = "f" },
		"and here 0 do":                     func(c *Config) { c.CarbonAware, c.TokenFile = "", "" },
		"would be sent":                     func(c *Config) { c.CarbonAware = "http://carbon.example" },
		"is not http://host":                func(c *Config) { c.CarbonAware = "https://u:p@carbon.example" },
		`knows carbon, not "price"`:         func(c *Config) { c.Kind = "price" },
		"every: ":                           func(c *Config) { c.Every = time.Second },
		"shift and step mean nothing":       func(c *Config) { c.Step = time.Hour },
		"makes 1440 points":                 func(c *Config) { *c = Config{Kind: "carbon", Zone: "z", Query: "q", Step: time.Minute} },
		"location and token_file mean noth": func(c *Config) { c.CarbonAware, c.File = "", "f" },
	} {
		c := good
		change(&c)
		found := false
		for _, e := range c.Check("") {
			found = found || strings.Contains(e.Path+": "+e.Msg, want)
		}
		if !found {
			t.Errorf("%+v: %v, without %q", c, c.Check(""), want)
		}
	}
}
