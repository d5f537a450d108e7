package hub

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/telemetry"
)

// TestARaisedGradeShutsAndSealsReleases goes through the door: everybody reads
// what is open to everybody, on record; a raised grade shuts it at once, and what
// lay in plain is encrypted soon.
func TestARaisedGradeShutsAndSealsReleases(t *testing.T) {
	key := filepath.Join(t.TempDir(), "releases.key")
	if err := os.WriteFile(key, []byte(strings.Repeat("ab", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Releases.KeyFile = key })
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin, Grade: telemetry.Core})
	h.public(t, admin)
	rec, err := h.catalog.Get("zq")
	if err != nil {
		t.Fatal(err)
	}
	from := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	table := &release.Table{Rows: 2, Columns: []release.Column{{Item: rec.Dataset().Items[0], Numbers: []float64{1, 2}}}}
	if _, err := h.releases.Put(t.Context(), release.Draft{Dataset: rec.Dataset(), Table: table, Key: []string{"level"}, Period: catalog.Period{From: from, To: from.Add(time.Hour)}, Recipe: release.Recipe{Transform: release.Transform{ID: "test/1"}}}); err != nil {
		t.Fatal(err)
	}
	const file = "/catalog/dataset/zq/release/1/data.csv"
	if code, text := h.ask(t, "", http.MethodGet, file, nil); code != 200 || text != "level\r\n1\r\n2\r\n" {
		t.Fatalf("%d %q", code, text)
	}
	if _, text := h.ask(t, admin, http.MethodGet, "/api/v1/audit?object=release", nil); !strings.Contains(text, "releases.make") || !strings.Contains(text, "manifest_sha256") {
		t.Errorf("%s", text)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/datasets/zq/sign", []byte(`{"by": "王五", "items": {"level": "important"}}`)); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodGet, file, nil); code != 403 {
		t.Errorf("%d %s", code, text)
	}
	sealed := filepath.Join(h.at.Data, releasesDir, "zq", "1")
	h.sealRaised(t.Context(), map[string]bool{})
	if _, err := os.Stat(filepath.Join(sealed, "data.csv")); !os.IsNotExist(err) {
		t.Error("rows lie in plain still", err)
	}
	if _, err := os.Stat(filepath.Join(sealed, "data.csv.sealed")); err != nil {
		t.Error(err)
	}
}
