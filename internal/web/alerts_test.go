package web

import (
	"context"
	"errors"
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

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/hubtest/browser"
)

// alertBook stands for the hub's: an alert of each kind, and what happened.
func alertBook(orders *[]SilenceOrder) AlertBook {
	return AlertBook{
		Show: func(_ context.Context, c access.Caller) (Alerts, error) {
			out := Alerts{At: noon}
			if c.Region == "99" {
				return out, errors.New("the database is closed")
			}
			of := func(id, name, state, severity string, ago time.Duration, labels ...[2]string) Alert {
				return Alert{ID: id, Name: name, State: state, Severity: severity, Value: "41.5", Runbook: "/runbooks/" + name, Since: noon.Add(-ago), Labels: labels,
					Summary: Bilingual{ZH: "设备 <b>t1</b> 离线", EN: "Device <b>t1</b> is offline"}, Description: Bilingual{EN: "`hub device show t1` says <i>why</i>"}}
			}
			out.Alerts = []Alert{
				of("a1", "DeviceOffline", "firing", "info", 2*time.Hour, [2]string{"device", "t1"}, [2]string{"region", "220100"}, [2]string{"site", "plant-a"}),
				of("a2", "RegionOffline", "firing", "page", time.Minute, [2]string{"region", "220200"}),
				of("a3", "QueueLong", "pending", "warning", 30*time.Second, [2]string{"job", "hub"}),
				of("a4", "BatteryLow", "firing", "info", 26*time.Hour, [2]string{"device", "soil-moisture-probe-with-a-long-name-0001"}),
			}
			out.Alerts[3].Silenced = true
			out.Silences = []Silence{{ID: "s-1", By: "wang", Comment: "batteries come on Monday", Matchers: []string{`alertname="BatteryLow"`}, From: noon, Until: noon.Add(48 * time.Hour)}}
			out.History = []AlertEvent{
				{Kind: "retracted", Name: "WaterRises", At: noon.Add(-2 * time.Hour), Known: noon.Add(-time.Hour), Late: true, Labels: [][2]string{{"device", "w1"}}},
				{Kind: "firing", Name: "RegionOffline", At: noon.Add(-time.Minute), Known: noon.Add(-30 * time.Second), Labels: [][2]string{{"region", "220200"}}},
			}
			if c.Region != "" {
				out.Alerts, out.Silences, out.History = nil, nil, nil
			} else {
				out.Faulty = [][2]string{{"rooms.yaml", "line 4: unclosed left parenthesis"}}
			}
			return out, nil
		},
		Silence: func(_ context.Context, _ access.Caller, o SilenceOrder) error {
			if o.Comment == "" {
				return errors.New("say why")
			}
			if orders != nil {
				*orders = append(*orders, o)
			}
			return nil
		},
		End: func(context.Context, access.Caller, string) error { return nil },
	}
}

