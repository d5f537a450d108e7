package local

import (
	"math"

	"github.com/prometheus/prometheus/storage"

	"github.com/songhua-io/hub/internal/store/series"
)

type (
	entry = series.Entry[known]
	table = series.Table[known]
)

// known is what is remembered of a series. It belongs to the committing
// goroutine.
type known struct {
	ref storage.SeriesRef
	// (lastT, lastV) is a point that is stored, or part of the running commit.
	// Points before it are looked up before they are taken.
	lastT int64
	lastV float64
}

// noTime is the lastT of a series of which no point was seen yet.
const noTime = math.MinInt64

func newTable() *table { return series.NewTable(known{lastT: noTime}) }

// learn notes a point that is appended.
func (k *known) learn(ref storage.SeriesRef, t int64, v float64) {
	k.ref = ref
	if t > k.lastT {
		k.lastT, k.lastV = t, v
	}
}
