package hub

import (
	"hash/fnv"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/web"
	"github.com/songhua-io/hub/internal/web/basemap"
)

// snapshots makes one of what the register has published, and keeps it until
// something else is.
type snapshots struct {
	register *register.Register
	mu       sync.Mutex
	kept     *catalog.Snapshot
	of       uint64 // hash of the versions that it was made of
}

func (s *snapshots) now() *catalog.Snapshot {
	all := s.register.Published()
	var of uint64
	for _, d := range all {
		h := fnv.New64a()
		h.Write([]byte(d.ID + "\n" + strconv.FormatInt(d.Version, 10))) //nolint:errcheck // a hash takes everything
		of += h.Sum64()                                                 // in any order
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept != nil && s.of == of && len(s.kept.Entries) == len(all) {
		return s.kept
	}
	entries, number := make([]*catalog.Entry, len(all)), int64(1)
	for i, d := range all {
		entries[i] = &catalog.Entry{Dataset: d}
	}
	if s.kept != nil {
		number = s.kept.Number + 1
	}
	s.kept, s.of = catalog.NewSnapshot(number, entries, nil), of
	return s.kept
}

// catalogue is what the public pages show.
func (h *hub) catalogue() web.Catalogue {
	s := &snapshots{register: h.catalog}
	return web.Catalogue{Register: h.catalog, Snapshot: s.now, Base: h.catalogBase()}
}

// catalogBase is where the addresses begin that people keep.
func (h *hub) catalogBase() catalog.Base {
	if b, err := catalog.ParseBase(h.cfg.Pages.PublicURL); err == nil {
		return b
	}
	return catalog.Base("http://" + h.cfg.Listen.HTTP)
}

// portal are the routes of the public pages and of those who keep the catalogue.
// Each page asks itself who may open it.
func (h *hub) portal(pages http.Handler, of web.Catalogue) []api.Beside {
	const zh, en = "公共数据目录页面", "A page of the public catalogue"
	var all []api.Beside
	for _, pattern := range slices.Concat(web.PublicPages(), web.FurtherPages()) {
		all = append(all, api.Beside{Pattern: pattern, ZH: zh, EN: en, Handler: pages})
	}
	for _, pattern := range web.StewardPages() {
		all = append(all, api.Beside{Pattern: pattern, ZH: "目录管理页面", EN: "A page of those who keep the catalogue", Handler: pages})
	}
	tiles := basemap.New(basemap.Config{
		Links: func(*http.Request) []traffic.LinkView { return h.publicRoads(of.Snapshot()) },
		Scope: func(*http.Request) string { return "public" }, Clock: h.clock,
	})
	return append(all, api.Beside{Pattern: "GET /catalog/basemap/{z}/{x}/{y}", ZH: "公共数据目录的底图瓦片（XYZ，PNG）", EN: "Tiles of the basemap of the public catalogue (XYZ, PNG)", Handler: tiles})
}

// publicRoads are those that the basemap shows to everybody: none before a dataset
// of roads has made them public.
func (h *hub) publicRoads(s *catalog.Snapshot) []traffic.LinkView {
	if !slices.ContainsFunc(s.Entries, func(e *catalog.Entry) bool {
		return e.Dataset.Source.Kind == catalog.SourceRoads && e.Dataset.Open.Class == catalog.Unconditional
	}) {
		return nil
	}
	return h.roads(access.Caller{Name: "anybody", Role: access.Reader, Grade: telemetry.General}).Links()
}