func TestAlertsAreReadWithoutAScript(t *testing.T) {
	h := newPages(t)
	resp, body := serve(t, h, h.signedIn(t, http.MethodGet, "/alerts?lang=en"))
	if resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status)
	}
	for _, want := range []string{"Device &lt;b&gt;t1&lt;/b&gt; is offline", `href="/runbooks/DeviceOffline"`, "from late data", "retracted", "batteries come on Monday", `aria-current="page">Alerts`, "line 4: unclosed", `<small>urgent</small>`, `<code>hub device show t1</code> says &lt;i&gt;why`} {
		if !strings.Contains(body, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Index(body, `id="a2"`) > strings.Index(body, `id="a1"`) {
		t.Error("what is urgent does not come first")
	}
	if _, body := serve(t, h, h.signedIn(t, http.MethodGet, "/alerts?lang=zh")); !strings.Contains(body, "设备 &lt;b&gt;t1&lt;/b&gt; 离线") || !strings.Contains(body, "撤回：并无其事") || !strings.Contains(body, "处置手册") {
		t.Error("the page is not Chinese")
	}
	as := func(c access.Caller, method, path, form string) (*http.Response, string) {
		r := httptest.NewRequest(method, path, strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		h.inner.ServeHTTP(w, r.WithContext(access.WithCaller(r.Context(), c)))
		return w.Result(), w.Body.String()
	}
	reader := access.Caller{Name: "r", Role: access.Reader}
	if _, body := as(reader, http.MethodGet, "/alerts?lang=en", ""); strings.Contains(body, `action="/alerts/silences"`) {
		t.Error("a reader is offered to silence")
	}
	if resp, _ := as(reader, http.MethodPost, "/alerts/silences", "alert=a1&comment=x"); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a reader silences: %s", resp.Status)
	}
	if resp, body := as(access.Caller{Name: "x", Role: access.Reader, Region: "99"}, http.MethodGet, "/alerts?lang=en", ""); resp.StatusCode != http.StatusInternalServerError || !strings.Contains(body, "cannot be read") {
		t.Errorf("alerts that fail: %s", resp.Status)
	}
	if resp, _ := as(access.Caller{}, http.MethodGet, "/alerts", ""); resp.StatusCode != http.StatusUnauthorized {
		t.Errorf("a stranger: %s", resp.Status)
	}
}

func TestAnAlertIsSilencedOnItsPage(t *testing.T) {
	var orders []SilenceOrder
	h := newPages(t)
	d := h.deps
	d.AlertBook = alertBook(&orders)
	pages, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	post := func(form url.Values) *http.Response {
		r := httptest.NewRequest(http.MethodPost, "/alerts/silences", strings.NewReader(form.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		w := httptest.NewRecorder()
		pages.ServeHTTP(w, r.WithContext(access.WithCaller(r.Context(), access.Caller{Name: "o", Role: access.Operator})))
		return w.Result()
	}
	if resp := post(url.Values{"alert": {"a1"}, "of": {"name"}, "hours": {"24"}, "comment": {" works "}}); resp.StatusCode != http.StatusSeeOther {
		t.Error(resp.Status)
	}
	if want := (SilenceOrder{"a1", true, 24 * time.Hour, "works"}); len(orders) != 1 || orders[0] != want {
		t.Errorf("%+v", orders)
	}
	if resp := post(url.Values{"alert": {"a1"}, "hours": {"9999999"}}); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Error(resp.Status)
	}
}

func TestAlertsInABrowser(t *testing.T) {
	for _, width := range []int64{360, 1280} {
		ctx, entry := site(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(width, 900), chromedp.Navigate(entry+"&lang=en"), browser.Until(`document.querySelector('a[href="/alerts"]')`),
			chromedp.Navigate(base+"/alerts?lang=en"), browser.Until(`document.querySelectorAll('.alerts tbody tr').length == 4`))
		if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("at %d px the page is %d px wide", width, wide)
		}
		browser.Do(t, ctx, chromedp.Click(`.alerts summary`), browser.Until(`document.querySelector('.alerts details[open] button')`))
		if wide := browser.Read[int64](t, ctx, `document.documentElement.scrollWidth`); wide > width {
			t.Errorf("at %d px the form is %d px wide", width, wide)
		}
		browser.Do(t, ctx, chromedp.SendKeys(`.alerts details[open] input[name=comment]`, "works"), chromedp.Click(`.alerts details[open] button`), browser.Until(`location.pathname == '/alerts' && !document.querySelector('.alerts details[open]')`))
	}
}

// TestPicturesOfAlerts writes pictures into the folder that PICTURES names.
func TestPicturesOfAlerts(t *testing.T) {
	folder := os.Getenv("PICTURES")
	if folder == "" {
		t.Skip("set PICTURES to a folder to take pictures of alerts")
	}
	for _, p := range []struct {
		lang, scheme  string
		width, height int64
	}{{"en", "light", 1280, 1300}, {"zh", "dark", 1280, 1300}, {"zh", "light", 390, 2400}} {
		ctx, entry := site(t)
		base, _, _ := strings.Cut(entry, "/?")
		browser.Do(t, ctx, chromedp.EmulateViewport(p.width, p.height), scheme(p.scheme), chromedp.Navigate(entry), chromedp.Navigate(base+"/alerts?lang="+p.lang), browser.Until(`document.querySelector('.alerts')`),
			chromedp.Click(`.alerts summary`), browser.Until(`document.querySelector('.alerts details[open]')`))
		browser.Picture(t, ctx, filepath.Join(folder, fmt.Sprintf("alerts-%s-%s-%d.png", p.lang, p.scheme, p.width)))
	}
}
