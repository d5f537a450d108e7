package influx

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// authorised adds the token of a file to requests. The file is read again when it
// is another or was written since. The client library never has the token, and so
// cannot log it.
type authorised struct {
	to   http.RoundTripper
	file string

	mu      sync.Mutex
	read    os.FileInfo // of the file as it was read
	at      time.Time   // when it was looked at
	current string
}

// lookEvery is how often the file is looked at.
const lookEvery = time.Second

func (a *authorised) RoundTrip(r *http.Request) (*http.Response, error) {
	token, err := a.token(time.Now())
	if err != nil {
		return nil, err
	}
	if token != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Token "+token)
	}
	return a.to.RoundTrip(r)
}

func (a *authorised) CloseIdleConnections() {
	if t, ok := a.to.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
}

func (a *authorised) token(now time.Time) (string, error) {
	if a.file == "" {
		return "", nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.read != nil && now.Sub(a.at) < lookEvery {
		return a.current, nil
	}
	info, err := os.Stat(a.file)
	if err != nil {
		return "", fmt.Errorf("token_file: %w", err)
	}
	if a.read == nil || !os.SameFile(a.read, info) || !a.read.ModTime().Equal(info.ModTime()) || a.read.Size() != info.Size() {
		text, err := os.ReadFile(a.file)
		if err != nil {
			return "", fmt.Errorf("token_file: %w", err)
		}
		token := strings.TrimSpace(string(text))
		if token == "" || strings.ContainsAny(token, "\r\n") {
			return "", fmt.Errorf("token_file %s holds no token: it is one line", a.file)
		}
		a.current, a.read = token, info
	}
	a.at = now
	return a.current, nil
}

// known is the token that was read last.
func (a *authorised) known() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current
}
