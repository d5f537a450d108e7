package feed

import (
	"net/http"
	"slices"
	"strings"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/dcat"
)

// things says what the current snapshot says of the address that was asked for:
// of a dataset, its record, releases and interfaces the whole dataset, of others
// what stands at their own address.
func (f *Feed) things(form dcat.Format) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s, address := f.Current(), f.addressOf(r)
		e, whole := f.mentions(s.Snapshot, address, r)
		if e == nil {
			refuse(w, http.StatusNotFound, address+" 不在目录中；目录见 "+f.about.Base.Catalogue(), address+" is not in the catalogue; it begins at "+f.about.Base.Catalogue())
			return
		}
		key, only := "of "+e.Dataset.ID, ""
		if !whole {
			key, only = "at "+address, address
		}
		f.answer(w, r, form, dcat.ETag(form, s.Tag, 0), key+" "+s.key()+form.Suffix, func() (*dcat.Graph, error) {
			g := f.about.Entry(e, s.Services, func(id string) bool { return s.Find(id) != nil })
			if only != "" {
				g = g.Only(only)
			}
			return g, nil
		})
	})
}

// addressOf is the address that a request is for, under the configured base:
// whatever host and path it came by.
func (f *Feed) addressOf(r *http.Request) string {
	_, below, _ := strings.Cut(r.URL.EscapedPath(), "/catalog")
	return f.about.Base.Catalogue() + below
}

// mentions finds an entry that says something of an address, and whether it is
// about that entry itself.
func (f *Feed) mentions(s *catalog.Snapshot, address string, r *http.Request) (e *catalog.Entry, whole bool) {
	b := f.about.Base
	kind, _, _ := strings.Cut(strings.TrimPrefix(address, b.Catalogue()+"/"), "/")
	switch kind {
	case "dataset", "record":
		e = s.Find(r.PathValue("id"))
		if e != nil && !f.offered(e, address, r) {
			e = nil
		}
		return e, true
	}
	at := slices.IndexFunc(s.Entries, func(e *catalog.Entry) bool {
		d := e.Dataset
		switch kind {
		case "provider":
			return b.Provider(d.Provider.Code) == address
		case "service":
			_, live := e.Offered()
			return slices.ContainsFunc(live, func(l catalog.Distribution) bool { return b.Service(l.Service) == address })
		case "class":
			return address == b.Class(d.Path, depth(d.Path))
		case "law":
			return slices.ContainsFunc(slices.Concat(d.Share.Basis, d.Open.Basis), func(l catalog.Law) bool { return b.Law(l) == address })
		}
		return false
	})
	if at < 0 {
		return nil, false
	}
	return s.Entries[at], false
}

// offered reports whether an address below that of a dataset is of something that
// it offers.
func (f *Feed) offered(e *catalog.Entry, address string, r *http.Request) bool {
	id := e.Dataset.ID
	release, live := e.Offered()
	switch {
	case r.PathValue("version") != "":
		return release != nil && f.about.Base.Release(id, release.Version) == address
	case r.PathValue("name") != "":
		return slices.ContainsFunc(live, func(l catalog.Distribution) bool { return f.about.Base.Interface(id, l.Name) == address })
	}
	return true
}

// depth is how deep a path goes.
func depth(p catalog.Path) int {
	n := slices.IndexFunc(p[:], func(s string) bool { return strings.TrimSpace(s) == "" })
	if n < 0 {
		return len(p)
	}
	return n
}
