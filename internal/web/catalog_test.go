package web

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/register"
)

// get asks as a stranger.
func get(t *testing.T, h http.Handler, path, lang string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept-Language", lang)
	return serve(t, h, r)
}

// post sends a form as a stranger, from the page itself.
func post(t *testing.T, h http.Handler, path string, fields ...string) (*http.Response, string) {
	t.Helper()
	return serve(t, h, formOf(path, fields...))
}

func formOf(path string, fields ...string) *http.Request {
	form := url.Values{}
	for i := 0; i < len(fields); i += 2 {
		form.Add(fields[i], fields[i+1])
	}
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "same-origin")
	r.Header.Set("Accept-Language", "en")
	return r
}

// as makes a request one of somebody with a role.
func (h *house) as(t *testing.T, role access.Role, region string, r *http.Request) *http.Request {
	t.Helper()
	return r.WithContext(access.WithCaller(r.Context(), access.Caller{Name: "of-" + string(role), Role: role, Region: region, Grade: 3}))
}

// publicAddresses are pages that everybody may open, by what they show.
func publicAddresses() []string {
	return []string{
		"/catalog", "/catalog?q=soil", "/catalog?q=zzz&open=none", "/catalog/dataset/" + everything, "/catalog/dataset/" + everything + "?item=speed&releases=all", "/catalog/dataset/" + nothing,
		"/catalog/dataset/" + asked2, "/catalog/dataset/" + shut, "/catalog/dataset/" + dark, "/catalog/dataset/" + ended, "/catalog/dataset/never-was",
		"/catalog/dataset/" + everything + "/release/16", "/catalog/dataset/" + everything + "/release/16?against=3", "/catalog/dataset/" + everything + "/release/15?against=1", "/catalog/dataset/" + shut + "/release/1", "/catalog/dataset/" + asked2 + "/release/1",
		"/catalog/provider/91220101MA00000000", "/catalog/service/sensorthings", "/catalog/class/交通", "/catalog/class/交通/道路运行", "/catalog/law", "/catalog/law/吉林省大数据条例/第三十三条第五款", "/catalog/about",
		"/catalog/dataset/" + asked2 + "/apply", "/catalog/objection/new?dataset=" + everything, "/catalog/objection/new", "/catalog/objection",
	}
}

// stewardAddresses are those of who keeps the catalogue.
func stewardAddresses() []string {
	return []string{
		"/steward", "/steward?state=draft&q=桥", "/steward/new", "/steward/datasets/half-written", "/steward/datasets/waits-for-review", "/steward/datasets/" + everything, "/steward/datasets/" + ended,
		"/steward/applications", "/steward/applications?state=overdue", "/steward/applications/g-1", "/steward/applications/g-2", "/steward/applications/g-3", "/steward/objections", "/steward/objections?state=answered", "/steward/objections/t-1", "/steward/objections/t-2",
		"/catalog/applications", "/catalog/applications/g-1", "/catalog/applications/g-3", "/catalog/dataset/" + asked2 + "/apply", "/catalog/dataset/" + everything,
	}
}

