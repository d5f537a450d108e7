package local

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/telemetry"
)

// TestOfficialPromQLSuite runs the test scripts of Prometheus itself over the
// store. Their float samples go in by Commit; histograms, which the store does
// not take, go in beside it, so that the scripts run whole.
func TestOfficialPromQLSuite(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand queries; make test")
	}
	engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
	promqltest.RunBuiltinTestsWithStorage(scripts{t}, engine, func(t testing.TB) storage.Storage {
		cfg := configAt(t.TempDir())
		cfg.Retention = 100 * 365 * day // the scripts jump through time
		db, err := open(context.Background(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry(), (&synced{}).sync)
		if err != nil {
			t.Fatal(err)
		}
		return scripted{Storage: db.recent.db, db: db}
	})
}

// scripts leaves out the one script about something a point does not have.
type scripts struct{ *testing.T }

func (s scripts) Run(name string, script func(*testing.T)) bool {
	if strings.HasSuffix(name, "/start_timestamps.test") {
		script = func(t *testing.T) { t.Skip("a point has no start timestamp") }
	}
	return s.T.Run(name, script)
}

// scripted is the store as the scripts drive it: loading is ours for floats,
// reading is ours for everything.
type scripted struct {
	storage.Storage // the TSDB itself
	db              *DB
}

func (s scripted) Querier(mint, maxt int64) (storage.Querier, error) { return s.db.Querier(mint, maxt) }
func (s scripted) Close() error                                      { return s.db.Close() }

func (s scripted) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &scriptAppender{AppenderV2: s.Storage.AppenderV2(ctx), db: s.db}
}

type scriptAppender struct {
	storage.AppenderV2
	db    *DB
	write telemetry.Write
}

func (a *scriptAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AOptions) (storage.SeriesRef, error) {
	if h != nil || fh != nil {
		return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	}
	var own []telemetry.Label
	ls.Range(func(l labels.Label) { own = append(own, telemetry.Label{Name: l.Name, Value: l.Value}) })
	a.write.Points = append(a.write.Points, telemetry.Point{Series: a.db.Series(own), Time: t, Value: v})
	return ref, nil
}

func (a *scriptAppender) Commit() error {
	if err := a.db.Commit([]*telemetry.Write{&a.write}); err != nil {
		return err
	}
	return a.AppenderV2.Commit()
}
