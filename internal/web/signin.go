package web

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/login"
)

const (
	maxForm     = 4 << 10 // bytes of a posted form
	langCookie  = "songhua_lang"
	loginCookie = "songhua_login" // a way to the issuer and back
)

// invitation is what the page to sign in shows.
type invitation struct {
	Issuer *login.Issuer // nil when there is none
	// Button leads to the issuer by Begin; Down says that it does not answer.
	Button, Begin, Down string
	// To is the page that was asked for.
	To string
	// Again offers another account of the issuer.
	Again bool
	// Fault says why nobody was signed in.
	Fault string
	// Leave is where the issuer ends its own session; empty for nowhere.
	Leave string
}

func (p *pages) invite(w http.ResponseWriter, r *http.Request, code int, v view) {
	i := &v.SignIn
	i.To = target(r)
	if of, ok := p.Desk.Issuer(); ok {
		i.Issuer = &of
		i.Begin = "/signin/oidc?" + url.Values{"to": {target(r)}}.Encode()
	}
	p.render(w, r, p.signin, code, v)
}

// name writes the issuer's name into the texts about it.
func (i *invitation) name(texts map[string]string) {
	if i.Issuer == nil {
		return
	}
	with := strings.NewReplacer("{issuer}", i.Issuer.Label)
	i.Button, i.Down = with.Replace(texts["signin_with"]), with.Replace(texts["signin_down"])
}

// target is the page that was asked for; the login desk takes no other site's.
func target(r *http.Request) string {
	if at := r.URL.Path; at != "/" && !strings.HasPrefix(at, "/catalog") && !strings.HasPrefix(at, "/steward") {
		return cmp.Or(r.PostFormValue("to"), r.URL.Query().Get("to"))
	}
	query := r.URL.Query()
	query.Del("token")
	return (&url.URL{Path: r.URL.Path, RawQuery: query.Encode()}).String()
}

func (p *pages) takeToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		p.render(w, r, p.signin, http.StatusBadRequest, view{})
		return
	}
	p.signIn(w, r, strings.TrimSpace(r.PostForm.Get("token")))
}

// signIn opens a session for a good token and leads to the console without the
// token.
func (p *pages) signIn(w http.ResponseWriter, r *http.Request, token string) {
	opened, err := p.Desk.ByToken(r.Context(), access.CallerOf(r.Context()), token)
	opened.To = login.LocalPath(target(r))
	p.enter(w, r, opened, err)
}

// enter keeps a session in a cookie that scripts cannot read and other sites
// cannot use, or says why there is none.
func (p *pages) enter(w http.ResponseWriter, r *http.Request, opened login.Opened, err error) {
	if err != nil {
		p.turnAway(w, r, err)
		return
	}
	p.setCookie(w, r, access.Cookie, opened.Secret, time.Until(opened.Expires))
	http.Redirect(w, r, opened.To, http.StatusSeeOther)
}

func (p *pages) turnAway(w http.ResponseWriter, r *http.Request, err error) {
	var no *login.Refusal
	if !errors.As(err, &no) {
		p.Log.Error("sign_in_failed", "error", err)
		p.invite(w, r, http.StatusInternalServerError, view{fault: "signin_failed"})
		return
	}
	p.Log.Info("sign_in_refused", "address", access.CallerOf(r.Context()).Address, "reason", no.Reason, "cause", no.Cause)
	code := http.StatusUnauthorized
	switch {
	case no.After > 0:
		w.Header().Set("Retry-After", strconv.Itoa(int(no.After.Seconds())))
		code = http.StatusTooManyRequests
	case no.Down():
		code = http.StatusServiceUnavailable
	case no.NoRight():
		code = http.StatusForbidden
	}
	v := view{refusal: no}
	v.SignIn.Again = no.NoRight()
	p.invite(w, r, code, v)
}

// beginAtIssuer leads to the issuer.
func (p *pages) beginAtIssuer(w http.ResponseWriter, r *http.Request) {
	if !opensPage(r) {
		http.Error(w, "open this address as a page", http.StatusForbidden)
		return
	}
	query := r.URL.Query()
	base := p.Sessions.Pages().Base(r)
	begun, err := p.Desk.Begin(r.Context(), base, query.Get("to"), query.Has("again"))
	if err != nil {
		p.turnAway(w, r, err)
		return
	}
	p.setCookie(w, r, loginCookie, begun.Cookie, login.AttemptLife)
	http.Redirect(w, r, begun.URL, http.StatusSeeOther)
}

// comeBack takes what the issuer answered. The way is used up, also when it led
// to nothing.
func (p *pages) comeBack(w http.ResponseWriter, r *http.Request) {
	if !opensPage(r) {
		http.Error(w, "open this address as a page", http.StatusForbidden)
		return
	}
	cookie := ""
	if c, err := r.Cookie(p.Sessions.Pages().CookieName(r, loginCookie)); err == nil {
		cookie = c.Value
	}
	p.setCookie(w, r, loginCookie, "", -time.Second)
	opened, err := p.Desk.Finish(r.Context(), access.CallerOf(r.Context()), p.Sessions.Pages().Base(r), cookie, r.URL.Query())
	p.enter(w, r, opened, err)
}

// opensPage reports whether a request opens a page, as people do, rather than a
// picture or frame of another site, which may not use up anybody's attempts.
func opensPage(r *http.Request) bool {
	dest := r.Header.Get("Sec-Fetch-Dest")
	return dest == "" || dest == "document"
}

// fromElsewhere reports whether a link on another site led here.
func fromElsewhere(r *http.Request) bool {
	site := r.Header.Get("Sec-Fetch-Site")
	return site == "cross-site" || site == "same-site"
}

// signOut ends the session here, and leads to where the issuer ends its own:
// by a page, since browsers follow no form to another site under our policy.
func (p *pages) signOut(w http.ResponseWriter, r *http.Request) {
	next, err := p.Desk.Leave(r.Context(), access.CallerOf(r.Context()), p.Sessions.Pages().Base(r))
	if err != nil {
		p.Log.Error("sign_out_failed", "error", err)
		p.invite(w, r, http.StatusInternalServerError, view{fault: "signout_failed"})
		return
	}
	p.setCookie(w, r, access.Cookie, "", -time.Second)
	if next == "" {
		http.Redirect(w, r, "/signin", http.StatusSeeOther)
		return
	}
	v := view{}
	v.SignIn.Leave = next
	p.invite(w, r, http.StatusOK, v)
}

// setCookie sets a cookie for this host; a negative age takes it away. Lax lets
// it come with the way back from the issuer, and with no form of another site.
func (p *pages) setCookie(w http.ResponseWriter, r *http.Request, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: p.Sessions.Pages().CookieName(r, name), Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: p.Sessions.Pages().Secure(r), SameSite: http.SameSiteLaxMode,
	})
}