// sound checks what every page must have: one language, one title, headings in
// order, names for what can be filled in or pressed, ids that are there once, no
// text that is missing, nothing from elsewhere and no style that the policy bans.
func sound(t *testing.T, at, body, tag string) {
	t.Helper()
	bad := func(format string, args ...any) { t.Errorf("%s (%s): %s", at, tag, fmt.Sprintf(format, args...)) }
	if !strings.Contains(body, `<html lang="`+tag+`">`) {
		bad("is in another language")
	}
	if n := strings.Count(body, "<h1"); n != 1 {
		bad("has %d main headings", n)
	}
	last := 0
	for _, m := range regexp.MustCompile(`<h([1-6])`).FindAllStringSubmatch(body, -1) {
		level := int(m[1][0] - '0')
		if level > last+1 {
			bad("has a heading %d after one of %d", level, last)
		}
		last = level
	}
	for _, banned := range []string{"style=", "<script", "<no value>", "%!", "ZgotmplZ", " href=\"\"", "javascript:"} {
		if strings.Contains(body, banned) {
			bad("has %q: %.200s", banned, body[max(0, strings.Index(body, banned)-80):])
		}
	}
	for _, m := range regexp.MustCompile(`<(h[1-6]|a|button|label|legend|th|dt|summary)\b[^>]*>\s*</(?:h[1-6]|a|button|label|legend|th|dt|summary)>`).FindAllString(body, -1) {
		bad("has something without words: %s", m)
	}
	ids := map[string]bool{}
	for _, m := range regexp.MustCompile(` id="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if ids[m[1]] {
			bad("has the id %q twice", m[1])
		}
		ids[m[1]] = true
	}
	for _, m := range regexp.MustCompile(`aria-(?:labelledby|describedby)="([^"]*)"|<label[^>]* for="([^"]*)"`).FindAllStringSubmatch(body, -1) {
		if id := m[1] + m[2]; !ids[id] {
			bad("names %q, which is not there", id)
		}
	}
	for _, m := range regexp.MustCompile(`<(?:svg|img)\b[^>]*>`).FindAllString(body, -1) {
		if !strings.Contains(m, "aria-hidden") && !strings.Contains(m, "aria-label") && !strings.Contains(m, "alt=") && !strings.Contains(m, `viewBox="0 0 1000 1000"`) {
			bad("has a picture without words: %s", m)
		}
	}
}

// TestEveryPageOfTheCatalogue opens every page in both languages.
func TestEveryPageOfTheCatalogue(t *testing.T) {
	h := newPages(t)
	h.library.ask(t)
	for _, lang := range []string{"en", "zh-CN"} {
		for _, at := range publicAddresses() {
			resp, body := get(t, h, at, lang)
			want := http.StatusOK
			switch {
			case strings.HasSuffix(at, ended):
				want = http.StatusGone
			case strings.HasSuffix(at, dark):
				want = http.StatusServiceUnavailable
			case strings.HasSuffix(at, "never-was"):
				want = http.StatusNotFound
			}
			if resp.StatusCode != want {
				t.Errorf("%s: %s", at, resp.Status)
			}
			if len(body) > 64<<10 {
				t.Errorf("%s has %d bytes", at, len(body))
			}
			sound(t, at, body, lang)
		}
		for _, at := range stewardAddresses() {
			r := h.as(t, access.Steward, "", httptest.NewRequest(http.MethodGet, at, nil))
			r.Header.Set("Accept-Language", lang)
			resp, body := serve(t, h.inner, r)
			if resp.StatusCode != http.StatusOK || resp.Header.Get("Cache-Control") != "private, no-cache" {
				t.Errorf("%s: %s, %s", at, resp.Status, resp.Header.Get("Cache-Control"))
			}
			sound(t, at, body, lang)
		}
	}
}

// TestWhatCannotBeReadLeavesThePage: rows, reports and qualities that fail leave
// the rest of the page as it is.
func TestWhatCannotBeReadLeavesThePage(t *testing.T) {
	h := newPages(t)
	h.library.broken = true
	for _, at := range []string{"/catalog/dataset/" + everything, "/catalog/dataset/" + everything + "/release/16", "/catalog"} {
		resp, body := get(t, h, at, "en")
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s", at, resp.Status)
		}
		sound(t, at, body, "en")
	}
	// and a hub in which nobody makes releases
	bare := newLibraryPages(t, func(c *Catalogue) { c.Rows, c.Privacy, c.Quality, c.Difference = nil, nil, nil, nil })
	for _, at := range publicAddresses() {
		_, body := get(t, bare, at, "zh-CN")
		sound(t, at, body, "zh-CN")
	}
	empty := newLibraryPages(t, func(c *Catalogue) { c.Snapshot = func() *catalog.Snapshot { return nobody } })
	if resp, body := get(t, empty, "/catalog", "en"); resp.StatusCode != 200 || !strings.Contains(body, "No dataset has been published yet") {
		t.Errorf("an empty catalogue: %s", resp.Status)
	}
}

var nobody = catalog.NewSnapshot(1, nil, nil)

func newLibraryPages(t *testing.T, change func(*Catalogue)) http.Handler {
	t.Helper()
	h := newPages(t)
	c := h.library.catalogue()
	change(&c)
	return h.with(t, c)
}

func TestADatasetShowsAllThereIsOfIt(t *testing.T) {
	_, body := get(t, newPages(t), "/catalog/dataset/"+everything, "en")
	for what, part := range map[string]string{
		"title": "Traffic flow and speed on Changchun&#39;s main roads</h1>", "the other language": `lang="zh-CN">长春市主干路交通流量与速度`, "a file": `href="/catalog/dataset/road-flow-changchun/release/16/data.csv" download`,
		"a line": `<path class="c0" d="M`, "what the chart says": `role="img" aria-label="Line chart of Flow from 2026-09-17 00:00`, "a row": "人民大街北段</td>", "a unit": "km/h",
		"the map": `<rect class="area"`, "a tile": `href="/catalog/basemap/`, "quality": "98.2%", "what does not hold": "does not hold", "the law": "属于无条件开放的公共数据，可以提供给所有自然人、法人和其他组织使用。",
		"the law's page": `href="/catalog/law/`, "k": "at least 10 different contributors", "that the report is right": "checked just now", "what was replaced": "replaced by version 16", "why": "Data of three roadside units came late",
		"a call": "curl -O https://data.example.gov.cn/catalog/dataset/road-flow-changchun/release/16/data.csv", "RDF": "Accept: text/turtle", "CKAN": "package_show?id=road-flow-changchun", "BibTeX": "@misc{road-flow-changchun", "contact": `href="tel:0431-88888888"`,
		"the licence": `rel="license">CC BY 4.0`, "objecting": `/catalog/objection/new?dataset=road-flow-changchun`, "related": "Live signals of the bus corridor", "the grade's signature": "signed by 李敏",
	} {
		if !strings.Contains(body, part) {
			t.Errorf("%s is missing: %q", what, part)
		}
	}
}

