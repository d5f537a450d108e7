package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A hub that was killed leaves its addresses in its data directory, and one
// that ended takes them away: both times the error names the directory and how
// to start its hub.
func TestTheHubOfADirectoryThatDoesNotRun(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	way := "`hub serve --data " + dir + "`"
	if _, err := Find(Where{Data: dir}); err == nil || !strings.Contains(err.Error(), "no hub runs in "+dir) || !strings.Contains(err.Error(), way) {
		t.Errorf("without addresses: %v", err)
	}

	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, `{"detail": "the token is not known"}`)
	}))
	defer other.Close()
	if err := os.WriteFile(filepath.Join(dir, "hub.json"), fmt.Appendf(nil, `{"http": %q}`, other.URL), 0o600); err != nil {
		t.Fatal(err)
	}
	ask := func(w Where) error {
		c, err := Find(w)
		if err != nil {
			t.Fatal(err)
		}
		return c.Call(t.Context(), http.MethodGet, "/api/v1/devices", nil, nil, nil)
	}
	err := ask(Where{Data: dir})
	var refused *Problem
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "the token is not known") || !strings.Contains(err.Error(), way) {
		t.Errorf("another hub at the address: %v", err)
	}
	if err := ask(Where{Data: dir, Token: "mistyped"}); err == nil || strings.Contains(err.Error(), way) {
		t.Errorf("a token that was given is refused: %v", err)
	}
	other.Close()
	if err := ask(Where{Data: dir}); err == nil || !strings.Contains(err.Error(), "the hub of "+dir+" does not run") || !strings.Contains(err.Error(), way) {
		t.Errorf("nobody at the address: %v", err)
	}
}
