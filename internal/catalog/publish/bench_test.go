package publish

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog/source"
)

// thousand makes a day of 1,000 series at a minute the source of a dataset.
func thousand(w *world) {
	w.datasets["air"] = series("air")
	w.datasets["air"].Source.Bin = time.Minute
	w.Publisher.deps.Sources.Bins = func(_ context.Context, _, _ string, from, _ time.Time, _ time.Duration, each func(map[string]string, []source.Bin) error) error {
		bins := make([]source.Bin, 1440)
		for i := range bins {
			v := float64(i%100) / 10
			bins[i] = source.Bin{Count: 1, Sum: v, Min: v, Max: v, Last: v, LastAt: from.UnixMilli()}
		}
		for i := range 1000 {
			labels := map[string]string{"__name__": "temperature", "device": fmt.Sprintf("probe-%04d", i), "kind": "sensor", "region": "220102", "site": "changchun", "model": "air"}
			if err := each(labels, bins); err != nil {
				return err
			}
		}
		return nil
	}
}

// BenchmarkLineage answers where a row of a release of 1,000 series comes from.
func BenchmarkLineage(b *testing.B) {
	w := newWorld(b)
	thousand(w)
	w.made(w.order("air"))
	for row := 0; b.Loop(); row = (row + 7919) % 1_440_000 {
		if l, err := w.Lineage(b.Context(), "air", 1, row); err != nil || len(l.Series) != 1 {
			b.Fatal(err)
		}
	}
}

// BenchmarkRelease decides a release of 1,000 series at a minute: rows, hash,
// lineage, and the transaction, without its files.
func BenchmarkRelease(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		w := newWorld(b)
		thousand(w)
		b.StartTimer()
		w.made(w.order("air"))
	}
}
