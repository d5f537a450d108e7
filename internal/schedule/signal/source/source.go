// Package source fetches forecasts of carbon, price, PUE and free capacity: from
// files, from what the hub's own series have measured, and from services that
// speak the WebApi of the Carbon Aware SDK. A source that fails leaves the
// forecast that is there, which grows stale by itself. Art. 13
package source

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/schedule/signal"
)

// Config says where one forecast comes from: a file, a service, or a query.
type Config struct {
	// Kind is carbon, price, pue or free.
	Kind string `yaml:"kind"`
	// Zone is the grid zone, the zone of a PUE, or the pool that it is about.
	Zone string `yaml:"zone"`
	// Every is how often it is fetched; 0s: every 15m.
	Every time.Duration `yaml:"every"`
	// File holds the forecast as PUT /api/v1/signals takes it, in YAML or JSON.
	// Without issued_at it is as old as the file.
	File string `yaml:"file"`
	// CarbonAware is the address of a service that speaks the WebApi of the Carbon
	// Aware SDK, such as https://carbon.example; for carbon alone.
	CarbonAware string `yaml:"carbon_aware"`
	// Location is what that service calls the zone; empty: as the zone.
	Location string `yaml:"location"`
	// TokenFile holds the bearer token for that service; it is read for each
	// request.
	TokenFile string `yaml:"token_file"`
	// Query is an expression (PromQL) over the hub's own series that has one
	// value, in the unit of the kind. What it was in the time of shift until now is
	// the forecast for the same time that follows.
	Query string `yaml:"query"`
	// Shift is how much later what was will be again; 0s: 24h.
	Shift time.Duration `yaml:"shift"`
	// Step is how far the points of such a forecast lie apart; 0s: 15m.
	Step time.Duration `yaml:"step"`
}

const (
	usualEvery = 15 * time.Minute
	usualShift = 24 * time.Hour
	usualStep  = 15 * time.Minute
	// maxQueries bounds the points of a forecast by query: each is a question.
	maxQueries = 1000
)

func or(d, usual time.Duration) time.Duration {
	if d == 0 {
		return usual
	}
	return d
}

// Check implements strict.Checker.
func (c Config) Check(path string) []strict.Error {
	var errs []strict.Error
	fault := func(key, format string, args ...any) { errs = append(errs, strict.Fault(path, key, format, args...)) }
	if !slices.Contains(signal.Kinds, signal.Kind(c.Kind)) {
		fault("kind", "%q is not one of %v", c.Kind, signal.Kinds)
	}
	if c.Zone == "" || len(c.Zone) > 63 {
		fault("zone", "has %d bytes, not 1 to 63", len(c.Zone))
	}
	from := 0
	for _, s := range []string{c.File, c.CarbonAware, c.Query} {
		if s != "" {
			from++
		}
	}
	if from != 1 {
		fault("file", "one of file, carbon_aware and query says where it comes from, and here %d do", from)
	}
	if c.CarbonAware != "" {
		if c.Kind != string(signal.Carbon) {
			fault("carbon_aware", "such a service knows carbon, not %q", c.Kind)
		}
		u, err := url.Parse(c.CarbonAware)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "":
			fault("carbon_aware", "%q is not http://host[:port][/path] or https://…", c.CarbonAware)
		case c.TokenFile != "" && u.Scheme == "http" && !loopback(u.Hostname()):
			fault("token_file", "would be sent to %q for everybody to read; use https", c.CarbonAware)
		}
	} else if c.TokenFile != "" || c.Location != "" {
		fault("carbon_aware", "is empty, and location and token_file mean nothing without it")
	}
	if c.Every != 0 {
		errs = append(errs, strict.AtLeast(path, "every", c.Every, 10*time.Second)...)
	}
	if c.Query == "" {
		if c.Shift != 0 || c.Step != 0 {
			fault("query", "is empty, and shift and step mean nothing without it")
		}
		return errs
	}
	shift, step := or(c.Shift, usualShift), or(c.Step, usualStep)
	switch {
	case step < time.Minute || shift < step:
		fault("step", "%v is not between 1m and the shift, %v", step, shift)
	case shift/step > maxQueries:
		fault("step", "%v makes %d points of %v, and %d are the most", step, shift/step, shift, maxQueries)
	}
	return errs
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// Deps are what sources work with. All are required.
type Deps struct {
	// Ask evaluates an expression as of a time; false when it has no value then.
	Ask func(ctx context.Context, expression string, at time.Time) (float64, bool, error)
	// Put takes a forecast over, and reports whether none is there that was issued
	// later.
	Put     func(context.Context, *signal.Series) (bool, error)
	Log     *slog.Logger
	Clock   func() time.Time
	Metrics prometheus.Registerer
}

// Sources are all that is configured.
type Sources struct {
	deps     Deps
	all      []*source
	failures *prometheus.CounterVec
}

// source is one of them.
type source struct {
	Config
	fetch  func(context.Context) (*signal.Series, error)
	last   time.Time // issued, of what was taken over
	failed bool      // the last time
}

// New makes sources of what is configured.
func New(all []Config, d Deps) *Sources {
	s := &Sources{deps: d, failures: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "hub_schedule_signal_failures_total", Help: "Forecasts that could not be fetched from where the configuration says, by kind and zone.",
	}, []string{"kind", "zone"})}
	d.Metrics.MustRegister(s.failures)
	for _, c := range all {
		one := &source{Config: c}
		switch {
		case c.File != "":
			one.fetch = one.file
		case c.CarbonAware != "":
			one.fetch = newService(c).fetch
		default:
			one.fetch = func(ctx context.Context) (*signal.Series, error) { return one.query(ctx, d.Ask, d.Clock()) }
		}
		s.failures.WithLabelValues(c.Kind, c.Zone)
		s.all = append(s.all, one)
	}
	return s
}

// Run fetches until ctx ends.
func (s *Sources) Run(ctx context.Context) error {
	group, all := errgroup.WithContext(ctx)
	for _, one := range s.all {
		group.Go(func() error {
			tick := time.NewTicker(or(one.Every, usualEvery))
			defer tick.Stop()
			for {
				s.round(all, one)
				select {
				case <-all.Done():
					return nil
				case <-tick.C:
				}
			}
		})
	}
	return group.Wait()
}

// round fetches one forecast. What was taken over before is not put again, so
// that nothing is decided anew for it.
func (s *Sources) round(ctx context.Context, one *source) {
	f, err := one.fetch(ctx)
	taken := false
	if err == nil && f.Issued.After(one.last) {
		taken, err = s.deps.Put(ctx, f)
	}
	log := s.deps.Log.With("kind", one.Kind, "zone", one.Zone)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		s.failures.WithLabelValues(one.Kind, one.Zone).Inc()
		if !one.failed {
			log.Warn("forecast_not_fetched", "error", err)
		}
	case taken:
		one.last = f.Issued
		log.Debug("forecast_fetched", "issued_at", f.Issued, "points", len(f.Steps))
	}
	if err == nil && one.failed {
		log.Info("forecast_fetched_again")
	}
	one.failed = err != nil
}

// checked is a series without faults.
func checked(s *signal.Series, faults []strict.Error) (*signal.Series, error) {
	if len(faults) > 0 {
		return nil, fmt.Errorf("the forecast has %d errors, the first: %s: %s", len(faults), faults[0].Path, faults[0].Msg)
	}
	return s, nil
}
