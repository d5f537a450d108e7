package web

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/hubtest/browser"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/web/basemap"
)

// street stands for a board: a net of 4 × 3 intersections, each with a unit and
// two phases; the first unit has findings, the last is offline.
type street struct{ region string }

func roadsFor(c access.Caller) traffic.Views {
	s := street{c.Region}
	return traffic.Seen(s, func(unit string) bool { return strings.HasPrefix("220100", c.Region) })
}

func unitPlace(unit string) UnitPlace {
	u := UnitPlace{State: "online", Since: noon.Add(-time.Hour), Site: "ring-road"}
	switch unit {
	case "rsu-12":
		u.State = "offline"
	case "rsu-07":
		u.State = "late"
	}
	return u
}

const columns, rows = 4, 3

func corner(i int) road.Position {
	return road.Position{Lat: 43.86 + float64(i/columns)*.0045, Lon: 125.30 + float64(i%columns)*.0062}
}

func cornerID(i int) road.NodeID { return road.NodeID{Region: 2201, ID: uint16(i + 1)} }

func rsu(i int) string { return fmt.Sprintf("rsu-%02d", i+1) }

func (street) Units() (all []traffic.UnitView) {
	for i := range columns * rows {
		u := traffic.UnitView{Unit: rsu(i), Heard: noon.Add(-time.Duration(i) * time.Second), Beat: time.Minute, Offset: 40 * time.Millisecond,
			Status: road.Status{Name: fmt.Sprintf("<b>人民大街</b> %d", i+1), Firmware: "v2.1.7", ESN: "R328328", At: corner(i), Load: .6, Cores: []float64{12.5, 8}, Memory: road.Space{Total: 2048, Used: 1201}, Disk: road.Space{Total: math.NaN(), Used: math.NaN()},
				Received: 1200, Sent: 5400, Limits: map[string]float64{"bsm": -1, "spat": 5}, Faults: map[string]int{"gps": 53},
				Devices: []road.Device{{ID: "cam-1", Type: "camera", Powered: 1, Runs: 2, Network: 4}}},
			Rates: map[road.Kind]float64{road.KindSPAT: 9.9, road.KindBSM: 4.2, road.KindRSM: 10}, Nodes: []road.NodeID{cornerID(i)}}
		if i == 0 {
			u.Faults = []traffic.Fault{{Check: traffic.CheckTransition, ZH: "相位 1 由绿灯直接变红灯，共 3 次", EN: "phase 1 went from green to red without yellow, 3 times", Since: noon.Add(-time.Hour), Last: noon, Count: 3, Evidence: true}}
			u.Deviations = []traffic.Deviation{{Kind: road.KindInfo, Code: "field_case", Path: "location.Lon", ZH: "字段 Lon 应为 lon", EN: "field Lon should be lon", First: noon.Add(-time.Hour), Last: noon, Count: 61}}
		}
		all = append(all, u)
	}
	return all
}

func (s street) Unit(id string) (traffic.UnitView, bool) {
	for _, u := range s.Units() {
		if u.Unit == id {
			return u, true
		}
	}
	return traffic.UnitView{}, false
}

func (street) Evidence(string, traffic.Check) []traffic.Evidence { return nil }

func (street) Intersections() (all []traffic.IntersectionView) {
	for i := range columns * rows {
		v := traffic.IntersectionView{Node: cornerID(i), Unit: rsu(i), At: noon, Phases: []traffic.PhaseView{
			{ID: 1, Light: road.PermissiveGreen, Since: noon.Add(-12 * time.Second), End: noon.Add(13 * time.Second), Cycle: time.Minute, Greens: .42},
			{ID: 2, Light: road.Red, Greens: math.NaN()}}}
		if i%3 == 1 {
			v.Phases[0].Light, v.Phases[1].Light = road.Red, road.Yellow
		}
		if i == 0 {
			v.Status = road.StatusFixedTime
			v.Faults = []traffic.Fault{{Check: traffic.CheckConflict, ZH: "相位 1 与 2 同时为绿灯", EN: "phases 1 and 2 are green at once", Count: 2}}
		}
		all = append(all, v)
	}
	return all
}

func (street) Links() (all []traffic.LinkView) {
	join := func(a, b int) {
		for _, d := range [][2]int{{a, b}, {b, a}} {
			l := traffic.LinkView{From: cornerID(d[0]), To: cornerID(d[1]), Unit: rsu(d[1]), Points: []road.Position{corner(d[0]), corner(d[1])}, Limit: 16.7,
				At: noon, Source: "sensor", Flow: float64(8 + len(all)%7), MeanSpeed: 15 - float64(len(all)%5)*2.9, P85: 14, Occupancy: .12, Queue: math.NaN()}
			if len(all) == 3 {
				l.At = time.Time{}
			}
			all = append(all, l)
		}
	}
	for i := range columns * rows {
		if i%columns+1 < columns {
			join(i, i+1)
		}
		if i+columns < columns*rows {
			join(i, i+columns)
		}
	}
	return all
}

