// Package scrape reads exporters that speak the Prometheus text format or
// OpenMetrics.
package scrape

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/edge/source"
	"github.com/songhua-io/hub/internal/edge/source/pattern"
	"github.com/songhua-io/hub/internal/telemetry"
)

// Config is one exporter.
type Config struct {
	source.Common
	source.Interval
	// URL is where the exporter answers.
	URL string `yaml:"url"`
	// Metrics are the names to keep, with * for any text; empty means all.
	Metrics []string `yaml:"metrics"`
	// BearerToken is sent to the exporter; empty means none.
	BearerToken string `yaml:"bearer_token"`
}

// SetDefaults reads every 15 s.
func (c *Config) SetDefaults() { c.Interval.Interval = 15 * time.Second }

// Check reports values that cannot be used.
func (c Config) Check(path string) []strict.Error {
	errs := append(c.CheckInterval(path), c.CheckTags(path)...)
	if err := CheckURL(c.URL); err != nil {
		errs = append(errs, strict.Fault(path, "url", "%v", err))
	}
	for _, m := range c.Metrics {
		if !pattern.Valid(m) {
			errs = append(errs, strict.Fault(path, "metrics", "%q is no pattern; write letters, * and ?", m))
		}
	}
	return errs
}

// CheckURL reports an address that no exporter has.
func CheckURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%q is no address of an exporter; write http://host:port/metrics", address)
	}
	return nil
}

const (
	accept = "application/openmetrics-text;version=1.0.0;q=0.9,text/plain;version=0.0.4;q=0.8,*/*;q=0.1"
	// maxBody bounds what an exporter may answer.
	maxBody = 16 << 20
)

// New returns the source.
func New(cfg Config, now func() time.Time) source.Source {
	return source.Func(func(ctx context.Context, put source.Put) error {
		client := &http.Client{Timeout: max(cfg.Interval.Interval, 10*time.Second), Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
		defer client.CloseIdleConnections()
		return source.Every(ctx, cfg.Interval.Interval, source.Tagged(put, cfg.Tags), func(ctx context.Context) (source.Record, error) {
			body, err := Fetch(ctx, client, cfg.URL, cfg.BearerToken)
			if err != nil {
				return source.Record{}, err
			}
			var r source.Record
			r.Faults, err = Parse(body, now().UnixMilli(), func(s telemetry.Sample) {
				if len(cfg.Metrics) == 0 || pattern.Any(cfg.Metrics, string(s.Metric)) {
					r.Samples = append(r.Samples, s)
				}
			})
			if err != nil {
				err = fmt.Errorf("%s: %w", cfg.URL, err)
			}
			return r, err
		})
	})
}

// Fetch returns what the exporter answers.
func Fetch(ctx context.Context, client *http.Client, address, token string) (body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", accept)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", address, resp.Status)
	}
	body, err = io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err == nil && len(body) > maxBody {
		err = fmt.Errorf("%s answered more than %d B", address, maxBody)
	}
	return body, err
}
