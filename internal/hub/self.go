package hub

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/query"
	"github.com/songhua-io/hub/internal/telemetry"
)

// selfInterval is how often the hub writes its own metrics into its store.
const selfInterval = 10 * time.Second

// self watches the hub through its own store: the metrics of /metrics, on the
// way of every other sample, under job="hub".
type self struct {
	gatherer prometheus.Gatherer
	store    interface {
		Series([]telemetry.Label) telemetry.SeriesID
	}
	pipeline *ingest.Pipeline
	clock    func() time.Time
	log      *slog.Logger

	series map[string]telemetry.SeriesID // by labels; bounded by the metrics the hub has
	points []telemetry.Point
}

func (s *self) run(ctx context.Context) error {
	tick := time.NewTicker(selfInterval)
	defer tick.Stop()
	for {
		if err := s.write(); err != nil {
			// The pipeline has said why it takes no more, and ends the hub.
			s.log.Debug("own_metrics_not_written", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (s *self) write() error {
	families, err := s.gatherer.Gather()
	if err != nil {
		return fmt.Errorf("gather own metrics: %w", err)
	}
	now := s.clock().UnixMilli()
	s.points = s.points[:0]
	for _, f := range families {
		for _, m := range f.GetMetric() {
			s.add(f.GetName(), m, now)
		}
	}
	return s.pipeline.Write(slices.Clone(s.points))
}

// add writes one metric in the way a Prometheus scrape would, but for values that
// are none: quantiles of what did not happen yet.
func (s *self) add(name string, m *dto.Metric, now int64) {
	point := func(name string, value float64, extra ...telemetry.Label) {
		if math.IsNaN(value) {
			return
		}
		s.points = append(s.points, telemetry.Point{Series: s.id(name, m.GetLabel(), extra), Time: now, Value: value})
	}
	switch {
	case m.Counter != nil:
		point(name, m.Counter.GetValue())
	case m.Gauge != nil:
		point(name, m.Gauge.GetValue())
	case m.Untyped != nil:
		point(name, m.Untyped.GetValue())
	case m.Summary != nil:
		for _, q := range m.Summary.GetQuantile() {
			point(name, q.GetValue(), telemetry.Label{Name: "quantile", Value: float(q.GetQuantile())})
		}
		point(name+"_sum", m.Summary.GetSampleSum())
		point(name+"_count", float64(m.Summary.GetSampleCount()))
	case m.Histogram != nil:
		for _, b := range m.Histogram.GetBucket() {
			point(name+"_bucket", float64(b.GetCumulativeCount()), telemetry.Label{Name: "le", Value: float(b.GetUpperBound())})
		}
		point(name+"_bucket", float64(m.Histogram.GetSampleCount()), telemetry.Label{Name: "le", Value: "+Inf"})
		point(name+"_sum", m.Histogram.GetSampleSum())
		point(name+"_count", float64(m.Histogram.GetSampleCount()))
	}
}

func (s *self) id(name string, pairs []*dto.LabelPair, extra []telemetry.Label) telemetry.SeriesID {
	var key strings.Builder
	key.WriteString(name)
	for _, p := range pairs {
		key.WriteString("\xff" + p.GetName() + "\xfe" + p.GetValue())
	}
	for _, l := range extra {
		key.WriteString("\xff" + l.Name + "\xfe" + l.Value)
	}
	id, ok := s.series[key.String()]
	if !ok {
		labels := append([]telemetry.Label{{Name: "__name__", Value: name}, {Name: "job", Value: query.OwnJob}}, extra...)
		for _, p := range pairs {
			labels = append(labels, telemetry.Label{Name: p.GetName(), Value: p.GetValue()})
		}
		slices.SortFunc(labels, func(a, b telemetry.Label) int { return strings.Compare(a.Name, b.Name) })
		id = s.store.Series(labels)
		s.series[key.String()] = id
	}
	return id
}

func float(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
