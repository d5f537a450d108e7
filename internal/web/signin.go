package web

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

const (
	maxForm    = 4 << 10 // bytes of a posted form
	stayFor    = 30 * 24 * time.Hour
	langCookie = "songhua_lang"
)

func (p *pages) takeToken(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		p.render(w, r, p.signin, http.StatusBadRequest, view{Fault: "signin_wrong"})
		return
	}
	p.signIn(w, r, strings.TrimSpace(r.PostForm.Get("token")))
}

// signIn keeps a good token in a cookie that scripts cannot read and other
// sites cannot send, and leads to the console without the token.
func (p *pages) signIn(w http.ResponseWriter, r *http.Request, token string) {
	if err := p.Check(r.Context(), token); err != nil {
		p.Log.Info("sign_in_refused", "address", r.RemoteAddr, "error", err)
		p.render(w, r, p.signin, http.StatusUnauthorized, view{Fault: "signin_wrong"})
		return
	}
	p.setCookie(w, access.Cookie, token, stayFor)
	query := r.URL.Query()
	query.Del("token")
	to := url.URL{Path: "/", RawQuery: query.Encode()}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}

func (p *pages) signOut(w http.ResponseWriter, r *http.Request) {
	p.setCookie(w, access.Cookie, "", -time.Second)
	http.Redirect(w, r, "/signin", http.StatusSeeOther)
}

// setCookie sets a cookie for this host; a negative age takes it away.
func (p *pages) setCookie(w http.ResponseWriter, name, value string, age time.Duration) {
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(age.Seconds()),
		HttpOnly: true, Secure: p.Secure, SameSite: http.SameSiteStrictMode,
	})
}
