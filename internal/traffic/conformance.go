package traffic

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// maxDeviations bounds the kinds of deviations of a unit; what is more counts as
// one of the code "other".
const maxDeviations = 64

type deviationKey struct {
	kind       road.Kind
	code, path string
}

// Found counts one way in which a message of a unit is not as the standard has
// it. Code names the way, path the field; the texts say it to people. A restart
// begins anew.
func (b *Board) Found(unit string, kind road.Kind, code, path, zh, en string, at time.Time) {
	u, err := b.unit(unit)
	if err != nil { // one that the board does not watch
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.deviates(kind, code, path, zh, en, at)
}

func (u *unit) deviates(kind road.Kind, code, path, zh, en string, at time.Time) {
	k := deviationKey{kind, code, path}
	d := u.deviations[k]
	if d == nil && len(u.deviations) >= maxDeviations-1 {
		k = deviationKey{code: "other"}
		zh, en = "其他偏差", "other deviations"
		d = u.deviations[k]
	}
	if d == nil {
		if u.deviations == nil {
			u.deviations = map[deviationKey]*Deviation{}
		}
		k = deviationKey{k.kind, strings.Clone(k.code), strings.Clone(k.path)}
		d = &Deviation{Kind: k.kind, Code: k.code, Path: k.path, First: at}
		u.deviations[k] = d
	}
	d.ZH, d.EN, d.Last = strings.Clone(zh), strings.Clone(en), later(d.Last, at)
	d.Count++
	u.deviating++
}

// deviationsOf are all of a unit, by kind, code and path.
func (u *unit) deviationsOf() (all []Deviation) {
	for _, d := range u.deviations {
		all = append(all, *d)
	}
	slices.SortFunc(all, func(a, b Deviation) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Code, b.Code), cmp.Compare(a.Path, b.Path))
	})
	return all
}