// TestWhatIsNotFreeIsNotShown: no row of what takes a grant, and no file of what
// is not open.
func TestWhatIsNotFreeIsNotShown(t *testing.T) {
	h := newPages(t)
	for _, id := range []string{asked2, shut} {
		for _, at := range []string{"/catalog/dataset/" + id, "/catalog/dataset/" + id + "/release/1"} {
			_, body := get(t, h, at, "en")
			if strings.Contains(body, "人民大街北段") || strings.Contains(body, `class="rows"`) {
				t.Errorf("%s shows rows", at)
			}
			if files := strings.Contains(body, `class="file" href="/catalog/dataset/`); files != (id == asked2) {
				t.Errorf("%s: files are there: %v", at, files)
			}
			if !strings.Contains(body, "/apply") {
				t.Errorf("%s does not say how to apply", at)
			}
		}
	}
	// what is suspended is shut at once, whatever the snapshot still has
	if _, err := h.library.Suspend(t.Context(), everything, 0, "raised · 定级提高"); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{"/catalog/dataset/" + everything, "/catalog/dataset/" + everything + "/release/16", "/catalog/dataset/" + everything + "/apply"} {
		if resp, body := get(t, h, at, "en"); resp.StatusCode != http.StatusServiceUnavailable || strings.Contains(body, "人民大街北段") || !strings.Contains(body, "raised · 定级提高") {
			t.Errorf("suspended: %s", resp.Status)
		}
	}
}

// TestWhoKeepsADatasetSeesItsRows, whatever others may: a steward looks at what was
// released before somebody else does.
func TestWhoKeepsADatasetSeesItsRows(t *testing.T) {
	h := newPages(t)
	for _, id := range []string{asked2, shut} {
		_, body := serve(t, h, h.signedIn(t, http.MethodGet, "/catalog/dataset/"+id))
		if !strings.Contains(body, `class="rows"`) || !strings.Contains(body, "because you keep this dataset") {
			t.Errorf("%s shows its keeper no rows, or does not say that they are not public", id)
		}
	}
	if _, body := serve(t, h, h.signedIn(t, http.MethodGet, "/catalog/dataset/"+everything)); strings.Contains(body, "because you keep this dataset") {
		t.Error("rows that everybody may have are told to be kept")
	}
}

func TestTextOfDatasetsIsNoMarkup(t *testing.T) {
	h := newPages(t)
	e := *h.library.snapshot.Find("river-level")
	d := *e.Dataset
	d.Title, d.Abstract = catalog.Text{ZH: `<script>alert(1)</script>`, EN: `"><img src=x onerror=alert(1)>`}, catalog.Text{ZH: `<b>粗</b>`}
	d.Keywords, d.Licence, d.Contact.Email = []catalog.Text{{ZH: `'"><i>`}}, "javascript:alert(1)", `x" onfocus="alert(1)`
	e.Dataset = &d
	h.library.snapshot = catalog.NewSnapshot(8, []*catalog.Entry{&e}, nil)
	for _, at := range []string{"/catalog", "/catalog?q=%22%3E%3Cscript%3E", "/catalog/dataset/river-level"} {
		_, body := get(t, h, at, "en")
		for _, markup := range []string{"<script", "<img src=x", "<b>粗", `'"><i>`, `="javascript:`, `" onfocus`} {
			if strings.Contains(body, markup) {
				t.Errorf("%s has %q", at, markup)
			}
		}
	}
}

