package access

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/records"
)

func openTokens(t *testing.T, dir string, now func() time.Time) *Tokens {
	t.Helper()
	db, err := records.Open(t.Context(), filepath.Join(dir, "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	tokens, err := OpenTokens(t.Context(), db, now)
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}

func openSessions(t *testing.T, tokens *Tokens, cfg PagesConfig) *Sessions {
	t.Helper()
	s, err := OpenSessions(t.Context(), cfg, SessionsDeps{Records: tokens.db, Tokens: tokens, Clock: tokens.now, Metrics: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTheTableIsWhole(t *testing.T) {
	seen := map[Action]bool{}
	for _, r := range rights {
		if seen[r.action] {
			t.Errorf("%s has two rows: the second says nothing", r.action)
		}
		seen[r.action] = true
		cells := strings.Fields(r.roles)
		if len(cells) != len(Roles()) || strings.Trim(r.roles, "yesno ") != "" {
			t.Errorf("%s: %q has not one yes or no for each of %v", r.action, r.roles, Roles())
		}
	}
}

func TestDecisionsAndTheirReasons(t *testing.T) {
	jilin := Caller{Name: "jl", Role: Operator, Region: "22"}
	for _, c := range []struct {
		name    string
		caller  Caller
		action  Action
		region  string
		allowed bool
		says    string
	}{
		{"a stranger", Caller{}, ReadDevices, "", false, "admin.token"},
		{"an operator", Caller{Role: Operator}, WriteDevices, "110000", true, ""},
		{"a reader", Caller{Role: Reader}, WriteDevices, "", false, "one of: admin, operator"},
		{"an unknown role", Caller{Role: "god"}, ReadDevices, "", false, "Role god"},
		{"an unknown action", Caller{Role: Admin}, "devices.explode", "", false, "devices.explode"},
		{"in the own region", jilin, WriteDevices, "220100", true, ""},
		{"in another region", jilin, WriteDevices, "110000", false, "region 22 only"},
		{"where no region is known", jilin, WriteDevices, "", false, "region 22 only"},
		{"a list", jilin, ReadDevices, Anywhere, true, ""},
	} {
		d := Allow(c.caller, c.action, c.region)
		if d.Allowed != c.allowed || !strings.Contains(d.EN, c.says) || (d.ZH == "") != c.allowed {
			t.Errorf("%s: %+v", c.name, d)
		}
	}
}

func TestTokenLives(t *testing.T) {
	dir := t.TempDir()
	now := time.Unix(1_800_000_000, 0)
	clock := func() time.Time { return now }
	tokens := openTokens(t, dir, clock)
	k, secret, err := tokens.Create(t.Context(), Token{Name: "grafana", Role: Reader, Region: "2201", Expires: now.Add(48 * time.Hour)})
	if err != nil || !strings.HasPrefix(secret, "sh_") || len(secret) != 46 {
		t.Fatalf("%+v, %q, %v", k, secret, err)
	}
	if _, _, err := tokens.Create(t.Context(), Token{Name: "grafana", Role: Admin}); !errors.Is(err, ErrExists) {
		t.Errorf("a second one of the name: %v", err)
	}

	tokens = openTokens(t, dir, clock)
	if got, err := tokens.Find(t.Context(), secret); err != nil || got.Name != "grafana" || got.Region != "2201" {
		t.Errorf("after a restart: %+v, %v", got, err)
	}
	if got := openTokens(t, dir, clock).List("22"); len(got) != 1 || !got[0].LastUse.Equal(now.UTC().Truncate(time.Hour)) {
		t.Errorf("its use is not noted: %+v", got)
	}
	now = now.Add(49 * time.Hour)
	if _, err := tokens.Find(t.Context(), secret); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("after its time: %v", err)
	}
	now = now.Add(-49 * time.Hour)
	if err := tokens.Revoke(t.Context(), "grafana"); err != nil {
		t.Fatal(err)
	}
	if _, err := tokens.Find(t.Context(), secret); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoked: %v", err)
	}
	if _, err := openTokens(t, dir, clock).Find(t.Context(), secret); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoked, after a restart: %v", err)
	}
}

// A token that is revoked, or that another of its name replaces, ends what its
// holders wait for and what they are being sent.
func TestRevocationEndsRequestsUnderWay(t *testing.T) {
	dir := t.TempDir()
	tokens := openTokens(t, dir, time.Now)
	began, ended := make(chan struct{}), make(chan error, 1)
	server := httptest.NewServer(openSessions(t, tokens, DefaultPagesConfig()).Identify(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began <- struct{}{}
		if r.URL.Path == "/waits" {
			<-r.Context().Done()
			ended <- context.Cause(r.Context())
			http.Error(w, "revoked", http.StatusUnauthorized)
			return
		}
		for {
			if _, err := w.Write(make([]byte, 64<<10)); err != nil {
				ended <- err
				return
			}
		}
	})))
	defer server.Close()
	for _, path := range []string{"/waits", "/streams"} {
		_, secret, err := tokens.Create(t.Context(), Token{Name: "grafana", Role: Reader})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
			if err != nil {
				got <- err
				return
			}
			req.Header.Set("Authorization", "Bearer "+secret)
			resp, err := http.DefaultClient.Do(req)
			if err == nil {
				_, err = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
			got <- err
		}()
		<-began
		if err := tokens.Revoke(t.Context(), "grafana"); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; (path == "/waits") != errors.Is(err, ErrRevoked) {
			t.Errorf("%s ended with %v", path, err)
		}
		if err := <-got; (path == "/waits") != (err == nil) {
			t.Errorf("the holder's %s ended with %v", path, err)
		}
	}
	admin, err := tokens.EnsureAdmin(t.Context(), dir, func(ctx context.Context) context.Context { return ctx })
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	held, err := tokens.Find(t.Context(), strings.TrimSpace(string(text)))
	if err != nil || os.Remove(admin) != nil {
		t.Fatal(err)
	}
	if _, err := tokens.EnsureAdmin(t.Context(), dir, func(ctx context.Context) context.Context { return ctx }); err != nil {
		t.Fatal(err)
	}
	<-held.Done()
}

