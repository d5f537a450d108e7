package hub

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/deploy/alerts"
	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/rules"
)

// shippedExprs are the alert rules that come with the hub: expressions by name.
func shippedExprs(t *testing.T) map[string]string {
	t.Helper()
	groups, faults := rules.Load(alerts.Files, rules.Defaults{Interval: time.Minute})
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	all := map[string]string{}
	for _, g := range groups {
		for _, r := range g.Rules {
			all[r.Alert] = r.Expr.String()
		}
	}
	return all
}

// fires reports whether an alert's expression finds something now.
func (h *hub) fires(t *testing.T, expr, about string) bool {
	t.Helper()
	return h.firesAt(t, time.Now(), expr, about)
}

func (h *hub) firesAt(t *testing.T, at time.Time, expr, about string) bool {
	t.Helper()
	code, text := h.ask(t, h.token(t, access.Token{Name: fmt.Sprint("asks", time.Now().UnixNano()), Role: access.Reader}), http.MethodGet, fmt.Sprintf("/prometheus/api/v1/query?time=%.3f&query=%s", float64(at.UnixMilli())/1e3, url.QueryEscape(expr)), nil)
	if code != http.StatusOK || !strings.Contains(text, `"success"`) {
		t.Fatalf("%s: %d %s", expr, code, text)
	}
	return strings.Contains(text, `"value"`) && strings.Contains(text, about)
}

// TestLateHistoryNeitherRaisesNorResolvesAnAlert on the real store, in both
// directions: out of range, and offline.
func TestLateHistoryNeitherRaisesNorResolvesAnAlert(t *testing.T) {
	h := whole(t, t.TempDir())
	h.give(t, "id: probe\nnames: {en: Probe}\nmetrics: [{name: level, min: 0, max: 10}]")
	secret := h.register(t, registry.Spec{ID: "p1", Model: "probe", Period: time.Hour})
	exprs, begin := shippedExprs(t), time.Now().Add(-time.Minute)
	step := 0
	report := func(ago time.Duration, level float64) {
		t.Helper()
		step++
		at := begin.Add(time.Duration(step)*time.Millisecond - ago)
		if answer := h.post(t, "p1", secret, fmt.Sprintf(`{"ts": %d, "level": %v}`, at.UnixMilli(), level)); !strings.Contains(answer, `"accepted":1`) {
			t.Fatal(answer)
		}
	}
	out := func(when string, want bool) {
		t.Helper()
		if got := h.fires(t, exprs["ValueOutOfRange"], `"metric":"level"`); got != want {
			t.Errorf("%s: out of range is %v", when, got)
		}
	}
	report(0, 5)
	out("all is well", false)
	report(30*time.Minute, 50)
	out("history out of range", false)
	report(0, 50)
	out("now out of range", true)
	report(20*time.Minute, 5)
	out("history within", true)
	report(0, 5)
	out("back within", false)
	report(10*time.Minute, 99)
	out("history out of range again", false)

	late := h.register(t, registry.Spec{ID: "d1", Period: time.Second})
	l := h.connect(t, "d1", late, 60)
	soon(t, "it is online", func() bool { return h.presence.Of("d1").State == registry.Online })
	if h.fires(t, exprs["DeviceOffline"], "d1") {
		t.Error("online, and the alert is there")
	}
	l.Close()
	soon(t, "the alert is there", func() bool { return h.fires(t, exprs["DeviceOffline"], `"d1"`) })
	for i := range 20 {
		h.report(t, "d1", time.Now().Add(-time.Hour+time.Duration(i)*time.Second))
	}
	soon(t, "presence has looked at the history", func() bool { return h.presence.Of("d1").Samples == 20 })
	if !h.fires(t, exprs["DeviceOffline"], `"d1"`) || h.presence.Of("d1").State != registry.Offline {
		t.Errorf("late history brought it back: %+v", h.presence.Of("d1"))
	}
	soon(t, "live samples resolve it", func() bool { // one of them does so for 2.5 seconds alone
		h.report(t, "d1", time.Now())
		return !h.fires(t, exprs["DeviceOffline"], `"d1"`)
	})
}

// TestEndsAreToldLongBefore: certificates of the hub and of devices, and tokens.
func TestEndsAreToldLongBefore(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	exprs := shippedExprs(t)
	day := 24 * time.Hour
	for id, left := range map[string]time.Duration{"soon": 6 * day, "good": 20 * day, "gone": 10 * day, "rotated": day} {
		h.register(t, registry.Spec{ID: id})
		if err := h.registry.Certified(t.Context(), id, time.Now().Add(left)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.registry.Rotate(t.Context(), "rotated", 0); err != nil {
		t.Fatal(err)
	}
	for name, left := range map[string]time.Duration{"unused": day, "far": 100 * day} {
		h.token(t, access.Token{Name: name, Role: access.Reader, Expires: time.Now().Add(left)})
	}
	fires := func(alert string) bool { return h.fires(t, exprs[alert], "") }
	soon(t, "devices are counted by what is left", func() bool { // also after the rotation
		return h.values(t, `hub_enrolment_certificates{left="7d"} == 1 and on() hub_enrolment_certificates{left="30d"} == 1 and on() hub_enrolment_certificates{left="1d"} == 0`) == 1
	})
	if !fires("DeviceCertificatesEnd") {
		t.Error("the device whose certificate ends is not told")
	}
	if fires("TokenEnds") || fires("HubCertificateEnds") || fires("AuthorityRootEnds") || fires("DeviceCertificatesEnded") {
		t.Error("an end is told too early, or of a token that nobody uses")
	}
	used := h.token(t, access.Token{Name: "used", Role: access.Reader, Expires: time.Now().Add(10 * day)})
	if code, _ := h.ask(t, used, http.MethodGet, "/api/v1/devices", nil); code != 200 {
		t.Fatal(code)
	}
	soon(t, "the token in use is told", func() bool { return fires("TokenEnds") })
	admin, err := os.ReadFile(h.at.TokenFile)
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]bool{"soon": true, "rotated": false} {
		_, text := h.ask(t, strings.TrimSpace(string(admin)), http.MethodGet, "/api/v1/devices/"+id, nil)
		if strings.Contains(text, `"certificate_ends"`) != want {
			t.Errorf("%s: %s", id, text)
		}
	}
}

// TestEveryAlertCanBeAsked also of a hub on which nothing is wrong, and on which
// none of those about itself fires. All are asked at the moment of its start: rates
// of a slow disk are no matter of the rules.
func TestEveryAlertCanBeAsked(t *testing.T) {
	h := whole(t, t.TempDir())
	exprs, begun := shippedExprs(t), time.Now()
	for name, expr := range exprs {
		if h.firesAt(t, begun, expr, "") {
			t.Errorf("%s fires on a fresh hub", name)
		}
	}
}
