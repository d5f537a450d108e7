package remotewrite

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
	"github.com/prometheus/prometheus/util/teststorage"

	"github.com/songhua-io/hub/internal/hubtest/engine"
	"github.com/songhua-io/hub/internal/store/queue"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestOfficialPromQLSuite runs the test scripts of Prometheus itself over series
// in each real server. Their float samples go there; histograms, which the store
// does not take, and NaN where the server does not, are kept beside it, so that
// the scripts run whole. The scripts
// begin at 1970, where no server keeps samples: they are moved to five years ago.
func TestOfficialPromQLSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("starts servers and asks them thousands of queries; make test")
	}
	t.Parallel()
	t.Run("victoria-metrics", func(t *testing.T) {
		runScripts(t, startVictoria(t), leave(map[string]string{
			"aggregators.test": "-0 becomes 0: count_values tells them apart",
			"functions.test":   "the script has 1 beside 1e100, and sums of 0.99 that must be exact to the last bit",
			"subquery.test":    "of values within one block that differ by a factor of more than 10^18 the small ones become 0: the script has Fibonacci numbers from 1 to 10^38",
		}))
	})
	s := engine.PrometheusWithin(t, 10*365*24*time.Hour, "--storage.tsdb.min-block-duration=200d", "--storage.tsdb.max-block-duration=200d")
	t.Run("prometheus", func(t *testing.T) {
		runScripts(t, &server{s, client(t, s.URL+"/api/v1/write", s.URL), false}, leave(nil))
	})
	t.Run("prometheus by range selectors", func(t *testing.T) {
		c := client(t, s.URL+"/api/v1/write", s.URL, func(c *Config) { c.Reader = Query })
		runScripts(t, &server{s, c, false}, func(script string) string {
			if !slices.Contains([]string{"at_modifier.test", "functions.test", "range_queries.test", "selectors.test"}, script) {
				return "the others take minutes; of them info.test and staleness.test fail for want of stale markers"
			}
			return ""
		})
	})
}

// leave says which scripts are left out, besides one that no store of ours runs.
func leave(lacks map[string]string) func(script string) string {
	return func(script string) string {
		if script == "start_timestamps.test" {
			return "a point has no start timestamp"
		}
		return lacks[script]
	}
}

// run keeps the runs of one test process apart at one server.
var run atomic.Int64

func runScripts(t *testing.T, s *server, leave func(script string) string) {
	t.Helper()
	begin := time.Now().Add(-5 * 365 * 24 * time.Hour).Truncate(24 * time.Hour).UnixMilli()
	promqltest.RunBuiltinTestsWithStorage(scripts{t, leave}, promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery), func(t testing.TB) storage.Storage {
		return &moved{Storage: teststorage.New(t), t: t, server: s, run: fmt.Sprint(run.Add(1)), begin: begin, answers: map[string][]storage.Series{}}
	})
}

// scripts leaves out some.
type scripts struct {
	*testing.T
	leave func(script string) (why string)
}

func (s scripts) Run(name string, script func(*testing.T)) bool {
	if why := s.leave(path.Base(name)); why != "" {
		script = func(t *testing.T) { t.Skip(why) }
	}
	return s.T.Run(name, script) // one at a time: what VictoriaMetrics flushes for one it does not show at once to another
}

// runLabel keeps the series of one run apart from those of others at the server.
const runLabel = "zzz_run"

// moved is a server as the scripts drive it.
type moved struct {
	storage.Storage // histograms
	t               testing.TB
	server          *server
	run             string
	begin           int64

	// answers are what the server was asked since it was written to last: the scripts
	// ask each expression several times over, by ranges that read the same.
	mu      sync.Mutex
	answers map[string][]storage.Series
}

func (m *moved) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &movedAppender{AppenderV2: m.Storage.AppenderV2(ctx), to: m}
}

func (m *moved) forget() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.answers)
}

type movedAppender struct {
	storage.AppenderV2
	to    *moved
	batch []queue.Series
}