func TestTokensThatAreRefusedNameTheWayOut(t *testing.T) {
	tokens := openTokens(t, t.TempDir(), time.Now)
	for want, k := range map[string]Token{
		"1 to 64":              {Name: "a b", Role: Reader},
		"hub device add":       {Name: "x", Role: Device},
		"one of admin":         {Name: "x", Role: "god"},
		"two, four or six":     {Name: "x", Role: Reader, Region: "220"},
		"it lies in the past":  {Name: "x", Role: Reader, Expires: time.Unix(1, 0)},
		"and starts with a le": {Name: "", Role: Reader},
	} {
		if _, _, err := tokens.Create(t.Context(), k); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v; want one that says %q", k, err, want)
		}
	}
}

func TestAdminTokenIsThereAtEveryStart(t *testing.T) {
	dir := t.TempDir()
	start := func() string {
		t.Helper()
		tokens := openTokens(t, dir, time.Now)
		path, err := tokens.EnsureAdmin(t.Context(), dir, func(ctx context.Context) context.Context { return ctx })
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info.Mode(), err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if k, err := tokens.Find(t.Context(), strings.TrimSpace(string(text))); err != nil || k.Role != Admin {
			t.Fatalf("%+v, %v", k, err)
		}
		return string(text)
	}
	first := start()
	if second := start(); second != first {
		t.Error("the token changed without need")
	}
	if err := os.Remove(filepath.Join(dir, AdminFile)); err != nil {
		t.Fatal(err)
	}
	if third := start(); third == first {
		t.Error("a lost token lives on")
	}
}

func TestCallersAreFound(t *testing.T) {
	tokens := openTokens(t, t.TempDir(), time.Now)
	sessions := openSessions(t, tokens, DefaultPagesConfig())
	_, secret, err := tokens.Create(t.Context(), Token{Name: "ops", Role: Operator})
	if err != nil {
		t.Fatal(err)
	}
	_, kept, err := sessions.OpenByToken(t.Context(), secret, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	cookie := func(value string) func(r *http.Request) {
		return func(r *http.Request) { r.AddCookie(&http.Cookie{Name: Cookie, Value: value}) }
	}
	from := func(site string, show func(*http.Request)) func(r *http.Request) {
		return func(r *http.Request) { show(r); r.Header.Set("Sec-Fetch-Site", site) }
	}
	bearer := func(r *http.Request) { r.Header.Set("Authorization", "bearer "+secret) }
	show := map[string]func(r *http.Request){
		"nothing":             func(r *http.Request) {},
		"bearer":              bearer,
		"basic":               func(r *http.Request) { r.SetBasicAuth("anything", secret) },
		"cookie":              cookie(kept),
		"cookie, same origin": from("same-origin", cookie(kept)),
		"cookie, other site":  from("cross-site", cookie(kept)),
		"cookie, same site":   from("same-site", cookie(kept)),
		"bearer, other site":  from("cross-site", bearer),
		"wrong bearer":        func(r *http.Request) { r.Header.Set("Authorization", "Bearer sh_x") },
		"token as cookie":     cookie(secret),
		"session as bearer":   func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+kept) },
		"cookie, TLS":         func(r *http.Request) { cookie(kept)(r); r.TLS = &tls.ConnectionState{} },
		"host cookie, TLS": func(r *http.Request) {
			r.AddCookie(&http.Cookie{Name: "__Host-" + Cookie, Value: kept})
			r.TLS = &tls.ConnectionState{}
		},
		"wrong over a cookie": func(r *http.Request) { cookie(kept)(r); r.Header.Set("Authorization", "Bearer x") },
	}
	want := map[string]bool{"bearer": true, "basic": true, "cookie": true, "cookie, same origin": true, "bearer, other site": true, "host cookie, TLS": true}
	for name, prepare := range show {
		r := httptest.NewRequest("POST", "/", nil)
		prepare(r)
		var got Caller
		sessions.Identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = CallerOf(r.Context()) })).ServeHTTP(httptest.NewRecorder(), r)
		if got.Known() != want[name] || got.Known() && got.Name != "ops" || got.Address == "" {
			t.Errorf("%s: %+v", name, got)
		}
		if byCookie := strings.Contains(name, "cookie") && want[name]; byCookie != (got.Session != "") {
			t.Errorf("%s: session %q", name, got.Session)
		}
	}
}

func TestAFullDiskShutsNobodyOut(t *testing.T) {
	tokens := openTokens(t, t.TempDir(), time.Now)
	_, secret, err := tokens.Create(t.Context(), Token{Name: "grafana", Role: Reader})
	if err != nil {
		t.Fatal(err)
	}
	if err := tokens.db.Close(); err != nil { // takes nothing from here on
		t.Fatal(err)
	}
	for range 2 {
		if k, err := tokens.Find(t.Context(), secret); err != nil || k.Name != "grafana" {
			t.Errorf("found %+v, %v", k, err)
		}
	}
}