func (street) Events() []traffic.EventView {
	p := road.Position{Lat: 43.8623, Lon: 125.3062}
	return []traffic.EventView{
		{Key: "rsu-02/7", Unit: "rsu-02", AlsoBy: []string{"rsu-06"}, Name: traffic.EventText(501), Place: p, Event: road.Event{ID: "7", Type: 501, At: p, Description: "道路施工", Priority: 3, End: noon.Add(-time.Minute)}, First: noon.Add(-2 * time.Hour), Last: noon, Active: true, PastEnd: true},
		{Key: "rsu-03/1", Unit: "rsu-03", Name: traffic.EventText(401), Place: road.Position{Lat: math.NaN(), Lon: math.NaN()}, Event: road.Event{ID: "1", Type: 401, Source: traffic.Derived, Links: []road.EventLink{{From: cornerID(2), To: cornerID(3)}}}, First: noon.Add(-time.Hour), Last: noon.Add(-time.Minute)},
	}
}

func (street) Changes(_ string, _ road.NodeID) (all []traffic.LightChange) {
	for at := -5 * time.Minute; at < 0; at += time.Minute {
		all = append(all, traffic.LightChange{Phase: 1, Light: road.Yellow, At: noon.Add(at + 13*time.Second)}, traffic.LightChange{Phase: 1, Light: road.Red, At: noon.Add(at + 16*time.Second)},
			traffic.LightChange{Phase: 2, Light: road.PermissiveGreen, At: noon.Add(at + 18*time.Second)}, traffic.LightChange{Phase: 2, Light: road.Yellow, At: noon.Add(at + 43*time.Second)},
			traffic.LightChange{Phase: 2, Light: road.Red, At: noon.Add(at + 46*time.Second)}, traffic.LightChange{Phase: 1, Light: road.PermissiveGreen, At: noon.Add(at + 48*time.Second)})
	}
	return all
}

func TestRoadsAreReadWithoutAScript(t *testing.T) {
	h := newPages(t)
	for path, wants := range map[string][]string{
		"/roads?lang=en": {`<h2 class="state online">online</h2><p class="big">10`, `<h2 class="state offline">offline</h2><p class="big">1`, `class="node faulty"`, `href="/basemap/15/`, `class="r-jammed"`, `class="r-unknown"`, `no numbers yet`,
			"phase 1 went from green to red", "deviations: 1", "road works<small>道路施工", "past its end", "also rsu-06", "2201.3 → 2201.4", "&lt;b&gt;", "2201.1 · 1 permissive green · 2 red", `href="/roads/units/rsu-12"`, `href="/roads/intersections/2201.1?unit=rsu-01"`, `data-map`},
		"/roads?lang=zh":                                   {"路侧单元", "相位 1 由绿灯直接变红灯", "已过期仍在上报", "低于 50 %"},
		"/roads/units/rsu-01?lang=en":                      {"v2.1.7", "check how the unit maps the lights", "field Lon should be lon", "location.Lon", `href="/api/v1/roads/units/rsu-01/evidence"`, "put on record", "&#43;0.04 <small>s", "above the cap", "∞", "gps 53", "data faulty", `href="/roads/intersections/2201.1"`, "12.5 · 8"},
		"/roads/units/rsu-02?lang=zh":                      {"其消息符合标准", "无问题", "数据异常"},
		"/roads/units/nobody?lang=en":                      {"no roadside unit of this name"},
		"/roads/intersections/2201.1?lang=en":              {"Intersection 2201.1", "fixed time", "phases 1 and 2 are green at once", `class="l-permissive_green announced"`, "42%", "60 s"},
		"/roads/intersections/2201.2?lang=zh&unit=rsu-02":  {"路口 2201.2", "近五分钟及预告", "黄"},
		"/roads/intersections/2201.1?lang=zh&unit=rsu-999": {"没有可见的此路口信号"},
	} {
		resp, body := serve(t, h, h.signedIn(t, http.MethodGet, path))
		if missing := strings.Contains(path, "nobody") || strings.Contains(path, "999"); missing != (resp.StatusCode == http.StatusNotFound) || !missing && resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", path, resp.Status)
		}
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s lacks %s", path, want)
			}
		}
		if strings.Contains(body, "NaN") || strings.Contains(body, "<b>人民") {
			t.Errorf("%s shows what is not known, or a name as markup", path)
		}
	}
	if _, body := serve(t, h, h.signedIn(t, http.MethodGet, "/roads?lang=en")); strings.Index(body, `<a href="/roads/units/rsu-12"`) > strings.Index(body, `<a href="/roads/units/rsu-02"`) {
		t.Error("a unit that is offline does not come first")
	} else if !strings.Contains(body, "seen by sensors (RSM)") {
		t.Error("a derived event is not said to be one")
	}
}

