package web

import (
	"net/http"
	"slices"
	"strconv"

	"github.com/songhua-io/hub/internal/catalog/register"
)

// shownVersions bounds the versions that a page offers to compare, the newest.
const shownVersions = 400

// compareView is two versions that a page compares, or offers to.
type compareView struct {
	Versions      []int64 // that there are, the newest first; fewer than two: there is nothing to compare
	Before, After int64   // that are chosen; 0: none yet
	Fixed         bool    // After is the one of the page
	Difference    *Difference
	Failed        bool
}

// compare reads which versions are chosen of those that a page has, and compares
// them. After is that of the page; 0: it is chosen too. What names no version is as if
// nothing were chosen.
func (p *pages) compare(r *http.Request, dataset string, versions []int64, after int64, g *register.Grant) *compareView {
	if p.Catalogue.Between == nil || len(versions) < 2 {
		return nil
	}
	v := &compareView{Versions: versions[:min(len(versions), shownVersions)], After: after, Fixed: after != 0}
	chosen := func(name string) int64 {
		n, err := strconv.ParseInt(r.URL.Query().Get(name), 10, 64)
		if err != nil || !slices.Contains(versions, n) {
			return 0
		}
		return n
	}
	v.Before = chosen("against")
	if !v.Fixed {
		v.After = chosen("version")
	}
	if v.Before == 0 || v.After == 0 || v.Before == v.After {
		return v
	}
	var err error
	if v.Difference, err = p.Catalogue.Between(r.Context(), dataset, v.Before, v.After, g); err != nil {
		p.Log.Warn("releases_not_compared", "dataset", dataset, "before", v.Before, "after", v.After, "error", err)
		v.Failed = true
	}
	return v
}
