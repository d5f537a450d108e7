package influx

import (
	"context"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestOfficialPromQLSuiteOnInfluxDB runs the test scripts of Prometheus itself over
// a real InfluxDB. Histograms, which a point does not hold, stay beside it, so that
// the scripts run whole.
func TestOfficialPromQLSuiteOnInfluxDB(t *testing.T) {
	s := startInflux(t)
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	promqltest.RunBuiltinTestsWithStorage(scripts{t}, engine, func(t testing.TB) storage.Storage {
		return scripted{Storage: teststorage.New(t), floats: s.client(t, s.bucket(t))}
	})
}

// outside are scripts about what this engine does not hold, or the hub does not
// let into queries; docs/formats/engines.md lists them.
var outside = map[string]string{
	"start_timestamps.test": "a point has no start timestamp",
	"extended_vectors.test": "the hub's queries have no smoothed and anchored selectors",
}

type scripts struct{ *testing.T }

func (s scripts) Run(name string, script func(*testing.T)) bool {
	if why, ok := outside[name[strings.LastIndex(name, "/")+1:]]; ok {
		script = func(t *testing.T) { t.Skip(why) }
	}
	return s.T.Run(name, script)
}

// scripted is InfluxDB for floats, and a TSDB for the rest.
type scripted struct {
	storage.Storage
	floats *Client
}

func (s scripted) Querier(mint, maxt int64) (storage.Querier, error) {
	floats, err := s.floats.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	rest, err := s.Storage.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return storage.NewMergeQuerier([]storage.Querier{floats, rest}, nil, storage.ChainedSeriesMerge), nil
}

func (s scripted) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &scriptAppender{AppenderV2: s.Storage.AppenderV2(ctx), ctx: ctx, to: s.floats}
}

type scriptAppender struct {
	storage.AppenderV2
	ctx   context.Context
	to    *Client
	batch []queue.Series
}

func (a *scriptAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if h != nil || fh != nil {
		return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	}
	var own []telemetry.Label
	ls.Range(func(l labels.Label) { own = append(own, telemetry.Label{Name: l.Name, Value: l.Value}) })
	a.batch = append(a.batch, queue.Series{Labels: own, Points: []telemetry.Point{{Time: t, Value: v}}})
	return ref, nil
}

func (a *scriptAppender) Commit() error {
	if err := a.to.Send(a.ctx, a.batch); err != nil {
		return err
	}
	return a.AppenderV2.Commit()
}
