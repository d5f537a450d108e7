package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/audit"
)

// onTheEventLog is what changes nothing that people declared, comes by the
// thousand a second, and is in the ledger's own log of events.
var onTheEventLog = map[string]string{
	"POST /api/v1/datasets:draft":                      "it changes nothing",
	"POST /api/v1/objections/{id}/status":              "it changes nothing",
	"POST /api/v1/releases/{dataset}/{version}/verify": "it changes nothing",
	"POST /api/v1/outlets/{id}/retry":                  "where nothing failed it changes nothing",
	"POST /api/v1/workloads":                           "the workload says who submitted it",
	"POST /api/v1/workloads:batch":                     "each workload says who submitted it",
	"POST /api/v1/workloads/{id}/progress":             "every transition is an event, with the token of its lease",
	"POST /api/v1/reservations":                        "every transition of its lease is an event, with the tenant",
	"POST /api/v1/reservations:renew":                  "the lease has its expiry",
	"POST /api/v1/reservations:commit":                 "every transition of its lease is an event",
	"POST /api/v1/simulate":                            "nothing is kept",
	"POST /api/v1/reservations:release":                "every transition of its lease is an event",
}

// Every route that changes something is asked here, and must leave an entry that
// says who, from where, and what was before and after. A new route needs a line.
func TestEveryChangeIsOnRecord(t *testing.T) {
	h := start(t)
	hw := newHardware(t)
	csr := strings.ReplaceAll(hw.csr, "\n", "\\n")
	const canary = "canary-7c1f-do-not-keep"
	seen := map[string]string{"the secret that was set": canary}
	token, enrolled, command, rollout, ticket, silence := "", "", "", "", "", ""
	session, _, err := h.sessions.OpenByToken(t.Context(), h.token, "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	workload := h.want(202, h.do("POST", "/api/v1/workloads", `{"name": "waits", "tasks": [{"name": "main", "cpu_milli": 1000, "duration": "1h"}]}`)).body["id"].(string)
	id := func(to *string, field string) func(reply) {
		return func(r reply) { *to, _ = r.body[field].(string) }
	}
	steps := []struct {
		method, path, body string
		route              string // of the table; the path when empty
		object             string
		sides              string // which of before and after there are
		keep               func(reply)
	}{
		{"POST", "/api/v1/devices", `{"id": "t1", "region": "220100", "secret": "` + canary + `"}`, "", "device t1", "after", nil},
		{"POST", "/api/v1/devices:batch", `{"devices": [{"id": "a"}, {"id": "b", "secret": "` + canary + `2"}]}`, "", "2 devices", "after", nil},
		{"PATCH", "/api/v1/devices/t1", `{"region": "220200"}`, "/api/v1/devices/{id}", "device t1", "before after", nil},
		{"POST", "/api/v1/devices/t1/rotate", ``, "/api/v1/devices/{id}/rotate", "device t1", "before after", nil},
		{"POST", "/api/v1/devices/t1/disable", ``, "/api/v1/devices/{id}/disable", "device t1", "before after", nil},
		{"POST", "/api/v1/devices/t1/enable", ``, "/api/v1/devices/{id}/enable", "device t1", "before after", nil},
		{"POST", "/api/v1/devices/t1/certificate", `{"csr": "` + csr + `"}`, "/api/v1/devices/{id}/certificate", "device t1", "after", nil},
		{"POST", "/api/v1/devices/b/replace", `{"serial": "s2", "secret": true}`, "/api/v1/devices/{id}/replace", "device b", "before after", nil},
		{"POST", "/api/v1/enrolments", `{"name": "ring", "kind": "rsu"}`, "", "enrolment ring", "after", id(&token, "token")},
		{"POST", "/api/v1/enroll", `{"token": "%token", "device": "rsu-1", "csr": "` + csr + `", "secret": true}`, "", "device rsu-1", "after", id(&enrolled, "secret")},
		{"POST", "/api/v1/renew", `{"csr": "` + csr + `"}`, "", "device rsu-1", "after", nil},
		{"DELETE", "/api/v1/enrolments/ring", ``, "/api/v1/enrolments/{name}", "enrolment ring", "before", nil},
		{"POST", "/api/v1/devices/t1/commands", `{"name": "reboot", "params": {"password": "` + canary + `"}}`, "/api/v1/devices/{id}/commands", "device t1", "after", id(&command, "id")},
		{"POST", "/api/v1/commands/%command/cancel", ``, "/api/v1/commands/{id}/cancel", "command ", "after", nil},
		{"POST", "/api/v1/rollouts", `{"name": "reboot", "devices": ["t1", "a"], "params": {"password": "` + canary + `"}}`, "", "2 devices", "after", id(&rollout, "id")},
		{"POST", "/api/v1/rollouts/%rollout/pause", ``, "/api/v1/rollouts/{id}/pause", "rollout ", "before after", nil},
		{"POST", "/api/v1/rollouts/%rollout/resume", ``, "/api/v1/rollouts/{id}/resume", "rollout ", "before after", nil},
		{"POST", "/api/v1/rollouts/%rollout/stop", ``, "/api/v1/rollouts/{id}/stop", "rollout ", "before after", nil},
		{"PUT", "/api/v1/devices/t1/twin/wanted", `{"period": "60s", "snmp": [{"community": "` + canary + `"}]}`, "/api/v1/devices/{id}/twin/wanted", "configuration of t1", "after", nil},
		{"PATCH", "/api/v1/devices/t1/twin/wanted", `{"period": "30s", "admin_password": "` + canary + `"}`, "/api/v1/devices/{id}/twin/wanted", "configuration of t1", "before after", nil},
		{"DELETE", "/api/v1/devices/t1/twin/wanted", ``, "/api/v1/devices/{id}/twin/wanted", "configuration of t1", "before", nil},
		{"PUT", "/api/v1/sites/plant-a", `{"names": {"zh": "甲厂", "en": "A"}}`, "/api/v1/sites/{id}", "site plant-a", "after", nil},
		{"PUT", "/api/v1/sites/plant-a", `{"names": {"zh": "甲厂", "en": "B"}}`, "/api/v1/sites/{id}", "site plant-a", "before after", nil},
		{"DELETE", "/api/v1/sites/plant-a", ``, "/api/v1/sites/{id}", "site plant-a", "before", nil},
		{"PUT", probePath, probe, "/api/v1/models/{id}", "model songhua/soil-probe@1", "after", nil},
		{"DELETE", probePath, ``, "/api/v1/models/{id}", "model songhua/soil-probe@1", "before", nil},
		{"PUT", "/api/v1/facilities/f1", `{"names": {"zh": "甲", "en": "A"}, "region": "220100"}`, "/api/v1/facilities/{id}", "facility f1", "after", nil},
		{"POST", "/api/v1/facilities/f1/cordon", ``, "/api/v1/facilities/{id}/cordon", "facility f1", "before after", nil},
		{"POST", "/api/v1/facilities/f1/drain", ``, "/api/v1/facilities/{id}/drain", "facility f1", "before after", nil},
		{"POST", "/api/v1/facilities/f1/lose", ``, "/api/v1/facilities/{id}/lose", "facility f1", "before after", nil},
		{"PUT", "/api/v1/pools/p1", `{"facility": "f1", "classes": [{"count": 2, "cpu_milli": 1000, "memory_mib": 1000}]}`, "/api/v1/pools/{id}", "pool p1", "after", nil},
		{"POST", "/api/v1/facilities/f1/ready", ``, "/api/v1/facilities/{id}/ready", "facility f1", "before after", nil},
		{"DELETE", "/api/v1/workloads/" + workload, ``, "/api/v1/workloads/{id}", "workload " + workload, "before", nil},
		{"DELETE", "/api/v1/pools/p1", ``, "/api/v1/pools/{id}", "pool p1", "before", nil},
		{"DELETE", "/api/v1/facilities/f1", ``, "/api/v1/facilities/{id}", "facility f1", "before", nil},
		{"PUT", "/api/v1/queues/q1", `{"tenants": ["a"]}`, "/api/v1/queues/{id}", "queue q1", "after", nil},
		{"DELETE", "/api/v1/queues/q1", ``, "/api/v1/queues/{id}", "queue q1", "before", nil},
		{"PUT", "/api/v1/tenants/a", `{"weight": 2}`, "/api/v1/tenants/{id}", "tenant a", "after", nil},
		{"DELETE", "/api/v1/tenants/a", ``, "/api/v1/tenants/{id}", "tenant a", "before", nil},
		{"PUT", "/api/v1/network", `{"links": [{"from": "220100", "to": "220200", "rtt_ms": 3, "gbit_per_second": 10}]}`, "", "network", "after", nil},
		{"PUT", "/api/v1/signals/carbon/CN-JL", `{"issued_at": "2026-11-26T00:00:00Z", "unit": "g/kWh", "points": [{"start": "2026-11-26T00:00:00Z", "end": "2026-11-26T01:00:00Z", "value": 400}]}`, "/api/v1/signals/{kind}/{zone}", "signal carbon/CN-JL", "after", nil},
		{"PUT", soilPath, soilDataset, "/api/v1/datasets/{id}", "dataset soil", "after", nil},
		{"POST", soilPath + "/submit", ``, "/api/v1/datasets/{id}/submit", "dataset soil", "before after", nil},
		{"POST", soilPath + "/return", `{"reason": "x"}`, "/api/v1/datasets/{id}/return", "dataset soil", "before after", nil},
		{"POST", soilPath + "/submit", ``, "/api/v1/datasets/{id}/submit", "dataset soil", "before after", nil},
		{"POST", soilPath + "/sign", `{"by": "李四"}`, "/api/v1/datasets/{id}/sign", "dataset soil", "before after", nil},
		{"POST", soilPath + "/publish", ``, "/api/v1/datasets/{id}/publish", "dataset soil", "before after", nil},
		{"POST", "/api/v1/grants", application, "", "grant g-1", "after", nil},
		{"POST", "/api/v1/grants/g-1/check", `{"right": true}`, "/api/v1/grants/{id}/check", "grant g-1", "before after", nil},
		{"POST", "/api/v1/grants/g-1/review", `{"opinion": "x"}`, "/api/v1/grants/{id}/review", "grant g-1", "before after", nil},
		{"POST", "/api/v1/grants/g-1/decide", `{"grant": true, "reason": {"zh": "可"}}`, "/api/v1/grants/{id}/decide", "grant g-1", "before after", nil},
		{"POST", "/api/v1/grants/g-1/revoke", `{"reason": {"zh": "x"}}`, "/api/v1/grants/{id}/revoke", "grant g-1", "before after", nil},
		{"POST", "/api/v1/objections", `{"kind": "error", "dataset": "soil", "text": "` + canary + `"}`, "", "ticket t-1", "after", id(&ticket, "secret")},
		{"POST", "/api/v1/objections/t-1/answer", `{"text": "` + canary + `"}`, "/api/v1/objections/{id}/answer", "ticket t-1", "before after", nil},
		{"POST", "/api/v1/objections/t-1/messages", `{"secret": "%ticket", "text": "` + canary + `"}`, "/api/v1/objections/{id}/messages", "ticket t-1", "before after", nil},
		{"POST", "/api/v1/objections/t-1/close", `{"outcome": "corrected", "text": "` + canary + `"}`, "/api/v1/objections/{id}/close", "ticket t-1", "before after", nil},
		{"POST", "/api/v1/releases", releaseOfSoil, "", "release soil/1", "after", nil},
		{"POST", soilPath + "/suspend", `{"reason": "x"}`, "/api/v1/datasets/{id}/suspend", "dataset soil", "before after", nil},
		{"POST", soilPath + "/withdraw", `{"reason": "x"}`, "/api/v1/datasets/{id}/withdraw", "dataset soil", "before after", nil},
		{"POST", "/api/v1/outlets/portal/reconcile", ``, "/api/v1/outlets/{id}/reconcile", "outlet portal: reconcile", "", nil},
		{"POST", "/api/v1/silences", `{"matchers": ["alertname=\"A\""], "until": "` + time.Now().Add(time.Hour).UTC().Format(time.RFC3339) + `", "comment": "works"}`, "", "silence", "after", id(&silence, "id")},
		{"DELETE", "/api/v1/silences/%silence", ``, "/api/v1/silences/{id}", "silence ", "before", nil},
		{"POST", "/api/v1/corrections", `{"device": "t1", "metric": "soil", "time": "2025-11-24T16:00:00Z", "value": 5, "reason": "x"}`, "", `soil{device="t1"}`, "after", nil},
		{"PUT", "/api/v1/imports/" + strings.Repeat("a", 64), `{"name": "a.csv", "format": "csv"}`, "/api/v1/imports/{id}", "import ", "after", nil},
		{"POST", "/api/v1/freezes", ``, "", "the hub's directories", "after", nil},
		{"DELETE", "/api/v1/freezes/moment", ``, "/api/v1/freezes/{id}", "the hub's directories", "before", nil},
		{"POST", "/api/v1/rejects:replay", `{"device": "t1"}`, "", "rejects: replay", "after", nil},
		{"POST", "/api/v1/rejects:drop", `{"all": true}`, "", "rejects: drop", "after", nil},
		{"POST", "/api/v1/tokens", `{"name": "x", "role": "reader"}`, "", "token x", "after", nil},
		{"DELETE", "/api/v1/tokens/x", ``, "/api/v1/tokens/{name}", "token x", "before", nil},
		{"DELETE", "/api/v1/sessions/" + session.ID, ``, "/api/v1/sessions/{id}", "session of root", "before", nil},
		{"DELETE", "/api/v1/devices/t1", ``, "/api/v1/devices/{id}", "device t1", "before", nil},
	}
	last, asked := int64(0), map[string]bool{}
	for _, s := range steps {
		name := s.method + " " + s.path
		fill := strings.NewReplacer("%token", token, "%command", command, "%rollout", rollout, "%silence", silence, "%ticket", ticket)
		as, actor, role, origin := h, "root", access.Admin, "127.0.0.1"
		switch s.path {
		case "/api/v1/enroll":
			as, actor, role = h.as(""), "ring", access.Device
		case "/api/v1/renew":
			as, actor, role = h.as(enrolled), "rsu-1", access.Device
		case "/api/v1/objections", "/api/v1/objections/t-1/messages": // of persons nothing is on record
			as, actor, role, origin = h.as(""), "anybody", "", ""
		}
		r := as.do(s.method, fill.Replace(s.path), fill.Replace(s.body))
		if r.status/100 != 2 {
			t.Fatalf("%s: %d %s", name, r.status, r.text)
		}
		for _, m := range regexp.MustCompile(`"(?:secret|token)": ?"([^"]+)"`).FindAllStringSubmatch(r.text, -1) {
			seen["what "+name+" answered"] = m[1]
		}
		if s.keep != nil {
			s.keep(r)
		}
		if s.route == "" {
			s.route = s.path
		}
		asked[s.method+" "+s.route] = true
		page, err := h.audit.List(t.Context(), audit.Filter{}, 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 || page[0].Seq != last+1 {
			t.Errorf("%s left no entry, or several", name)
			last = page[0].Seq
			continue
		}
		e := page[0]
		last = e.Seq
		sides := ""
		if e.Before != "" {
			sides = "before "
		}
		if e.After != "" {
			sides += "after"
		}
		if strings.TrimSpace(sides) != s.sides || !strings.HasPrefix(e.Object, s.object) || e.Actor != actor || e.Role != role || e.Origin != origin || e.At.IsZero() {
			t.Errorf("%s: %q, entry %+v", name, sides, e)
		}
	}
	for _, r := range h.api.Routes() {
		if r.Method != http.MethodGet && strings.HasPrefix(r.Path, "/api/") && !asked[r.Method+" "+r.Path] && onTheEventLog[r.Method+" "+r.Path] == "" {
			t.Errorf("%s %s may change something, and this test does not ask it", r.Method, r.Path)
		}
	}
	h.do("POST", "/api/v1/devices", `{"id": "not an id"}`) // changes nothing
	all := h.want(200, h.do("GET", "/api/v1/audit?limit=1000", ""))
	if n := len(all.body["items"].([]any)); int64(n) != last {
		t.Errorf("%d entries, %d expected", n, last)
	}
	for where, secret := range seen {
		if strings.Contains(all.text, secret) {
			t.Errorf("the record holds %s", where)
		}
	}
	if v := h.want(200, h.do("GET", "/api/v1/audit/verify", "")); v.body["intact"] != true || v.body["entries"] != float64(last) {
		t.Errorf("%s", v.text)
	}
}

func TestTheRecordIsSearchedAndExported(t *testing.T) {
	h := start(t)
	for i := range 12 {
		h.want(201, h.do("POST", "/api/v1/devices", fmt.Sprintf(`{"id": "d%d", "region": %q}`, i, []string{"220100", "110000"}[i%2])))
	}
	jilin := h.as(h.roleToken("jl", access.Admin, "22"))
	for path, want := range map[string]int{
		"?object=d1": 3, "?actor=root": 12, "?actor=eve": 0, "?action=devices.write&object=d3": 1, "?origin=127.0.0.1&limit=5": 5, "?until=2020-01-01T00:00:00Z": 0, "?since=2020-01-01T00:00:00Z": 12,
	} {
		if r := h.want(200, h.do("GET", "/api/v1/audit"+path, "")); len(r.body["items"].([]any)) != want {
			t.Errorf("%s: %s", path, r.text)
		}
	}
	key := h.want(200, h.do("GET", "/api/v1/audit/key", ""))
	keys, err := audit.ParseKeys(key.body["key"].(string))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		h    *hub
		path string
		want int64
	}{
		"all": {h, "", 12}, "chosen": {h, "?object=d1", 3}, "the rest": {h, "?after=9", 3}, "of a region": {jilin, "", 6},
	} {
		r := c.h.want(200, c.h.do("GET", "/api/v1/audit/export"+c.path, ""))
		got, err := audit.VerifyExport(strings.NewReader(r.text), audit.Outside{Keys: keys}, func(f audit.Finding) { t.Errorf("%s: %s", name, f.Text) })
		if err != nil || got.Entries != c.want || r.header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if c.h == jilin && strings.Contains(r.text, "110000") {
			t.Error("another region is in the export")
		}
	}
	key = h.want(200, h.do("GET", "/api/v1/audit/key", ""))
	if key.body["entries"] != 12.0 || !strings.Contains(key.body["checkpoint"].(string), "\n12\n") || key.body["intact"] != false || key.body["verified"] != nil {
		t.Errorf("%s", key.text)
	}
	h.want(200, h.do("GET", "/api/v1/audit/verify", ""))
	if key = h.want(200, h.do("GET", "/api/v1/audit/key", "")); key.body["intact"] != true || key.body["verified"] == nil {
		t.Errorf("%s", key.text)
	}
}

func TestSecretsOfConfigurationsAreNotRecorded(t *testing.T) {
	for config, want := range map[string]string{
		`{"a": 1}`: `{"a":1}`, `{"Password": "x", "b": [{"snmpCommunity": 5, "c": "d"}]}`: `{"Password":"(not recorded)","b":[{"c":"d","snmpCommunity":"(not recorded)"}]}`,
		`{"auth": {"user": "u"}, "api_key": null}`: `{"api_key":null,"auth":"(not recorded)"}`,
	} {
		if got := asJSON(recordedConfig(json.RawMessage(config))); got != want {
			t.Errorf("%s: %s", config, got)
		}
	}
}
