package store

import (
	"errors"

	"github.com/prometheus/prometheus/storage"
)

// Join reads two stores as one. A series may lie in both, one part in each, as
// one does whose grade changed.
func Join(a, b storage.Queryable) storage.Queryable { return join{a, b} }

type join [2]storage.Queryable

// Querier implements storage.Queryable.
func (j join) Querier(mint, maxt int64) (storage.Querier, error) {
	a, err := j[0].Querier(mint, maxt)
	if err != nil {
		return nil, err
	}
	b, err := j[1].Querier(mint, maxt)
	if err != nil {
		return nil, errors.Join(err, a.Close())
	}
	return storage.NewMergeQuerier([]storage.Querier{a, b}, nil, storage.ChainedSeriesMerge), nil
}
