package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

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
		{"compare", "/catalog/dataset/" + everything + "/release/16?against=3", 1300, 2400, false}, {"class", "/catalog/class/交通", 900, 1400, false}, {"given", "/catalog/applications/g-2?against=8&version=9", 1300, 2400, true}, {"correction", "/corrections/63", 900, 1400, true},
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

// faultsOfThePage is what a page lacks for people who do not see it, or see it in
// another way: names, headings, tables with heads, and colours that can be read.
const faultsOfThePage = `(() => {
	const bad = [], name = (e) => (e.getAttribute('aria-label') || e.textContent || e.title || '').trim() || [...e.querySelectorAll('img[alt],svg[aria-label]')].map((i) => i.alt || i.getAttribute('aria-label')).join('');
	const where = (e) => e.outerHTML.slice(0, 120);
	for (const e of document.querySelectorAll('input:not([type=hidden]),select,textarea')) if (!e.labels.length && !e.getAttribute('aria-label')) bad.push('no label: ' + where(e));
	for (const e of document.querySelectorAll('a[href],button,summary')) if (!name(e)) bad.push('no name: ' + where(e));
	for (const e of document.querySelectorAll('table')) if (!e.querySelector('thead th[scope=col]')) bad.push('no heads: ' + where(e));
	for (const e of document.querySelectorAll('form button')) if (e.type !== 'submit') bad.push('does nothing without a script: ' + where(e));
	if (!document.title || !document.querySelector('main') || document.querySelectorAll('h1').length !== 1) bad.push('no title, main part or heading');
	const rgb = (s) => (s.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
	const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255, v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)); return .2126 * r + .7152 * g + .0722 * b; };
	for (const e of document.querySelectorAll('main *, header *, footer *')) {
		if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.closest('svg,.unseen,.skip,:disabled')) continue;
		let on = e, ground = [0, 0, 0, 0];
		for (; on && !(ground.length < 4 || ground[3] === 1); on = on.parentElement) { const s = getComputedStyle(on); if (s.backgroundImage.includes('gradient')) break; ground = rgb(s.backgroundColor); }
		if (on && getComputedStyle(on).backgroundImage.includes('gradient')) continue; // the palette's test has these
		const a = light(rgb(getComputedStyle(e).color).slice(0, 3)), b = light(ground.slice(0, 3)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.4) bad.push('contrast ' + ratio.toFixed(2) + ': ' + where(e));
	}
	return bad.slice(0, 8).join('\n');
})()`

// walk opens pages without scripts, one after the other in the languages by turns,
// at the widths of a small telephone and of a desk.
func walk(t *testing.T, addresses []string, signIn string) {
	ctx := browser.Open(t)
	h, base := catalogSite(t)
	h.library.ask(t)
	if signIn == "" {
		browser.NoComplaints(t, ctx)
	} else {
		browser.Do(t, ctx, chromedp.Navigate(base+"/?token="+h.token))
	}
	browser.Do(t, ctx, withoutScripts())
	for i, at := range addresses {
		if (strings.HasSuffix(at, dark) || strings.HasSuffix(at, ended) || strings.HasSuffix(at, "never-was")) && signIn == "" {
			continue // the browser complains of every page that is not 200
		}
		sep := "?"
		if containsQuery(at) {
			sep = "&"
		}
		browser.Do(t, ctx, chromedp.EmulateViewport(360, 800), scheme([]string{"light", "dark"}[i/2%2]), chromedp.Navigate(base+at+sep+"lang="+[]string{"en", "zh"}[i%2]))
		for _, width := range []int64{360, 1280} {
			if width > 360 {
				browser.Do(t, ctx, chromedp.EmulateViewport(width, 800))
			}
			if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
				t.Errorf("%s at %d px is %d px wide: %s", at, width, wide, browser.Read[string](t, ctx, `[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth && !e.closest('.scroll,.toc,pre,svg')).slice(0, 3).map((e) => e.outerHTML.slice(0, 100)).join('\n')`))
			}
		}
		if bad := browser.Read[string](t, ctx, faultsOfThePage); bad != "" {
			t.Errorf("%s: %s", at, bad)
		}
	}
}

func withoutScripts() chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return chromedp.Void{}, err
	}
}

func TestTheCatalogueIsReadWithoutAScript(t *testing.T) { walk(t, publicAddresses(), "") }

func TestTheDeskOfTheCatalogueWorksWithoutAScript(t *testing.T) {
	walk(t, stewardAddresses(), "steward")
}

// TestObjectingInABrowser files an objection by keyboard, without a script.
func TestObjectingInABrowser(t *testing.T) {
	ctx := browser.Open(t)
	_, base := catalogSite(t)
	browser.NoComplaints(t, ctx)
	browser.Do(t, ctx, withoutScripts(), chromedp.Navigate(base+"/catalog/objection/new?lang=en&dataset="+everything),
		chromedp.Focus("textarea[name=text]"), chromedp.KeyEvent("08:15 is too low"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent(kb.Enter),
		browser.Until(`document.querySelector('#secret')`), chromedp.Click(".receipt button"), browser.Until(`document.querySelector('.thread') && document.querySelector('.thread').innerText.includes('too low')`))
	if shown := browser.Read[bool](t, ctx, `location.href.includes('secret')`); shown {
		t.Error("the secret stands in the address")
	}
}
