package tee

import (
	"context"
	"errors"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// Querier implements storage.Queryable. The near engine is asked for all of the
// range, for what is late and not in the far one yet; the far engine for what
// lies before the seam.
func (t *Tee) Querier(mint, maxt int64) (storage.Querier, error) {
	near, err := t.near.Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	before := t.seam() - 1
	if mint > before {
		return near, nil
	}
	far, err := t.far.Querier(mint, min(maxt, before))
	if err != nil {
		return nil, errors.Join(err, near.Close())
	}
	return storage.NewMergeQuerier([]storage.Querier{near, beforeSeam{far, before}}, nil, storage.ChainedSeriesMerge), nil
}

// seam is the time in milliseconds from which the near engine has everything.
func (t *Tee) seam() int64 {
	seam := t.now().Add(-t.hot)
	if s, ok := t.near.(Since); ok {
		if since := s.Since(); since.After(seam) {
			seam = since
		}
	}
	return seam.UnixMilli()
}

// beforeSeam reads no point after a time: hints say what a selection needs, and
// an engine may go by them alone.
type beforeSeam struct {
	storage.Querier
	last int64
}

// Select implements storage.Querier.
func (q beforeSeam) Select(ctx context.Context, sorted bool, hints *storage.SelectHints, ms ...*labels.Matcher) storage.SeriesSet {
	if hints != nil && hints.End > q.last {
		if hints.Start > q.last {
			return storage.EmptySeriesSet()
		}
		h := *hints
		h.End = q.last
		hints = &h
	}
	return q.Querier.Select(ctx, sorted, hints, ms...)
}