func TestPagesAreKept(t *testing.T) {
	h := newPages(t)
	resp, _ := get(t, h, "/catalog", "en")
	tag := resp.Header.Get("ETag")
	if tag == "" || resp.Header.Get("Cache-Control") != "public, max-age=60" || !strings.Contains(resp.Header.Get("Vary"), "Accept-Language") {
		t.Fatalf("%v", resp.Header)
	}
	r := httptest.NewRequest(http.MethodGet, "/catalog", nil)
	r.Header.Set("Accept-Language", "en")
	r.Header.Set("If-None-Match", tag)
	if again, body := serve(t, h, r); again.StatusCode != http.StatusNotModified || body != "" {
		t.Errorf("unchanged: %s with %d bytes", again.Status, len(body))
	}
	r.Header.Set("Accept-Language", "zh")
	if other, _ := serve(t, h, r); other.StatusCode != http.StatusOK {
		t.Errorf("in another language: %s", other.Status)
	}
	signed := h.signedIn(t, http.MethodGet, "/catalog")
	if own, body := serve(t, h, signed); own.Header.Get("Cache-Control") != "private, no-cache" || !strings.Contains(body, "ops") {
		t.Errorf("of who is signed in: %v", own.Header)
	}
	if chosen, _ := get(t, h, "/catalog?lang=zh", "en"); strings.Contains(chosen.Header.Get("Cache-Control"), "public") {
		t.Error("a page that sets a cookie may be kept by others")
	}
}

func TestSearchingNarrows(t *testing.T) {
	h := newPages(t)
	_, body := get(t, h, "/catalog?q=墒情", "zh-CN")
	if !strings.Contains(body, "示范农场土壤墒情") || strings.Contains(body, "松花江水位</a>") {
		t.Error("墒情 finds something else")
	}
	_, body = get(t, h, "/catalog?theme=交通&open=conditional&sort=name", "en")
	if !strings.Contains(body, "Live signals of the bus corridor") || strings.Contains(body, "Turnover of public car parks") || !strings.Contains(body, `<input type="hidden" name="theme" value="交通">`) {
		t.Error("a theme and a class do not narrow")
	}
	_, body = get(t, h, "/catalog?q=zzz", "en")
	if !strings.Contains(body, "Show all 12 datasets") {
		t.Error("nothing found leads nowhere")
	}
}

func TestAddressesLeadToDatasets(t *testing.T) {
	h := newPages(t)
	for at, to := range map[string]string{"/catalog/record/" + everything: "/catalog/dataset/" + everything, "/catalog/dataset/" + asked2 + "/interface/sensorthings": "/catalog/dataset/" + asked2 + "#use"} {
		if resp, _ := get(t, h, at, "en"); resp.Header.Get("Location") != to {
			t.Errorf("%s leads to %q", at, resp.Header.Get("Location"))
		}
	}
	for _, at := range []string{"/catalog/record/none", "/catalog/provider/none", "/catalog/class/none", "/catalog/class/a/b/c/d/e", "/catalog/law/a/b", "/catalog/service/none", "/catalog/dataset/" + everything + "/release/99", "/catalog/dataset/half-written"} {
		if resp, _ := get(t, h, at, "en"); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %s", at, resp.Status)
		}
	}
}

// TestPublicPagesAreTheAddressesOfTheCatalogue: what catalog.Base calls things is
// where their pages are.
func TestPublicPagesAreTheAddressesOfTheCatalogue(t *testing.T) {
	b := catalog.Base("")
	mux := http.NewServeMux()
	for _, pattern := range PublicPages() {
		mux.HandleFunc(pattern, func(http.ResponseWriter, *http.Request) {})
	}
	for _, at := range []string{b.Catalogue(), b.Dataset("x"), b.Record("x"), b.Provider("x"), b.Service("x"), b.Law(catalog.Law{Title: catalog.Text{ZH: "法/律"}, Article: "第一条"}), b.Class(catalog.Path{"a", "b"}, 2), b.Release("x", 1), b.Interface("x", "y")} {
		if _, pattern := mux.Handler(httptest.NewRequest(http.MethodGet, at, nil)); pattern == "" {
			t.Errorf("%s has no page", at)
		}
	}
}

