package offer

import (
	"context"
	"testing"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
)

// asked is a store that keeps what it is asked for.
type asked struct {
	storage.Querier
	hints *storage.SelectHints
}

func (a *asked) Select(_ context.Context, _ bool, hints *storage.SelectHints, _ ...*labels.Matcher) storage.SeriesSet {
	a.hints = hints
	return storage.EmptySeriesSet()
}

// TestEnginesSendAllOfWhatIsNarrowedHere: an engine may send the largest sample
// alone, which need not be one that is offered.
func TestEnginesSendAllOfWhatIsNarrowedHere(t *testing.T) {
	for of, want := range map[string]string{"max_over_time": "", "sum": "", "series": "series"} {
		a := &asked{}
		q := &querier{a, &Reading{}}
		given := storage.SelectHints{Start: 1, End: 2, Range: 3, Limit: 4, Func: of}
		q.Select(context.Background(), true, &given)
		if a.hints.Func != want || a.hints.Limit != 0 || a.hints.Range != 3 || given.Func != of {
			t.Errorf("%s is asked for with %+v", of, a.hints)
		}
	}
}
