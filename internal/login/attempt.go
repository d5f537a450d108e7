package login

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// AttemptLife is how long a person may take at the issuer.
const AttemptLife = 10 * time.Minute

// maxTarget bounds the address that a person comes back to, in bytes.
const maxTarget = 1 << 10

// attempt is one person's way to the issuer and back. All of it lies in a cookie
// of the browser; state, nonce and PKCE verifier follow from it, so that an
// answer of the issuer counts in the browser that asked, once the issuer has
// proven that it answers this very question. The hub keeps nothing that strangers
// could fill.
type attempt struct {
	key   [32]byte
	begun int64 // Unix seconds
	to    string
}

func newAttempt(to string, now time.Time) attempt {
	a := attempt{begun: now.Unix(), to: LocalPath(to)}
	rand.Read(a.key[:]) //nolint:errcheck // never fails (crypto/rand)
	return a
}

var plain = base64.RawURLEncoding

// cookie is the attempt as the browser keeps it.
func (a attempt) cookie() string {
	return plain.EncodeToString(a.key[:]) + "." + strconv.FormatInt(a.begun, 10) + "." + plain.EncodeToString([]byte(a.to))
}

// parseAttempt reads a cookie; false when it is none, or too old.
func parseAttempt(cookie string, now time.Time) (attempt, bool) {
	var a attempt
	parts := strings.Split(cookie, ".")
	if len(parts) != 3 || len(cookie) > 4<<10 {
		return a, false
	}
	key, err := plain.DecodeString(parts[0])
	if err != nil || copy(a.key[:], key) != len(a.key) || len(key) != len(a.key) {
		return a, false
	}
	if a.begun, err = strconv.ParseInt(parts[1], 10, 64); err != nil {
		return a, false
	}
	to, err := plain.DecodeString(parts[2])
	if err != nil {
		return a, false
	}
	a.to = LocalPath(string(to))
	age := now.Sub(time.Unix(a.begun, 0))
	return a, age >= 0 && age <= AttemptLife
}

// derive makes a value for one use; 43 characters, as RFC 7636 wants of a
// verifier.
func (a attempt) derive(use string) string {
	mac := hmac.New(sha256.New, a.key[:])
	mac.Write([]byte(use + " " + strconv.FormatInt(a.begun, 10)))
	return plain.EncodeToString(mac.Sum(nil))
}

func (a attempt) state() string    { return a.derive("state") }
func (a attempt) nonce() string    { return a.derive("nonce") }
func (a attempt) verifier() string { return a.derive("verifier") }

func same(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// LocalPath returns where on these pages an address leads, and the first page
// for one that leads elsewhere, or that no page of ours could have.
func LocalPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || len(to) > maxTarget || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil ||
		!strings.HasPrefix(u.Path, "/") || strings.ContainsFunc(u.Path, odd) || strings.HasPrefix(u.Path, "/sign") {
		return "/"
	}
	query := u.Query()
	query.Del("token")
	// Clean leaves one / at the beginning: two would begin a host.
	return (&url.URL{Path: path.Clean(u.Path), RawQuery: query.Encode()}).String()
}

// odd are characters that browsers have read as the beginning of a host.
func odd(r rune) bool { return r == '\\' || r <= ' ' || r == 0x7f }
