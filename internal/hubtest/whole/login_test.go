package whole

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/hubtest/browser"
	"github.com/songhua-io/hub/internal/hubtest/issuer"
)

// road is a hub, an issuer that it takes people from, and a browser.
type road struct {
	*testing.T
	hub    *hubtest.Hub
	issuer *issuer.Issuer
	ctx    context.Context
}

func openRoad(t *testing.T) *road {
	t.Helper()
	ctx := browser.Open(t)
	r := &road{T: t, ctx: ctx, issuer: issuer.Start(t,
		issuer.Person{Name: "alice", FullName: "李 Alice", Email: "alice@road.example", Verified: true, Claims: map[string]any{"groups": []string{"ops-changchun"}}},
		issuer.Person{Name: "nobody", FullName: "Nobody", Email: "nobody@road.example", Verified: true})}
	secret := filepath.Join(t.TempDir(), "client.secret")
	if err := os.WriteFile(secret, []byte(issuer.ClientSecret), 0o600); err != nil {
		t.Fatal(err)
	}
	r.hub = startWith(t, t.TempDir(), fmt.Sprintf(`oidc:
  issuer: %s
  label: Road ID
  client_id: %s
  client_secret_file: %s
  grants:
    - {claim: groups, value: ops-changchun, role: operator, region: "2201"}
`, r.issuer.URL, issuer.ClientID, secret))
	r.issuer.Allow(r.hub.HTTP)
	for id, region := range map[string]string{"here": "220100", "there": "110000"} {
		if err := r.hub.Do(t.Context(), http.MethodPost, "/api/v1/devices", map[string]any{"id": id, "region": region}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

func (r *road) do(actions ...chromedp.Action[chromedp.Void]) {
	r.Helper()
	browser.Do(r.T, r.ctx, actions...)
}

// signIn goes through both pages as a person does.
func (r *road) signIn(name string) {
	r.Helper()
	r.do(chromedp.Navigate(r.hub.HTTP+"/?lang=en&range=3600"), browser.Until(`document.querySelector('#issuer')`), chromedp.Click("#issuer"),
		browser.Until(`document.querySelector('#username')`), chromedp.Focus("#username"), chromedp.KeyEvent(name),
		chromedp.Focus("#password"), chromedp.KeyEvent(issuer.Password), chromedp.Click("#go"),
		browser.Until(`location.origin === '`+r.hub.HTTP+`' && document.querySelector('.brand')`))
}

// fetch is the status and text of what the page asks with its cookie.
func (r *road) fetch(method, path, body string) string {
	r.Helper()
	options := fmt.Sprintf("{method: %q}", method)
	if body != "" {
		options = fmt.Sprintf("{method: %q, body: %q, headers: {'Content-Type': 'application/json'}}", method, body)
	}
	browser.Read[bool](r.T, r.ctx, fmt.Sprintf(`window.got = '', fetch(%q, %s).then(async a => { window.got = a.status + ' ' + await a.text() }).catch(e => { window.got = 'failed ' + e }), true`, path, options))
	r.do(browser.Until("window.got"))
	return browser.Read[string](r.T, r.ctx, "window.got")
}

func (r *road) sessions() (all []map[string]any) {
	r.Helper()
	var page struct{ Items []map[string]any }
	if err := r.hub.Do(r.Context(), http.MethodGet, "/api/v1/sessions", nil, &page); err != nil {
		r.Fatal(err)
	}
	return page.Items
}

// actions are what the record says of comings and goings, the first first.
func (r *road) actions() string {
	r.Helper()
	var page struct{ Items []map[string]any }
	if err := r.hub.Do(r.Context(), http.MethodGet, "/api/v1/audit?limit=100", nil, &page); err != nil {
		r.Fatal(err)
	}
	var all []string
	for _, e := range page.Items {
		if a := fmt.Sprint(e["action"]); strings.HasPrefix(a, "sessions.") {
			all = append([]string{strings.TrimPrefix(a, "sessions.") + " " + fmt.Sprint(e["actor"])}, all...)
		}
	}
	return strings.Join(all, ", ")
}

func TestAPersonSignsInWithAnIssuer(t *testing.T) {
	r := openRoad(t)
	r.signIn("alice")
	r.do(browser.Until(`document.querySelector('#who') && location.search.includes('range=3600')`))
	if who := browser.Read[string](t, r.ctx, `document.querySelector('#who').innerText`); !strings.Contains(who, "李 Alice") || !strings.Contains(who, "operator") || !strings.Contains(who, "Changchun") {
		t.Errorf("the header says %q", who)
	}
	r.do(browser.Until(`document.querySelectorAll('#devices tr').length === 1 && document.querySelector('#devices').innerText.includes('here')`))
	for _, c := range []struct{ method, path, body, want string }{
		{"GET", "/api/v1/devices", "", "200"}, {"GET", "/api/v1/devices/there", "", "404"}, {"POST", "/api/v1/devices", `{"id": "x", "region": "110000"}`, "403"},
		{"POST", "/api/v1/devices", `{"id": "new", "region": "220100"}`, "201"}, {"GET", "/api/v1/tokens", "", "403"}, {"GET", "/api/v1/sessions", "", "403"},
	} {
		if got := r.fetch(c.method, c.path, c.body); !strings.HasPrefix(got, c.want) || c.path == "/api/v1/devices" && c.method == "GET" && strings.Contains(got, "there") {
			t.Errorf("%s %s: %.200s, want %s", c.method, c.path, got, c.want)
		}
	}
	if kept := browser.Read[string](t, r.ctx, `document.cookie`); kept != "" {
		t.Errorf("scripts read %q", kept)
	}

	// Another site neither acts for her nor signs her out.
	r.do(chromedp.Navigate(r.issuer.URL + "/login/username"))
	browser.Read[bool](t, r.ctx, `(() => { const f = document.createElement('form'); f.method = 'post'; f.action = '`+r.hub.HTTP+`/signout'; document.body.append(f); f.submit(); return true })()`)
	r.do(browser.Until(`location.origin === '` + r.hub.HTTP + `'`))
	if all := r.sessions(); len(all) != 1 || all[0]["name"] != "alice@road.example" || all[0]["via"] != "oidc" {
		t.Fatalf("sessions: %v", all)
	}

	// An admin ends the session, and what waits with it.
	r.do(chromedp.Navigate(r.hub.HTTP+"/?lang=en"), browser.Until(`document.querySelector('#who')`))
	var command struct{ ID string }
	if err := r.hub.Do(t.Context(), http.MethodPost, "/api/v1/devices/here/commands", map[string]any{"name": "reboot", "expires_in": "1h"}, &command); err != nil {
		t.Fatal(err)
	}
	browser.Read[bool](t, r.ctx, `window.ended = '', fetch('/api/v1/commands/`+command.ID+`?wait=1m').then(a => { window.ended = 'over ' + a.status }, e => { window.ended = 'over ' + e }), true`)
	if got := r.fetch("GET", "/api/v1/stats", ""); !strings.HasPrefix(got, "200") { // after the wait began
		t.Errorf("%.200s", got)
	}
	if err := r.hub.Do(t.Context(), http.MethodDelete, "/api/v1/sessions/"+fmt.Sprint(r.sessions()[0]["id"]), nil, nil); err != nil {
		t.Fatal(err)
	}
	r.do(browser.Until(`window.ended`))
	if ended := browser.Read[string](t, r.ctx, `window.ended`); ended != "over 401" {
		t.Errorf("the wait ends with %q", ended)
	}
	if got := r.fetch("GET", "/api/v1/stats", ""); !strings.HasPrefix(got, "401") {
		t.Errorf("after its end: %.200s", got)
	}

	// She comes again, and leaves both.
	r.signIn("alice")
	r.do(browser.Until(`document.querySelector('#signout')`), chromedp.Click("#signout"), browser.Until(`location.pathname === '/signin' && document.querySelector('#issuer')`))
	if all := r.sessions(); len(all) != 0 {
		t.Errorf("sessions: %v", all)
	}
	if got, want := r.actions(), "sign_in alice@road.example, end admin, sign_in alice@road.example, sign_out alice@road.example"; got != want {
		t.Errorf("on record: %s, want %s", got, want)
	}
}

func TestAPersonWithoutARightIsToldSo(t *testing.T) {
	r := openRoad(t)
	r.signIn("nobody")
	r.do(browser.Until(`document.querySelector('#fault')`))
	if text := browser.Read[string](t, r.ctx, `document.querySelector('#fault').innerText`); !strings.Contains(text, "nobody@road.example") || !strings.Contains(text, "oidc.grants") {
		t.Errorf("told %q", text)
	}
	if all := r.sessions(); len(all) != 0 || r.actions() != "refuse nobody@road.example" {
		t.Errorf("sessions %v, on record: %s", all, r.actions())
	}
	if got := r.fetch("GET", "/api/v1/stats", ""); !strings.HasPrefix(got, "401") {
		t.Errorf("%.200s", got)
	}

	// The issuer goes away: the page says so, and a token still works.
	r.issuer.Stop()
	r.do(chromedp.Navigate(r.hub.HTTP+"/signin?lang=zh"), browser.Until(`document.querySelector('#token')`))
	r.do(chromedp.Focus("#token"), chromedp.KeyEvent(r.hub.Token), chromedp.Click("form button"), browser.Until(`document.querySelector('#who')`))
	if who := browser.Read[string](t, r.ctx, `document.querySelector('#who').innerText`); !strings.Contains(who, "admin") || !strings.Contains(who, "管理员") {
		t.Errorf("the header says %q", who)
	}
}
