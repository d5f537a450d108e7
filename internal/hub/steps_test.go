package hub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/ckan/push"
	"github.com/songhua-io/hub/internal/catalog/source"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// portal is a CKAN, as far as the hub uses one: a server that can be down.
type ckanPortal struct {
	mu       sync.Mutex
	down     bool
	packages map[string]map[string]any // by name, which is the id as well
	changed  int                       // calls that changed something
}

func (c *ckanPortal) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		http.Error(w, "<html>maintenance</html>", http.StatusBadGateway)
		return
	}
	var in map[string]any
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || r.Header.Get("Authorization") != "key" {
		http.Error(w, `{"success": false}`, http.StatusForbidden)
		return
	}
	id, _ := in["id"].(string)
	action := filepath.Base(r.URL.Path)
	if action == "package_create" {
		id, _ = in["name"].(string)
		in["id"], in["organization"] = id, map[string]any{"name": in["owner_org"]}
		c.packages[id] = map[string]any{}
	}
	is := c.packages[id]
	if is == nil {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"success": false, "error": {"__type": "Not Found Error"}}`)
		return
	}
	if action != "package_show" {
		c.changed++
		for field, value := range in {
			is[field] = value
		}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"success": true, "result": is})
}

func (c *ckanPortal) turn(down bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = down
}

// of is what the portal has of a dataset: how often it was changed, the addresses of
// its resources, and the whole as text.
func (c *ckanPortal) of(name string) (changed int, addresses []string, text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all, _ := json.Marshal(c.packages[name])
	var p struct {
		Resources []struct {
			URL string `json:"url"`
		} `json:"resources"`
	}
	_ = json.Unmarshal(all, &p)
	for _, r := range p.Resources {
		addresses = append(addresses, r.URL)
	}
	return c.changed, addresses, string(all)
}

// TestAnObjectionIsFollowedToTheCKAN: somebody objects, an operator corrects for the
// ticket, the day is released again, and a CKAN has it, once and with the reason, also
// when it was down meanwhile; all of it stands in one thread, which names nobody.
func TestAnObjectionIsFollowedToTheCKAN(t *testing.T) {
	there := &ckanPortal{packages: map[string]map[string]any{}}
	server := httptest.NewServer(there)
	t.Cleanup(server.Close)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte("key\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	yesterday := source.Day(time.Now().Add(-24 * time.Hour))
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Feed.Interval, c.Releases.Publish.Delay = 10*time.Millisecond, 0
		var o push.Config
		o.SetDefaults()
		o.Name, o.URL, o.KeyFile, o.Organization = "city", server.URL, key, "ours"
		c.CKAN = []push.Config{o}
	})
	secret := h.register(t, registry.Spec{ID: "gauge", Region: "220102"})
	for i := range 10 {
		if answer := h.post(t, "gauge", secret, fmt.Sprintf(`{"ts": %d, "level": %d, "wind": 1}`, yesterday.From.Add(time.Duration(i)*time.Hour).UnixMilli(), i)); !strings.Contains(answer, `"accepted":2`) {
			t.Fatal(answer)
		}
	}
	h.publishDay(t, "levels", `[{"name": "device", "title": {"zh": "设备"}, "type": "string"}, {"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "level", "title": {"zh": "水位"}, "unit": "m"}]`,
		`{"kind": "series", "selector": "level", "bin": "1h", "by": ["device"]}`)
	h.publisher.Daily(t.Context())
	soon(t, "the CKAN has the first version", func() bool {
		_, addresses, _ := there.of("songhua-levels")
		return len(addresses) > 0 && strings.Contains(addresses[0], "/release/1/")
	})

	admin, home := h.admin(t), h.token(t, access.Token{Name: "zhang-san", Role: access.Operator, Region: "22"})
	var ticket struct{ ID, Secret, State string }
	code, text := h.ask(t, "", http.MethodPost, "/api/v1/objections", []byte(`{"kind": "error", "dataset": "levels", "text": "三时的水位有误"}`))
	if err := json.Unmarshal([]byte(text), &ticket); err != nil || code != http.StatusCreated {
		t.Fatalf("%d %s %v", code, text, err)
	}
	correct := func(hour int, metric, of string) (int, string) {
		return h.ask(t, home, http.MethodPost, "/api/v1/corrections", fmt.Appendf(nil, `{"device": "gauge", "metric": %q, "time": %q, "value": 30, "reason": "read again", "ticket": %q}`, metric, yesterday.From.Add(time.Duration(hour)*time.Hour).Format(time.RFC3339), of))
	}
	for _, refused := range [][3]string{{"level", "t-99", "no ticket of this number"}, {"level", "seven", "no ticket of this number"}, {"wind", ticket.ID, "is about dataset levels, which is made of no such samples"}} {
		if code, text := correct(3, refused[0], refused[1]); code != http.StatusUnprocessableEntity || !strings.Contains(text, refused[2]) {
			t.Errorf("%v: %d %s", refused, code, text)
		}
	}
	thread := func() string {
		_, text := h.ask(t, "", http.MethodPost, "/api/v1/objections/"+ticket.ID+"/status", fmt.Appendf(nil, `{"secret": %q}`, ticket.Secret))
		return text
	}
	for i, hour := range []int{3, 4} {
		version := i + 2
		there.turn(i == 1) // the second time it is down
		before, _, _ := there.of("songhua-levels")
		if code, text := correct(hour, "level", ticket.ID); code != http.StatusCreated || !strings.Contains(text, `"ticket":"t-1"`) {
			t.Fatalf("%d %s", code, text)
		}
		h.publisher.Daily(t.Context())
		if i == 1 {
			soon(t, "the CKAN is found to be down", func() bool { s, err := h.outlets.Get("city"); return err == nil && s.Problem != "" })
			if text := thread(); !strings.Contains(text, `"kind":"waiting"`) || !strings.Contains(text, "city is still to have version 3") {
				t.Errorf("the thread says nothing of what waits: %s", text)
			}
			there.turn(false)
		}
		reason := fmt.Sprintf("replaces version %d: 更正 %d：read again（工单 t-1） / correction %d: read again (ticket t-1)", version-1, i+1, i+1)
		soon(t, "the CKAN has the corrected version, and says why", func() bool {
			_, addresses, text := there.of("songhua-levels")
			return len(addresses) > 0 && strings.Contains(addresses[0], fmt.Sprintf("/release/%d/", version)) && strings.Contains(text, reason)
		})
		soon(t, "the thread says so", func() bool {
			return strings.Contains(thread(), fmt.Sprintf("city has version %d of dataset levels", version))
		})
		after, addresses, _ := there.of("songhua-levels")
		if after != before+1 {
			t.Errorf("version %d changed the CKAN %d times", version, after-before)
		}
		for _, a := range addresses {
			if strings.Contains(a, "/release/") && !strings.Contains(a, fmt.Sprintf("/release/%d/", version)) {
				t.Errorf("version %d: %s is offered beside it", version, a)
			}
		}
	}
	all := thread()
	place := -1
	for _, step := range []string{`"correction":1`, `Released: version 2 of dataset levels, which replaces version 1; rows added 0, removed 0, changed 1`, `city has version 2`, `"correction":2`, `Released: version 3`, `city has version 3`} {
		at := strings.Index(all, step)
		if at <= place {
			t.Errorf("%s is not in the thread, or not behind what was before it: %s", step, all)
		}
		place = at
	}
	if strings.Contains(all, "zhang-san") || strings.Contains(all, "gauge") || strings.Contains(all, "waiting") || !strings.Contains(all, `"state":"answered"`) {
		t.Errorf("the thread: %s", all)
	}
	if _, text := h.ask(t, admin, http.MethodGet, "/api/v1/releases/levels/2", nil); strings.Contains(text, "zhang-san") || !strings.Contains(text, "(ticket t-1)") {
		t.Errorf("the release: %s", text)
	}
	if code, text := h.ask(t, admin, http.MethodPost, "/api/v1/objections/"+ticket.ID+"/close", []byte(`{"outcome": "corrected", "text": "已更正"}`)); code != http.StatusOK {
		t.Fatalf("%d %s", code, text)
	}
	if code, text := correct(5, "level", ticket.ID); code != http.StatusUnprocessableEntity || !strings.Contains(text, "is closed (corrected)") {
		t.Errorf("for a closed ticket: %d %s", code, text)
	}
	away := h.token(t, access.Token{Name: "away", Role: access.Operator, Region: "11"})
	if code, text := h.ask(t, away, http.MethodGet, "/api/v1/corrections?ticket="+ticket.ID, nil); code != http.StatusOK || strings.Contains(text, "read again") {
		t.Errorf("another region sees: %d %s", code, text)
	}
	if _, text := h.ask(t, home, http.MethodGet, "/api/v1/corrections?ticket="+ticket.ID, nil); strings.Count(text, "read again") != 2 {
		t.Errorf("the corrections for the ticket: %s", text)
	}
}
