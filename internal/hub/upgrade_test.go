package hub

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWhatHubsOfBeforeLeftIsThere starts today's hub on what programs of before
// left, stopped and killed: all that they said of it holds, twice. The clock is that
// of then, so that nothing has expired since.
func TestWhatHubsOfBeforeLeftIsThere(t *testing.T) {
	archives, err := filepath.Glob("testdata/upgrade/*/*.tar.zst")
	if err != nil || len(archives) == 0 {
		t.Fatal("there is nothing of before", err)
	}
	for _, archive := range archives {
		name := strings.TrimSuffix(archive, ".tar.zst")
		t.Run(strings.TrimPrefix(name, "testdata/upgrade/"), func(t *testing.T) {
			if testing.Short() && strings.HasSuffix(name, "stopped") {
				t.Skip("-short: what was killed has all that what was stopped has")
			}
			p, dir := unpack(t, archive)
			was := sums(t, dir)
			p.sound(t, dir)
			if now := sums(t, dir); !maps.Equal(was, now) {
				t.Error("verify changed what it read")
			}
			h := p.open(t, dir)
			p.holds(t, h)
			h.end(t)
			p.sound(t, dir)
			h = p.open(t, dir)
			p.holds(t, h)
			p.goesOn(t, h)
			h.end(t)
			p.sound(t, dir)
		})
	}
}

// open starts a hub when the past is not long ago.
func (p *past) open(t *testing.T, dir string) *hub {
	t.Helper()
	began := time.Now()
	return whole(t, dir, func(h *hub) {
		h.clock = func() time.Time { return p.At.Add(time.Second + time.Since(began)) }
		h.started = h.clock()
	})
}

// sound fails when verify finds damage.
func (p *past) sound(t *testing.T, dir string) {
	t.Helper()
	if n, err := Verify(t.Context(), dir, func(s string) { t.Error(s) }); n > 0 || err != nil {
		t.Errorf("%d damaged places, %v", n, err)
	}
}

// holds asks what the program of before was asked.
func (p *past) holds(t *testing.T, h *hub) {
	t.Helper()
	for path, was := range p.Answers {
		code, text := h.ask(t, p.Tokens["admin"], http.MethodGet, path, nil)
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, text)
			continue
		}
		if !json.Valid([]byte(text)) {
			quoted, _ := json.Marshal(text)
			text = string(quoted)
		}
		var before, now any
		if err := json.Unmarshal(was, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(text), &now); err != nil {
			t.Fatal(err)
		}
		for _, lost := range lacks(path, before, now) {
			t.Error(lost)
		}
	}
	for q, was := range p.Queries {
		code, text := h.ask(t, p.Tokens["admin"], http.MethodGet, queryAt(q, p.At), nil)
		if code != http.StatusOK {
			t.Errorf("%s: %d %s", q, code, text)
			continue
		}
		if now := resultOf(t, []byte(text)); !sameJSON(was, now) {
			t.Errorf("%s was\n%s and is\n%s", q, was, now)
		}
	}
}

// goesOn uses what was given out before.
func (p *past) goesOn(t *testing.T, h *hub) {
	t.Helper()
	for device, secret := range p.Secrets {
		body := fmt.Sprintf(`{"ts": %d, "after": 1}`, h.clock().UnixMilli())
		if answer := h.post(t, device, secret, body); strings.Contains(answer, `"accepted":1`) == (device == "off") {
			t.Errorf("%s reports: %s", device, answer)
		}
		if answer := h.post(t, device, secret+"x", body); strings.Contains(answer, `"accepted":1`) {
			t.Errorf("%s reports with another secret", device)
		}
	}
	if p.Enrol != "" {
		p.enrols(t, h)
	}
	for name, token := range p.Tokens {
		if code, text := h.ask(t, token, http.MethodGet, "/api/v1/devices", nil); (code == http.StatusOK) == (name == "gone") && name != "planner" {
			t.Errorf("token %s: %d %s", name, code, text)
		}
	}
	for _, lease := range p.Leases {
		body := fmt.Sprintf(`{"lease": %q, "ttl": "24h"}`, lease)
		if code, text := h.ask(t, p.Tokens["planner"], http.MethodPost, "/api/v1/reservations:renew", []byte(body)); code != http.StatusOK {
			t.Errorf("lease %s is not renewed: %d %s", lease, code, text)
		}
	}
}

