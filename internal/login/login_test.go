package login

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	idp "github.com/songhua-io/hub/internal/hubtest/issuer"
	"github.com/songhua-io/hub/internal/records"
)

const base = "http://hub.example"

// place is a desk with a real issuer.
type place struct {
	*testing.T
	desk     *Desk
	sessions *access.Sessions
	tokens   *access.Tokens
	audit    *audit.Log
	issuer   *idp.Issuer
	cfg      Config

	mu  sync.Mutex
	now time.Time
}

func people() []idp.Person {
	return []idp.Person{
		{Name: "alice", FullName: "Alice 李", Email: "alice@road.example", Verified: true, Claims: map[string]any{"groups": []string{"staff", "ops-changchun"}}},
		{Name: "bob", FullName: "Bob", Email: "chief@road.example", Verified: true},
		{Name: "mallory", FullName: "Mallory", Email: "chief@road.example"}, // says so, and nobody verified it
		{Name: "nobody", FullName: "Nobody", Email: "nobody@road.example", Verified: true, Claims: map[string]any{"groups": "staff"}},
	}
}

func open(t *testing.T, change func(*Config)) *place {
	t.Helper()
	p := &place{T: t, now: time.Now(), issuer: idp.Start(t, people()...)}
	p.issuer.Allow(base)
	dir := t.TempDir()
	secret := filepath.Join(dir, "client.secret")
	if err := os.WriteFile(secret, []byte(idp.ClientSecret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.cfg = DefaultConfig()
	p.cfg.Issuer, p.cfg.Label, p.cfg.ClientID, p.cfg.ClientSecretFile = p.issuer.URL, "Road login", idp.ClientID, secret
	p.cfg.Grants = []Grant{{"email", "chief@road.example", access.Admin, ""}, {"groups", "ops-changchun", access.Operator, "2201"}}
	if change != nil {
		change(&p.cfg)
	}
	if errs := p.cfg.Check("oidc"); len(errs) > 0 {
		t.Fatal(errs)
	}
	db, err := records.Open(t.Context(), filepath.Join(dir, "records.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if p.tokens, err = access.OpenTokens(t.Context(), db, p.clock); err != nil {
		t.Fatal(err)
	}
	if p.sessions, err = access.OpenSessions(t.Context(), access.DefaultPagesConfig(), access.SessionsDeps{Records: db, Tokens: p.tokens, Clock: p.clock, Metrics: prometheus.NewRegistry()}); err != nil {
		t.Fatal(err)
	}
	if p.audit, err = audit.Open(audit.Options{Records: db, Dir: t.TempDir(), Config: audit.DefaultConfig(), Log: slog.New(slog.DiscardHandler), Clock: p.clock, Metrics: prometheus.NewRegistry()}); err != nil {
		t.Fatal(err)
	}
	if p.desk, err = New(p.cfg, Deps{Sessions: p.sessions, Audit: p.audit, Log: slog.New(slog.DiscardHandler), Clock: p.clock, Metrics: prometheus.NewRegistry()}); err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *place) clock() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.now
}

func (p *place) pass(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = p.now.Add(d)
}

func (p *place) begin() Begun {
	p.Helper()
	b, err := p.desk.Begin(p.Context(), base, "/?range=3600", false)
	if err != nil {
		p.Fatal(err)
	}
	return b
}

// atIssuer is what a person does there, and the query that the person comes
// back with.
func (p *place) atIssuer(address, name string) url.Values {
	p.Helper()
	browser := &http.Client{Timeout: time.Minute, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if strings.HasPrefix(r.URL.String(), base) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	page, err := browser.Get(address)
	if err != nil {
		p.Fatal(err)
	}
	page.Body.Close()
	form := page.Request.URL
	answer, err := browser.PostForm(form.String(), url.Values{"id": {form.Query().Get("authRequestID")}, "username": {name}, "password": {idp.Password}})
	if err != nil {
		p.Fatal(err)
	}
	text, _ := io.ReadAll(answer.Body)
	answer.Body.Close()
	back, err := answer.Location()
	if err != nil || back.Path != CallbackPath {
		p.Fatalf("the issuer answers %s %.300s, to %v", answer.Status, text, back)
	}
	return back.Query()
}

var someone = access.Caller{Address: "192.0.2.7"}

func (p *place) finish(cookie string, answer url.Values) (Opened, error) {
	return p.desk.Finish(p.Context(), someone, base, cookie, answer)
}

// signIn is all of it.
func (p *place) signIn(name string) (access.Session, error) {
	p.Helper()
	b := p.begin()
	opened, err := p.finish(b.Cookie, p.atIssuer(b.URL, name))
	if err != nil {
		return access.Session{}, err
	}
	s, err := p.sessions.Find(p.Context(), opened.Secret)
	if err != nil {
		p.Fatal(err)
	}
	return s, nil
}

func (p *place) refused(err error, reason string) {
	p.Helper()
	var no *Refusal
	if !errors.As(err, &no) || no.Reason != reason || no.EN == "" || no.ZH == "" || strings.Contains(no.EN+no.ZH, "%!") {
		p.Errorf("%+v (%v), want a refusal for reason %s", no, err, reason)
	}
	if n := len(p.sessions.List("")); n != 0 {
		p.Errorf("%d sessions are open", n)
	}
}

func TestRolesFollowTheIssuersClaims(t *testing.T) {
	p := open(t, nil)
	alice, err := p.signIn("alice")
	if err != nil || alice.Name != "alice@road.example" || alice.Shown != "Alice 李" && alice.Shown != "Alice 李 " || alice.Role != access.Operator || alice.Region != "2201" || alice.Via != access.ViaOIDC {
		t.Errorf("%+v, %v", alice, err)
	}
	bob, err := p.signIn("bob")
	if err != nil || bob.Role != access.Admin || bob.Region != "" {
		t.Errorf("%+v, %v", bob, err)
	}
	for _, s := range p.sessions.List("") {
		if err := p.sessions.End(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = p.signIn("mallory")
	p.refused(err, reasonGrant)
	_, err = p.signIn("nobody")
	p.refused(err, reasonGrant)
	if !strings.Contains(err.(*Refusal).EN, "nobody@road.example") || !strings.Contains(err.(*Refusal).ZH, "nobody@road.example") {
		t.Errorf("a person without a right is told %q", err.(*Refusal).EN)
	}
}

func TestARoleIsAskedForAtEachSignIn(t *testing.T) {
	p := open(t, func(c *Config) { c.RoleClaim, c.RegionClaim, c.Grants = "hub.roles", "hub.region", nil })
	p.issuer.Tamper(func(t *idp.Token) {
		t.Claims["hub"] = map[string]any{"roles": []string{"reader", "operator", "gateway"}, "region": "2202"}
	})
	if s, err := p.signIn("bob"); err != nil || s.Role != access.Operator || s.Region != "2202" {
		t.Errorf("%+v, %v", s, err)
	}
	p.issuer.Tamper(func(t *idp.Token) {
		t.Claims["hub"] = map[string]any{"roles": []string{"reader"}, "region": "22"}
	})
	if s, err := p.signIn("bob"); err != nil || s.Role != access.Reader || s.Region != "22" {
		t.Errorf("%+v, %v", s, err)
	}
}

// A session is for whom the issuer proves to the browser that asked, and for
// nobody else.
func TestAnswersThatProveNothing(t *testing.T) {
	p := open(t, nil)
	foreign, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, tamper := range map[string]func(*idp.Token){
		"wrong nonce":        func(t *idp.Token) { t.Claims["nonce"] = "another" },
		"no nonce":           func(t *idp.Token) { delete(t.Claims, "nonce") },
		"wrong audience":     func(t *idp.Token) { t.Claims["aud"] = "another-client" },
		"audiences, no azp":  func(t *idp.Token) { t.Claims["aud"] = []string{idp.ClientID, "x"}; delete(t.Claims, "azp") },
		"for another party":  func(t *idp.Token) { t.Claims["azp"] = "another-client" },
		"of another issuer":  func(t *idp.Token) { t.Claims["iss"] = "https://other.example" },
		"expired":            func(t *idp.Token) { t.Claims["exp"] = time.Now().Add(-time.Hour).Unix() },
		"alg none":           func(t *idp.Token) { t.Header["alg"] = "none" },
		"alg HS256":          func(t *idp.Token) { t.Header["alg"] = "HS256" },
		"signed by others":   func(t *idp.Token) { t.Key = foreign },
		"another's token":    func(t *idp.Token) { t.Claims["sub"] = "alice" }, // userinfo knows better
		"no subject":         func(t *idp.Token) { delete(t.Claims, "sub") },
		"a long subject":     func(t *idp.Token) { t.Claims["sub"] = strings.Repeat("a", 256) },
		"wrong access token": func(t *idp.Token) { t.Claims["at_hash"] = "AAAAAAAAAAAAAAAAAAAAAA" },
	} {
		t.Run(name, func(t *testing.T) {
			p.pass(time.Minute)
			p.issuer.Tamper(tamper)
			_, err := p.signIn("bob")
			p.refused(err, reasonProof)
		})
	}
	p.issuer.Tamper(nil)
	if _, err := p.signIn("bob"); err != nil {
		t.Error(err)
	}
}

func TestAnAnswerCountsOnceAndInTheBrowserThatAsked(t *testing.T) {
	p := open(t, nil)
	b := p.begin()
	answer := p.atIssuer(b.URL, "bob")
	with := func(name, value string) url.Values {
		q := url.Values{}
		for k, v := range answer {
			q[k] = v
		}
		if q.Set(name, value); value == "" {
			q.Del(name)
		}
		return q
	}
	other := p.begin()
	a, _ := parseAttempt(other.Cookie, p.now)
	for name, c := range map[string]struct {
		cookie string
		answer url.Values
		reason string
	}{
		"wrong state":                    {b.Cookie, with("state", "x"), reasonAttempt},
		"no state":                       {b.Cookie, with("state", ""), reasonAttempt},
		"no cookie":                      {"", answer, reasonAttempt},
		"a broken cookie":                {b.Cookie[1:], answer, reasonAttempt},
		"an older cookie, made younger":  {strings.Replace(b.Cookie, ".", ".1", 1), answer, reasonAttempt},
		"another browser":                {other.Cookie, answer, reasonAttempt},
		"another browser, and its state": {other.Cookie, with("state", a.state()), reasonProof}, // PKCE
		"the wrong issuer answered":      {b.Cookie, with("iss", "https://other.example"), reasonProof},
		"the person said no":             {b.Cookie, with("error", "access_denied"), reasonIssuer},
		"an error with markup":           {b.Cookie, with("error", "<b>call 555</b>"), reasonIssuer},
	} {
		asked := p.issuer.Codes()
		_, err := p.finish(c.cookie, c.answer)
		p.refused(err, c.reason)
		if strings.Contains(err.Error(), "555") || strings.Contains(err.(*Refusal).EN, "555") {
			t.Errorf("%s: %v", name, err)
		}
		if c.reason == reasonAttempt && p.issuer.Codes() != asked {
			t.Errorf("%s: the code was brought to the issuer", name)
		}
	}
	b = p.begin()
	answer = p.atIssuer(b.URL, "bob")
	opened, err := p.finish(b.Cookie, answer)
	if err != nil || opened.To != "/?range=3600" {
		t.Fatal(opened, err)
	}
	for _, s := range p.sessions.List("") {
		if err := p.sessions.End(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	_, err = p.finish(b.Cookie, answer)
	p.refused(err, reasonProof) // the code was used
	b = p.begin()
	answer = p.atIssuer(b.URL, "bob")
	p.pass(AttemptLife + time.Second)
	_, err = p.finish(b.Cookie, answer)
	p.refused(err, reasonAttempt)
}

func TestTheIssuerMayGoAndComeBack(t *testing.T) {
	p := open(t, nil)
	p.issuer.Stop()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.desk.Run(ctx) }()
	t.Cleanup(func() { stop(); <-ended })
	state := func(down bool) {
		t.Helper()
		for deadline := time.Now().Add(3 * time.Minute); ; time.Sleep(10 * time.Millisecond) {
			i, ok := p.desk.Issuer()
			if ok && i.Down == down {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("down is %v", i.Down)
			}
		}
	}
	state(true)
	if _, err := p.desk.Begin(t.Context(), base, "/", false); err == nil || err.(*Refusal).Reason != reasonDown {
		t.Errorf("%v", err)
	}
	_, token, err := p.tokens.Create(t.Context(), access.Token{Name: "ops", Role: access.Operator})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.desk.ByToken(t.Context(), someone, token); err != nil {
		t.Errorf("a token, while the issuer is away: %v", err)
	}
	p.issuer.Again()
	state(false)
	b := p.begin()
	answer := p.atIssuer(b.URL, "bob")
	p.issuer.Stop()
	if _, err := p.finish(b.Cookie, answer); err == nil || err.(*Refusal).Reason != reasonDown {
		t.Errorf("it goes away before the code is brought: %v", err)
	}
	p.issuer.Again()
	if _, err := p.finish(b.Cookie, answer); err != nil {
		t.Errorf("it is back: %v", err)
	}
}

func TestWhoErrsTooOftenWaits(t *testing.T) {
	p := open(t, nil)
	for range failureBurst {
		_, err := p.desk.ByToken(t.Context(), someone, "wrong")
		p.refused(err, reasonToken)
	}
	_, token, err := p.tokens.Create(t.Context(), access.Token{Name: "ops", Role: access.Operator})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.desk.ByToken(t.Context(), someone, token)
	p.refused(err, reasonRate)
	if err.(*Refusal).After <= 0 {
		t.Error("and is not told how long")
	}
	entries, err := p.audit.List(t.Context(), audit.Filter{}, 0, 100)
	if err != nil || len(entries) != failureBurst {
		t.Errorf("%d entries, %v", len(entries), err)
	}
	if _, err := p.desk.ByToken(t.Context(), access.Caller{Address: "192.0.2.8"}, token); err != nil {
		t.Errorf("another address: %v", err)
	}
	p.pass(failureEvery)
	if _, err := p.desk.ByToken(t.Context(), someone, token); err != nil {
		t.Errorf("later: %v", err)
	}
}

func TestComingAndGoingIsOnRecord(t *testing.T) {
	p := open(t, nil)
	_, token, err := p.tokens.Create(t.Context(), access.Token{Name: "ops", Role: access.Operator, Region: "22"})
	if err != nil {
		t.Fatal(err)
	}
	opened, err := p.desk.ByToken(t.Context(), someone, token)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.sessions.Find(t.Context(), opened.Secret)
	if err != nil {
		t.Fatal(err)
	}
	before := access.Caller{Name: s.Name, Role: s.Role, Region: s.Region, Session: s.ID, Address: someone.Address}
	b := p.begin()
	answer := p.atIssuer(b.URL, "alice")
	opened, err = p.desk.Finish(t.Context(), before, base, b.Cookie, answer) // ends the other
	if err != nil {
		t.Fatal(err)
	}
	if s, err = p.sessions.Find(t.Context(), opened.Secret); err != nil {
		t.Fatal(err)
	}
	caller := access.Caller{Name: s.Name, Role: s.Role, Region: s.Region, Session: s.ID, Address: someone.Address}
	next, err := p.desk.Leave(t.Context(), caller, base)
	u, _ := url.Parse(next)
	if err != nil || !strings.HasPrefix(next, p.issuer.URL+"/") || u.Query().Get("id_token_hint") == "" || u.Query().Get("post_logout_redirect_uri") != base+"/signin" {
		t.Errorf("to sign out at the issuer: %q, %v", next, err)
	}
	_, err = p.signIn("nobody")
	p.refused(err, reasonGrant)
	_, err = p.desk.ByToken(t.Context(), someone, "sh_canary")
	p.refused(err, reasonToken)

	entries, err := p.audit.List(t.Context(), audit.Filter{}, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for i := len(entries) - 1; i >= 0; i-- {
		e := entries[i]
		got = append(got, e.Actor+" "+string(e.Role)+" "+e.Region+" "+string(e.Action)+" "+e.Origin)
		for _, secret := range []string{token, "sh_canary", answer.Get("code"), opened.Secret, u.Query().Get("id_token_hint"), b.Cookie} {
			if strings.Contains(e.After+e.Before+e.Object+e.Actor, secret) {
				t.Errorf("the record holds a secret: %+v", e)
			}
		}
	}
	want := `ops operator 22 sessions.sign_in 192.0.2.7
alice@road.example operator 2201 sessions.sign_in 192.0.2.7
ops operator 22 sessions.sign_out 192.0.2.7
alice@road.example operator 2201 sessions.sign_out 192.0.2.7
nobody@road.example   sessions.refuse 192.0.2.7
   sessions.refuse 192.0.2.7`
	if s := strings.Join(got, "\n"); s != want {
		t.Errorf("record:\n%s\nwant:\n%s", s, want)
	}
	if v, err := p.audit.Verify(t.Context()); err != nil || v.Problem != nil {
		t.Error(v.Problem, err)
	}
}

func TestASecretThatCannotBeReadIsSaidAtTheStart(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Issuer, cfg.ClientID, cfg.ClientSecretFile = "https://login.example", "hub", filepath.Join(t.TempDir(), "absent")
	if _, err := New(cfg, Deps{Clock: time.Now, Metrics: prometheus.NewRegistry()}); err == nil || !strings.Contains(err.Error(), "oidc.client_secret_file") {
		t.Errorf("%v", err)
	}
}
