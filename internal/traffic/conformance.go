package traffic

import (
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/road"
)

// maxDeviations bounds the kinds of deviations of a unit; what is more counts as
// one of the code "other".
const maxDeviations = 64

// deviationLife is how long a deviation is known that was not found again: new
// firmware may have put it right.
const deviationLife = 7 * 24 * time.Hour

type deviationKey struct {
	kind       road.Kind
	code, path string
}

// Found counts one way in which a message of a unit is not as the standard has
// it. Code names the way, path the field; the texts say it to people. It is durable
// with the next minute in which the unit lives.
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

// documentDeviation is the kind of documents that hold deviations.
const documentDeviation = 'd'

// wireDeviation is a deviation as it stands in documents.
type wireDeviation struct {
	Kind  road.Kind `json:"kind,omitempty"`
	Code  string    `json:"code"`
	Path  string    `json:"path,omitempty"`
	ZH    string    `json:"zh"`
	EN    string    `json:"en"`
	First time.Time `json:"first"`
	Last  time.Time `json:"last"`
	Count int64     `json:"count"`
}

func (k *deviationKey) String() string { return string(k.kind) + " " + k.code + " " + k.path }

// tellDeviations keeps what was found since the last time as documents, and
// forgets what was not found for long.
func (u *unit) tellDeviations(now time.Time) {
	for k, d := range u.deviations {
		if now.Sub(d.Last) > deviationLife {
			delete(u.deviations, k)
			u.tell(documentDeviation, k.String(), nil)
			continue
		}
		text, err := json.Marshal(wireDeviation(*d))
		if err != nil { // a year that JSON has not
			continue
		}
		u.tell(documentDeviation, k.String(), text)
	}
}

func readDeviation(_ *Board, u *unit, key string, text []byte) error {
	var w wireDeviation
	if len(text) > 0 {
		if err := json.Unmarshal(text, &w); err != nil {
			return err
		}
	}
	for k := range u.deviations {
		if k.String() == key {
			delete(u.deviations, k)
		}
	}
	if len(text) == 0 || len(u.deviations) >= maxDeviations {
		return nil
	}
	if u.deviations == nil {
		u.deviations = map[deviationKey]*Deviation{}
	}
	d := Deviation(w)
	u.deviations[deviationKey{w.Kind, w.Code, w.Path}] = &d
	return nil
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
