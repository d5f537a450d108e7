package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/hubtest/browser"
	"github.com/songhua-io/hub/internal/traffic"
	"github.com/songhua-io/hub/internal/web/basemap"
)

// catalogSite serves the pages with a basemap.
func catalogSite(t *testing.T) (*house, string) {
	t.Helper()
	h := newPages(t)
	mux := http.NewServeMux()
	mux.Handle("/", h)
	mux.Handle("GET /catalog/basemap/{z}/{x}/{y}", basemap.New(basemap.Config{
		Links: func(*http.Request) []traffic.LinkView {
			return roadsFor(access.Caller{Role: access.Admin, Region: "220100"}).Links()
		},
		Scope: func(*http.Request) string { return "public" }, Clock: h.library.clock,
	}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return h, server.URL
}

// TestPicturesOfTheCatalogue writes pictures into the folder that PICTURES names.
func TestPicturesOfTheCatalogue(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of the catalogue")
	}
	h, base := catalogSite(t)
	h.library.ask(t)
	pages := []struct {
		name, path string
		wide, tall int64
		steward    bool
	}{
		{"search", "/catalog", 1500, 2600, false}, {"found", "/catalog?q=交通&open=unconditional", 1000, 1600, false}, {"none", "/catalog?q=zzz", 800, 1400, false},
		{"dataset", "/catalog/dataset/" + everything, 5200, 7600, false}, {"nothing", "/catalog/dataset/" + nothing, 1500, 2200, false}, {"shut", "/catalog/dataset/" + shut, 3000, 4600, false},
		{"release", "/catalog/dataset/" + everything + "/release/16", 2600, 4000, false}, {"gone", "/catalog/dataset/" + ended, 700, 900, false},
		{"provider", "/catalog/provider/91220101MA00000000", 1200, 1800, false}, {"law", "/catalog/law", 1600, 2000, false}, {"about", "/catalog/about", 1500, 2200, false},
		{"object", "/catalog/objection/new?dataset=" + everything, 1000, 1700, false}, {"follow", "/catalog/objection", 800, 1200, false},
		{"how", "/catalog/dataset/" + asked2 + "/apply", 1000, 1800, false}, {"apply", "/catalog/dataset/" + asked2 + "/apply", 1300, 2400, true},
		{"application", "/catalog/applications/g-1", 1000, 1400, true}, {"steward", "/steward", 1300, 2600, true}, {"edit", "/steward/datasets/half-written", 4200, 7000, true},
		{"grants", "/steward/applications", 900, 1400, true}, {"grant", "/steward/applications/g-2", 1300, 2400, true}, {"tickets", "/steward/objections", 900, 1200, true}, {"ticket", "/steward/objections/t-1", 1000, 1600, true},
	}
	for _, as := range []struct {
		lang, scheme string
		width        int64
	}{{"en", "light", 1280}, {"zh", "light", 390}, {"zh", "dark", 1280}} {
		ctx := browser.Open(t)
		signed := browser.Open(t)
		browser.Do(t, signed, chromedp.Navigate(base+"/?token="+h.token))
		for _, p := range pages {
			if only := os.Getenv("ONLY"); only != "" && only != p.name {
				continue
			}
			tall, in := p.wide, ctx
			if as.width < 600 {
				tall = p.tall
			}
			if p.steward {
				in = signed
			}
			sep := "?"
			if containsQuery(p.path) {
				sep = "&"
			}
			browser.Do(t, in, chromedp.EmulateViewport(as.width, tall), scheme(as.scheme), chromedp.Navigate(base+p.path+sep+"lang="+as.lang), browser.Until(`document.readyState === 'complete'`))
			browser.Picture(t, in, filepath.Join(folder, fmt.Sprintf("%s-%s-%s-%d.png", p.name, as.lang, as.scheme, as.width)))
		}
	}
}