func TestAnybodyMayObject(t *testing.T) {
	h := newPages(t)
	resp, body := post(t, h, "/catalog/objection/new", "dataset", everything, "kind", "error", "text", "08:15 is too low")
	secret := regexp.MustCompile(`id="secret">([^<]+)<`).FindStringSubmatch(body)
	if resp.StatusCode != http.StatusCreated || secret == nil || resp.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%s: %.300s", resp.Status, body)
	}
	sound(t, "filed", body, "en")
	if _, body = post(t, h, "/catalog/objection", "id", "t-1", "secret", secret[1]); !strings.Contains(body, "08:15 is too low") {
		t.Error("the thread is not shown")
	}
	if resp, body = post(t, h, "/catalog/objection", "id", "t-1", "secret", "other"); resp.StatusCode != http.StatusNotFound || strings.Contains(body, "08:15") {
		t.Errorf("a wrong secret: %s", resp.Status)
	}
	if _, body = post(t, h, "/catalog/objection/message", "id", "t-1", "secret", secret[1], "text", "and 08:30"); !strings.Contains(body, "and 08:30") {
		t.Error("what was added is not shown")
	}
	resp, body = post(t, h, "/catalog/objection/new", "dataset", everything, "kind", "error", "text", "")
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "must say what it is about") {
		t.Errorf("without words: %s", resp.Status)
	}
	sound(t, "not filed", body, "en")
	// a steward answers, and closes with the law where it is not followed
	if resp, body = serve(t, h.inner, h.as(t, access.Steward, "", formOf("/steward/objections/t-1", "do", "close", "outcome", "rejected", "text", "no", "version", "2"))); resp.StatusCode != http.StatusUnprocessableEntity {
		t.Errorf("rejected without a law: %s", resp.Status)
	}
	sound(t, "not closed", body, "en")
	if resp, _ = serve(t, h.inner, h.as(t, access.Steward, "", formOf("/steward/objections/t-1", "do", "answer", "text", "corrected tomorrow", "version", "2"))); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("answer: %s", resp.Status)
	}
	if resp, _ = serve(t, h.inner, h.as(t, access.Steward, "", formOf("/steward/objections/t-1", "do", "answer", "text", "twice", "version", "2"))); resp.StatusCode != http.StatusConflict {
		t.Errorf("an answer to an old version: %s", resp.Status)
	}
	if resp, _ = serve(t, h.inner, h.as(t, access.Steward, "2202", httptest.NewRequest(http.MethodGet, "/steward/objections/t-1", nil))); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a steward of another region: %s", resp.Status)
	}
	r := formOf("/catalog/objection/new", "dataset", everything, "kind", "error", "text", "x")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp, _ = serve(t, h, r); resp.StatusCode != http.StatusForbidden {
		t.Errorf("from another site: %s", resp.Status)
	}
}

func TestApplyingAndDeciding(t *testing.T) {
	h := newPages(t)
	at := "/catalog/dataset/" + asked2 + "/apply"
	if resp, body := post(t, h, at, "way", "open"); resp.StatusCode != http.StatusForbidden || !strings.Contains(body, "No valid token") {
		t.Errorf("a stranger: %s", resp.Status)
	}
	reader := func(r *http.Request) (*http.Response, string) {
		return serve(t, h.inner, h.as(t, access.Reader, "", r))
	}
	steward := func(r *http.Request) (*http.Response, string) {
		return serve(t, h.inner, h.as(t, access.Steward, "", r))
	}
	resp, body := reader(formOf(at, "way", "open", "body.code", "1", "scope.from", "tomorrow", "items", "phase"))
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "is no date") || !strings.Contains(body, `value="phase" checked`) {
		t.Errorf("a wrong date: %s", resp.Status)
	}
	resp, body = reader(formOf(at, "way", "open", "body.code", "1", "items", "phase"))
	for _, said := range []string{"no unified social credit code", "must say what the data are for", `aria-invalid="true" aria-describedby="f-purpose"`} {
		if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, said) {
			t.Errorf("what is missing: %s, %q", resp.Status, said)
		}
	}
	sound(t, "not applied", body, "en")
	resp, _ = reader(formOf(at, "way", "open", "body.name.zh", "某大学", "body.code", "91220101MA00000000", "purpose", "研究", "items", "phase", "items", "time"))
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/catalog/applications/g-1" {
		t.Fatalf("%s to %s", resp.Status, resp.Header.Get("Location"))
	}
	if resp, body = reader(httptest.NewRequest(http.MethodGet, "/catalog/applications/g-1", nil)); resp.StatusCode != 200 || !strings.Contains(body, "form to be checked") {
		t.Errorf("the own application: %s", resp.Status)
	}
	other := h.as(t, access.Operator, "", httptest.NewRequest(http.MethodGet, "/catalog/applications/g-1", nil))
	if resp, _ = serve(t, h.inner, other); resp.StatusCode != http.StatusNotFound {
		t.Errorf("somebody else's application: %s", resp.Status)
	}
	if resp, _ = reader(formOf("/steward/applications/g-1", "do", "right", "version", "1")); resp.StatusCode != http.StatusForbidden {
		t.Errorf("a reader decides: %s", resp.Status)
	}
	step := func(want int, fields ...string) string {
		t.Helper()
		resp, body := steward(formOf("/steward/applications/g-1", fields...))
		if resp.StatusCode != want {
			t.Errorf("%v: %s", fields, resp.Status)
		}
		return body
	}
	step(http.StatusUnprocessableEntity, "do", "missing", "version", "1")
	step(http.StatusSeeOther, "do", "right", "version", "1")
	step(http.StatusConflict, "do", "right", "version", "1")
	step(http.StatusSeeOther, "do", "review", "opinion", "fine", "version", "2")
	if body := step(http.StatusUnprocessableEntity, "do", "refuse", "reason.zh", "不予", "version", "3"); !strings.Contains(body, "不予</textarea>") {
		t.Error("what was written is lost")
	}
	step(http.StatusSeeOther, "do", "grant", "reason.zh", "符合条件", "items", "time", "version", "3")
	g, err := h.library.Grant(t.Context(), "g-1")
	if err != nil || g.State != register.Granted || !slices.Equal(g.Scope.Items, []string{"time"}) {
		t.Errorf("%v, %+v", err, g)
	}
	for lang, said := range map[string][]string{
		"en": {"version 9", "known after the first download", "not all that tell rows apart", "/release/9/data.csv?grant=g-1", "<code>phase</code>", strings.Repeat("cd", 32), "All of the release"},
		"zh": {"第 9 版", "首次下载", "各行按所含的值排列", "该版本的全部"},
	} {
		for _, page := range []string{"/catalog/applications/g-1", "/steward/applications/g-1"} {
			as := reader
			if strings.HasPrefix(page, "/steward") {
				as = steward
			}
			_, body := as(httptest.NewRequest(http.MethodGet, page+"?lang="+lang, nil))
			for _, s := range said {
				if !strings.Contains(body, s) {
					t.Errorf("%s in %s does not say %q", page, lang, s)
				}
			}
			sound(t, page, body, map[string]string{"en": "en", "zh": "zh-CN"}[lang])
		}
	}
	step(http.StatusSeeOther, "do", "revoke", "ended.zh", "超出用途", "version", "4")
	if _, body = reader(httptest.NewRequest(http.MethodGet, "/catalog/applications/g-1", nil)); !strings.Contains(body, "超出用途") {
		t.Error("why it ended is not told")
	}
}

