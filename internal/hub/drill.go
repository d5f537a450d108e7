package hub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/tsdb/chunkenc"

	"github.com/songhua-io/hub/internal/store/local"
)

// DrillReport is what a restored directory holds.
type DrillReport struct{ Rows, Series, Samples int64 }

// Drill looks whether directories that were restored on trial are whole: it walks
// them as Verify does, compares rows with the counts of when they were frozen, and
// opens and reads the stores. Graded may be absent. What it opens it changes.
func Drill(ctx context.Context, dir, graded string, counts map[string]int64, report func(string)) (r DrillReport, findings int, err error) {
	found := func(line string) {
		findings++
		report(line)
	}
	if _, err := Verify(ctx, dir, found); err != nil {
		return r, findings, err
	}
	rows, err := CountRows(ctx, dir)
	if err != nil {
		return r, findings, err
	}
	for _, table := range slices.Sorted(maps.Keys(counts)) {
		if rows[table] != counts[table] {
			found(fmt.Sprintf("table %s has %d rows, and had %d when it was frozen", table, rows[table], counts[table]))
		}
		r.Rows += rows[table]
	}
	stores := []string{filepath.Join(dir, seriesDir)}
	if _, err := os.Stat(graded); err == nil {
		if _, err := VerifyGraded(ctx, graded, found); err != nil {
			return r, findings, err
		}
		stores = append(stores, graded)
	}
	for _, s := range stores {
		if err := r.read(ctx, s); err != nil {
			return r, findings, err
		}
	}
	return r, findings, nil
}

const centuries = 200 * 365 * 24 * time.Hour

// read opens a store and reads every sample.
func (r *DrillReport) read(ctx context.Context, dir string) (err error) {
	cfg := local.DefaultConfig()
	cfg.Dir, cfg.Retention = dir, centuries // what is there stays
	db, err := local.Open(ctx, cfg, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	q, err := db.Querier(math.MinInt64, math.MaxInt64)
	if err != nil {
		return err
	}
	defer q.Close()
	set := q.Select(ctx, false, nil, labels.MustNewMatcher(labels.MatchNotEqual, "__name__", ""))
	var it chunkenc.Iterator
	for set.Next() {
		r.Series++
		it = set.At().Iterator(it)
		for it.Next() != chunkenc.ValNone {
			r.Samples++
		}
		if it.Err() != nil {
			return it.Err()
		}
	}
	return set.Err()
}
