package web

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
)

const goodToken = "a-good-token"

// identify stands for access.Tokens.Identify with a single token.
func identify(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var c access.Caller
		if cookie, err := r.Cookie(access.Cookie); err == nil {
			c.Refused = "unknown"
			if cookie.Value == goodToken {
				c = access.Caller{Name: "ops", Role: access.Admin}
			}
		}
		next.ServeHTTP(w, r.WithContext(access.WithCaller(r.Context(), c)))
	})
}

func newPages(t *testing.T) http.Handler {
	t.Helper()
	h, err := New(Deps{Version: "test", Changes: record, Log: slog.New(slog.DiscardHandler), Check: func(_ context.Context, token string) error {
		if token != goodToken {
			return errors.New("unknown token")
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return identify(h)
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

func signedIn(path string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.AddCookie(&http.Cookie{Name: access.Cookie, Value: goodToken})
	return r
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
	if resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "Paste an access token") || strings.Contains(body, `id="plot"`) {
		t.Errorf("%s: %.300s", resp.Status, body)
	}
}

func TestATokenInTheAddressMovesToACookie(t *testing.T) {
	resp, _ := serve(t, newPages(t), httptest.NewRequest(http.MethodGet, "/?token="+goodToken+"&range=3600", nil))
	if to := resp.Header.Get("Location"); resp.StatusCode != http.StatusSeeOther || to != "/?range=3600" {
		t.Errorf("%s to %q", resp.Status, to)
	}
	c := cookieOf(resp, access.Cookie)
	if c == nil || c.Value != goodToken || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" {
		t.Errorf("cookie %+v", c)
	}
}

func TestAWrongTokenSetsNoCookie(t *testing.T) {
	h := newPages(t)
	form := httptest.NewRequest(http.MethodPost, "/signin", strings.NewReader(url.Values{"token": {"wrong"}}.Encode()))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for _, r := range []*http.Request{form, httptest.NewRequest(http.MethodGet, "/?token=wrong", nil)} {
		resp, body := serve(t, h, r)
		if resp.StatusCode != http.StatusUnauthorized || cookieOf(resp, access.Cookie) != nil || !strings.Contains(body, "This token is not valid") {
			t.Errorf("%s %s: %s: %.200s", r.Method, r.URL, resp.Status, body)
		}
	}
}

func TestSigningInWithTheFormAndOut(t *testing.T) {
	h := newPages(t)
	form := httptest.NewRequest(http.MethodPost, "/signin", strings.NewReader(url.Values{"token": {" " + goodToken + "\n"}}.Encode()))
	form.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, _ := serve(t, h, form)
	if c := cookieOf(resp, access.Cookie); resp.StatusCode != http.StatusSeeOther || c == nil || c.Value != goodToken {
		t.Errorf("%s, cookie %+v", resp.Status, c)
	}
	resp, _ = serve(t, h, httptest.NewRequest(http.MethodPost, "/signout", nil))
	if c := cookieOf(resp, access.Cookie); c == nil || c.MaxAge >= 0 {
		t.Errorf("after signing out the cookie is %+v", c)
	}
}

func TestAnotherSiteCannotSignPeopleIn(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/signin", strings.NewReader("token="+goodToken))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	if resp, _ := serve(t, newPages(t), r); resp.StatusCode != http.StatusForbidden {
		t.Error(resp.Status)
	}
}

func TestLanguage(t *testing.T) {
	h := newPages(t)
	for _, c := range []struct{ query, cookie, header, want string }{
		{"", "", "", "en"}, {"", "", "zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"}, {"", "", "de,en;q=0.5,zh;q=0.4", "en"},
		{"", "", "zh;q=oops,en;q=0.1", "en"}, {"", "zh-CN", "en", "zh-CN"}, {"en", "zh-CN", "zh", "en"}, {"zh", "", "", "zh-CN"}, {"fr", "", "zh", "zh-CN"},
	} {
		r := signedIn("/?lang=" + c.query)
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
	resp, body := serve(t, h, signedIn("/"))
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