func (a *movedAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if h != nil || fh != nil {
		return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	}
	var own []telemetry.Label
	ls.Range(func(l labels.Label) { own = append(own, telemetry.Label{Name: l.Name, Value: l.Value}) })
	own = append(own, telemetry.Label{Name: runLabel, Value: a.to.run})
	a.batch = append(a.batch, queue.Series{Labels: own, Points: []telemetry.Point{{Time: a.to.begin + t, Value: v}}})
	return ref, nil
}

func (a *movedAppender) Commit() error {
	defer a.to.forget()
	err := a.to.server.Send(a.to.t.Context(), a.batch)
	if refused, ok := errors.AsType[*queue.Refused](err); ok {
		err = a.beside(refused)
	}
	if err != nil {
		return err
	}
	a.to.server.flush(a.to.t)
	return a.AppenderV2.Commit()
}

// beside takes NaN, which not all servers do.
func (a *movedAppender) beside(refused *queue.Refused) error {
	for _, r := range refused.Points {
		if r.Reason != telemetry.ReasonNotFinite {
			return refused
		}
		b := labels.NewScratchBuilder(8)
		for _, l := range a.batch[r.Series].Labels {
			if l.Name != runLabel {
				b.Add(l.Name, l.Value)
			}
		}
		p := a.batch[r.Series].Points[r.Point]
		if _, err := a.AppenderV2.Append(0, b.Labels(), 0, p.Time-a.to.begin, p.Value, nil, nil, storage.AOptions{}); err != nil {
			return err
		}
	}
	return nil
}

func (m *moved) Querier(mint, maxt int64) (storage.Querier, error) {
	there, err := m.server.Querier(mint+m.begin, maxt+m.begin)
	if err != nil {
		return nil, err
	}
	beside, err := m.Storage.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	return storage.NewMergeQuerier([]storage.Querier{movedQuerier{there, m, mint, maxt}, beside}, nil, storage.ChainedSeriesMerge), nil
}

type movedQuerier struct {
	storage.Querier
	m          *moved
	mint, maxt int64
}

func (q movedQuerier) Select(ctx context.Context, _ bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if hints != nil {
		h := *hints
		h.Start, h.End = h.Start+q.m.begin, h.End+q.m.begin
		hints = &h
	}
	asked := fmt.Sprint(q.mint, q.maxt, ms)
	if hints != nil {
		asked += fmt.Sprintf("%+v", *hints)
	}
	q.m.mu.Lock()
	all, there := q.m.answers[asked]
	q.m.mu.Unlock()
	if there {
		return &listed{all: all}
	}
	set := q.Querier.Select(ctx, true, hints, append(ms, labels.MustNewMatcher(labels.MatchEqual, runLabel, q.m.run))...)
	for set.Next() {
		all = append(all, movedSeries{set.At(), q.m.begin})
	}
	if set.Err() != nil {
		return storage.ErrSeriesSet(set.Err())
	}
	q.m.mu.Lock()
	defer q.m.mu.Unlock()
	q.m.answers[asked] = all
	return &listed{all: all}
}

func (q movedQuerier) LabelValues(context.Context, string, *storage.LabelHints, ...*labels.Matcher) ([]string, annotations.Annotations, error) {
	return nil, nil, nil
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

type movedSeries struct {
	storage.Series
	begin int64
}

func (s movedSeries) Labels() labels.Labels {
	return labels.NewBuilder(s.Series.Labels()).Del(runLabel).Labels()
}

func (s movedSeries) Iterator(chunkenc.Iterator) chunkenc.Iterator {
	var all points
	it := s.Series.Iterator(nil)
	for it.Next() == chunkenc.ValFloat {
		t, v := it.At()
		all = append(all, point{t - s.begin, v})
	}
	if it.Err() != nil {
		return failed{chunkenc.NewNopIterator(), it.Err()}
	}
	return storage.NewListSeriesIterator(all)
}