// fieldsOf are those that a form in a page has, as a browser would send them.
func fieldsOf(body, action string) url.Values {
	_, form, _ := strings.Cut(body, `action="`+action+`"`)
	form, _, _ = strings.Cut(form, "</form>")
	all := url.Values{}
	for _, m := range regexp.MustCompile(`<input name="([^"]+)" type="[^"]+" value="([^"]*)"|<input type="hidden" name="([^"]+)" value="([^"]*)"`).FindAllStringSubmatch(form, -1) {
		all.Set(m[1]+m[3], unescape(m[2]+m[4]))
	}
	for _, m := range regexp.MustCompile(`(?s)<textarea name="([^"]+)"[^>]*>(.*?)</textarea>`).FindAllStringSubmatch(form, -1) {
		all.Set(m[1], unescape(m[2]))
	}
	for _, m := range regexp.MustCompile(`(?s)<select name="([^"]+)"[^>]*>(.*?)</select>`).FindAllStringSubmatch(form, -1) {
		if v := regexp.MustCompile(`<option value="([^"]*)" selected`).FindStringSubmatch(m[2]); v != nil {
			all.Set(m[1], unescape(v[1]))
		}
	}
	for _, m := range regexp.MustCompile(`<input type="checkbox" name="([^"]+)" checked`).FindAllStringSubmatch(form, -1) {
		all.Set(m[1], "on")
	}
	return all
}

func unescape(s string) string {
	return strings.NewReplacer("&#34;", `"`, "&#39;", "'", "&lt;", "<", "&gt;", ">", "&#43;", "+", "&amp;", "&").Replace(s)
}

// TestAFormSaysWhatTheDocumentSays: what a form is filled with comes back as the
// same document.
func TestAFormSaysWhatTheDocumentSays(t *testing.T) {
	h := newPages(t)
	for _, id := range []string{everything, asked2, shut, nothing, "half-written"} {
		_, body := serve(t, h.inner, h.as(t, access.Steward, "", httptest.NewRequest(http.MethodGet, "/steward/datasets/"+id, nil)))
		rec, err := h.library.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		f := &form{Values: fieldsOf(body, "/steward/datasets/"+id)}
		f.Set("id", id)
		if got := f.document(); fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", rec.Document) {
			t.Errorf("%s comes back as\n%+v, not\n%+v", id, *got, rec.Document)
		}
	}
}

