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

	"github.com/prometheus/prometheus/model/labels"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/rules/notify"
	"github.com/songhua-io/hub/internal/telemetry"
)

const quickRules = `
groups:
  - name: quick
    interval: 1s
    query_offset: 1s
    rules:
      - {record: "site:temperature:max", expr: max by (site) (temperature)}
      - alert: Hot
        expr: temperature > 30
        labels: {severity: page}
        annotations: {summary: "{{ $labels.device }} is hot", summary_zh: "{{ $labels.device }} 过热", runbook_url: "/runbooks/Hot"}
      - alert: Wet
        expr: max_over_time(humidity[2s]) > 90
        labels: {severity: info}
`

// hookBox keeps what a webhook is told.
type hookBox struct {
	mu  sync.Mutex
	all []string
}

func (r *hookBox) server(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		var m struct {
			Status string
			Alerts []struct {
				Status string
				Labels map[string]string
			}
		}
		_ = json.NewDecoder(req.Body).Decode(&m)
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, a := range m.Alerts {
			r.all = append(r.all, a.Status+" "+a.Labels["alertname"]+" "+a.Labels["device"])
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func (r *hookBox) has(what string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.all {
		if s == what {
			return true
		}
	}
	return false
}

// watchful is a hub with quick rules that tells a webhook.
func watchful(t *testing.T, data string, to *hookBox) (h *hub, rulesFile string) {
	dir := t.TempDir()
	rulesFile = filepath.Join(dir, "quick.yaml")
	if err := os.WriteFile(rulesFile, []byte(quickRules), 0o600); err != nil {
		t.Fatal(err)
	}
	h = everyDoor(t, data, func(c *config.Config) {
		c.Rules.Dir, c.Rules.Shipped = dir, false
		r := notify.Receiver{}
		r.SetDefaults()
		r.Name, r.GroupWait, r.GroupInterval, r.MaxGrade = "hook", 0, time.Second, "core"
		r.Webhook = &notify.Webhook{}
		r.Webhook.SetDefaults()
		r.Webhook.URL = to.server(t)
		c.Rules.Notify.Receivers = []notify.Receiver{r}
	})
	return h, rulesFile
}

func TestAnAlertFromADeviceToAReceiver(t *testing.T) {
	var hook hookBox
	h, _ := watchful(t, t.TempDir(), &hook)
	secret := h.register(t, registry.Spec{ID: "t1", Region: "220100", Site: "plant-a"})
	h.post(t, "t1", secret, `{"temperature": 35}`)
	soon(t, "the receiver is told", func() bool { return hook.has("firing Hot t1") })

	near := h.token(t, access.Token{Name: "near", Role: access.Reader, Region: "2201"})
	far := h.token(t, access.Token{Name: "far", Role: access.Reader, Region: "2202"})
	for _, path := range []string{"/api/v1/alerts", "/api/v1/alerts/history", "/prometheus/api/v1/alerts", "/prometheus/api/v1/rules", "/alerts"} {
		if code, text := h.ask(t, near, http.MethodGet, path, nil); code != 200 || !strings.Contains(text, "t1 ") {
			t.Errorf("%s: %d %.400s", path, code, text)
		}
		if code, text := h.ask(t, far, http.MethodGet, path, nil); code != 200 || strings.Contains(text, "t1 ") {
			t.Errorf("%s tells of another region: %d %.400s", path, code, text)
		}
	}
	soon(t, "ALERTS is a series", func() bool { return h.values(t, `ALERTS{alertstate="firing",device="t1"}`) == 1 })
	if h.values(t, `site:temperature:max{site="plant-a"} == 35`) != 1 {
		t.Error("nothing is recorded")
	}

	// Silenced, it fires on; the end is told.
	code, text := h.ask(t, h.admin(t), http.MethodPost, "/api/v1/silences", fmt.Appendf(nil, `{"matchers": ["device=\"t1\""], "until": %q, "comment": "works"}`, time.Now().Add(time.Hour).UTC().Format(time.RFC3339)))
	if code != 201 {
		t.Fatal(code, text)
	}
	if _, text := h.ask(t, near, http.MethodGet, "/api/v1/alerts", nil); !strings.Contains(text, `"silences":["s-`) {
		t.Error(text)
	}
	if code, _ := h.ask(t, near, http.MethodPost, "/api/v1/silences", []byte(`{}`)); code != 403 {
		t.Errorf("a reader silences: %d", code)
	}
	h.post(t, "t1", secret, `{"temperature": 20}`)
	soon(t, "the end is told", func() bool { return hook.has("resolved Hot t1") })
}

func TestLateDataOfADeviceAreInTheHistoryOfAlerts(t *testing.T) {
	var hook hookBox
	h, _ := watchful(t, t.TempDir(), &hook)
	secret := h.register(t, registry.Spec{ID: "t1", Region: "220100"})
	h.post(t, "t1", secret, `{"humidity": 50}`)
	soon(t, "rules are evaluated", func() bool { return h.rules.Groups()[0].Done.After(time.Now().Add(-5 * time.Second)) })
	start := h.rules.Groups()[0].Done
	soon(t, "some time passes", func() bool { return h.rules.Groups()[0].Done.After(start.Add(8 * time.Second)) })
	h.post(t, "t1", secret, fmt.Sprintf(`{"ts": %d, "humidity": 99}`, start.Add(2*time.Second).UnixMilli()))
	history := func() string {
		_, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/alerts/history?name=Wet", nil)
		return text
	}
	soon(t, "the history has it", func() bool { return strings.Contains(history(), `"kind":"resolved"`) })
	if text := history(); strings.Count(text, `"late":true`) != 2 {
		t.Error(text)
	}
	if hook.has("firing Wet t1") || h.values(t, `ALERTS{alertname="Wet"}`) != 0 {
		t.Error("history raises an alert now")
	}
}

func TestLateDataFromBeforeARestartAreInTheHistoryOfAlerts(t *testing.T) {
	var hook hookBox
	data := t.TempDir()
	h, file := watchful(t, data, &hook)
	secret := h.register(t, registry.Spec{ID: "t1", Region: "220100"})
	h.post(t, "t1", secret, `{"humidity": 50}`)
	soon(t, "rules are evaluated", func() bool { return h.rules.Groups()[0].Done.After(time.Now().Add(-5 * time.Second)) })
	start := h.rules.Groups()[0].Done
	soon(t, "some time passes", func() bool { return h.rules.Groups()[0].Done.After(start.Add(8 * time.Second)) })
	h.end(t)
	again := everyDoor(t, data, func(c *config.Config) {
		c.Rules, c.Rules.Dir = h.cfg.Rules, filepath.Dir(file)
	})
	soon(t, "rules are evaluated again", func() bool { return again.rules.Groups()[0].Done.After(time.Now().Add(-5 * time.Second)) })
	again.post(t, "t1", secret, fmt.Sprintf(`{"ts": %d, "humidity": 99}`, start.Add(2*time.Second).UnixMilli()))
	soon(t, "the history has it", func() bool {
		_, text := again.ask(t, again.admin(t), http.MethodGet, "/api/v1/alerts/history?name=Wet", nil)
		return strings.Count(text, `"late":true`) == 2
	})
	if g := again.rules.Groups()[0]; g.Beyond != 0 || hook.has("firing Wet t1") {
		t.Errorf("%d times too late; told %v", g.Beyond, hook.has("firing Wet t1"))
	}
}

func TestAlertsAboutGradedDataAreForThoseWhoMaySeeThem(t *testing.T) {
	var hook hookBox
	h, _ := watchful(t, t.TempDir(), &hook)
	g := &alertGrades{registry: h.registry}
	h.register(t, registry.Spec{ID: "plain", Region: "220100"})
	h.register(t, registry.Spec{ID: "secret", Region: "220100", Grade: "core"})
	for label, want := range map[[2]string]telemetry.Grade{{"device", "plain"}: telemetry.General, {"device", "secret"}: telemetry.Core, {"site", "x"}: telemetry.Core, {"device", "none"}: telemetry.Core} {
		if got := g.of(labels.FromStrings(label[0], label[1])); got != want {
			t.Errorf("%s is %s, want %s", label, got, want)
		}
	}
}

func TestAlertsOutliveARestart(t *testing.T) {
	var hook hookBox
	data := t.TempDir()
	h, file := watchful(t, data, &hook)
	secret := h.register(t, registry.Spec{ID: "t1", Region: "220100"})
	h.post(t, "t1", secret, `{"temperature": 35}`)
	soon(t, "the receiver is told, which is on disk", func() bool { return hook.has("firing Hot t1") && h.value(t, "hub_rules_notified_alerts_total") == 1 })
	since := h.rules.Alerts()[0].Fired
	h.end(t)
	again := everyDoor(t, data, func(c *config.Config) {
		c.Rules, c.Rules.Dir = h.cfg.Rules, filepath.Dir(file)
	})
	soon(t, "it is evaluated", func() bool { return again.rules.Groups()[0].Done.After(time.Now().Add(-5 * time.Second)) })
	if all := again.rules.Alerts(); len(all) != 1 || !all[0].Fired.Equal(since) {
		t.Errorf("%+v", all)
	}
	hook.mu.Lock()
	defer hook.mu.Unlock()
	if len(hook.all) != 1 {
		t.Errorf("told %v", hook.all)
	}
}

// TestADeviceCannotNameItsSeriesAsTheHubsOwn and so share their ids.
func TestADeviceCannotNameItsSeriesAsTheHubsOwn(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	secret := h.register(t, registry.Spec{ID: "t1", Region: "220100"})
	if answer := h.post(t, "t1", secret, `{"tags": {"job": "hub"}, "device_presence": 7}`); !strings.Contains(answer, `"accepted":1`) {
		t.Fatal(answer)
	}
	if h.values(t, `device_presence{job="hub"} == 7`) != 0 || h.values(t, `device_presence{job=""} == 7`) != 1 {
		t.Error("a device writes series of the hub's own")
	}
}
