package influx

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
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
		return scripted{Storage: teststorage.New(t), floats: s.client(t, s.bucket(t)), memo: &memo{}}
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
	return s.T.Run(name, func(t *testing.T) {
		t.Parallel() // the server answers as many at once as it has cores
		script(t)
	})
}

// scripted is InfluxDB for floats, and a TSDB for the rest.
type scripted struct {
	storage.Storage
	floats *Client
	memo   *memo
}

// memo is what the server answered since it was written to last. The scripts ask
// each expression several times over, by ranges that read the same.
type memo struct {
	mu      sync.Mutex
	answers map[string][]storage.Series // by the Flux that asked
}

func (m *memo) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.answers = nil
}

// recalling asks the server for what the memo has not.
type recalling struct {
	*querier
	memo *memo
}

func (r recalling) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	mint, maxt, plan := r.mint, r.maxt, everything
	if hints != nil {
		mint, maxt, plan = max(mint, hints.Start), min(maxt, hints.End), planOf(hints)
	}
	flux := fmt.Sprint(r.client.query(mint, maxt, ms, plan...), ms, hints != nil && hints.Limit > 0)
	r.memo.mu.Lock()
	all, there := r.memo.answers[flux]
	r.memo.mu.Unlock()
	if there {
		return &listed{all: all}
	}
	set := r.querier.Select(ctx, sorted, hints, ms...)
	for set.Next() {
		all = append(all, set.At())
	}
	if set.Err() != nil {
		return storage.ErrSeriesSet(set.Err())
	}
	r.memo.mu.Lock()
	defer r.memo.mu.Unlock()
	if r.memo.answers == nil {
		r.memo.answers = map[string][]storage.Series{}
	}
	r.memo.answers[flux] = all
	return &listed{all: all}
}

// listed is a set of series that are known.
type listed struct {
	all []storage.Series
	at  int
}

func (l *listed) Next() bool                        { l.at++; return l.at <= len(l.all) }
func (l *listed) At() storage.Series                { return l.all[l.at-1] }
func (l *listed) Err() error                        { return nil }
func (l *listed) Warnings() annotations.Annotations { return nil }

func (s scripted) Querier(mint, maxt int64) (storage.Querier, error) {
	floats, err := s.floats.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	rest, err := s.Storage.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return storage.NewMergeQuerier([]storage.Querier{recalling{floats.(*querier), s.memo}, rest}, nil, storage.ChainedSeriesMerge), nil
}

func (s scripted) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &scriptAppender{AppenderV2: s.Storage.AppenderV2(ctx), ctx: ctx, to: s.floats, memo: s.memo}
}

type scriptAppender struct {
	storage.AppenderV2
	ctx   context.Context
	to    *Client
	memo  *memo
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
	defer a.memo.forget()
	if err := a.to.Send(a.ctx, a.batch); err != nil {
		return err
	}
	return a.AppenderV2.Commit()
}
