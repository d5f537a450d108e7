package web

import (
	"context"
	"errors"
	"fmt"
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
)

func measuredAs(v float64) *float64 { return &v }

// corrected stands for the hub's: one of each kind, and many of one device.
func corrected() Corrections {
	all := []Correction{
		{ID: 64, Operation: "restore", Metric: "soil_moisture", Device: "soil-moisture-probe-with-a-long-name-0001", Samples: 12, By: "wang", Reason: "the gauge was right"},
		{ID: 63, Operation: "remove", Metric: "level", Device: "well", Ticket: "t-7", Samples: 1440, By: "li", Reason: "<b>out</b> of the water"},
		{ID: 62, Operation: "scale", Factor: 1.02, Offset: -0.3, Metric: "level", Device: "well", Labels: [][2]string{{"depth", "10cm"}}, Samples: 2880, By: "li", Reason: "calibration 2026-17"},
		{ID: 61, Operation: "set", Value: 3.2, Old: measuredAs(0), Metric: "level", Device: "well", Samples: 1, By: "李四", Reason: "misread by hand"},
	}
	for i := range all {
		c := &all[i]
		c.At, c.From, c.To = noon.Add(-time.Duration(i)*time.Hour), noon.Add(-72*time.Hour), noon.Add(-48*time.Hour)
	}
	all[3].To = all[3].From
	for id := int64(60); id > 0; id-- {
		all = append(all, Correction{ID: id, Operation: "set", Value: float64(id), Metric: "rain", Device: "roof", Samples: 1, By: "ops", Reason: "x", At: noon.Add(-time.Duration(100-id) * time.Hour), From: noon, To: noon})
	}
	return Corrections{
		List: func(_ context.Context, c access.Caller, q CorrectionQuery) (some []Correction, err error) {
			if c.Region == "99" {
				return nil, errors.New("the database is closed")
			}
			for _, x := range all {
				if (q.Device == "" || q.Device == x.Device) && (q.Metric == "" || q.Metric == x.Metric) && (q.Before == 0 || x.ID < q.Before) && len(some) < q.Limit {
					some = append(some, x)
				}
			}
			return some, nil
		},
		One: func(_ context.Context, c access.Caller, id int64) (s Shown, known bool, err error) {
			for _, x := range all {
				if x.ID == id {
					s.Correction, known = x, true
				}
			}
			if c.Region == "99" {
				return s, known, errors.New("the store is closed")
			}
			s.Unit = s.Device == "roof"
			for i := range 3 {
				s.Samples = append(s.Samples, CorrectedSample{At: s.From.Add(time.Duration(i) * time.Minute), Labels: [][2]string{{"region", "220100"}}, Raw: measuredAs(7.125), Before: measuredAs(0), After: nil, Now: measuredAs(7.25)})
			}
			s.More = true
			return s, known, nil
		},
	}
}

