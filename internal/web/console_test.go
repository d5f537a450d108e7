package web

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/hubtest/browser"
	"github.com/songhua-io/hub/internal/hubtest/issuer"
	"github.com/songhua-io/hub/internal/login"
)

// answers stands for the API: the same shapes, made-up values.
func answers() http.Handler {
	mux := http.NewServeMux()
	reply := func(pattern string, f func(*http.Request) any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(f(r))
		})
	}
	device := func(i int) map[string]any {
		id := fmt.Sprintf("air-%03d", i)
		return map[string]any{"id": id, "kind": "sensor", "site": "nanhu", "region": "220100", "period": "1m0s", "series": 6,
			"tags": map[string]string{"name_en": "Nanhu Park, air station " + id, "name_zh": "南湖公园空气站 " + id}, "last_seen": time.Now().Add(-20 * time.Second),
			"presence": map[string]any{"state": []string{"online", "late", "offline", "never"}[i%4], "reason": "reports"}}
	}
	reply("GET /api/v1/stats", func(*http.Request) any {
		return map[string]any{"samples_per_second": 61.25, "rejects_per_second": 0.05, "series": 1234, "connections": 7, "devices": map[string]any{
			"total": 30, "presence": map[string]int{"online": 25, "late": 2, "offline": 2, "never": 1}, "kinds": map[string]any{"sensor": map[string]int{"online": 25, "late": 2, "offline": 2, "never": 1}}}}
	})
	reply("GET /api/v1/devices", func(r *http.Request) any {
		all := []any{}
		for i := range 30 {
			if d := device(i); strings.Contains(d["id"].(string), r.URL.Query().Get("q")) {
				all = append(all, d)
			}
		}
		limit, _ := strconv.Atoi(r.URL.Query().Get("limit"))
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		page := map[string]any{"items": all[from:min(from+limit, len(all))]}
		if from+limit < len(all) {
			page["next_cursor"] = strconv.Itoa(from + limit)
		}
		return page
	})
	reply("GET /api/v1/devices/{id}", func(r *http.Request) any {
		i, _ := strconv.Atoi(strings.TrimPrefix(r.PathValue("id"), "air-"))
		return device(i)
	})
	reply("GET /api/v1/sites", func(*http.Request) any {
		return map[string]any{"items": []any{map[string]any{"id": "nanhu", "names": map[string]string{"en": "Nanhu Park", "zh": "南湖公园"}}}}
	})
	reply("GET /api/v1/rejects", func(*http.Request) any {
		return map[string]any{"items": []any{map[string]any{"id": "1", "at": time.Now().Add(-90 * time.Second), "device": "air-003", "stage": "validate", "reason": "time_future", "detail": "14m0s ahead"}}}
	})
	data := func(d any) any { return map[string]any{"status": "success", "data": d} }
	reply("GET /prometheus/api/v1/label/{name}/values", func(r *http.Request) any {
		if r.PathValue("name") == "device" {
			return data([]string{"air-001", "air-002", "air-003"})
		}
		return data([]string{"air_temperature_celsius", "pm2_5_ug_m3", "hub_ingest_samples_total"})
	})
	reply("GET /prometheus/api/v1/metadata", func(*http.Request) any {
		return data(map[string]any{"air_temperature_celsius": []any{map[string]string{"type": "gauge", "unit": "Cel"}}})
	})
	labels := func(i int) map[string]string {
		return map[string]string{"__name__": "air_temperature_celsius", "device": fmt.Sprintf("air-%03d", i), "kind": "sensor", "site": "nanhu", "region": "220100"}
	}
	reply("GET /prometheus/api/v1/query", func(r *http.Request) any {
		if strings.HasPrefix(r.URL.Query().Get("query"), "count") {
			return data(map[string]any{"resultType": "vector", "result": []any{map[string]any{"metric": map[string]string{}, "value": []any{0, "30"}}}})
		}
		result := []any{}
		for i := range 12 {
			result = append(result, map[string]any{"metric": labels(i), "value": []any{0, "1"}})
		}
		return data(map[string]any{"resultType": "vector", "result": result})
	})
	reply("GET /prometheus/api/v1/query_range", func(r *http.Request) any {
		q := r.URL.Query()
		start, _ := strconv.ParseFloat(q.Get("start"), 64)
		end, _ := strconv.ParseFloat(q.Get("end"), 64)
		step, _ := strconv.ParseFloat(q.Get("step"), 64)
		n := 12
		switch {
		case strings.Contains(q.Get("query"), "nothing"):
			n = 0
		case strings.Contains(q.Get("query"), "hub_"), strings.Contains(q.Get("query"), `device=~"air-003"`):
			n = 1
		}
		result := []any{}
		for i := range n {
			values := []any{}
			for k, t := 0, start; t <= end; k, t = k+1, t+step {
				if k > 40 && k < 60 && i == 3 {
					continue // a gap
				}
				values = append(values, []any{t, fmt.Sprint(10 + float64(i) + 3*math.Sin(t/3000))})
			}
			result = append(result, map[string]any{"metric": labels(i), "values": values})
		}
		return data(map[string]any{"resultType": "matrix", "result": result})
	})
	return mux
}