// TestADatasetIsMadeWithForms goes the whole way from a selector to the public.
func TestADatasetIsMadeWithForms(t *testing.T) {
	h := newPages(t)
	do := func(r *http.Request) (*http.Response, string) {
		t.Helper()
		resp, body := serve(t, h.inner, h.as(t, access.Steward, "2201", r))
		if strings.Contains(body, "<html") {
			sound(t, r.URL.Path, body, "en")
		}
		return resp, body
	}
	if resp, _ := do(formOf("/steward/new", "do", "draft", "selector", "wrong")); resp.StatusCode/100 == 2 {
		t.Errorf("a wrong selector: %s", resp.Status)
	}
	_, body := do(formOf("/steward/new", "do", "draft", "selector", `air_temperature_celsius{region="220100"}`, "id", "air-temperature-220100"))
	fields := fieldsOf(body, "/steward/datasets/air-temperature-220100")
	if fields.Get("items[0].name") == "" || fields.Get("source.selector") == "" {
		t.Fatalf("the draft has %v", fields)
	}
	send := func(path, do string) *http.Request {
		fields.Set("do", do)
		r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(fields.Encode()))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Accept-Language", "en")
		return r
	}
	at := "/steward/datasets/air-temperature-220100"
	lines := strings.Count(body, `<fieldset class="inner item">`)
	if _, body = do(send(at, "line")); strings.Count(body, `<fieldset class="inner item">`) != lines+1 {
		t.Error("no line is added")
	}
	fields.Set("region", "11")
	if resp, body := do(send(at, "save")); resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, "is for region 2201 only") {
		t.Errorf("in another region: %s", resp.Status)
	}
	fields.Set("region", "220100")
	fields.Set("open.class", "unconditional")
	fields.Set("share.class", "none")
	resp, body := do(send(at, "save"))
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, `id="f-open.class"`) || !strings.Contains(body, `id="f-share.basis"`) {
		t.Errorf("a pair that is forbidden: %s", resp.Status)
	}
	fields.Set("share.class", "unconditional")
	if resp, body = do(send(at, "save")); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("save: %s %.3000s", resp.Status, body)
	}
	_, body = do(httptest.NewRequest(http.MethodGet, at, nil))
	if !strings.Contains(body, "Before it can be submitted") || !strings.Contains(body, "provider.code") {
		t.Error("what is missing is not told")
	}
	fields = fieldsOf(body, at)
	if resp, body = do(send(at, "submit")); resp.StatusCode != http.StatusUnprocessableEntity || !strings.Contains(body, `id="f-provider.code"`) {
		t.Errorf("submitted with gaps: %s", resp.Status)
	}
	for name, value := range map[string]string{"title.zh": "气温", "title.en": "Air temperature", "abstract.zh": "各站气温。", "provider.name.zh": "某局", "provider.code": "91220101MA00000000", "contact.name.zh": "张三", "contact.phone": "0431-88888888", "path[0]": "气象",
		"licence": "https://creativecommons.org/licenses/by/4.0/", "cycle.kind": "periodic", "cycle.period": "1h"} {
		fields.Set(name, value)
	}
	for i := range 6 {
		if name := fmt.Sprintf("items[%d].", i); fields.Get(name+"name") != "" && fields.Get(name+"title.zh") == "" {
			fields.Set(name+"title.zh", "甲")
		}
	}
	if resp, body = do(send(at, "submit")); resp.StatusCode != http.StatusSeeOther {
		t.Fatalf("submit: %s %s", resp.Status, regexp.MustCompile(`class="fault"[^>]*>.{0,200}`).FindAllString(body, -1))
	}
	act := func(want int, fields ...string) string {
		t.Helper()
		resp, body := do(formOf(at+"/act", append(fields, "version", "0")...))
		if resp.StatusCode != want {
			t.Errorf("%v: %s", fields, resp.Status)
		}
		return body
	}
	if body := act(http.StatusConflict, "do", "publish"); !strings.Contains(body, "nobody has signed its grade") {
		t.Error("published without a signature, or without saying why not")
	}
	act(http.StatusSeeOther, "do", "sign", "by", "李敏")
	act(http.StatusSeeOther, "do", "publish")
	h.library.take()
	if resp, body := get(t, h, "/catalog/dataset/air-temperature-220100", "en"); resp.StatusCode != 200 || !strings.Contains(body, "Air temperature") {
		t.Errorf("the public gets %s", resp.Status)
	}
	act(http.StatusUnprocessableEntity, "do", "suspend")
	act(http.StatusSeeOther, "do", "suspend", "reason", "核实中")
	act(http.StatusSeeOther, "do", "withdraw", "reason", "并入其他数据集")
	if resp, body := get(t, h, "/catalog/dataset/air-temperature-220100", "en"); resp.StatusCode != http.StatusGone || !strings.Contains(body, "并入其他数据集") {
		t.Errorf("the public gets %s", resp.Status)
	}
	act(http.StatusUnprocessableEntity, "do", "nonsense")
	for _, c := range []struct {
		role   access.Role
		region string
		want   int
	}{{access.Reader, "", 403}, {access.Operator, "", 403}, {access.Steward, "2202", 404}} {
		r := h.as(t, c.role, c.region, formOf("/steward/datasets/"+everything+"/act", "do", "withdraw", "reason", "x", "version", "0"))
		if resp, _ := serve(t, h.inner, r); resp.StatusCode != c.want {
			t.Errorf("%s of %q withdraws: %s", c.role, c.region, resp.Status)
		}
	}
	if r, _ := h.library.Get(everything); r.State != catalog.Published {
		t.Error("somebody without the right has withdrawn a dataset")
	}
}