func TestCorrectionsAreReadWithoutAScript(t *testing.T) {
	h := newPages(t)
	get := func(path string) string {
		t.Helper()
		resp, body := serve(t, h, h.signedIn(t, http.MethodGet, path))
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", path, resp.Status)
		}
		return body
	}
	body := get("/corrections?lang=en")
	for _, want := range []string{`aria-current="page">Corrections`, "&lt;b&gt;out&lt;/b&gt; of the water", "value × 1.02 − 0.3", `</span>0</del> →`, `</span>3.2</ins>`, "the raw value again", "depth 10cm", `href="/corrections?before=15"`, `id="c64"`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(body, `id="c14"`) {
		t.Error("the page has more than a page")
	}
	if body := get("/corrections?lang=en&before=15"); !strings.Contains(body, `id="c14"`) || strings.Contains(body, `id="c15"`) || !strings.Contains(body, `href="/corrections"`) {
		t.Error("the second page is another")
	}
	if body := get("/corrections?lang=en&device=well&metric=level"); strings.Contains(body, "roof") || !strings.Contains(body, `value="well"`) || strings.Count(body, "<tr id=") != 3 {
		t.Error("the filter is not kept")
	}
	body = get("/corrections/62?lang=en")
	for _, want := range []string{"calibration 2026-17", "7.125", "no sample", "7.25", "There are others", `href="/corrections?device=well&amp;metric=level"`, "--as-of 2026", "released again"} {
		if !strings.Contains(body, want) {
			t.Errorf("the page of one lacks %s", want)
		}
	}
	for path, want := range map[string]string{
		"/corrections/62": `href="/?device=well&amp;metric=level"`, "/corrections/60": `href="/roads/units/roof"`, "/corrections/63": `href="/steward/objections/t-7"`, "/roads/units/rsu-01": `href="/corrections?device=rsu-01"`,
	} {
		if body := get(path); !strings.Contains(body, want) {
			t.Errorf("%s lacks %s", path, want)
		}
	}
	if body := get("/corrections/62?lang=zh"); !strings.Contains(body, "更正前") || !strings.Contains(body, "截至时点") || !strings.Contains(get("/corrections?lang=zh"), "恢复原值") {
		t.Error("the pages are not Chinese")
	}
	as := func(c access.Caller, path string) (int, string) {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		w := httptest.NewRecorder()
		h.inner.ServeHTTP(w, r.WithContext(access.WithCaller(r.Context(), c)))
		return w.Code, w.Body.String()
	}
	reader := access.Caller{Name: "r", Role: access.Reader}
	for path, code := range map[string]int{"/corrections/99": 404, "/corrections/x": 404, "/corrections?before=x": 200} {
		if is, _ := as(reader, path); is != code {
			t.Errorf("%s: %d", path, is)
		}
	}
	for _, path := range []string{"/corrections", "/corrections/62"} {
		if code, body := as(access.Caller{Name: "x", Role: access.Reader, Region: "99"}, path+"?lang=en"); code != http.StatusInternalServerError || !strings.Contains(body, "cannot be read") {
			t.Errorf("%s that fails: %d", path, code)
		}
		if code, _ := as(access.Caller{}, path); code != http.StatusUnauthorized {
			t.Errorf("a stranger at %s: %d", path, code)
		}
	}
	if _, body := as(reader, "/corrections?device=nowhere&lang=en"); !strings.Contains(body, "Nothing was corrected.") {
		t.Error("an empty list says nothing")
	}
}

func TestCorrectionsInABrowser(t *testing.T) {
	for _, width := range []int64{360, 1280} {
		ctx, entry := site(t)
		base, _, _ := strings.Cut(entry, "/?")
		fits := func() {
			t.Helper()
			if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
				t.Errorf("at %d px the page is %d px wide", width, wide)
			}
		}
		browser.Do(t, ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(entry+"&lang=en"), browser.Until(`document.querySelector('a[href="/corrections"]')`),
			chromedp.Navigate(base+"/corrections?lang=en"), browser.Until(`document.querySelectorAll('.corrections tbody tr').length == 50`))
		fits()
		browser.Do(t, ctx, chromedp.SendKeys(`input[name=device]`, "well"), chromedp.Click(`.filters button`), browser.Until(`document.querySelectorAll('.corrections tbody tr').length == 3`),
			chromedp.Click(`#c62 a`), browser.Until(`document.querySelectorAll('.values tbody tr').length == 3`))
		fits()
		browser.Do(t, ctx, chromedp.Click(`.back a`), browser.Until(`location.pathname == '/corrections'`))
	}
}

// TestPicturesOfCorrections writes pictures into the folder that PICTURES names.
func TestPicturesOfCorrections(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of corrections")
	}
	for _, p := range []struct {
		lang, scheme, path string
		width, height      int64
	}{{"en", "light", "corrections", 1280, 900}, {"zh", "dark", "corrections", 1280, 900}, {"zh", "light", "corrections", 390, 1500}, {"zh", "light", "corrections/62", 1280, 900}, {"en", "light", "corrections/62", 390, 1500}} {
		ctx, entry := site(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(p.width, p.height), scheme(p.scheme), chromedp.Navigate(entry), chromedp.Navigate(base+"/"+p.path+"?lang="+p.lang), browser.Until(`document.querySelector('.waits')`))
		browser.Picture(t, ctx, filepath.Join(folder, fmt.Sprintf("%s-%s-%s-%d.png", strings.ReplaceAll(p.path, "/", "-"), p.lang, p.scheme, p.width)))
	}
}

func TestExactLeavesOutWhatArithmeticLeft(t *testing.T) {
	x := -9.415
	for v, want := range map[float64]string{x + 0.4: "-9.015", 0.1 + 0.2: "0.3", 123456789.1234: "123456789.1234", 1e300: "1e+300", 7.125: "7.125", 0: "0"} {
		if got := exact(v); got != want {
			t.Errorf("%v is written %s, want %s", v, got, want)
		}
	}
}
