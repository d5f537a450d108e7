package gate

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// Ledger keeps what noise has been spent of the privacy budget, over all
// datasets. A budget is per dataset and day of the data, since a contributor's
// part in a day is what is bounded. What has been spent once is never given
// back: what is published stays published. It is not safe for concurrent use.
type Ledger struct {
	// Budget of each dataset and day, in millionths of ε.
	Budget int64
	// Shared is the budget of a day over all datasets together; 0 sets none.
	Shared int64
	// Entries are in the order of dataset, day and version.
	Entries []Spent
}

// Spent is what a version of a dataset took of the budget of a day.
type Spent struct {
	Dataset      string `json:"dataset"`
	Day          int64  `json:"day"` // since 1970
	Version      int64  `json:"version"`
	MicroEpsilon int64  `json:"micro_epsilon"`
	// Input is a keyed hash of the values that the noise was added to: the same
	// noise on others would tell the difference.
	Input string `json:"input"`
}

// Overdraw tells that a budget does not suffice.
type Overdraw struct {
	Spent  Spent
	Left   int64
	Shared bool // it is the budget of all datasets together
}

func (o *Overdraw) Error() string {
	whose := "dataset " + o.Spent.Dataset
	if o.Shared {
		whose = "all datasets together"
	}
	return fmt.Sprintf("privacy budget of %s for day %d: %d millionths of ε are wanted and %d left; publish without noise, or not again", whose, o.Spent.Day, o.Spent.MicroEpsilon, o.Left)
}

// Left is what remains for a dataset and day.
func (l *Ledger) Left(dataset string, day int64) int64 {
	own, _ := l.left(dataset, day)
	return own
}

func (l *Ledger) left(dataset string, day int64) (own, shared int64) {
	own, shared = l.Budget, math.MaxInt64
	if l.Shared > 0 {
		shared = l.Shared
	}
	for _, e := range l.Entries {
		if e.Day == day {
			shared -= e.MicroEpsilon
			if e.Dataset == dataset {
				own -= e.MicroEpsilon
			}
		}
	}
	return own, shared
}

// Spend takes what a version needs, for all days or for none. A version that has
// been paid for is not paid for again: its noise is the same.
func (l *Ledger) Spend(all []Spent) error {
	var fresh []Spent
	for _, s := range all {
		if s.MicroEpsilon <= 0 || s.MicroEpsilon > maxEpsilon {
			return fmt.Errorf("privacy budget of dataset %s: %d millionths of ε; use 1 to %d", s.Dataset, s.MicroEpsilon, maxEpsilon)
		}
		same := func(e Spent) bool { return e.Dataset == s.Dataset && e.Day == s.Day && e.Version == s.Version }
		if i := slices.IndexFunc(l.Entries, same); i >= 0 {
			if l.Entries[i] != s {
				return fmt.Errorf("privacy budget of dataset %s: version %d has been paid for, for day %d, with another amount or for other data; make a new version", s.Dataset, s.Version, s.Day)
			}
			continue
		}
		if slices.ContainsFunc(fresh, same) {
			return fmt.Errorf("privacy budget of dataset %s: day %d is named twice", s.Dataset, s.Day)
		}
		fresh = append(fresh, s)
	}
	for i, s := range fresh {
		own, shared := l.left(s.Dataset, s.Day)
		for _, before := range fresh[:i] {
			if before.Day == s.Day {
				shared -= before.MicroEpsilon
				if before.Dataset == s.Dataset {
					own -= before.MicroEpsilon
				}
			}
		}
		if s.MicroEpsilon > own {
			return &Overdraw{Spent: s, Left: own}
		}
		if s.MicroEpsilon > shared {
			return &Overdraw{Spent: s, Left: shared, Shared: true}
		}
	}
	l.Entries = append(l.Entries, fresh...)
	slices.SortFunc(l.Entries, func(a, b Spent) int {
		if c := strings.Compare(a.Dataset, b.Dataset); c != 0 {
			return c
		}
		if a.Day != b.Day {
			return int(min(1, max(-1, a.Day-b.Day)))
		}
		return int(min(1, max(-1, a.Version-b.Version)))
	})
	return nil
}