// enrols lets a device in with a token of before.
func (p *past) enrols(t *testing.T, h *hub) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"token": p.Enrol, "device": fmt.Sprintf("van-%d", h.clock().UnixNano()), "csr": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))})
	if err != nil {
		t.Fatal(err)
	}
	if code, text := h.ask(t, "", http.MethodPost, "/api/v1/enroll", body); code != http.StatusCreated {
		t.Errorf("nobody can enrol: %d %s", code, text)
	}
}

// passing are the keys of what no hub keeps over a restart, or what goes on by itself:
// counts since the start, who is there, what is expected of a queue.
// send again.
var passing = []string{"presence", "last_seen", "last_event", "last_use", "series", "samples", "heard", "clock_offset_seconds", "queue", "learned_period"}

// lacks says what an answer of today has not, or has otherwise, of one of before.
// Today's may have more.
func lacks(at string, before, now any) (all []string) {
	switch was := before.(type) {
	case map[string]any:
		is, ok := now.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s was %v and is %v", at, before, now)}
		}
		for key, v := range was {
			if slices.Contains(passing, key) {
				continue
			}
			all = append(all, lacks(at+"."+key, v, is[key])...)
		}
	case []any:
		is, ok := now.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s was %v and is %v", at, before, now)}
		}
		for i, v := range was {
			k := slices.IndexFunc(is, func(n any) bool { return idOf(n) != nil && idOf(n) == idOf(v) })
			switch {
			case idOf(v) == nil && i < len(is):
				k = i
			case k < 0:
				all = append(all, fmt.Sprintf("%s[%d] is gone: %v", at, i, v))
				continue
			}
			all = append(all, lacks(fmt.Sprintf("%s[%d]", at, i), v, is[k])...)
		}
	default:
		if !reflect.DeepEqual(before, now) {
			all = append(all, fmt.Sprintf("%s was %v and is %v", at, before, now))
		}
	}
	return all
}

// idOf is what tells a thing of a list from others; nil when nothing does.
func idOf(v any) any {
	m, _ := v.(map[string]any)
	for _, key := range []string{"seq", "id", "name", "version"} {
		if m[key] != nil {
			return fmt.Sprint(m[key])
		}
	}
	return nil
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	return json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && reflect.DeepEqual(x, y)
}

// sums are the hashes of all files in a directory.
func sums(t *testing.T, dir string) map[string][32]byte {
	t.Helper()
	all := map[string][32]byte{}
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = sha256.Sum256(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestADirectoryOfANewerHubIsRefused changes the version of each format that has one
// of its own; that of the tables, which comes before them all, is tested with them.
func TestADirectoryOfANewerHubIsRefused(t *testing.T) {
	for _, c := range []struct{ files, was, is string }{
		{seriesDir + "/*/meta.json", `"version": 1`, `"version": 2`},
		{trafficDir + "/*.log", "songhua traffic 1\n", "songhua traffic 2\n"},
	} {
		_, dir := unpack(t, "testdata/upgrade/backups/killed.tar.zst")
		found, err := filepath.Glob(filepath.Join(dir, c.files))
		if err != nil || len(found) == 0 {
			t.Fatal(c.files, found, err)
		}
		for _, path := range found {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			changed := strings.Replace(string(text), c.was, c.is, 1)
			if changed == string(text) {
				t.Fatalf("%s has no %q", path, c.was)
			}
			if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		h := notBuilt(dir)
		err = h.build(t.Context())
		if err == nil || !strings.Contains(err.Error(), "a newer version wrote it; run that one or a newer one") || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v", c.files, err)
		}
		h.end(t)
	}
}
