package query

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/timestamp"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
)

// Bin is what the samples of a series in a bin of time come to; Count 0: there are
// none, and nothing else is set. LastAt is in Unix milliseconds.
type Bin struct {
	Count               int64
	Sum, Min, Max, Last float64
	LastAt              int64
}

func (b *Bin) add(t int64, v float64) {
	if b.Count == 0 {
		b.Min, b.Max = v, v
	}
	b.Count++
	b.Sum += v
	b.Min, b.Max, b.Last, b.LastAt = min(b.Min, v), max(b.Max, v), v, t
}

// maxBins bounds the bins of a series.
const maxBins = 100_000

// Bins reads the series that a selector selects within a scope once, and hands
// out each with its bins from from, each of a length and without its end, until to.
// Samples that are no numbers are left out. The labels and bins belong to the
// caller only until each returns; series come in no order.
func (a *API) Bins(ctx context.Context, s Scope, selector string, from, to time.Time, bin time.Duration, each func(labels map[string]string, bins []Bin) error) error {
	n := int64(0)
	if bin > 0 {
		n = int64(to.Sub(from) / bin)
	}
	if n < 1 || n > maxBins || from.Add(time.Duration(n)*bin) != to || bin%time.Millisecond != 0 {
		return fmt.Errorf("from %s until %s are not 1 to %d bins of %s", from.Format(time.RFC3339), to.Format(time.RFC3339), maxBins, bin)
	}
	ms, err := a.selector(selector)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(withScope(ctx, s), a.config.Timeout)
	defer cancel()
	leave, f := a.gate.enter(ctx)
	if f != nil {
		return f.err
	}
	defer leave()
	mint, maxt := timestamp.FromTime(from), timestamp.FromTime(to)-1
	q, err := a.store.Querier(mint, maxt)
	if err != nil {
		return err
	}
	defer q.Close()
	set := q.Select(ctx, false, &storage.SelectHints{Start: mint, End: maxt}, ms...)
	bins := make([]Bin, n)
	var it chunkenc.Iterator
	for set.Next() {
		series := set.At()
		it = series.Iterator(it)
		clear(bins)
		if any, err := fill(it, bins, mint, maxt, bin.Milliseconds()); err != nil {
			return err
		} else if !any {
			continue
		}
		if err := each(series.Labels().Map(), bins); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return set.Err()
}

// fill reads the samples of a series into bins, and reports whether there was any.
func fill(it chunkenc.Iterator, bins []Bin, mint, maxt, length int64) (any bool, err error) {
	for kind := it.Seek(mint); kind != chunkenc.ValNone; kind = it.Next() {
		if kind != chunkenc.ValFloat {
			continue
		}
		t, v := it.At()
		if t > maxt {
			break
		}
		if value.IsStaleNaN(v) || math.IsNaN(v) || math.IsInf(v, 0) {
			continue
		}
		bins[(t-mint)/length].add(t, v)
		any = true
	}
	return any, it.Err()
}