// site is a browser, and the address by which it signs in to the pages and the
// API of a test.
func site(t *testing.T, flags ...chromedp.ExecAllocatorOption) (context.Context, string) {
	t.Helper()
	ctx := browser.Open(t, flags...)
	browser.NoComplaints(t, ctx)
	if at := os.Getenv("HUB_URL"); at != "" {
		return ctx, at + "/?token=" + os.Getenv("HUB_TOKEN")
	}
	mux, house := http.NewServeMux(), newPages(t)
	mux.Handle("/", house)
	mux.Handle("/api/", answers())
	mux.Handle("/prometheus/", answers())
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return ctx, server.URL + "/?token=" + house.token
}

func open(t *testing.T, ctx context.Context, entry, query string) {
	t.Helper()
	browser.Do(t, ctx, chromedp.Navigate(entry+query), drawn())
}

// drawn waits for the chart and its legend.
func drawn() chromedp.Action[chromedp.Void] {
	return browser.Until(`document.querySelector('#plot canvas') && document.querySelectorAll('#legend button').length > 0`)
}

func TestTheChartDrawsPixels(t *testing.T) {
	ctx, entry := site(t)
	open(t, ctx, entry, "&lang=en")
	browser.Do(t, ctx, browser.Until(`(() => {
		const c = document.querySelector('#plot canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
		let n = 0;
		for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 128 && Math.max(d[i], d[i+1], d[i+2]) - Math.min(d[i], d[i+1], d[i+2]) > 60) n++;
		return n >= 500; // coloured pixels
	})()`))
	browser.Do(t, ctx, browser.Until(`document.querySelector('#n-all').textContent !== '–'`))
	address, note := browser.Read[string](t, ctx, `location.href`), browser.Read[string](t, ctx, `document.querySelector('#plot-note').textContent`)
	if strings.Contains(address, "token") {
		t.Errorf("the token stays in the address: %s", address)
	}
	if !strings.Contains(note, "12") {
		t.Errorf("note %q", note)
	}
}

func TestSwitchingTheLanguageKeepsTheChoice(t *testing.T) {
	ctx, entry := site(t)
	open(t, ctx, entry, "&lang=en&range=3600")
	browser.Do(t, ctx, chromedp.Click("#language"), drawn(), browser.Until(`document.documentElement.lang === 'zh-CN' && document.title.includes('松花')`))
	browser.Do(t, ctx, browser.Until(`document.querySelector('input[name=range]:checked').value === '3600'`))
	if title := browser.Read[string](t, ctx, `document.querySelector('#chart-title').textContent`); title != "实时曲线" {
		t.Errorf("the chart is titled %q", title)
	}
}

func TestChoosingAMetricByKeyboard(t *testing.T) {
	ctx, entry := site(t)
	open(t, ctx, entry, "&lang=en")
	browser.Do(t, ctx, chromedp.Focus("#pick-metric button"), chromedp.KeyEvent(kb.ArrowDown), browser.Until(`document.querySelectorAll('#pick-metric [role=option]').length > 2`),
		chromedp.KeyEvent("samples ingest total"), browser.Until(`document.querySelectorAll('#pick-metric [role=option]').length < 4`),
		enter, browser.Until(`document.querySelector('#pick-metric b').textContent.includes('samples_total')`),
		browser.Until(`document.querySelector('#plot-query').textContent.startsWith('rate(')`), drawn(),

		browser.Until(`document.activeElement === document.querySelector('#pick-metric button')`))
	browser.Do(t, ctx, chromedp.KeyEvent(kb.Enter), browser.Until(`!document.querySelector('#pick-metric .popover').hidden`), chromedp.KeyEvent(kb.Escape),
		browser.Until(`document.querySelector('#pick-metric .popover').hidden`))
	if value := browser.Read[string](t, ctx, `location.search`); !strings.Contains(value, "samples_total") {
		t.Errorf("the choice is not in the address: %s", value)
	}
}

// enter presses the key without the character that would follow it: a browser
// does not send that when the page has handled the key.
func enter(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	_, err := cdp.Call(ctx, t, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeRawKeyDown, Key: "Enter", Code: "Enter", WindowsVirtualKeyCode: 13})
	return chromedp.Void{}, err
}