func TestTheMapLooksWhereItIsAskedTo(t *testing.T) {
	v := roadsView{links: street{}.Links()}
	all := mapOf(&v, nil, english.table())
	if all.Zoom < 14 || len(all.Links) != len(v.links) || all.Hidden != 0 {
		t.Errorf("everything: zoom %d, %d of %d links", all.Zoom, len(all.Links), len(v.links))
	}
	near := mapOf(&v, map[string][]string{"z": {"18"}, "at": {"43.86,125.3"}, "from": {"50"}}, english.table())
	if near.Zoom != 18 || len(near.Links) == 0 || len(near.Links) == len(v.links) || !strings.Contains(near.In, "z=19") || !strings.Contains(near.In, "from=50") {
		t.Errorf("near: zoom %d, %d links, %s", near.Zoom, len(near.Links), near.In)
	}
	if far := mapOf(&v, map[string][]string{"z": {"19"}, "at": {"43.86,125.3"}}, english.table()); far.In != "" || far.Out == "" {
		t.Errorf("at the bound: %q", far.In)
	}
	for _, bad := range []map[string][]string{{"z": {"99"}, "at": {"43,125"}}, {"z": {"10"}, "at": {"x"}}, {"z": {"10"}, "at": {"NaN,NaN"}}, {"at": {"43,125"}}} {
		if m := mapOf(&v, bad, english.table()); m.Zoom != all.Zoom || m.At != all.At {
			t.Errorf("%v: zoom %d at %s", bad, m.Zoom, m.At)
		}
	}
	empty := roadsView{}
	if m := mapOf(&empty, nil, english.table()); !m.Nothing || m.Zoom != 6 && m.Zoom != 5 || len(m.Tiles) == 0 {
		t.Errorf("nothing: %+v", m)
	}
}

func TestWhoMaySeeRoads(t *testing.T) {
	h := newPages(t)
	as := func(c access.Caller, path string) (*http.Response, string) {
		r := httptest.NewRequest(http.MethodGet, path+"?lang=en", nil)
		return serve(t, h.inner, r.WithContext(access.WithCaller(r.Context(), c)))
	}
	for _, path := range []string{"/roads", "/roads/units/rsu-01", "/roads/intersections/2201.1"} {
		if _, body := as(access.Caller{Name: "bj", Role: access.Reader, Region: "11"}, path); strings.Contains(body, "v2.1.7") || strings.Contains(body, "人民大街") || strings.Contains(body, "l-red") {
			t.Errorf("%s: a reader of another region sees it", path)
		}
	}
	if _, body := as(access.Caller{Name: "eye", Role: access.Reader}, "/roads/units/rsu-01"); strings.Contains(body, "/evidence") {
		t.Error("a reader is led to raw messages")
	}
}

