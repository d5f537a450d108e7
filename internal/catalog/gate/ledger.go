package gate

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
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
	Asked Spent
	// Budget is that of the dataset and day, and Left what remains of it.
	Budget, Left int64
	Shared       bool // it is the budget of all datasets together
}

func (o *Overdraw) Error() string {
	if o.Shared {
		return fmt.Sprintf("the privacy budget of all datasets together for %s does not suffice for version %d of dataset %s: ε %s is spent, %s is asked for, and the budget is %s; release it without privacy.noise in another dataset, with a lower privacy.noise.epsilon, or raise releases.day_budget",
			DayName(o.Asked.Day), o.Asked.Version, o.Asked.Dataset, Epsilon(o.Budget-o.Left), Epsilon(o.Asked.MicroEpsilon), Epsilon(o.Budget))
	}
	return fmt.Sprintf("the privacy budget of dataset %s for %s does not suffice for version %d: ε %s is spent, %s is asked for, and the budget is %s; what is out stands. Leave the day as it is, or apply and sign a lower privacy.noise.epsilon or a higher privacy.noise.budget (1 at most)",
		o.Asked.Dataset, DayName(o.Asked.Day), o.Asked.Version, Epsilon(o.Budget-o.Left), Epsilon(o.Asked.MicroEpsilon), Epsilon(o.Budget))
}

// ZH is Error for people who read Chinese.
func (o *Overdraw) ZH() string {
	whose, way := "数据集 "+o.Asked.Dataset, "已发布的保持不变；可保留该日现状，或修改并签署更小的 privacy.noise.epsilon 或更大的 privacy.noise.budget（至多 1）"
	if o.Shared {
		whose, way = "全部数据集合计", "可降低 privacy.noise.epsilon，或提高 releases.day_budget"
	}
	return fmt.Sprintf("%s在 %s 的隐私预算不足以发布数据集 %s 第 %d 版：已支出 ε %s，本次申请 %s，预算为 %s；%s", whose, DayName(o.Asked.Day), o.Asked.Dataset, o.Asked.Version,
		Epsilon(o.Budget-o.Left), Epsilon(o.Asked.MicroEpsilon), Epsilon(o.Budget), way)
}

// DayName writes a day of the data as in 2026-11-20.
func DayName(day int64) string { return time.Unix(day*86400, 0).UTC().Format(time.DateOnly) }

// Epsilon writes millionths of ε as a decimal number.
func Epsilon(micro int64) string { return strconv.FormatFloat(float64(micro)/1e6, 'f', -1, 64) }

// Paid is how a ledger stood when a version had been paid for: of the day of which
// most is spent.
type Paid struct{ MicroEpsilon, Budget int64 }

// paid is what is spent of the days of a version up to it. Later versions change
// nothing of that, so it is the same whenever it is asked for.
func (l *Ledger) paid(all []Spent) Paid {
	p := Paid{Budget: l.Budget}
	for _, s := range all {
		var sum int64
		for _, e := range l.Entries {
			if e.Dataset == s.Dataset && e.Day == s.Day && e.Version <= s.Version {
				sum += e.MicroEpsilon
			}
		}
		p.MicroEpsilon = max(p.MicroEpsilon, sum)
	}
	return p
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
			return &Overdraw{Asked: s, Budget: l.Budget, Left: own}
		}
		if s.MicroEpsilon > shared {
			return &Overdraw{Asked: s, Budget: l.Shared, Left: shared, Shared: true}
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