func TestADeviceOfTheListGoesToTheChart(t *testing.T) {
	ctx, entry := site(t)
	open(t, ctx, entry, "&lang=en")
	browser.Do(t, ctx, browser.Until(`document.querySelectorAll('#devices tr').length > 5`),
		chromedp.Focus("#find"), chromedp.KeyEvent("air-003"),
		browser.Until(`document.querySelectorAll('#devices tr').length === 1`),
		chromedp.Click("#devices button"), browser.Until(`document.querySelectorAll('#legend button').length >= 1 && location.search.includes('device=air-003')`),
		browser.Until(`document.querySelector('#legend').textContent.toLowerCase().includes('air')`))
}

func TestNarrowScreensDoNotScrollSideways(t *testing.T) {
	for _, width := range []int64{360, 640, 1000} {
		ctx, entry := site(t, chromedp.WindowSize(int(width), 800))
		browser.Do(t, ctx, chromedp.EmulateViewport(width, 800))
		open(t, ctx, entry, "&lang=en")
		if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("at %d px the page is %d px wide", width, wide)
		}
	}
}

// TestTheConsoleCanBeReadByAll: names, a heading, heads of tables, and colours.
func TestTheConsoleCanBeReadByAll(t *testing.T) {
	for _, colours := range []string{"light", "dark"} {
		ctx, entry := site(t)
		browser.Do(t, ctx, scheme(colours))
		open(t, ctx, entry, "&lang=en")
		if bad := browser.Read[string](t, ctx, faultsOfThePage); bad != "" {
			t.Errorf("%s: %s", colours, bad)
		}
	}
}

// scheme asks for light or dark pages.
func scheme(value string) chromedp.Action[chromedp.Void] {
	return func(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
		_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: value}}})
		return chromedp.Void{}, err
	}
}

// TestPictures writes pictures of the console into the folder that PICTURES
// names: make them against a running demo (HUB_URL, HUB_TOKEN).
func TestPictures(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of the console")
	}
	for _, p := range []struct {
		name, query, scheme string
		width, height       int64
	}{
		{"console-en", "&lang=en", "light", 1280, 1180}, {"console-zh", "&lang=zh", "light", 1280, 1180},
		{"console-en-dark", "&lang=en&group=region", "dark", 1280, 1180}, {"console-zh-phone", "&lang=zh", "light", 390, 1900},
	} {
		ctx, entry := site(t)
		browser.Do(t, ctx, chromedp.EmulateViewport(p.width, p.height), scheme(p.scheme))
		open(t, ctx, entry, p.query+os.Getenv("PICTURES_QUERY"))
		browser.Do(t, ctx, browser.Until(`document.querySelectorAll('#devices tr').length > 5 && document.querySelector('#spark-samples canvas')`))
		browser.Picture(t, ctx, filepath.Join(folder, p.name+".png"))
	}
	at := os.Getenv("HUB_URL")
	if at == "" {
		return // the catalogue has its own, of made-up datasets
	}
	for _, p := range []struct {
		name, path string
		high       int64
	}{
		{"catalogue-en", "/catalog?lang=en", 960}, {"catalogue-zh", "/catalog?lang=zh", 960},
		{"dataset-en", "/catalog/dataset/road-flow?lang=en", 1340}, {"dataset-zh", "/catalog/dataset/road-flow?lang=zh", 1340},
	} {
		ctx := browser.Open(t) // as the public sees it
		browser.Do(t, ctx, chromedp.EmulateViewport(1280, p.high), scheme("light"), chromedp.Navigate(at+p.path), browser.Until(`document.readyState === 'complete'`))
		browser.Picture(t, ctx, filepath.Join(folder, p.name+".png"))
	}
}

// TestPicturesOfSigningIn is TestPictures of the page before the console.
func TestPicturesOfSigningIn(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of the page to sign in")
	}
	idp := issuer.Start(t)
	h := newPages(t, func(_ *access.PagesConfig, c *login.Config) {
		c.Issuer, c.Label, c.ClientID = idp.URL, "Jilin Road ID", "hub"
		c.Grants = []login.Grant{{Claim: "groups", Value: "x", Role: access.Reader}}
	})
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	for _, p := range []struct {
		name, path, scheme string
		width, height      int64
	}{
		{"signin-en", "/signin?lang=en", "light", 1280, 800}, {"signin-zh", "/signin?lang=zh", "light", 1280, 800},
		{"signin-zh-dark-fault", "/?token=wrong&lang=zh", "dark", 1280, 900}, {"signin-en-phone", "/signin?lang=en", "light", 390, 780},
	} {
		ctx := browser.Open(t)
		browser.Do(t, ctx, chromedp.EmulateViewport(p.width, p.height), scheme(p.scheme), chromedp.Navigate(server.URL+p.path), browser.Until(`document.querySelector('#issuer')`))
		browser.Picture(t, ctx, filepath.Join(folder, p.name+".png"))
	}
	idp.Stop()
	ctx := browser.Open(t)
	browser.Do(t, ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(server.URL+"/signin/oidc?lang=en&again"))
	browser.Picture(t, ctx, filepath.Join(folder, "signin-en-begun.png"))
}
