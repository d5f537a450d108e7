package api

import (
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
)

// TestTheNetworkIsDeclaredAndCountsAtOnce declares a way that is too slow for a
// workload, and one that is not.
func TestTheNetworkIsDeclaredAndCountsAtOnce(t *testing.T) {
	h := centre(t)
	h.far()
	usual := h.want(200, h.do("GET", "/api/v1/network", ""))
	if at(usual.body, "version") != 0.0 || at(usual.body, "tiers", "province", "rtt_ms") != 5.0 || at(usual.body, "links") != nil {
		t.Errorf("%s", usual.text)
	}
	near := one("near", 1, `, "latency": {"from_region": "222400", "max_ms": 3}`)
	if r := h.want(202, h.do("POST", "/api/v1/workloads", near)); !strings.Contains(r.text, "latency_high") {
		t.Errorf("5 ms within a province are too many: %s", r.text)
	}
	put := func(version, rtt string) string {
		return `{"links": [{"from": "changchun-1", "to": "222400", "rtt_ms": ` + rtt + `, "gbit_per_second": 10, "cost_per_gb": 0.02, "kwh_per_gb": 0.001},
			{"from": "beijing-1", "to": "220000", "rtt_ms": 15, "gbit_per_second": 10}], "tiers": {"country": {"rtt_ms": 30, "gbit_per_second": 5}}}`
	}
	r := h.want(200, h.do("PUT", "/api/v1/network", put("", "2.5")))
	if at(r.body, "version") != 1.0 || at(r.body, "tiers", "country", "rtt_ms") != 30.0 || at(r.body, "tiers", "city", "rtt_ms") != 1.0 {
		t.Errorf("%s", r.text)
	}
	h.want(201, h.do("POST", "/api/v1/workloads", near))
	h.want(412, h.do("PUT", "/api/v1/network", put("", "9"), "If-Match: \"7\""))
	h.want(200, h.do("PUT", "/api/v1/network", put("", "9"), "If-Match: "+r.header.Get("ETag")))
	h.want(202, h.do("POST", "/api/v1/workloads", near))

	home := h.as(h.roleToken("home", access.Reader, "22"))
	if r := home.want(200, home.do("GET", "/api/v1/network", "")); !strings.Contains(r.text, "changchun-1") || strings.Contains(r.text, "beijing-1") {
		t.Errorf("a reader of Jilin: %s", r.text)
	}
	narrow := h.as(h.roleToken("narrow", access.Operator, "22"))
	narrow.want(403, narrow.do("PUT", "/api/v1/network", put("", "1")))
	for body, key := range map[string]string{
		`{"links": [{"from": "atlantis", "to": "222400", "rtt_ms": 1, "gbit_per_second": 1}]}`:                                                                      "body.links[0].from",
		`{"links": [{"from": "222400", "to": "220100", "rtt_ms": -1, "gbit_per_second": 1}]}`:                                                                       "body.links[0].rtt_ms",
		`{"links": [{"from": "222400", "to": "220100", "rtt_ms": 1, "gbit_per_second": 1}, {"from": "220100", "to": "222400", "rtt_ms": 1, "gbit_per_second": 1}]}`: "body.links[1]",
		`{"tiers": {"city": {"rtt_ms": 1, "gbit_per_second": 0}}}`:                                                                                                  "body.tiers.city.gbit_per_second",
	} {
		if r := h.want(422, h.do("PUT", "/api/v1/network", body)); at(r.body, "errors", 0, "location") != key {
			t.Errorf("%s: %s", key, r.text)
		}
	}
}

// TestTenantsAreDeclared takes one from its declaration to its end.
func TestTenantsAreDeclared(t *testing.T) {
	h := start(t)
	r := h.want(200, h.do("PUT", "/api/v1/tenants/university", `{"names": {"zh": "大学", "en": "University"}, "weight": 3, "budget": {"money": 1000}}`))
	if at(r.body, "weight") != 3.0 || at(r.body, "budget", "money") != 1000.0 {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("PUT", "/api/v1/tenants/media", `{}`))
	h.want(412, h.do("PUT", "/api/v1/tenants/media", `{"weight": 2}`, "If-Match: \"9\""))
	if r := h.want(200, h.do("GET", "/api/v1/tenants", "")); at(r.body, "items", 0, "id") != "media" || at(r.body, "items", 0, "weight") != 1.0 || at(r.body, "items", 1, "id") != "university" {
		t.Errorf("%s", r.text)
	}
	for body, key := range map[string]string{`{"weight": -1}`: "body.weight", `{"budget": {"carbon_kg": -1}}`: "body.budget"} {
		if r := h.want(422, h.do("PUT", "/api/v1/tenants/x", body)); at(r.body, "errors", 0, "location") != key {
			t.Errorf("%s: %s", key, r.text)
		}
	}
	h.want(204, h.do("DELETE", "/api/v1/tenants/media", ""))
	h.want(404, h.do("GET", "/api/v1/tenants/media", ""))
	narrow := h.as(h.roleToken("narrow", access.Operator, "22"))
	narrow.want(403, narrow.do("PUT", "/api/v1/tenants/x", `{}`))
}

