package access

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// desk is tokens and sessions with a clock that stands still.
type desk struct {
	*testing.T
	dir      string
	now      time.Time
	cfg      PagesConfig
	tokens   *Tokens
	sessions *Sessions
}

func newDesk(t *testing.T) *desk {
	d := &desk{T: t, dir: t.TempDir(), now: time.Unix(1_800_000_000, 0), cfg: DefaultPagesConfig()}
	d.restart()
	return d
}

func (d *desk) restart() {
	d.tokens = openTokens(d.T, d.dir, func() time.Time { return d.now })
	d.sessions = openSessions(d.T, d.tokens, d.cfg)
}

func (d *desk) person(name string) (Session, string) {
	d.Helper()
	k, secret, err := d.sessions.Open(d.Context(), Session{Name: name, Shown: name, Via: ViaOIDC, Subject: "1", Role: Reader, Region: "22", Origin: "192.0.2.1"})
	if err != nil {
		d.Fatal(err)
	}
	return k, secret
}

func (d *desk) gone(secret, why string) {
	d.Helper()
	if k, err := d.sessions.Find(d.Context(), secret); !errors.Is(err, ErrUnknown) {
		d.Errorf("%s, and the session is found: %+v, %v", why, k, err)
	}
}

func (d *desk) there(secret, when string) {
	d.Helper()
	if _, err := d.sessions.Find(d.Context(), secret); err != nil {
		d.Errorf("%s: %v", when, err)
	}
}

func TestASessionEndsByTime(t *testing.T) {
	d := newDesk(t)
	_, unused := d.person("idle@example.org")
	_, used := d.person("busy@example.org")
	for range 23 {
		d.now = d.now.Add(time.Hour)
		d.there(used, "in use")
	}
	d.gone(unused, "unused for longer than pages.session_idle")
	d.restart()
	d.there(used, "after a restart")
	d.now = d.now.Add(time.Hour + time.Second)
	d.gone(used, "past pages.session_lifetime")
	if len(d.sessions.List("")) != 0 {
		t.Errorf("listed: %+v", d.sessions.List(""))
	}
	d.person("next@example.org")
	if n := len(d.sessions.byID); n != 1 {
		t.Errorf("%d sessions are kept", n)
	}
}

func TestASessionDoesNotOutliveItsToken(t *testing.T) {
	d := newDesk(t)
	_, token, err := d.tokens.Create(t.Context(), Token{Name: "ops", Role: Operator, Expires: d.now.Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	open := func() string {
		_, secret, err := d.sessions.OpenByToken(t.Context(), token, "")
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	secret := open()
	d.restart()
	d.there(secret, "after a restart")
	d.now = d.now.Add(time.Hour + time.Second)
	d.gone(secret, "its token expired")
	d.now = d.now.Add(-time.Hour)
	secret = open()
	if err := d.tokens.Revoke(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	d.gone(secret, "its token was revoked")
	if _, _, err := d.tokens.Create(t.Context(), Token{Name: "ops", Role: Admin}); err != nil {
		t.Fatal(err)
	}
	d.gone(secret, "another token has the name")
	d.restart()
	d.gone(secret, "another token has the name since before the start")
}

func TestSessionsAreBounded(t *testing.T) {
	d := newDesk(t)
	_, first := d.person("one@example.org")
	d.now = d.now.Add(time.Minute)
	var last string
	for range maxPerPerson {
		_, last = d.person("one@example.org")
	}
	d.gone(first, "the person has twenty newer ones")
	d.there(last, "the newest")
	d.cfg.MaxSessions = maxPerPerson + 2
	d.restart()
	d.person("two@example.org")
	d.person("three@example.org")
	if _, _, err := d.sessions.Open(t.Context(), Session{Name: "four@example.org", Via: ViaOIDC, Role: Reader}); !errors.Is(err, ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	d.there(last, "others do not push out")
	d.now = d.now.Add(d.cfg.SessionIdle + time.Minute)
	d.person("four@example.org")
}

func TestWhatIsUnderWayEndsWithItsSessionOrToken(t *testing.T) {
	d := newDesk(t)
	_, token, err := d.tokens.Create(t.Context(), Token{Name: "ops", Role: Operator})
	if err != nil {
		t.Fatal(err)
	}
	_, ofToken, err := d.sessions.OpenByToken(t.Context(), token, "")
	if err != nil {
		t.Fatal(err)
	}
	person, ofPerson := d.person("one@example.org")
	under := make(chan error, 3)
	begun := make(chan struct{}, 3)
	h := d.sessions.Identify(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		begun <- struct{}{}
		<-r.Context().Done()
		under <- context.Cause(r.Context())
	}))
	stream := func(prepare func(*http.Request)) {
		r := httptest.NewRequest("GET", "/", nil)
		prepare(r)
		go h.ServeHTTP(httptest.NewRecorder(), r)
		<-begun
	}
	ended := func(why string) {
		t.Helper()
		select {
		case cause := <-under:
			if !errors.Is(cause, ErrRevoked) {
				t.Errorf("%s: %v", why, cause)
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s, and the request goes on", why)
		}
	}
	stream(func(r *http.Request) { r.AddCookie(&http.Cookie{Name: Cookie, Value: ofPerson}) })
	if err := d.sessions.End(t.Context(), person.ID); err != nil {
		t.Fatal(err)
	}
	ended("the session ended")
	d.gone(ofPerson, "it was ended")
	stream(func(r *http.Request) { r.AddCookie(&http.Cookie{Name: Cookie, Value: ofToken}) })
	stream(func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) })
	if err := d.tokens.Revoke(t.Context(), "ops"); err != nil {
		t.Fatal(err)
	}
	ended("the token of the session was revoked")
	ended("the token was revoked")
}

func TestSecretsOfSessionsAreNotKept(t *testing.T) {
	d := newDesk(t)
	_, secret := d.person("one@example.org")
	copied := filepath.Join(t.TempDir(), "copy.db")
	if err := d.tokens.db.Copy(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(copied)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(text, []byte("one@example.org")) || bytes.Contains(text, []byte(secret)) {
		t.Error("the database holds the secret, or not the session")
	}
}

func TestListsOfSessionsAreNarrowed(t *testing.T) {
	d := newDesk(t)
	d.person("one@example.org")
	for region, want := range map[string]int{"": 1, "22": 1, "2201": 0, "11": 0} {
		if got := d.sessions.List(region); len(got) != want {
			t.Errorf("of %q: %+v", region, got)
		}
	}
}
