package hub

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
	"github.com/songhua-io/hub/internal/registry"
)

// intact verifies a directory and returns how many entries it has and how many
// are signed.
func intact(t *testing.T, dir string) (entries, signed int64) {
	t.Helper()
	r, err := VerifyAudit(t.Context(), dir, audit.Keys{}, nil, func(f audit.Finding) { t.Errorf("%s: %s", dir, f.Text) })
	if err != nil {
		t.Fatal(err)
	}
	return r.Entries, r.Signed.Size
}

// What comes to the hub by other ways than its API is on record too, and the
// record is signed at an orderly end. What a kill leaves is no damage.
func TestTheRecordOfARun(t *testing.T) {
	dir, models := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(models, "probe.yaml"), []byte("id: acme/probe\nnames: {zh: 探头, en: Probe}\nkind: sensor\nmetrics: []\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := whole(t, dir, func(h *hub) { h.cfg.Models.Dir = models })
	token, err := os.ReadFile(h.at.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, try := range []struct {
		secret string
		want   int
	}{{"wrong", http.StatusUnauthorized}, {strings.TrimSpace(string(token)), http.StatusSeeOther}} {
		resp, err := client.PostForm(h.at.HTTP+"/signin", url.Values{"token": {try.secret}})
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != try.want {
			t.Errorf("sign in with %.5s…: %s", try.secret, resp.Status)
		}
	}
	page, err := h.audit.List(t.Context(), audit.Filter{}, 0, 10)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range page {
		got = append(got, strings.Join([]string{e.Actor, string(e.Action), e.Object, filepath.Base(e.Origin)}, ", "))
	}
	slices.Reverse(got)
	want := []string{"hub, tokens.write, token admin, admin.token", "models.dir, models.write, model acme/probe, probe.yaml", ", sessions.refuse, sign-in, 127.0.0.1", "admin, sessions.sign_in, session of admin, 127.0.0.1"}
	if !slices.Equal(got, want) {
		t.Errorf("on record: %q, want %q", got, want)
	}

	killed := t.TempDir()
	for _, name := range []string{recordsFile, recordsFile + "-wal", audit.PublicFile, audit.CheckpointsFile} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue // nothing is signed yet
		}
		if err := os.WriteFile(filepath.Join(killed, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if n, _ := intact(t, killed); n != 4 {
		t.Errorf("%d entries after a kill", n)
	}
	h.register(t, registry.Spec{ID: "t1"}) // by the registry itself, which is not on record
	h.end(t)
	if n, signed := intact(t, dir); n != 4 || signed != 4 {
		t.Errorf("%d entries, %d signed", n, signed)
	}
	if _, err := os.Stat(filepath.Join(dir, access.AdminFile)); err != nil {
		t.Error(err)
	}
}
