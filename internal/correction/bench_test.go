package correction

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/records"
	"github.com/songhua-io/hub/internal/store/local"
	"github.com/songhua-io/hub/internal/telemetry"
)

// BenchmarkRead reads 500 series of 240 samples: of the store itself, through the
// overlay without corrections, with those of another metric and of one device,
// and with one of each series.
func BenchmarkRead(b *testing.B) {
	cfg := local.DefaultConfig()
	cfg.Dir = b.TempDir()
	store, err := local.Open(b.Context(), cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		b.Fatal(err)
	}
	defer store.Close()
	const series, samples = 500, 240
	start := time.Now().Add(-time.Hour).UnixMilli()
	write := &telemetry.Write{}
	for i := range series {
		for _, metric := range []string{"level", "wind"} {
			id := store.Series([]telemetry.Label{{Name: "__name__", Value: metric}, {Name: "device", Value: strconv.Itoa(i)}})
			for n := range int64(samples) {
				write.Points = append(write.Points, telemetry.Point{Series: id, Time: start + n*10_000, Value: float64(n)})
			}
		}
	}
	if err := store.Commit([]*telemetry.Write{write}); err != nil {
		b.Fatal(err)
	}
	db, err := records.Open(b.Context(), filepath.Join(b.TempDir(), "records.db"))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	log, err := Open(b.Context(), Deps{Records: db, Store: store, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		b.Fatal(err)
	}
	correct := func(metric, device string) {
		if _, err := log.Add(b.Context(), Correction{Device: device, Metric: metric, From: start, To: start + 1_000_000, Operation: Scale, Factor: 2, Reason: "x"}); err != nil {
			b.Fatal(err)
		}
	}
	read := func(from storage.Queryable) func(*testing.B) {
		return func(b *testing.B) {
			for b.Loop() {
				q, err := from.Querier(start, start+samples*10_000)
				if err != nil {
					b.Fatal(err)
				}
				var it chunkenc.Iterator
				n := 0
				for set := q.Select(context.Background(), false, nil, labels.MustNewMatcher(labels.MatchEqual, "__name__", "level")); set.Next(); {
					it = set.At().Iterator(it)
					for it.Next() != chunkenc.ValNone {
						it.At()
						n++
					}
				}
				if n != series*samples {
					b.Fatal(n)
				}
				q.Close()
			}
		}
	}
	b.Run("store", read(store))
	b.Run("none", read(log.Queryable()))
	correct("wind", "1")
	b.Run("another metric", read(log.Queryable()))
	correct("level", "1")
	b.Run("one device", read(log.Queryable()))
	for i := range series {
		correct("level", strconv.Itoa(i))
	}
	b.Run("each series", read(log.Queryable()))
}
