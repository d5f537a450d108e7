package publish

import (
	"context"
	"slices"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/gate"
)

// Budget is how the privacy budget of a dataset stands, in millionths of ε.
type Budget struct {
	// Noise is what the dataset asks for now; nil: none.
	Noise *catalog.Noise
	// Together is what all datasets may spend of a day; 0: no bound.
	Together int64
	Days     []DayBudget // of which something is spent, the newest first
}

// DayBudget is what is spent of a day of data.
type DayBudget struct {
	Day int64 // since 1970, of China's time
	// Spent is by the dataset, and All by all datasets together. What is spent is never
	// given back: what is out stays out.
	Spent, All int64
	Versions   int
}

// Budget says what noise has spent of a dataset.
func (p *Publisher) Budget(ctx context.Context, d *catalog.Dataset) (*Budget, error) {
	l, err := p.ledger(ctx)
	if err != nil {
		return nil, err
	}
	b := &Budget{Noise: d.Privacy.Noise, Together: l.Shared}
	all := map[int64]int64{}
	days := map[int64]*DayBudget{}
	for _, e := range l.Entries {
		all[e.Day] += e.MicroEpsilon
		if e.Dataset != d.ID {
			continue
		}
		if days[e.Day] == nil {
			days[e.Day] = &DayBudget{Day: e.Day}
		}
		days[e.Day].Spent += e.MicroEpsilon
		days[e.Day].Versions++
	}
	for day, is := range days {
		is.All = all[day]
		b.Days = append(b.Days, *is)
	}
	slices.SortFunc(b.Days, func(x, y DayBudget) int { return int(y.Day - x.Day) })
	return b, nil
}

// Name writes the day as in 2026-11-20.
func (d *DayBudget) Name() string { return gate.DayName(d.Day) }
