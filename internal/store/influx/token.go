package influx

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
)

// authorised adds the token of a file to requests, read for each. The client
// library never has the token, and so cannot log it.
type authorised struct {
	to   *http.Transport
	file string
	last atomic.Pointer[string] // the token of the last request
}

// RoundTrip implements http.RoundTripper.
func (a *authorised) RoundTrip(r *http.Request) (*http.Response, error) {
	if a.file == "" {
		return a.to.RoundTrip(r)
	}
	text, err := os.ReadFile(a.file)
	if err != nil {
		return nil, fmt.Errorf("token_file: %w", err)
	}
	token := strings.TrimSpace(string(text))
	if token == "" || strings.ContainsAny(token, "\r\n") {
		return nil, fmt.Errorf("token_file %s holds no token: it is one line", a.file)
	}
	a.last.Store(&token)
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Token "+token)
	return a.to.RoundTrip(r)
}

// hide takes the token out of a text that a server wrote.
func (a *authorised) hide(text string) string {
	if token := a.last.Load(); token != nil {
		return strings.ReplaceAll(text, *token, "…")
	}
	return text
}