// TestOneSourceIsToldWithTheOther: a dataset that would collect again what is shared
// is refused with a link to that one.
func TestOneSourceIsToldWithTheOther(t *testing.T) {
	h := newPages(t)
	rec, err := h.library.Get("soil-moisture-farm")
	if err != nil {
		t.Fatal(err)
	}
	f := documentForm(&rec.Document, 0)
	f.Set("id", "soil-again")
	r := httptest.NewRequest(http.MethodPost, "/steward/datasets/soil-again", strings.NewReader(f.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, body := serve(t, h.inner, h.as(t, access.Steward, "", r))
	if resp.StatusCode != http.StatusConflict || !strings.Contains(body, `href="/catalog/dataset/soil-moisture-farm"`) {
		t.Errorf("%s: %.400s", resp.Status, body)
	}
}

func TestSigningInLeadsBack(t *testing.T) {
	h := newPages(t)
	_, body := get(t, h, "/catalog/dataset/"+asked2+"/apply", "en")
	if !strings.Contains(body, `href="/signin?to=%2fcatalog%2fdataset%2fbus-signals%2fapply"`) {
		t.Error("no link leads to signing in and back")
	}
	for to, want := range map[string]string{"/catalog/dataset/x/apply": "/catalog/dataset/x/apply", "//evil.example/": "/", "https://evil.example/": "/", "": "/"} {
		if resp, _ := post(t, h, "/signin", "token", h.token, "to", to); resp.Header.Get("Location") != want {
			t.Errorf("to %q leads to %q", to, resp.Header.Get("Location"))
		}
	}
}

// TestColoursCanBeRead computes the contrast of texts on their grounds (WCAG 2.1:
// 4.5 for text) in both schemes.
func TestColoursCanBeRead(t *testing.T) {
	light, dark := map[string]string{}, map[string]string{}
	for _, name := range []string{"console.css", "catalog.css"} {
		text, err := files.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		css := string(text)
		for _, block := range regexp.MustCompile(`(?s)(@media \(prefers-color-scheme: dark\) \{\s*)?:root \{(.*?)\}`).FindAllStringSubmatch(css, -1) {
			for _, m := range regexp.MustCompile(`--([a-z0-9-]+): (#[0-9a-f]{3,6})`).FindAllStringSubmatch(block[2], -1) {
				if block[1] == "" {
					light[m[1]] = m[2]
				} else {
					dark[m[1]] = m[2]
				}
			}
		}
	}
	for scheme, c := range map[string]map[string]string{"light": light, "dark": dark} {
		for _, pair := range [][2]string{
			{"ink", "paper"}, {"ink", "card"}, {"ink", "fill"}, {"ink", "tint"}, {"soft", "paper"}, {"soft", "card"}, {"soft", "fill"}, {"soft", "tint"}, {"accent", "card"}, {"accent", "paper"}, {"accent", "tint"}, {"accent-ink", "accent"},
			{"open", "card"}, {"open", "paper"}, {"asked", "card"}, {"asked", "paper"}, {"shut", "card"}, {"shut", "paper"}, {"fault", "card"}, {"fault", "fill"}, {"card", "shut"}, {"hero-ink", "hero"}, {"hero-ink", "hero-2"}, {"hero-soft", "hero"}, {"hero-soft", "hero-2"}, {"card", "ink"},
		} {
			if ratio := contrast(c[pair[0]], c[pair[1]]); ratio < 4.5 {
				t.Errorf("%s: %s %s on %s %s has a contrast of %.2f", scheme, pair[0], c[pair[0]], pair[1], c[pair[1]], ratio)
			}
		}
	}
}

// TestTheFormKeepsWhatIsAskedOfTheGate, and says of what is no number that it is none.
func TestTheFormKeepsWhatIsAskedOfTheGate(t *testing.T) {
	asked := register.PrivacyTerms{Noise: &register.Noise{Epsilon: 0.25, Budget: 0.5, Bound: 8}, Contributor: "household", Cap: 2.5}
	f := documentForm(&register.Document{ID: "homes", Privacy: asked}, 0)
	if diff := cmp.Diff(asked, f.document().Privacy); diff != "" {
		t.Error(diff)
	}
	if got := documentForm(&register.Document{ID: "homes"}, 0).document().Privacy; got != (register.PrivacyTerms{}) {
		t.Errorf("%+v was asked for by nobody", got)
	}
	f.Set("privacy.noise.epsilon", "a lot")
	if _, problems := f.document().Dataset(); !slices.ContainsFunc(problems, func(p catalog.Problem) bool { return p.Path == "privacy.noise.epsilon" }) {
		t.Errorf("%v", problems)
	}
}
