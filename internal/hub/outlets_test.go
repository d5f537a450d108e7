package hub

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/province/deliver"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// outlet is a platform that fetches files, with codes for what zq is but its cycle.
func outlet(dir string) deliver.Config {
	var c deliver.Config
	c.SetDefaults()
	c.Name, c.Platform, c.Directory = "province-1", "省平台", dir
	c.Codes = deliver.Codes{Share: map[string]string{"unconditional": "01"}, Open: map[string]string{"unconditional": "1"}, Type: map[string]string{"number": "N"}, Grade: map[string]string{"general": "一般"}}
	return c
}

// TestAPublishedDatasetReachesReadersAndOutlets through the doors: the feed, CKAN's
// API and a platform; what is suspended leaves all of them.
func TestAPublishedDatasetReachesReadersAndOutlets(t *testing.T) {
	out := t.TempDir()
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Feed.Base, c.Feed.Interval = "https://data.example.gov.cn", 10*time.Millisecond
		o := outlet(out)
		o.Codes.Cycle = map[string]string{"1h": "每小时"}
		c.Province = []deliver.Config{o}
	})
	lat, lon := 43.881, 125.323
	secret := h.register(t, registry.Spec{ID: "here", Region: "220100", Lat: &lat, Lon: &lon})
	if answer := h.post(t, "here", secret, `{"zq_level": 1}`); !strings.Contains(answer, `"accepted":1`) {
		t.Fatal(answer)
	}
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin})
	h.public(t, admin)
	says := func(path, want string) func() bool {
		return func() bool { _, text := h.ask(t, "", http.MethodGet, path, nil); return strings.Contains(text, want) }
	}
	soon(t, "it is in the feed", says("/catalog.ttl", "<https://data.example.gov.cn/catalog/dataset/zq>"))
	soon(t, "and at its address, as a page and in RDF", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.at.HTTP+"/catalog/dataset/zq", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", "text/turtle")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		return err == nil && strings.Contains(string(text), `"水位 (zq)"@zh`) && says("/catalog/dataset/zq", "<!doctype html>")()
	})
	soon(t, "and in CKAN's API", says("/ckan/api/3/action/package_show?id=zq", `"name":"zq"`))
	soon(t, "and at the platform", func() bool { found, _ := filepath.Glob(filepath.Join(out, "zq-*.json")); return len(found) == 1 })
	soon(t, "which is told", func() bool {
		_, text := h.ask(t, admin, http.MethodGet, "/api/v1/outlets/province-1/datasets", nil)
		return strings.Contains(text, `"state":"delivered"`)
	})
	if code, text := h.ask(t, admin, http.MethodGet, "/api/v1/outlets/province-1/export", nil); code != 200 || !strings.Contains(text, "水位") || !strings.HasPrefix(text, "\uFEFF类,") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/datasets/zq/suspend", []byte(`{"reason": "核对中"}`)); code != 200 {
		t.Fatalf("%d %s", code, text)
	}
	soon(t, "it is gone", func() bool { return !says("/catalog.ttl", "catalog/dataset/zq")() })
	soon(t, "and said to be gone", says("/catalog/changes.ttl?after=0", "核对中"))
	soon(t, "and withdrawn at the platform", func() bool {
		found, _ := filepath.Glob(filepath.Join(out, "zq-*.withdraw.json"))
		return len(found) == 1
	})
	soon(t, "all of it on record", func() bool {
		_, text := h.ask(t, admin, http.MethodGet, "/api/v1/audit?object=outlet", nil)
		return strings.Count(text, "outlet province-1 dataset zq") == 2
	})
}

// TestAnOutletThatRefusesIsAnAlert and can be tried again once its codes are there.
func TestAnOutletThatRefusesIsAnAlert(t *testing.T) {
	out := t.TempDir()
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Feed.Interval, c.Province = 10*time.Millisecond, []deliver.Config{outlet(out)}
	})
	admin := h.token(t, access.Token{Name: "all", Role: access.Admin})
	h.public(t, admin)
	soon(t, "it is refused", func() bool {
		_, text := h.ask(t, admin, http.MethodGet, "/api/v1/outlets/province-1/datasets?state=failed", nil)
		return strings.Contains(text, "更新周期") && strings.Contains(text, "add the platform's code under cycle")
	})
	rules := shippedExprs(t)
	soon(t, "the alert is there", func() bool { return h.fires(t, rules["OutletRefuses"], "province-1") })
	if code, text := h.ask(t, admin, http.MethodGet, "/api/v1/outlets/province-1/export", nil); code != 422 || !strings.Contains(text, "更新周期") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/outlets/province-1/retry", []byte(`{}`)); code != 200 || !strings.Contains(text, `"count":1`) {
		t.Errorf("%d %s", code, text)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/outlets/province-1/reconcile", nil); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	if there, err := os.ReadDir(out); err != nil || len(there) != 0 {
		t.Errorf("%v %v", there, err)
	}
	city := h.token(t, access.Token{Name: "city", Role: access.Admin, Region: "2201"})
	if code, text := h.ask(t, city, http.MethodGet, "/api/v1/outlets", nil); code != 403 {
		t.Errorf("who is of one region: %d %s", code, text)
	}
}
