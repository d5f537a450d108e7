package query

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestOfficialSuiteOnTheHubsStore runs Prometheus' acceptance tests from the
// hub's own store up: floats go in by Commit, and everything is read the way
// /query reads it. Histograms, which the store does not take, lie beside it.
func TestOfficialSuiteOnTheHubsStore(t *testing.T) {
	if testing.Short() {
		t.Skip("a thousand queries; make test")
	}
	promqltest.RunBuiltinTestsWithStorage(withoutStartTimes{t}, newHeldEngine(t, nil), openBoth)
}

// startTimes is the script about what the hub's points lack.
const startTimes = "start_timestamps.test"

// withoutStartTimes leaves it out.
type withoutStartTimes struct{ *testing.T }

func (t withoutStartTimes) Run(name string, f func(*testing.T)) bool {
	if strings.HasSuffix(name, startTimes) {
		return true
	}
	return t.T.Run(name, f)
}

// both is the hub's store with a TSDB for histograms at its side.
type both struct {
	storage.Storage
	hub *local.DB
}

func openBoth(t testing.TB) storage.Storage {
	c := local.DefaultConfig()
	c.Dir = t.TempDir()
	c.Retention = 100 * 365 * 24 * time.Hour // the scripts jump through time
	db, err := local.Open(t.Context(), c, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return both{promqltest.NewBuiltinTestStorage(t), db}
}

func (b both) Querier(mint, maxt int64) (storage.Querier, error) {
	floats, err := b.hub.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	histograms, err := b.Storage.Querier(mint, maxt)
	return storage.NewMergeQuerier([]storage.Querier{floats, histograms}, nil, storage.ChainedSeriesMerge), err
}

func (b both) Close() error {
	if err := b.hub.Close(); err != nil {
		return err
	}
	return b.Storage.Close()
}

func (b both) AppenderV2(ctx context.Context) storage.AppenderV2 {
	return &bothAppender{AppenderV2: b.Storage.AppenderV2(ctx), hub: b.hub}
}

type bothAppender struct {
	storage.AppenderV2
	hub   *local.DB
	write telemetry.Write
}

func (a *bothAppender) Append(ref storage.SeriesRef, ls labels.Labels, st, t int64, v float64, h *histogram.Histogram, fh *histogram.FloatHistogram, opts storage.AppendV2Options) (storage.SeriesRef, error) {
	if h != nil || fh != nil {
		return a.AppenderV2.Append(ref, ls, st, t, v, h, fh, opts)
	}
	var own []telemetry.Label
	ls.Range(func(l labels.Label) { own = append(own, telemetry.Label{Name: l.Name, Value: l.Value}) })
	a.write.Points = append(a.write.Points, telemetry.Point{Series: a.hub.Series(own), Time: t, Value: v})
	return ref, nil
}

func (a *bothAppender) Commit() error {
	if err := a.hub.Commit([]*telemetry.Write{&a.write}); err != nil {
		return err
	}
	return a.AppenderV2.Commit()
}
