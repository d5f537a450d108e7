package web

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/hubtest/browser"
)

// record stands for the hub's: 120 entries, as one asks for them.
func record(_ context.Context, q ChangeQuery) (Changes, error) {
	base := time.Date(2026, 11, 26, 8, 0, 0, 0, time.UTC)
	kinds := []Change{
		{Actor: "ops", Role: "operator", Origin: "10.20.0.7", Action: "devices.write", Object: "device air-003", Region: "220100",
			Before: `{"region":"220100","period":"1m0s","tags":{"floor":"2","owner":"<script>alert(1)</script>"}}`,
			After:  `{"region":"220200","period":"30s","tags":{"floor":"3","room":"b"},"lat":43.88,"lon":125.32}`},
		{Actor: "admin", Role: "admin", Origin: "127.0.0.1", Action: "tokens.write", Object: "token grafana", After: `{"name":"grafana","role":"reader","region":"2201"}`},
		{Actor: "models.dir", Origin: "/etc/songhua/models/air.yaml", Action: "models.write", Object: "model acme/air-9", Before: `{"id":"acme/air-9","metrics":[{"name":"pm2_5_ug_m3"}]}`},
		{Actor: "ops", Role: "operator", Origin: "10.20.0.7", Action: "sessions.sign_in", Object: "token ops"},
	}
	out := Changes{Key: "songhua-audit-0011223344556677+5d4dc62d+AZ1rLKhFSYBXUvs7ZQQr6Qg1K5Me6nS7tWJ3Xv5c0Y1N", Signed: 119, SignedAt: base.Add(time.Hour), Verified: base.Add(2 * time.Hour)}
	if q.Actor == "broken" {
		out.Problem = "entry 7 (devices.write of device t7 by eve) was changed: its hash is not that of what it says"
	}
	for n := int64(120); n > 0 && len(out.Items) < q.Limit; n-- {
		c := kinds[n%4]
		c.Seq, c.At = n, base.Add(time.Duration(n)*time.Minute)
		if (q.Before == 0 || n < q.Before) && (q.Actor == "" || q.Actor == c.Actor) && strings.Contains(c.Object, q.Object) && strings.HasPrefix(c.Region, q.Region) &&
			(q.Since.IsZero() || !c.At.Before(q.Since)) {
			out.Items = append(out.Items, c)
		}
	}
	return out, nil
}

