package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/backfill"
	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// brought is a part with one sample of each device, at a time.
func brought(at time.Time, value float64, devices ...string) []byte {
	var e codec.RemoteWriteEncoder
	for _, d := range devices {
		e.Begin("__name__", "level", "device", d, "region", "990000")
		e.Sample(at.UnixMilli(), value)
	}
	return e.Bytes()
}

func importID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return hex.EncodeToString(sum[:])
}

// bring sends a part.
func (h *hub) bring(t *testing.T, token, id, query string, body []byte) (int, backfill.Answer, string) {
	t.Helper()
	code, text := h.ask(t, token, http.MethodPost, "/api/v1/imports/"+id+"/parts?"+query, body)
	var a backfill.Answer
	_ = json.Unmarshal([]byte(text), &a)
	return code, a, text
}

func TestAPartCountsOnceAndComesInOrder(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.register(t, registry.Spec{ID: "well", Region: "220100"})
	token, id, at := h.admin(t), importID("a"), time.Now().Add(-100*24*time.Hour).Truncate(time.Second)
	if code, _, text := h.bring(t, token, id, "part=1&mark=9:1", brought(at, 1, "well")); code != http.StatusNotFound || !strings.Contains(text, "hub import") {
		t.Errorf("an import that was not begun: %d %s", code, text)
	}
	if code, text := h.ask(t, token, http.MethodPut, "/api/v1/imports/short", []byte(`{"name": "a.csv", "format": "csv"}`)); code != http.StatusUnprocessableEntity {
		t.Errorf("an id that is no hash: %d %s", code, text)
	}
	begin := func() (code int, text string) {
		return h.ask(t, token, http.MethodPut, "/api/v1/imports/"+id, []byte(`{"name": "a.csv", "format": "csv"}`))
	}
	if code, text := begin(); code != http.StatusOK || !strings.Contains(text, `"next":1`) {
		t.Fatalf("%d %s", code, text)
	}
	for _, c := range []struct {
		query              string
		value              float64
		code               int
		accepted, rejected int64
	}{
		{"part=2&mark=9:2", 2, http.StatusConflict, 0, 0},
		{"part=0&mark=9:2", 2, http.StatusUnprocessableEntity, 0, 0},
		{"part=1&mark=9:1&faults=3", 1, http.StatusOK, 1, 3},
		{"part=1&mark=9:1&faults=3", 1, http.StatusOK, 1, 3}, // its answer was lost
		{"part=1&mark=8:1", 1, http.StatusConflict, 0, 0},    // another part 1
		{"part=2&mark=9:2", 7, http.StatusOK, 1, 4},          // a conflict
		{"part=1&mark=9:1&faults=3", 1, http.StatusConflict, 0, 0},
		{"part=3&mark=9:3&last=true", 1, http.StatusOK, 2, 4},
		{"part=4&mark=9:4", 1, http.StatusConflict, 0, 0}, // it is done
	} {
		code, a, text := h.bring(t, token, id, c.query, brought(at, c.value, "well"))
		if code != c.code || code == http.StatusOK && (a.Import.Accepted != c.accepted || a.Import.Rejected != c.rejected) {
			t.Errorf("%s: %d %s", c.query, code, text)
		}
	}
	if code, text := begin(); code != http.StatusOK || !strings.Contains(text, `"done":true`) || !strings.Contains(text, `"mark":"9:3"`) || !strings.Contains(text, `"before":"9:2"`) {
		t.Errorf("%d %s", code, text)
	}
	if _, text := h.ask(t, token, http.MethodGet, "/api/v1/audit?action="+string(access.ImportHistory), nil); strings.Count(text, `"object":"import `+id) != 2 {
		t.Errorf("its begin and its end are not on record: %s", text)
	}
}

