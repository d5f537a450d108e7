package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dataDirectory is that of a hub which listens at a URL (empty: it never ran)
// and whose admin token is the directory's own.
func dataDirectory(t *testing.T, listens, token string) string {
	t.Helper()
	dir := t.TempDir()
	if listens != "" {
		if err := os.WriteFile(filepath.Join(dir, "hub.json"), fmt.Appendf(nil, `{"http": %q}`, listens), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if token != "" {
		if err := os.WriteFile(filepath.Join(dir, "admin.token"), []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestWhichHubGetsWhichToken: the admin token of a directory goes to the hub of
// that directory and to this machine, and to no stranger who was only named.
func TestWhichHubGetsWhichToken(t *testing.T) {
	named := dataDirectory(t, "http://127.0.0.1:9001", "named-admin")
	usual := dataDirectory(t, "http://127.0.0.1:9002", "usual-admin")
	never := dataDirectory(t, "", "never-admin")
	empty := dataDirectory(t, "", "")
	for _, c := range []struct {
		name        string
		where       Where
		base, token string
		refused     string
	}{
		{"nothing but the usual directory", Where{DefaultDataDirectory: usual}, "http://127.0.0.1:9002", "usual-admin", ""},
		{"the usual directory of a hub that does not run", Where{DefaultDataDirectory: never}, DefaultURL, "never-admin", ""},
		{"no directory at all", Where{DefaultDataDirectory: empty}, "", "", "no token"},
		{"a directory", Where{Data: named, DefaultDataDirectory: usual}, "http://127.0.0.1:9001", "named-admin", ""},
		{"a directory counts more than the environment", Where{Data: named, EnvURL: "http://far.example", EnvToken: "env"}, "http://127.0.0.1:9001", "named-admin", ""},
		{"a token counts more than the directory's", Where{Data: named, Token: "given"}, "http://127.0.0.1:9001", "given", ""},
		{"a directory without a token", Where{Data: dataDirectory(t, "http://127.0.0.1:9004", "")}, "", "", "admin.token"},
		{"a directory without a hub", Where{Data: empty}, "", "", "no hub runs in"},

		{"a stranger", Where{URL: "https://far.example", DefaultDataDirectory: usual}, "", "", "no token for the hub at https://far.example"},
		{"a stranger of the environment", Where{EnvURL: "https://far.example", DefaultDataDirectory: usual}, "", "", "no token for the hub at https://far.example"},
		{"a stranger whose name looks like this machine", Where{URL: "http://127.0.0.1.far.example", DefaultDataDirectory: usual}, "", "", "no token for the hub"},
		{"a stranger behind a user name", Where{URL: "http://localhost@far.example", DefaultDataDirectory: usual}, "", "", "no token for the hub"},
		{"a stranger with a token", Where{URL: "https://far.example", Token: "given", DefaultDataDirectory: usual}, "https://far.example", "given", ""},
		{"a stranger with the environment's token", Where{URL: "https://far.example", EnvToken: "env", DefaultDataDirectory: usual}, "https://far.example", "env", ""},
		{"a stranger named together with a directory", Where{URL: "https://far.example/", Data: named, EnvToken: "env"}, "https://far.example", "named-admin", ""},

		{"this machine by name", Where{URL: "http://localhost:8080", DefaultDataDirectory: usual}, "http://localhost:8080", "usual-admin", ""},
		{"this machine by IPv6", Where{URL: "http://[::1]:8080", DefaultDataDirectory: usual}, "http://[::1]:8080", "usual-admin", ""},
		{"this machine with the environment's token", Where{EnvURL: "http://127.0.0.1:9003", EnvToken: "env", DefaultDataDirectory: usual}, "http://127.0.0.1:9003", "env", ""},

		{"no URL", Where{URL: "hub:8080", Token: "given"}, "", "", "is no URL; write it like " + DefaultURL},
		{"another scheme", Where{URL: "ftp://localhost", Token: "given"}, "", "", "is no URL"},
	} {
		got, err := Find(c.where)
		switch {
		case c.refused != "":
			if err == nil || !strings.Contains(err.Error(), c.refused) {
				t.Errorf("%s: %v, want an error with %q", c.name, err, c.refused)
			}
		case err != nil:
			t.Errorf("%s: %v", c.name, err)
		case got.base != c.base || got.token != c.token:
			t.Errorf("%s: token %q goes to %s, want %q to %s", c.name, got.token, got.base, c.token, c.base)
		}
	}
}

// hubThat answers every request by a handler.
func hubThat(t *testing.T, answer http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(answer)
	t.Cleanup(s.Close)
	c, err := New(s.URL, "token")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAnErrorSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		name, body, want string
		status           int
	}{
		{"a problem", `{"title": "Conflict", "detail": "device t1 exists"}`, "device t1 exists", 409},
		{"a problem of a field", `{"detail": "validation failed", "errors": [{"message": "is no region", "location": "body.region"}]}`, "validation failed; region: is no region", 422},
		{"PromQL", `{"status": "error", "error": "parse error"}`, "parse error", 400},
		{"a proxy", `<html>bad gateway</html>`, "answered 502 Bad Gateway: <html>", 502},
		{"another program", `<html>welcome</html>`, "no hub, or another version", 200},
	} {
		hub := hubThat(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(c.status)
			fmt.Fprint(w, c.body)
		})
		var into struct{}
		err := hub.Call(t.Context(), http.MethodGet, "/x", nil, nil, &into)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.HasPrefix(c.body, "{") && err.Error() != c.want {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
		var p *Problem
		if errors.As(err, &p) && p.Status != c.status {
			t.Errorf("%s: status %d, want %d", c.name, p.Status, c.status)
		}
	}
	absent, err := New("http://127.0.0.1:1", "token")
	if err != nil {
		t.Fatal(err)
	}
	if err := absent.Call(t.Context(), http.MethodGet, "/x", nil, nil, nil); err == nil || !strings.Contains(err.Error(), "start one with `hub serve`") {
		t.Errorf("no hub: %v", err)
	}
}

func TestPagesEndsWithTheListOrTheLimit(t *testing.T) {
	hub := hubThat(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		if r.Header.Get("Authorization") != "Bearer token" || q.Get("kind") != "rsu" {
			t.Errorf("%v %v", q, r.Header)
		}
		from, most := 0, 0
		fmt.Sscan(q.Get("cursor"), &from)
		fmt.Sscan(q.Get("limit"), &most)
		page := map[string]any{}
		var items []int
		for i := from; i < min(from+min(most, 40), 100); i++ { // a hub may give fewer than were asked for
			items = append(items, i)
		}
		page["items"] = items
		if next := from + len(items); next < 100 {
			page["next_cursor"] = fmt.Sprint(next)
		}
		if err := json.NewEncoder(w).Encode(page); err != nil {
			t.Error(err)
		}
	})
	for limit, want := range map[int]int{0: 100, 1: 1, 40: 40, 41: 41, 100: 100, 1000: 100} {
		asked := url.Values{"kind": {"rsu"}}
		all, err := Pages[int](t.Context(), hub, "/x", asked, limit)
		if err != nil || len(all) != want || all[want-1] != want-1 {
			t.Errorf("limit %d: %d items, %v", limit, len(all), err)
		}
		if len(asked) != 1 {
			t.Errorf("the caller's query became %v", asked)
		}
	}
}
