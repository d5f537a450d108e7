package web

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/login"
	"github.com/songhua-io/hub/internal/records"
)

// house is the pages with a real desk behind them.
type house struct {
	http.Handler
	inner    http.Handler // that is told who asks
	token    string       // that may read
	sessions *access.Sessions
	tokens   *access.Tokens
	library  *library
	deps     Deps
}

func newPages(t *testing.T, change ...func(*access.PagesConfig, *login.Config)) *house {
	t.Helper()
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	pages, oidc := access.DefaultPagesConfig(), login.DefaultConfig()
	for _, f := range change {
		f(&pages, &oidc)
	}
	db, err := records.Open(t.Context(), filepath.Join(t.TempDir(), "records.db"))
	check(err)
	t.Cleanup(func() { db.Close() })
	h := &house{}
	h.tokens, err = access.OpenTokens(t.Context(), db, time.Now)
	check(err)
	_, h.token, err = h.tokens.Create(t.Context(), access.Token{Name: "ops", Role: access.Admin})
	check(err)
	h.sessions, err = access.OpenSessions(t.Context(), pages, access.SessionsDeps{Records: db, Tokens: h.tokens, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	log := slog.New(slog.DiscardHandler)
	desk, err := login.New(oidc, login.Deps{Sessions: h.sessions, Audit: newRecord(t, db), Log: log, Clock: time.Now, Metrics: prometheus.NewRegistry()})
	check(err)
	h.library = newLibrary(t, db)
	h.deps = Deps{AlertBook: alertBook(nil), Corrections: corrected(), Changes: record, Compute: compute, Workload: workload, Roads: roadsFor, Catalogue: h.library.catalogue(), Runbooks: twoRunbooks(), UnitPlace: unitPlace, Now: func() time.Time { return noon }, Desk: desk, Sessions: h.sessions, Version: "test", Log: log}
	h.Handler, err = New(h.deps)
	check(err)
	h.inner = h.Handler
	h.Handler = h.sessions.Identify(h.inner)
	return h
}

// with is the pages with another catalogue.
func (h *house) with(t *testing.T, c Catalogue) http.Handler {
	t.Helper()
	d := h.deps
	d.Catalogue = c
	pages, err := New(d)
	if err != nil {
		t.Fatal(err)
	}
	return h.sessions.Identify(pages)
}

// signedIn is a request of somebody with a session.
func (h *house) signedIn(t *testing.T, method, path string) *http.Request {
	t.Helper()
	_, secret, err := h.sessions.OpenByToken(t.Context(), h.token, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequest(method, path, nil)
	r.AddCookie(&http.Cookie{Name: access.Cookie, Value: secret})
	return r
}

func serve(t *testing.T, h http.Handler, r *http.Request) (*http.Response, string) {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	resp := w.Result()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func cookieOf(resp *http.Response, name string) *http.Cookie {
	for _, c := range resp.Cookies() {
		if c.Name == name {
			return c
		}
	}
	return nil
}

func TestAStrangerIsAskedForAToken(t *testing.T) {
	resp, body := serve(t, newPages(t), httptest.NewRequest(http.MethodGet, "/", nil))
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "Access token") || strings.Contains(body, `id="plot"`) {
		t.Errorf("%s: %.300s", resp.Status, body)
	}
}

func TestATokenInTheAddressBecomesASession(t *testing.T) {
	h := newPages(t)
	resp, _ := serve(t, h, httptest.NewRequest(http.MethodGet, "/?token="+h.token+"&range=3600", nil))
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || to != "/?range=3600" {
		t.Errorf("%s to %q", resp.Status, to)
	}
	c := cookieOf(resp, access.Cookie)
	if c == nil || c.Value == "" || strings.Contains(c.Value, h.token) || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || c.Path != "/" || c.Secure || c.MaxAge <= 0 {
		t.Errorf("cookie %+v", c)
	}
}

func TestCookiesStayWithTLS(t *testing.T) {
	proxied := func(p *access.PagesConfig, _ *login.Config) { p.PublicURL = "https://hub.example" }
	for name, h := range map[string]*house{"TLS": newPages(t), "a proxy": newPages(t, proxied)} {
		r := httptest.NewRequest(http.MethodGet, "/?token="+h.token, nil)
		if name == "TLS" {
			r.TLS = &tls.ConnectionState{}
		}
		resp, _ := serve(t, h, r)
		if c := cookieOf(resp, "__Host-"+access.Cookie); c == nil || !c.Secure || c.Path != "/" || c.Domain != "" {
			t.Errorf("%s: %v", name, resp.Cookies())
		}
	}
}

func TestAWrongTokenSetsNoCookie(t *testing.T) {
	h := newPages(t)
	_, gateway, err := h.tokens.Create(t.Context(), access.Token{Name: "gw", Role: access.Gateway})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []*http.Request{posted("wrong"), posted(gateway), httptest.NewRequest(http.MethodGet, "/?token=wrong", nil)} {
		resp, body := serve(t, h, r)
		if resp.StatusCode != http.StatusUnauthorized || cookieOf(resp, access.Cookie) != nil || !strings.Contains(body, "This token is not valid") {
			t.Errorf("%s %s: %s: %.200s", r.Method, r.URL, resp.Status, body)
		}
	}
}

func posted(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/signin", strings.NewReader(url.Values{"token": {token}}.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return r
}

func TestSigningInWithTheFormAndOut(t *testing.T) {
	h := newPages(t)
	resp, _ := serve(t, h, posted(" "+h.token+"\n"))
	c := cookieOf(resp, access.Cookie)
	if resp.StatusCode != http.StatusSeeOther || resp.Header.Get("Location") != "/" || c == nil {
		t.Fatalf("%s, cookie %+v", resp.Status, c)
	}
	with := func(method, path string) *http.Request {
		r := httptest.NewRequest(method, path, nil)
		r.AddCookie(c)
		return r
	}
	if _, body := serve(t, h, with(http.MethodGet, "/?lang=en")); !strings.Contains(body, "<b>ops</b>") || !strings.Contains(body, "administrator") || !strings.Contains(body, `id="signout"`) {
		t.Errorf("the header does not say who is signed in: %.1500s", body)
	}
	forged := with(http.MethodPost, "/signout")
	forged.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp, _ := serve(t, h, forged); resp.StatusCode != http.StatusForbidden || len(h.sessions.List("")) != 1 {
		t.Errorf("another site signs people out: %s", resp.Status)
	}
	resp, _ = serve(t, h, with(http.MethodPost, "/signout"))
	if gone := cookieOf(resp, access.Cookie); gone == nil || gone.MaxAge >= 0 || resp.Header.Get("Location") != "/signin" {
		t.Errorf("after signing out the cookie is %+v", gone)
	}
	if resp, body := serve(t, h, with(http.MethodGet, "/")); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "Your session has ended") {
		t.Errorf("the cookie works after signing out: %s", resp.Status)
	}
}

func TestAnotherSiteCannotSignPeopleIn(t *testing.T) {
	h := newPages(t)
	form := posted(h.token)
	picture := httptest.NewRequest(http.MethodGet, "/?token="+h.token, nil)
	picture.Header.Set("Sec-Fetch-Dest", "image")
	frame := httptest.NewRequest(http.MethodGet, login.CallbackPath+"?state=x&code=y", nil)
	frame.Header.Set("Sec-Fetch-Dest", "iframe")
	link := httptest.NewRequest(http.MethodGet, "/?token="+h.token, nil)
	for name, r := range map[string]*http.Request{"form": form, "picture": picture, "frame": frame, "link": link} {
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		resp, _ := serve(t, h, r)
		if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusUnauthorized || cookieOf(resp, access.Cookie) != nil {
			t.Errorf("%s: %s, %v", name, resp.Status, resp.Cookies())
		}
	}
	if n := len(h.sessions.List("")); n != 0 {
		t.Errorf("%d sessions", n)
	}
}

func TestWithoutAnIssuerNobodyIsSentAnywhere(t *testing.T) {
	h := newPages(t)
	for _, path := range []string{"/signin/oidc?to=https://evil.example", login.CallbackPath + "?code=x&state=y"} {
		resp, body := serve(t, h, httptest.NewRequest(http.MethodGet, path, nil))
		if resp.StatusCode != http.StatusUnauthorized || resp.Header.Get("Location") != "" || strings.Contains(body, `id="issuer"`) {
			t.Errorf("%s: %s to %q", path, resp.Status, resp.Header.Get("Location"))
		}
	}
}

func TestAnIssuerThatDoesNotAnswerIsSaidOnTheLoginPage(t *testing.T) {
	h := newPages(t, func(_ *access.PagesConfig, c *login.Config) {
		c.Issuer, c.Label, c.ClientID = "http://127.0.0.1:1", "路政统一认证", "hub" // nobody listens on port 1
		c.Grants = []login.Grant{{Claim: "groups", Value: "x", Role: access.Reader}}
	})
	resp, body := serve(t, h, httptest.NewRequest(http.MethodGet, "/signin/oidc?lang=zh", nil))
	if resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(body, "路政统一认证 暂时没有应答") || !strings.Contains(body, `id="issuer"`) || !strings.Contains(body, `id="token"`) {
		t.Errorf("%s: %.2000s", resp.Status, body)
	}
	if resp, _ := serve(t, h, posted(h.token)); resp.StatusCode != http.StatusSeeOther {
		t.Errorf("a token, meanwhile: %s", resp.Status)
	}
}

func TestLanguage(t *testing.T) {
	h := newPages(t)
	for _, c := range []struct{ query, cookie, header, want string }{
		{"", "", "", "en"}, {"", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"}, {"", "", "de,en;q=0.5,zh;q=0.4", "en"},
		{"", "", "zh;q=oops,en;q=0.1", "en"}, {"", "zh-CN", "en", "zh-CN"}, {"en", "zh-CN", "zh", "en"}, {"zh", "", "", "zh-CN"}, {"fr", "", "zh", "zh-CN"},
	} {
		r := h.signedIn(t, http.MethodGet, "/?lang="+c.query)
		r.Header.Set("Accept-Language", c.header)
		if c.cookie != "" {
			r.AddCookie(&http.Cookie{Name: langCookie, Value: c.cookie})
		}
		if _, body := serve(t, h, r); !strings.Contains(body, `<html lang="`+c.want+`"`) {
			t.Errorf("%+v: %.60s", c, body)
		}
	}
}

func TestEveryTextIsInBothLanguages(t *testing.T) {
	seen := map[string]bool{}
	for _, e := range append(texts(), regions()...) {
		if e.en == "" || e.zh == "" || seen[e.key] {
			t.Errorf("%q: English %q, Chinese %q, twice: %v", e.key, e.en, e.zh, seen[e.key])
		}
		seen[e.key] = true
	}
}

func TestPagesFetchNothingFromElsewhere(t *testing.T) {
	h := newPages(t)
	resp, body := serve(t, h, h.signedIn(t, http.MethodGet, "/"))
	policy := resp.Header.Get("Content-Security-Policy")
	if !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") {
		t.Errorf("policy %q", policy)
	}
	for _, bad := range []string{"http://", "https://", "style=\"", "onclick"} {
		if strings.Contains(body, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
	for _, part := range strings.Split(body, `"/static/`)[1:] {
		path, _, _ := strings.Cut(part, `"`)
		resp, _ := serve(t, h, httptest.NewRequest(http.MethodGet, "/static/"+path, nil))
		if resp.StatusCode != http.StatusOK || !strings.Contains(resp.Header.Get("Cache-Control"), "immutable") {
			t.Errorf("/static/%s: %s, %s", path, resp.Status, resp.Header.Get("Cache-Control"))
		}
	}
}

func TestTheHeaderNamesPlacesAsPeopleDo(t *testing.T) {
	for prefix, want := range map[string]string{"": "", "22": "吉林省", "2201": "长春市", "220100": "长春市", "99": "99", "110101": "110101"} {
		if got := chinese.place(prefix); prefix != "" && got != want {
			t.Errorf("%s is called %q, want %q", prefix, got, want)
		}
	}
}

func newRecord(t *testing.T, db *records.DB) *audit.Log {
	t.Helper()
	l, err := audit.Open(audit.Options{Records: db, Dir: t.TempDir(), Config: audit.DefaultConfig(), Log: slog.New(slog.DiscardHandler), Clock: time.Now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestWhoMayNotOpenAPageLearnsWhy(t *testing.T) {
	h := newPages(t)
	as := func(c access.Caller, path, language string) (*http.Response, string) {
		r := httptest.NewRequest(http.MethodGet, path+"?lang="+language, nil)
		return serve(t, h.inner, r.WithContext(access.WithCaller(r.Context(), c)))
	}
	secrets := []string{"air-003", "cc-a100", "v2.1.7"} // a device, a pool and a firmware of these pages
	check := func(c access.Caller, path, language string, code int, says string) {
		t.Helper()
		resp, body := as(c, path, language)
		if resp.StatusCode != code || !strings.Contains(body, says) {
			t.Errorf("%s, role %q: %s; want %d and %q", path, c.Role, resp.Status, code, says)
		}
		for _, secret := range secrets {
			if strings.Contains(body, secret) {
				t.Errorf("%s, role %q: the answer tells of %s", path, c.Role, secret)
			}
		}
	}
	anybody, gateway := access.Caller{Name: "citizen", Role: access.Public}, access.Caller{Name: "gw", Role: access.Gateway}
	for _, path := range []string{"/", "/audit", "/alerts", "/corrections", "/corrections/1", "/compute", "/compute/workloads/w-1",
		"/roads", "/roads/units/rsu-01", "/roads/intersections/2201.1", "/steward"} {
		check(access.Caller{}, path, "en", http.StatusUnauthorized, "Access token")
		for _, c := range []access.Caller{anybody, gateway} {
			check(c, path, "en", http.StatusForbidden, "it takes one of: admin")
			check(c, path, "zh", http.StatusForbidden, "需要以下角色之一")
		}
	}
	check(gateway, "/catalog/applications", "en", http.StatusForbidden, "it takes one of: admin")
	if resp, _ := as(anybody, "/catalog/applications", "en"); resp.StatusCode != http.StatusOK {
		t.Errorf("one of the public asks for the applications: %s", resp.Status)
	}
}
