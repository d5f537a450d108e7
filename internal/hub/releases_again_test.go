package hub

import (
	"database/sql"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/province/deliver"
	"github.com/songhua-io/hub/internal/catalog/quality"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// TestADayThatIsReleasedIsCorrected corrects a sample of a day that was released long
// before the look-back, brings one late and imports others: each makes a version that
// says why and what is different, which readers and outlets are told of; the version
// before is made again as it was.
func TestADayThatIsReleasedIsCorrected(t *testing.T) {
	day := source.Day(time.Now().Add(-20 * 24 * time.Hour))
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Feed.Interval = 10 * time.Millisecond
		o := outlet(t.TempDir())
		o.Codes.Cycle = map[string]string{"24h": "每日"}
		o.Codes.Format = map[string]string{"text/csv": "1", "application/csvm+json": "2", "application/vnd.apache.parquet": "3", "application/x-ndjson": "4"}
		o.Codes.Type["string"], o.Codes.Type["datetime"] = "C", "T"
		c.Province = []deliver.Config{o}
	})
	secret := h.register(t, registry.Spec{ID: "gauge", Region: "220102"})
	h.register(t, registry.Spec{ID: "other", Region: "220102"})
	level := func(hour int, value float64) {
		t.Helper()
		if answer := h.post(t, "gauge", secret, fmt.Sprintf(`{"ts": %d, "level": %v}`, day.From.Add(time.Duration(hour)*time.Hour).UnixMilli(), value)); !strings.Contains(answer, `"accepted":1`) {
			t.Fatal(answer)
		}
	}
	for i := range 20 {
		level(i, float64(i))
	}
	h.publishDay(t, "levels", `[{"name": "device", "title": {"zh": "设备"}, "type": "string"}, {"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "level", "title": {"zh": "水位"}, "unit": "m"}]`,
		`{"kind": "series", "selector": "level", "bin": "1h", "by": ["device"]}`)
	admin := h.admin(t)
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/releases", fmt.Appendf(nil, `{"dataset": "levels", "from": %q, "to": %q}`, day.From.Format(time.RFC3339), day.To.Format(time.RFC3339))); code/100 != 2 {
		t.Fatalf("%d %s", code, text)
	}
	if err := h.records.Tx(t.Context(), func(tx *sql.Tx) error { // the day was measured when it was over
		_, err := tx.ExecContext(t.Context(), "INSERT INTO dataset_quality (dataset, day, record) VALUES ('levels', ?, ?)", string(quality.DayOf(day.From)),
			fmt.Sprintf(`{"dataset": "levels", "day": %q, "series": 1, "samples": 20, "age_seconds": 14400}`, quality.DayOf(day.From)))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	version := func(n int, reason, diff string) {
		t.Helper()
		h.publisher.Daily(t.Context())
		code, text := h.ask(t, admin, http.MethodGet, fmt.Sprintf("/api/v1/releases/levels/%d", n), nil)
		for _, want := range []string{fmt.Sprintf(`"replaces":%d`, n-1), reason, diff} {
			if code != http.StatusOK || !strings.Contains(text, want) {
				t.Fatalf("version %d has no %s: %d %s", n, want, code, text)
			}
		}
		soon(t, "the feed has it", func() bool {
			_, text := h.ask(t, "", http.MethodGet, "/catalog.ttl", nil)
			return strings.Contains(text, fmt.Sprintf("/levels/release/%d", n))
		})
		number := h.feed.Item("levels").Number
		soon(t, "the outlet is told", func() bool {
			_, text := h.ask(t, admin, http.MethodGet, "/api/v1/outlets/province-1/datasets", nil)
			return strings.Contains(text, fmt.Sprintf(`"state":"delivered","change":%d,`, number))
		})
		if n > 2 {
			return // what came late is in the store, and says not when it came
		}
		for v := range n {
			if r, err := h.releases.Verify(t.Context(), "levels", int64(v+1), h.rebuild); err != nil || !r.OK() {
				t.Errorf("version %d is not made again: %+v, %v", v+1, r, err)
			}
		}
	}

	home := h.token(t, access.Token{Name: "home", Role: access.Operator, Region: "22"})
	body := fmt.Appendf(nil, `{"device": "gauge", "metric": "level", "time": %q, "value": 30, "reason": "read again"}`, day.From.Add(3*time.Hour).Format(time.RFC3339))
	if code, text := h.ask(t, home, http.MethodPost, "/api/v1/corrections", body); code != http.StatusCreated {
		t.Fatalf("%d %s", code, text)
	}
	version(2, `correction 1: read again`, `"diff":{"added":0,"removed":0,"changed":1,"same":19`)
	lineage := func(version, row int) string {
		_, text := h.ask(t, admin, http.MethodGet, fmt.Sprintf("/api/v1/datasets/levels/lineage?version=%d&row=%d", version, row), nil)
		return text
	}
	if text := lineage(2, 3); !strings.Contains(text, `"corrections":[{"id":1,"by":"home"`) {
		t.Errorf("the lineage of the row: %s", text)
	}
	for _, text := range []string{lineage(2, 4), lineage(1, 3)} {
		if strings.Contains(text, `"corrections"`) {
			t.Errorf("the lineage of a row that it is not about: %s", text)
		}
	}

	level(20, 20)
	version(3, "late data came in", `"diff":{"added":1,"removed":0,"changed":0,"same":20`)
	id := importID("levels")
	h.ask(t, admin, http.MethodPut, "/api/v1/imports/"+id, []byte(`{"name": "a.csv", "format": "csv"}`))
	if code, a, text := h.bring(t, admin, id, "part=1&mark=1:1", brought(day.From.Add(21*time.Hour), 21, "gauge", "other")); code != http.StatusOK || a.Accepted != 2 {
		t.Fatalf("%d %s", code, text)
	}
	version(4, "late data came in", `"diff":{"added":2,"removed":0,"changed":0,"same":21`)

	_, text := h.ask(t, admin, http.MethodGet, "/api/v1/datasets/levels/quality", nil)
	if !strings.Contains(text, `"series":2,"devices":2`) || !strings.Contains(text, `"former":[{`) || !strings.Contains(text, `"samples":20`) {
		t.Errorf("its quality is not measured again, with what was told before: %s", text)
	}
	h.publisher.Daily(t.Context())
	if n := len(h.releases.List("levels")); n != 4 {
		t.Errorf("%d versions, want 4: what has not changed is released again", n)
	}
}
