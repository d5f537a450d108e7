// Package query answers the Prometheus HTTP API over a store: whoever asks sees
// the series of the region and the grade that they may see and no others, every
// question is bounded in time, samples and memory, and an instant selector holds
// the last value of a device for two and a half of its reporting periods.
package query

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/config/strict"
)

// Config bounds what one question may cost and how many run at once.
type Config struct {
	// Timeout ends a question that runs or waits longer (503).
	Timeout time.Duration `yaml:"timeout"`
	// MaxSamples is how many samples all running questions together may hold in
	// memory, 16 bytes each besides their labels. Half of them are shared out
	// evenly; one question at a time may have the rest, others that need more
	// than their share wait for it (503), and one that needs more than there is
	// is refused (422).
	MaxSamples int `yaml:"max_samples"`
	// MaxAnswerBytes is how many bytes of answers may wait in memory until their
	// readers took them: 503 when others take it, 422 when one alone has more.
	MaxAnswerBytes int64 `yaml:"max_answer_bytes"`
	// MaxSeries is how many series one question may touch, counted per selector (422).
	MaxSeries int `yaml:"max_series"`
	// MaxPoints is how many points a range query may ask for per series (400).
	// Clients look for the error of Prometheus' own bound, 11000.
	MaxPoints int `yaml:"max_points"`
	// MaxConcurrency is how many questions read the store at once.
	MaxConcurrency int `yaml:"max_concurrency"`
	// MaxQueue is how many questions wait for their turn; further ones are
	// refused at once (429, Retry-After).
	MaxQueue int `yaml:"max_queue"`
	// MaxRequestBytes is the longest request body (413).
	MaxRequestBytes int64 `yaml:"max_request_bytes"`
	// CORSOrigin is a regular expression, anchored at both ends, of the web
	// origins whose pages may read answers; empty allows none.
	CORSOrigin string `yaml:"cors_origin"`
}

// DefaultConfig is for a hub of a county, with two cores: samples take 160 MB
// at most, and answers 64 MiB.
func DefaultConfig() Config {
	return Config{
		Timeout:         30 * time.Second,
		MaxSamples:      10_000_000,
		MaxAnswerBytes:  64 << 20,
		MaxSeries:       500_000,
		MaxPoints:       11_000,
		MaxConcurrency:  8,
		MaxQueue:        64,
		MaxRequestBytes: 1 << 20,
		CORSOrigin:      ".*",
	}
}

// Source is what the API answers from. It does not change after New.
type Source struct {
	// Store holds the series. Required.
	Store storage.Queryable
	// Visible returns what the sender of a request may see; false refuses the
	// request (403). Required.
	Visible func(*http.Request) (Scope, bool)
	// Periods knows how often devices report; nil when nobody does, which leaves
	// PromQL's own five minutes.
	Periods Periods
	// Metadata returns what is known of metrics, by name. The map is only read.
	// Nil means nothing is known.
	Metadata func() map[string][]Metadata
	// Unit returns the unit that a device's model gives a metric; without a
	// device, that of the metric wherever it comes from. Empty is not known, nil
	// that nothing is.
	Unit func(device, metric string) string
	// Rules returns the rules, and of their alerts those that the sender of a request
	// may see, by file and group. Nil: there are none.
	Rules func(*http.Request) []RuleGroup
	// AsOf returns a context whose reads show what was known of samples at a time;
	// nil refuses the parameter as_of.
	AsOf func(context.Context, time.Time) context.Context
	// Head describes the recent part of the store; nil leaves zeros.
	Head func() Head
	// Settings returns the configuration in force as YAML, without secrets. Nil
	// leaves it empty. Callers confined to a region never see it.
	Settings func() string
	// Flags are the command line's flags and values, without secrets; seen by
	// the same callers as Settings.
	Flags map[string]string
	Build BuildInfo
	// Started is when the hub started.
	Started time.Time
	// Retention says for how long samples are kept, as a person would write it.
	Retention string
	// Clock is the hub's clock; nil means time.Now.
	Clock func() time.Time
}

// Metadata is what is known of a metric.
type Metadata struct {
	Type string `json:"type"` // counter, gauge, histogram, summary, info, stateset or unknown
	Unit string `json:"unit"`
	Help string `json:"help"`
}

// Head describes the part of the store that is still in memory. Times are in
// milliseconds since the Unix epoch.
type Head struct {
	Chunks, MinTime, MaxTime int64
}

// BuildInfo says which program answers. It has no features list: Grafana takes
// one as the mark of Mimir and offers to write rules.
type BuildInfo struct {
	Version   string `json:"version"`
	Revision  string `json:"revision"`
	Branch    string `json:"branch"`
	BuildUser string `json:"buildUser"`
	BuildDate string `json:"buildDate"`
	GoVersion string `json:"goVersion"`
}

// API answers the Prometheus HTTP API.
type API struct {
	config  Config
	source  Source
	store   confined // to the scope of the request's context
	long    *longOnes
	engine  promql.QueryEngine // of questions within their share of the samples
	large   promql.QueryEngine // of the one that leased the rest
	samples *samples
	answers *answers
	parser  parser.Parser
	now     func() time.Time
	log     *slog.Logger
	gate    *gate
	metrics *metrics
	origin  *regexp.Regexp // nil when no foreign origin may read
	zippers sync.Pool      // of *gzip.Writer
	// patience is how long a reader may take before its speed counts.
	patience time.Duration
}

// New returns the API over a source, its metrics registered with reg. It fails
// when the configuration or the source is incomplete, or when the metrics are
// already registered. Art. 14(1)
func New(c Config, s Source, log *slog.Logger, reg prometheus.Registerer) (*API, error) {
	if err := strict.Join(c.Check("query")); err != nil {
		return nil, err
	}
	if s.Store == nil || s.Visible == nil {
		return nil, errors.New("query: Source.Store and Source.Visible are required")
	}
	memory := &answers{max: c.MaxAnswerBytes}
	m, err := newMetrics(reg, memory)
	if err != nil {
		return nil, err
	}
	a := &API{
		config: c, source: s, log: log, now: s.Clock, metrics: m, samples: newSamples(c), answers: memory, patience: patience,
		parser: boundedParser{parser.NewParser(parser.Options{})},
		gate:   newGate(c.MaxConcurrency, c.MaxQueue, m),
		store:  confined{s.Store, c.MaxSeries},
		long:   &longOnes{periods: s.Periods},
	}
	if a.now == nil {
		a.now = time.Now
	}
	if c.CORSOrigin != "" {
		a.origin = regexp.MustCompile("^(?:" + c.CORSOrigin + ")$")
	}
	a.engine, a.large = a.newEngine(a.samples.share), a.newEngine(a.samples.most)
	return a, nil
}

func (a *API) newEngine(samples int) promql.QueryEngine {
	return promql.NewEngine(promql.EngineOpts{
		Logger:                   a.log,
		MaxSamples:               samples,
		Timeout:                  a.config.Timeout,
		LookbackDelta:            plainHold,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		EnableAtModifier:         true,
		EnableNegativeOffset:     true,
		Parser:                   a.parser,
	})
}