// TestCapacityIsForecast leases, sends a forecast of what will be free, and reads
// both; another region sees neither.
func TestCapacityIsForecast(t *testing.T) {
	h := centre(t)
	h.far()
	h.want(201, h.do("POST", "/api/v1/workloads", one("w", 24, "")))
	share := `{"issued_at": "2026-11-26T00:00:00Z", "unit": "1", "points": [{"start": "2020-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z", "p10": 0.25, "p50": 0.5, "p90": 1}]}`
	if r := h.want(200, h.do("PUT", "/api/v1/signals/free/cc1-a100", share)); at(r.body, "points", 0, "value") != 0.5 {
		t.Errorf("%s", r.text)
	}
	h.want(404, h.do("PUT", "/api/v1/signals/free/nowhere", share))
	for points, key := range map[string]string{
		`[{"start": "2020-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z", "value": 0.4, "p50": 0.5}]`: "body.points[0].p50",
		`[{"start": "2020-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z", "p10": 0.4}]`:               "body.points[0].value",
		`[{"start": "2020-01-01T00:00:00Z", "end": "2099-01-01T00:00:00Z", "value": 1.5}]`:             "body.points[0].value",
	} {
		if r := h.want(422, h.do("PUT", "/api/v1/signals/free/cc1-a100", `{"issued_at": "2026-11-26T00:00:00Z", "unit": "1", "points": `+points+`}`)); at(r.body, "errors", 0, "location") != key {
			t.Errorf("%s: %s", key, r.text)
		}
	}
	r := h.want(200, h.do("GET", "/api/v1/capacity/forecast?until=3h", ""))
	steps, _ := at(r.body, "items", 1, "steps").([]any)
	if at(r.body, "items", 1, "pool") != "cc1-a100" || len(steps) < 2 || at(steps[0], "free", "cpu_milli") != 40000.0 || at(steps[len(steps)-1], "free", "cpu_milli") != 64000.0 ||
		at(steps[0], "p10", "cpu_milli") != 16000.0 || at(steps[0], "p50", "cpu_milli") != 32000.0 || at(r.body, "items", 0, "steps", 0, "p10") != nil {
		t.Errorf("%s", r.text)
	}
	for _, until := range []string{"soon", "-1h", "200h", "2020-01-01T00:00:00Z"} {
		if r := h.want(422, h.do("GET", "/api/v1/capacity/forecast?until="+until, "")); at(r.body, "errors", 0, "location") != "query.until" {
			t.Errorf("%s: %s", until, r.text)
		}
	}
	beijing := h.as(h.roleToken("beijing", access.Scheduler, "11"))
	if r := beijing.want(200, beijing.do("GET", "/api/v1/signals", "")); strings.Contains(r.text, "cc1-a100") {
		t.Errorf("a forecast of another region: %s", r.text)
	}
	beijing.want(404, beijing.do("GET", "/api/v1/signals/free/cc1-a100", ""))
	beijing.want(404, beijing.do("PUT", "/api/v1/signals/free/cc1-a100", share))
	beijing.want(200, beijing.do("PUT", "/api/v1/signals/free/bj1", share)) // its own
}

// TestWhatNeverFitsHasNoExpectedStart lets other work begin, so that there is a
// rate to expect a start by.
func TestWhatNeverFitsHasNoExpectedStart(t *testing.T) {
	h := centre(t)
	h.want(201, h.do("POST", "/api/v1/workloads", one("a", 60, "")))
	waits := h.want(202, h.do("POST", "/api/v1/workloads", one("waits", 60, "")))
	never := h.want(202, h.do("POST", "/api/v1/workloads", one("never", 70, "")))
	if at(waits.body, "queue", "start_p50") == nil || at(waits.body, "queue", "never_fits") != nil || strings.Contains(waits.text, "never_fits") {
		t.Errorf("%s", waits.text)
	}
	if at(never.body, "queue", "start_p50") != nil || at(never.body, "queue", "never_fits") != true || !strings.Contains(never.text, "即使全部空闲也容纳不下") {
		t.Errorf("%s", never.text)
	}
}