// TestHistoryIsNoSignOfLife brings samples up to now of a device that was never
// there.
func TestHistoryIsNoSignOfLife(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Device.MessagesPerSecond = 1 })
	h.register(t, registry.Spec{ID: "well", Region: "220100", Period: 10 * time.Second})
	token, id := h.admin(t), importID("now")
	h.ask(t, token, http.MethodPut, "/api/v1/imports/"+id, []byte(`{"name": "a.csv", "format": "csv"}`))
	now := time.Now().Truncate(time.Second)
	for i := range 20 { // more than the device itself may send
		if code, a, text := h.bring(t, token, id, fmt.Sprintf("part=%d&mark=%d:0", i+1, i), brought(now.Add(time.Duration(i-20)*time.Second), float64(i), "well")); code != http.StatusOK || a.Accepted != 1 {
			t.Fatalf("%d %s", code, text)
		}
	}
	if code, a, _ := h.bring(t, token, id, "part=21&mark=20:0", brought(time.Unix(0, 0), 1, "well")); code != http.StatusOK || len(a.Rejected) != 1 || a.Rejected[0].Reason != "time_past" {
		t.Errorf("%d %+v", code, a)
	}
	if seen, ok := h.pipeline.Seen("well"); ok {
		t.Errorf("the device was heard: %+v", seen)
	}
	if of := h.presence.Of("well"); of.State != registry.Never {
		t.Errorf("the device is %+v", of)
	}
	h.pipeline.Arrivals(func(device string, a *telemetry.Arrivals) bool {
		if device == "well" {
			t.Errorf("how it came counts as how the device sends: %+v", a)
		}
		return true
	})
	if page := h.first(t, token, "/api/v1/rejects"); page != "" {
		t.Error("what was refused stands at the desk")
	}
	if got := h.valueOf(t, token, "sum by (region) (count_over_time(level[1h]))"); got != "20" {
		t.Errorf("%s samples are stored, want 20", got)
	}
	if got := h.valueOf(t, token, `count(last_over_time(level{region="220100"}[1h]))`); got != "1" {
		t.Errorf("the region is not the registry's: %s", got)
	}
}

// TestWhoMayBringHistoryOfWhat narrows callers to a region and a grade.
func TestWhoMayBringHistoryOfWhat(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.register(t, registry.Spec{ID: "here", Region: "220100"})
	h.register(t, registry.Spec{ID: "there", Region: "110000"})
	h.register(t, registry.Spec{ID: "secret", Region: "220100", Grade: "core"})
	at := time.Now().Add(-time.Hour)
	home, id := h.token(t, access.Token{Name: "home", Role: access.Operator, Region: "22", Grade: telemetry.General}), importID("b")
	h.ask(t, home, http.MethodPut, "/api/v1/imports/"+id, []byte(`{"name": "b.csv", "format": "csv"}`))
	code, a, text := h.bring(t, home, id, "part=1&mark=1:1", brought(at, 1, "here", "nowhere", "secret", "there"))
	refused := map[string]string{}
	for _, r := range a.Rejected {
		refused[r.Device] = r.Reason
	}
	if code != http.StatusOK || a.Accepted != 1 || len(refused) != 3 || refused["there"] != "unknown_device" || refused["secret"] != "unknown_device" || refused["nowhere"] != "unknown_device" {
		t.Errorf("%d %s", code, text)
	}
	foreign := h.token(t, access.Token{Name: "foreign", Role: access.Operator, Region: "11"})
	if code, _, text := h.bring(t, foreign, id, "part=2&mark=2:2", brought(at, 1, "there")); code != http.StatusNotFound {
		t.Errorf("another region goes on with it: %d %s", code, text)
	}
	if code, text := h.ask(t, foreign, http.MethodGet, "/api/v1/imports", nil); code != http.StatusOK || strings.Contains(text, "b.csv") {
		t.Errorf("another region sees it: %d %s", code, text)
	}
	if code, text := h.ask(t, foreign, http.MethodPut, "/api/v1/imports/"+id, []byte(`{"name": "c.csv", "format": "csv"}`)); code != http.StatusNotFound {
		t.Errorf("another region takes it over: %d %s", code, text)
	}
}

func TestADryRunStoresNothing(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.register(t, registry.Spec{ID: "well", Region: "220100"})
	at := time.Now().Add(-time.Minute)
	code, a, text := h.bring(t, h.admin(t), importID("c"), "part=1&dry_run=true", brought(at, 1, "nowhere", "well"))
	if code != http.StatusOK || a.Accepted != 1 || len(a.Rejected) != 1 || a.Rejected[0].Device != "nowhere" {
		t.Errorf("%d %s", code, text)
	}
	if got := h.valueOf(t, h.admin(t), "level"); got != "" {
		t.Errorf("it is stored: %s", got)
	}
}