func TestTheRecordIsReadWithoutAScript(t *testing.T) {
	h := newPages(t)
	resp, body := serve(t, h, h.signedIn(t, http.MethodGet, "/audit?lang=en"))
	if resp.StatusCode != http.StatusOK || strings.Count(body, "<tr id=") != changesPerPage {
		t.Fatalf("%s, %d rows", resp.Status, strings.Count(body, "<tr id="))
	}
	for _, want := range []string{
		`<del><span class="unseen">before: </span>220100</del><ins><span class="unseen">after: </span>220200</ins>`,
		`<code>tags.floor</code>`, `/etc/songhua/models/air.yaml`, `Signed up to entry <b>119</b>`, "songhua-audit-0011223344556677&#43;", `Verified and intact`,
		`href="/api/v1/audit/export"`, `href="/audit?before=71"`, `href="/audit?lang=zh"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(body, "<script") {
		t.Error("the page has a script, or a value became one")
	}
	q := url.Values{"since": {time.Date(2026, 11, 26, 8, 30, 0, 0, time.UTC).Local().Format(formTime)}, "actor": {"ops"}, "object": {"air-003"}, "lang": {"zh"}}
	_, body = serve(t, h, h.signedIn(t, http.MethodGet, "/audit?"+q.Encode()))
	if n := strings.Count(body, "<tr id="); n != 23 || !strings.Contains(body, "变更记录") || !strings.Contains(body, "export?actor=ops&amp;object=air-003&amp;since=2026-11-26T08%3A30%3A00Z") || !strings.Contains(body, `name="actor" value="ops"`) {
		t.Errorf("filtered: %d rows\n%s", n, body)
	}
	if resp, body = serve(t, h, h.signedIn(t, http.MethodGet, "/audit?lang=en&since=yesterday")); resp.StatusCode != http.StatusBadRequest || !strings.Contains(body, "A time cannot be read") {
		t.Errorf("%s", resp.Status)
	}
	if _, body = serve(t, h, h.signedIn(t, http.MethodGet, "/audit?lang=en&actor=broken")); !strings.Contains(body, "entry 7 (devices.write") || !strings.Contains(body, "No change matches") {
		t.Errorf("damage is not shown")
	}
}

func TestWhoMayReadTheRecord(t *testing.T) {
	h := newPages(t)
	if resp, body := serve(t, h, httptest.NewRequest(http.MethodGet, "/audit", nil)); resp.StatusCode != http.StatusUnauthorized || strings.Contains(body, "air-003") {
		t.Errorf("a stranger: %s", resp.Status)
	}
	as := func(c access.Caller) (*http.Response, string) {
		r := httptest.NewRequest(http.MethodGet, "/audit?lang=en", nil)
		return serve(t, h.inner, r.WithContext(access.WithCaller(r.Context(), c)))
	}
	if resp, body := as(access.Caller{Name: "eye", Role: access.Reader}); resp.StatusCode != http.StatusForbidden || strings.Contains(body, "air-003") || !strings.Contains(body, "takes one of: admin") {
		t.Errorf("a reader: %s", resp.Status)
	}
	if resp, body := as(access.Caller{Name: "jl", Role: access.Admin, Region: "2201"}); resp.StatusCode != http.StatusOK || !strings.Contains(body, "air-003") || strings.Contains(body, "grafana") {
		t.Errorf("an admin of a region: %s", resp.Status)
	}
}

func TestDifferences(t *testing.T) {
	for _, c := range []struct {
		before, after string
		want          []delta
	}{
		{``, ``, nil},
		{`{"a":1}`, `{"a":1}`, nil},
		{`{"a":1,"b":"x"}`, `{"a":2,"b":"x"}`, []delta{{"a", "1", "2", false, false}}},
		{``, `{"a":{"b":[true,"y"]}}`, []delta{{"a.b.0", "", "true", false, true}, {"a.b.1", "", "y", false, true}}},
		{`{"a":12345678901234567890}`, `{"a":null}`, []delta{{"a", "12345678901234567890", "", true, false}}},
		{`not JSON`, `"text"`, []delta{{"", "not JSON", "text", false, false}}},
		{``, `"` + strings.Repeat("长", 200) + `"`, []delta{{"", "", strings.Repeat("长", maxShown) + "…", false, true}}},
	} {
		if diff := cmp.Diff(c.want, difference(c.before, c.after), cmp.AllowUnexported(delta{})); diff != "" {
			t.Errorf("%s → %s (-want +got):\n%s", c.before, c.after, diff)
		}
	}
}

func TestTheRecordInABrowser(t *testing.T) {
	for _, width := range []int64{360, 1280} {
		ctx, entry := site(t, chromedp.WindowSize(int(width), 900))
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(entry+"&lang=en"), browser.Until(`document.querySelector('a[href="/audit"]')`),
			chromedp.Navigate(base+"/audit?lang=en"), browser.Until(`document.querySelectorAll('.changes tbody tr').length > 1`))
		if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("at %d px the page is %d px wide", width, wide)
		}
		unnamed := browser.Read[string](t, ctx, `[...document.querySelectorAll('input, select')].filter((e) => !e.labels.length).map((e) => e.name).join()`)
		if unnamed != "" {
			t.Errorf("fields without a label: %s", unnamed)
		}
		browser.Do(t, ctx, chromedp.Focus("input[name=actor]"), chromedp.KeyEvent("admin"), enterKey, browser.Until(`location.search.includes('actor=admin') && document.querySelectorAll('.changes tbody tr').length > 0`))
		if others := browser.Read[int](t, ctx, `[...document.querySelectorAll('.changes tbody tr td:nth-child(3)')].filter((e) => !e.textContent.startsWith('admin')).length`); others != 0 {
			t.Errorf("%d rows of others", others)
		}
	}
}

// enterKey presses Enter as a person does, so that the form is sent.
func enterKey(ctx context.Context, t *chromedp.Target) (chromedp.Void, error) {
	return chromedp.KeyEvent("\r")(ctx, t)
}

// TestPicturesOfTheRecord writes pictures into the folder that PICTURES names.
func TestPicturesOfTheRecord(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of the record")
	}
	for _, p := range []struct {
		lang, scheme  string
		width, height int64
	}{{"en", "light", 1280, 1000}, {"zh", "light", 1280, 1000}, {"en", "dark", 1280, 1000}, {"zh", "light", 390, 1400}} {
		ctx, entry := site(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(p.width, p.height), scheme(p.scheme), chromedp.Navigate(entry), chromedp.Navigate(base+"/audit?lang="+p.lang), browser.Until(`document.querySelector('.changes, .empty')`))
		browser.Picture(t, ctx, filepath.Join(folder, fmt.Sprintf("audit-%s-%s-%d.png", p.lang, p.scheme, p.width)))
	}
}
