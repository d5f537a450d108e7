package hub

import (
	"fmt"
	"net/http"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/api"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/web"
	"github.com/songhua-io/hub/internal/web/basemap"
)

// roads is what a caller may see of roads.
func (h *hub) roads(c access.Caller) traffic.Views {
	return traffic.Seen(h.board, api.SeesUnit(h.registry, c))
}

// unitPlace is what is registered of a roadside unit.
func (h *hub) unitPlace(unit string) web.UnitPlace {
	p := h.presence.Of(unit)
	out := web.UnitPlace{State: string(p.State), Since: p.Since}
	if d, err := h.registry.Get(unit); err == nil {
		s := d.Spec()
		out.Site, out.Lat, out.Lon = s.Site, s.Lat, s.Lon
	}
	return out
}

// basemap serves maps of the roads that a caller may see; callers of one region
// and grade are given the same tiles. Grafana finds them beneath the address of
// its data source, too.
func (h *hub) basemap() []api.Beside {
	tiles := basemap.New(basemap.Config{
		Links: func(r *http.Request) []traffic.LinkView { return h.roads(access.CallerOf(r.Context())).Links() },
		Scope: func(r *http.Request) string {
			c := access.CallerOf(r.Context())
			return fmt.Sprint(c.Region, "/", c.Grade)
		},
		Clock: h.clock,
	})
	const zh, en = "底图瓦片（XYZ，PNG），由路侧单元上报的地图绘制", "Tiles of a basemap (XYZ, PNG), drawn of the maps that roadside units told"
	return []api.Beside{
		{Pattern: "GET /basemap/{z}/{x}/{y}", ZH: zh, EN: en, Action: access.ReadRoads, Handler: tiles},
		{Pattern: "GET /prometheus/basemap/{z}/{x}/{y}", ZH: zh, EN: en, Action: access.ReadRoads, Handler: tiles},
	}
}