// roadSite is site with tiles.
func roadSite(t *testing.T) (context.Context, string) {
	t.Helper()
	ctx := browser.Open(t)
	browser.NoComplaints(t, ctx)
	if at := os.Getenv("HUB_URL"); at != "" {
		return ctx, at + "/?token=" + os.Getenv("HUB_TOKEN")
	}
	mux, house := http.NewServeMux(), newPages(t)
	mux.Handle("/", house)
	mux.Handle("/api/", answers())
	mux.Handle("/prometheus/", answers())
	mux.Handle("GET /basemap/{z}/{x}/{y}", basemap.New(basemap.Config{Links: func(*http.Request) []traffic.LinkView { return street{}.Links() }, Scope: func(*http.Request) string { return "" }, Clock: time.Now}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return ctx, server.URL + "/?token=" + house.token
}

func TestRoadsInABrowser(t *testing.T) {
	for _, width := range []int64{360, 1280} {
		ctx, entry := roadSite(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(entry+"&lang=en"), browser.Until(`document.querySelector('a[href="/roads"]')`),
			chromedp.Navigate(base+"/roads?lang=en"), browser.Until(`document.querySelectorAll('#map polyline').length > 10`))
		fits := func(what string) {
			t.Helper()
			if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
				t.Errorf("at %d px %s is %d px wide: %s", width, what, wide, browser.Read[string](t, ctx, `[...document.querySelectorAll('body *')].filter((e) => !e.closest('svg, .scroll') && e.getBoundingClientRect().right > innerWidth).map((e) => e.outerHTML.slice(0, 80)).join(' | ')`))
			}
			if bad := browser.Read[string](t, ctx, `[...document.querySelectorAll('th')].filter((e) => !e.scope).map((e) => e.textContent).join()`); bad != "" {
				t.Errorf("%s: headers of nothing: %s", what, bad)
			}
			if bad := browser.Read[string](t, ctx, `[...document.querySelectorAll('a')].filter((e) => !e.textContent.trim() && !e.getAttribute('aria-label')).map((e) => e.outerHTML).join()`); bad != "" {
				t.Errorf("%s: links without a name: %s", what, bad)
			}
		}
		fits("the page of roads")
		// read again, and the tiles stay
		browser.Read[string](t, ctx, `document.querySelector('main').id = 'old'`)
		browser.Read[bool](t, ctx, `document.querySelector('#tiles').dataset.mine = '1', document.querySelector('#tiles').removeAttribute('data-mine'), (window.tiles = document.querySelector('#tiles')) !== null`)
		browser.Do(t, ctx, browser.Until(`!document.getElementById('old')`))
		if !browser.Read[bool](t, ctx, `window.tiles === document.querySelector('#tiles')`) {
			t.Error("tiles are drawn anew though nothing moved")
		}
		zoom := browser.Read[string](t, ctx, `document.querySelector('#map').dataset.z`)
		browser.Do(t, ctx, chromedp.Click(`.zoom a`), browser.Until(`document.querySelector('#map').dataset.z > `+zoom+` && location.search.includes('z=')`))
		before := browser.Read[string](t, ctx, `document.querySelector('#map').dataset.at`)
		browser.Read[bool](t, ctx, `(() => { const m = document.querySelector('#map'), r = m.getBoundingClientRect(), at = (type, dx) => m.dispatchEvent(new PointerEvent(type, { bubbles: true, button: 0, clientX: r.x + 50 + dx, clientY: r.y + 5 }));
			return at('pointerdown', 0), at('pointermove', 60), at('pointerup', 60); })()`)
		browser.Do(t, ctx, browser.Until(`document.querySelector('#map').dataset.at !== '`+before+`'`))
		lat := func(at string) string { a, _, _ := strings.Cut(at, ","); return a }
		after := browser.Read[string](t, ctx, `document.querySelector('#map').dataset.at`)
		if lat(after)[:7] != lat(before)[:7] || after >= before {
			t.Errorf("moved to the east by hand, the map goes from %s to %s", before, after)
		}
		for _, path := range []string{"/roads/units/rsu-01", "/roads/intersections/2201.1"} {
			browser.Do(t, ctx, chromedp.Navigate(base+path), browser.Until(`document.querySelector('#checks, #lights')`))
			fits(path)
		}
	}
}

// TestPicturesOfRoads writes pictures into the folder that PICTURES names.
func TestPicturesOfRoads(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of roads")
	}
	for _, p := range []struct {
		lang, scheme  string
		width, height int64
	}{{"en", "light", 1280, 2200}, {"zh", "light", 1280, 2200}, {"en", "dark", 1280, 1400}, {"zh", "light", 390, 3000}} {
		ctx, entry := roadSite(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(p.width, p.height), scheme(p.scheme), chromedp.Navigate(entry), chromedp.Navigate(base+"/roads?lang="+p.lang), browser.Until(`document.querySelector('#map')`))
		browser.Do(t, ctx, browser.Until(`document.readyState === 'complete' && performance.getEntriesByType('resource').filter((e) => e.name.includes('/basemap/')).length > 5`))
		browser.Picture(t, ctx, filepath.Join(folder, fmt.Sprintf("roads-%s-%s-%d.png", p.lang, p.scheme, p.width)))
		for name, selector := range map[string]string{"unit": `#units a[href^="/roads/units/"]`, "intersection": `.signals a`} {
			path := browser.Read[string](t, ctx, `(({ pathname, search }) => pathname + search)(document.querySelector('`+selector+`'))`)
			if name == "unit" && os.Getenv("HUB_URL") == "" {
				path = "/roads/units/rsu-01"
			}
			browser.Do(t, ctx, chromedp.Navigate(base+path), browser.Until(`document.querySelector('main h1')`))
			browser.Picture(t, ctx, filepath.Join(folder, fmt.Sprintf("%s-%s-%s-%d.png", name, p.lang, p.scheme, p.width)))
			browser.Do(t, ctx, chromedp.Navigate(base+"/roads"), browser.Until(`document.querySelector('#map')`))
		}
	}
}
