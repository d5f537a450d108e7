package access

import (
	"net/http"
	"net/url"
	"time"

	"github.com/songhua-io/hub/internal/config/strict"
)

// PagesConfig says how people reach the pages and how long they stay signed in.
type PagesConfig struct {
	// PublicURL is where browsers reach the pages when a proxy stands before the hub, such as https://hub.example; empty means as each request says. With https, cookies travel by TLS only.
	PublicURL string `yaml:"public_url"`
	// SessionLifetime is how long one is signed in at most.
	SessionLifetime time.Duration `yaml:"session_lifetime"`
	// SessionIdle is how long a session lives that nobody uses; an open page uses it.
	SessionIdle time.Duration `yaml:"session_idle"`
	// MaxSessions bounds the sessions of everybody together; one person has at most 20.
	MaxSessions int `yaml:"max_sessions"`
}

// DefaultPagesConfig returns what holds for a hub without a config file.
func DefaultPagesConfig() PagesConfig {
	return PagesConfig{SessionLifetime: 24 * time.Hour, SessionIdle: 2 * time.Hour, MaxSessions: 10_000}
}

// Check implements strict.Checker.
func (c PagesConfig) Check(path string) []strict.Error {
	errs := strict.Between(path, "session_lifetime", c.SessionLifetime, time.Minute, 30*24*time.Hour)
	errs = append(errs, strict.Between(path, "session_idle", c.SessionIdle, time.Minute, 30*24*time.Hour)...)
	errs = append(errs, strict.Between(path, "max_sessions", c.MaxSessions, 1, 100_000)...)
	if c.PublicURL == "" {
		return errs
	}
	u, err := url.Parse(c.PublicURL)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil || u.Path != "" || u.RawQuery != "" || u.Fragment != "" {
		errs = append(errs, strict.Fault(path, "public_url", "%q is no address of a host; write it as https://hub.example, without a path and without / at its end", c.PublicURL))
	}
	return errs
}

// Cookie is the name of the cookie in which the pages keep a session.
const Cookie = "songhua_session"

// Secure reports whether the browser that sent a request reached the pages by
// TLS, as far as the hub can know.
func (c PagesConfig) Secure(r *http.Request) bool {
	u, err := url.Parse(c.PublicURL)
	return r.TLS != nil || err == nil && u.Scheme == "https"
}

// CookieName is what a cookie is called in the answer to a request: with TLS no
// neighbour on another host or in clear text can set one that starts __Host-.
func (c PagesConfig) CookieName(r *http.Request, name string) string {
	if c.Secure(r) {
		return "__Host-" + name
	}
	return name
}

// Base is the address under which the browser that sent a request knows the
// pages.
func (c PagesConfig) Base(r *http.Request) string {
	switch {
	case c.PublicURL != "":
		return c.PublicURL
	case r.TLS != nil:
		return "https://" + r.Host
	}
	return "http://" + r.Host
}
