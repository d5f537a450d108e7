package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/telemetry"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/web"
	"github.com/songhua-io/hub/internal/web/basemap"
)

// catalogue is what the public pages show.
func (h *hub) catalogue(base catalog.Base) web.Catalogue {
	return web.Catalogue{
		Classes:  classNames(h.cfg.Catalog.Classes),
		Register: h.catalog, Snapshot: func() *catalog.Snapshot { return h.feed.Current().Snapshot }, Base: base,
		Rows: func(_ context.Context, dataset string, version int64) (*release.Table, error) {
			return h.releases.Table(dataset, version)
		},
		Privacy: h.privacyReport, Quality: h.shownQuality, Difference: h.difference, Between: h.between, Steps: h.steps, Granted: h.grantedReleases,
	}
}

// classNames are the names of places of the classification by their codes.
func classNames(all []register.ClassName) map[string]catalog.Text {
	names := make(map[string]catalog.Text, len(all))
	for _, c := range all {
		names[c.Code] = catalog.Text{ZH: c.ZH, EN: c.EN}
	}
	return names
}

// shownReleases is how many releases a page shows of what a grant gives.
const shownReleases = 10

// grantedReleases are what a grant gives of the newest releases of its dataset.
func (h *hub) grantedReleases(g *register.Grant) (all []web.GrantedRelease) {
	rec, err := h.catalog.Get(g.Dataset)
	if err != nil {
		return nil
	}
	items := g.Given(rec.Dataset())
	for _, m := range slices.Backward(h.releases.List(g.Dataset)) {
		c, err := m.Narrow(items, g.Scope.Area, g.Scope.From, g.Scope.To)
		switch {
		case err != nil:
			continue
		case c == nil:
			all = append(all, web.GrantedRelease{Manifest: m, Known: true})
		default:
			part, known := h.releases.Describe(m, c)
			all = append(all, web.GrantedRelease{Manifest: part, Known: known})
		}
		if len(all) == shownReleases {
			break
		}
	}
	return all
}

// privacyReport is what the privacy gate said of a release; nil where it did not
// go through it.
func (h *hub) privacyReport(_ context.Context, dataset string, version int64) ([]byte, error) {
	m, err := h.releases.Get(dataset, version)
	if err != nil || m.File(release.PrivacyFile) == nil {
		return nil, err
	}
	c, err := h.releases.Open(dataset, version, release.PrivacyFile)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(c)
	return text, errors.Join(err, c.Close())
}

// qualityDays is how far back the pages show quality.
const qualityDays = 60

// shownQuality is how good a dataset was lately, and what of it was declared
// otherwise.
func (h *hub) shownQuality(ctx context.Context, id string) (*web.Quality, error) {
	days, err := h.quality.History(ctx, id, "", qualityDays)
	if err != nil || len(days) == 0 {
		return nil, err
	}
	q := &web.Quality{}
	for _, m := range slices.Backward(days) {
		q.History = append(q.History, m.Measurements()...)
	}
	for _, f := range h.quality.Findings(id) {
		is := strconv.FormatFloat(f.Measured, 'g', 4, 64)
		was := strconv.FormatFloat(f.Declared, 'g', 4, 64)
		q.Compared = append(q.Compared, web.Comparison{
			What: catalog.Text{ZH: f.ZH, EN: f.EN}, Declared: catalog.Text{ZH: was, EN: was}, Measured: catalog.Text{ZH: is, EN: is}, Since: f.Since.Begin(),
		})
	}
	return q, nil
}

// difference is what a release changed of the one that it replaces; nil where it
// replaces none.
func (h *hub) difference(_ context.Context, dataset string, version int64) (*web.Difference, error) {
	m, err := h.releases.Get(dataset, version)
	if err != nil || m.Diff == nil {
		return nil, err
	}
	return shownChanges(m.Diff, m.Key), nil
}

// shownChanges are changes as a page shows them.
func shownChanges(c *release.Changes, key []string) *web.Difference {
	d := &web.Difference{Added: int(c.Added), Removed: int(c.Removed), Changed: int(c.Changed), Same: int(c.Same), NewItems: c.NewItems, GoneItems: c.GoneItems}
	for _, e := range c.Examples {
		if e.Kind != "changed" {
			continue
		}
		for _, item := range slices.Sorted(maps.Keys(e.After)) {
			d.Examples = append(d.Examples, web.ChangedValue{Row: keyText(key, e.Key), Item: item, Was: valueText(e.Before[item]), Is: valueText(e.After[item])})
		}
	}
	return d
}

// between is what is different between two versions, as far as everybody may read
// them, or the caller by a grant.
func (h *hub) between(ctx context.Context, dataset string, before, after int64, g *register.Grant) (*web.Difference, error) {
	rec, err := h.catalog.Get(dataset)
	if err != nil {
		return nil, err
	}
	m, err := h.releases.Get(dataset, after)
	if err != nil {
		return nil, err
	}
	d := rec.Dataset()
	if g == nil && d.Open.Class != catalog.Unconditional {
		return nil, fmt.Errorf("dataset %s %w to everybody", dataset, register.ErrShut)
	}
	var items []string
	var number int64
	var cut func(*release.Manifest) (*release.Cut, error)
	if g == nil {
		for i := range m.Columns {
			items = append(items, m.Columns[i].Name)
		}
	} else {
		items, number = g.Given(d), g.Number
		cut = func(m *release.Manifest) (*release.Cut, error) {
			return m.Narrow(items, g.Scope.Area, g.Scope.From, g.Scope.To)
		}
	}
	grade := d.Grade
	for _, version := range []int64{before, after} {
		made, err := h.releases.GradeOf(dataset, version)
		if err != nil {
			return nil, err
		}
		grade = max(grade, made)
	}
	if may := access.AllowGrade(access.CallerOf(ctx), grade); grade > telemetry.General && !may.Allowed {
		return nil, errors.New(may.EN)
	}
	held, done, err := h.catalog.Hold(ctx, dataset, items, number)
	if err != nil {
		return nil, err
	}
	defer done()
	b, err := h.releases.Between(held, dataset, before, after, cut)
	if err != nil {
		return nil, err
	}
	shown := shownChanges(&b.Changes, m.Key)
	shown.Unkeyed = !b.Keyed
	return shown, nil
}

// keyText names a row by its key.
func keyText(order []string, key map[string]json.RawMessage) string {
	all := make([]string, 0, len(order))
	for _, name := range order {
		all = append(all, valueText(key[name]))
	}
	return strings.Join(all, " · ")
}

// valueText is a value as people read it; empty for none.
func valueText(v json.RawMessage) string {
	var s string
	if json.Unmarshal(v, &s) == nil {
		return s
	}
	if string(v) == "null" {
		return ""
	}
	return string(v)
}

// portal are the routes of the public pages and of those who keep the catalogue.
// Each page asks itself who may open it.
func (h *hub) portal(pages http.Handler, of web.Catalogue) []api.Beside {
	const zh, en = "公共数据目录页面", "A page of the public catalogue"
	var all []api.Beside
	for _, r := range h.feed.Routes(pages) {
		all = append(all, api.Beside{Pattern: r.Pattern, ZH: r.ZH, EN: r.EN, Handler: r.Handler})
	}
	for _, pattern := range web.FurtherPages() {
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
