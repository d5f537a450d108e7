package api

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
)

const (
	changchun = `{"names": {"zh": "长春智算中心", "en": "Changchun AI centre"}, "region": "220100", "lat": 43.88, "lon": 125.32, "security_grade": 3,
		"max_data_grade": "important", "grid_zone": "CN-JL", "pue": 1.25, "state": "ready"}`
	a100 = `{"facility": "changchun-1", "arch": "amd64", "engine": "agent", "accelerator": {"vendor": "nvidia", "model": "A100", "memory_mib": 40960, "shareable": true},
		"nodes": [{"id": "n1", "cpu_milli": 64000, "memory_mib": 262144, "disk_gib": 1000, "accelerators": 2}], "labels": {}}`
	// train is the workload of the contract; its window is the test's.
	train = `{"tenant": "default", "name": "train-1", "priority": 50, "objective": "balanced", "gang": "all", "shape": "one_facility",
		"tasks": [{"name": "main", "count": 1, "cpu_milli": 8000, "memory_mib": 16384, "accelerators": {"count": 1, "milli": 460, "models": ["A100", "V100"]},
			"duration": "1h", "interruptible": false}],
		"window": {"earliest": %q, "deadline": %q}, "latency": {"from_region": "220100", "max_ms": 20}, "data": [{"dataset": "set-1", "read_gib": 10}],
		"security": {"min_grade": 2, "data_grade": "general"}, "payload": {"image": "train:1"}}`
)

func trainNow() string {
	now := time.Now().UTC()
	return fmt.Sprintf(train, now.Format(time.RFC3339), now.Add(24*time.Hour).Format(time.RFC3339))
}

// one is a workload of so many CPUs.
func one(name string, cpus int, more string) string {
	return fmt.Sprintf(`{"name": %q, "tasks": [{"name": "main", "cpu_milli": %d, "duration": "1h"}]%s}`, name, cpus*1000, more)
}

// centre declares the facility and the pool of the contract.
func centre(t *testing.T) *hub {
	h := start(t)
	h.want(200, h.do("PUT", "/api/v1/facilities/changchun-1", changchun))
	h.want(200, h.do("PUT", "/api/v1/pools/cc1-a100", a100))
	return h
}

// far declares a facility with a pool in another province.
func (h *hub) far() {
	h.Helper()
	h.want(200, h.do("PUT", "/api/v1/facilities/beijing-1", `{"names": {"zh": "北京", "en": "Beijing"}, "region": "110000"}`))
	h.want(200, h.do("PUT", "/api/v1/pools/bj1", `{"facility": "beijing-1", "classes": [{"count": 4, "cpu_milli": 64000, "memory_mib": 262144}]}`))
}

// at follows a path of keys and indices into an answer.
func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			list, _ := v.([]any)
			if p >= len(list) {
				return nil
			}
			v = list[p]
		}
	}
	return v
}

func TestWorkloadsHaveTheShapesOfTheContract(t *testing.T) {
	h := centre(t)
	r := h.want(201, h.do("POST", "/api/v1/workloads", trainNow()))
	place := at(r.body, "decision", "assignments", 0)
	for key, want := range map[string]any{"task": "main", "index": 0.0, "facility": "changchun-1", "pool": "cc1-a100", "node": "n1"} {
		if got := at(place, key); got != want {
			t.Errorf("%s is %v, want %v", key, got, want)
		}
	}
	from, err := time.Parse(time.RFC3339, fmt.Sprint(at(place, "start")))
	to, err2 := time.Parse(time.RFC3339, fmt.Sprint(at(place, "end")))
	if err != nil || err2 != nil || to.Sub(from) < time.Hour {
		t.Errorf("it runs from %v to %v", from, to)
	}
	id, _ := r.body["id"].(string)
	energy, _ := at(r.body, "decision", "energy_kwh").(float64)
	if !strings.HasPrefix(id, "w-") || r.body["state"] != "reserved" || energy <= 0 || at(r.body, "decision", "scores", 0, "unit") == nil ||
		at(r.body, "lease", "token") == 0.0 || at(r.body, "lease", "id") == nil || at(r.body, "lease", "expires_at") == nil {
		t.Errorf("%s", r.text)
	}
	got := h.want(200, h.do("GET", "/api/v1/workloads/"+id, ""))
	if at(got.body, "workload", "payload", "image") != "train:1" || got.body["by"] != "root" || got.header.Get("ETag") == "" || at(got.body, "lease", "token") != at(r.body, "lease", "token") {
		t.Errorf("%s", got.text)
	}
	pool := h.want(200, h.do("GET", "/api/v1/pools/cc1-a100", ""))
	if at(pool.body, "capacity", "leased", "accelerator_milli") != 460.0 || at(pool.body, "capacity", "free", "cpu_milli") != 56000.0 || pool.body["leases"] != 1.0 {
		t.Errorf("%s", pool.text)
	}

	waits := h.want(202, h.do("POST", "/api/v1/workloads", one("large", 500, "")))
	if waits.body["state"] != "queued" || at(waits.body, "reasons", 0, "code") == nil || at(waits.body, "reasons", 0, "text", "zh") == "" ||
		at(waits.body, "reasons", 0, "text", "en") == "" || at(waits.body, "queue", "rank") != 0.0 || waits.body["lease"] != nil {
		t.Errorf("%s", waits.text)
	}
	batch := h.want(200, h.do("POST", "/api/v1/workloads:batch", `{"workloads": [`+one("b0", 1, "")+`, {"name": "b1", "tasks": [{"name": "main", "duration": "soon"}]}, `+one("b2", 500, "")+`]}`))
	if at(batch.body, "results", 0, "state") != "reserved" || at(batch.body, "results", 1, "problem", "errors", 0, "location") != "body.workloads[1].tasks[0].duration" ||
		at(batch.body, "results", 2, "state") != "queued" || at(batch.body, "results", 2, "queue", "rank") != 1.0 {
		t.Errorf("%s", batch.text)
	}
}

func TestAnExplanationNamesEveryPoolAndTheSmallestChange(t *testing.T) {
	h := centre(t)
	h.far()
	id := h.want(202, h.do("POST", "/api/v1/workloads", one("large", 70, ""))).body["id"]
	r := h.want(200, h.do("GET", fmt.Sprintf("/api/v1/workloads/%s/explanation", id), ""))
	refused, _ := at(r.body, "decision", "refused").([]any)
	pools := map[any]any{}
	for _, p := range refused {
		pools[at(p, "pool")] = at(p, "change", 0)
		if at(p, "reason", "text", "zh") == nil {
			t.Errorf("%v has no reason", p)
		}
	}
	if len(pools) != 2 || pools["cc1-a100"] == nil || pools["bj1"] == nil {
		t.Errorf("%s", r.text)
	}
	if to := at(pools["bj1"], "to"); to == nil || !strings.Contains(fmt.Sprint(to), "64") {
		t.Errorf("the smallest change at bj1 is %v", pools["bj1"])
	}
}

func TestADryRunKeepsNothing(t *testing.T) {
	h := centre(t)
	if r := h.want(200, h.do("POST", "/api/v1/workloads?dry_run=place", trainNow())); at(r.body, "decision", "assignments", 0, "pool") != "cc1-a100" || r.body["id"] != nil || r.body["lease"] != nil {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("POST", "/api/v1/workloads?dry_run=queue", one("large", 500, ""))); r.body["state"] != "queued" || at(r.body, "queue", "rank") != 0.0 {
		t.Errorf("%s", r.text)
	}
	h.want(422, h.do("POST", "/api/v1/workloads?dry_run=perhaps", trainNow()))
	if r := h.want(200, h.do("GET", "/api/v1/workloads", "")); len(r.body["items"].([]any)) != 0 {
		t.Errorf("%s", r.text)
	}
}

func TestASubmissionHappensOnce(t *testing.T) {
	h := centre(t)
	const key = "Idempotency-Key: nightly-1"
	body := trainNow()
	first := h.want(201, h.do("POST", "/api/v1/workloads", body, key))
	again := h.want(201, h.do("POST", "/api/v1/workloads", body, key))
	if again.body["repeated"] != true {
		t.Errorf("%s", again.text)
	}
	for _, path := range [][]any{{"id"}, {"state"}, {"lease", "id"}, {"lease", "token"}, {"lease", "expires_at"}, {"decision", "cost"}, {"decision", "assignments"}} {
		if diff := cmp.Diff(at(first.body, path...), at(again.body, path...)); diff != "" {
			t.Errorf("%v: %s", path, diff)
		}
	}
	h.want(409, h.do("POST", "/api/v1/workloads", strings.Replace(body, "train-1", "train-2", 1), key))
	h.want(201, h.do("POST", "/api/v1/workloads", strings.Replace(body, `"tenant": "default"`, `"tenant": "other"`, 1), key)) // keys are a tenant's own
	batch := `{"workloads": [` + one("a", 1, "") + `, ` + one("b", 1, "") + `]}`
	x, y := h.want(200, h.do("POST", "/api/v1/workloads:batch", batch, key)), h.want(200, h.do("POST", "/api/v1/workloads:batch", batch, key))
	for i := range 2 {
		if at(x.body, "results", i, "id") == nil || at(x.body, "results", i, "id") != at(y.body, "results", i, "id") {
			t.Errorf("%s\n%s", x.text, y.text)
		}
	}
	if r := h.want(200, h.do("GET", "/api/v1/workloads", "")); len(r.body["items"].([]any)) != 4 {
		t.Errorf("%s", r.text)
	}
}

func TestReservations(t *testing.T) {
	h := centre(t)
	h.far()
	r := h.want(201, h.do("POST", "/api/v1/reservations", `{"tenant": "own-queue", "pool": "cc1-a100", "resources": {"cpu_milli": 60000}, "ttl": "10m"}`, "Idempotency-Key: k"))
	lease, _ := at(r.body, "lease", "id").(string)
	if lease == "" || at(r.body, "lease", "facility") != "changchun-1" || at(r.body, "lease", "state") != "held" || at(r.body, "lease", "token") == 0.0 {
		t.Fatalf("%s", r.text)
	}
	again := h.want(201, h.do("POST", "/api/v1/reservations", `{"tenant": "own-queue", "pool": "cc1-a100", "resources": {"cpu_milli": 60000}, "ttl": "10m"}`, "Idempotency-Key: k"))
	if at(again.body, "lease", "id") != lease {
		t.Errorf("%s", again.text)
	}
	full := h.want(409, h.do("POST", "/api/v1/reservations", `{"pool": "cc1-a100", "resources": {"cpu_milli": 60000}}`))
	if at(full.body, "reasons", 0, "code") == nil || at(full.body, "refused", 0, "reason", "text", "zh") == nil || full.header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("%s", full.text)
	}
	any := h.want(201, h.do("POST", "/api/v1/reservations", `{"any": {"regions": ["11"]}, "resources": {"cpu_milli": 60000}}`))
	if at(any.body, "lease", "facility") != "beijing-1" {
		t.Errorf("%s", any.text)
	}
	on := func(verb, ttl string) reply {
		return h.do("POST", "/api/v1/reservations:"+verb, fmt.Sprintf(`{"lease": %q, "ttl": %q}`, lease, ttl))
	}
	until := func(r reply) time.Time {
		end, err := time.Parse(time.RFC3339, fmt.Sprint(r.body["expires_at"]))
		if err != nil {
			t.Errorf("%s: %v", r.text, err)
		}
		return end
	}
	if end := until(h.want(200, on("renew", "2h"))); time.Until(end) < 110*time.Minute {
		t.Errorf("it ends at %v", end)
	}
	for _, ttl := range []string{"0s", "-5m", "1ms", "100000h", "soon"} {
		if r := h.want(422, on("renew", ttl)); at(r.body, "errors", 0, "location") != "body.ttl" {
			t.Errorf("%s", r.text)
		}
	}
	if r := h.want(200, on("commit", "0s")); r.body["state"] != "committed" || r.body["expires_at"] != nil {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, on("release", "")); r.body["state"] != "released" {
		t.Errorf("%s", r.text)
	}
	if r := h.want(404, on("renew", "1h")); !strings.Contains(r.text, lease) {
		t.Errorf("%s", r.text)
	}
	w := h.want(201, h.do("POST", "/api/v1/workloads", trainNow()))
	lease, _ = at(w.body, "lease", "id").(string)
	for _, verb := range []string{"renew", "commit", "release"} {
		if r := h.want(422, on(verb, "1h")); !strings.Contains(r.text, w.body["id"].(string)) {
			t.Errorf("%s", r.text)
		}
	}
	for body, at := range map[string]string{
		`{"pool": "p", "any": {}, "resources": {}}`:                                            "body.any",
		`{"resources": {"cpu_milli": -1}}`:                                                     "body.resources.",
		`{"resources": {"cpu_milli": 1}, "any": {"security": {"data_grade": "cosmic"}}}`:       "body.any.security.data_grade",
		`{"resources": {"accelerators": {"count": 2, "milli": 500}}, "any": {"archs": ["x"]}}`: "body.resources.accelerators",
		`{"resources": {"cpu_milli": 1}, "ttl": "1ns"}`:                                        "body.ttl",
	} {
		if r := h.want(422, h.do("POST", "/api/v1/reservations", body)); !strings.Contains(r.text, `"location":"`+at) {
			t.Errorf("%s: %s", body, r.text)
		}
	}
}

func TestProgressAndCancellation(t *testing.T) {
	h := centre(t)
	w := h.want(201, h.do("POST", "/api/v1/workloads", trainNow()))
	path := "/api/v1/workloads/" + w.body["id"].(string)
	says := func(token any, state string) reply {
		return h.do("POST", path+"/progress", fmt.Sprintf(`{"token": %v, "state": %q, "exit_code": 0}`, token, state))
	}
	token := at(w.body, "lease", "token")
	h.want(422, says(99, "running"))
	if r := h.want(200, says(token, "running")); r.body["state"] != "running" {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("POST", "/api/v1/facilities/changchun-1/lose", ""))
	h.want(409, says(token, "running")) // it is fenced
	h.want(200, h.do("POST", "/api/v1/facilities/changchun-1/ready", ""))

	x := h.want(202, h.do("POST", "/api/v1/workloads", one("large", 500, "")))
	path = "/api/v1/workloads/" + x.body["id"].(string)
	h.want(204, h.do("DELETE", path, ""))
	if r := h.want(200, h.do("GET", path, "")); r.body["state"] != "cancelled" || at(r.body, "reasons", 0, "code") == nil {
		t.Errorf("%s", r.text)
	}
	h.want(409, h.do("DELETE", path, ""))
	h.want(404, h.do("DELETE", "/api/v1/workloads/w-none", ""))
}

func TestDeclarationsAreConditionalAndPaged(t *testing.T) {
	h := centre(t)
	got := h.want(200, h.do("GET", "/api/v1/facilities/changchun-1", ""))
	tag := got.header.Get("ETag")
	if got.body["pue"] != 1.25 || got.body["max_data_grade"] != "important" || got.body["pools"] != 1.0 || got.body["nodes"] != 1.0 {
		t.Errorf("%s", got.text)
	}
	h.want(412, h.do("PUT", "/api/v1/facilities/changchun-1", changchun, `If-Match: "999999"`))
	h.want(412, h.do("POST", "/api/v1/facilities/changchun-1/cordon", "", `If-Match: "999999"`))
	next := h.want(200, h.do("POST", "/api/v1/facilities/changchun-1/cordon", "", "If-Match: "+tag))
	if next.body["state"] != "cordoned" || next.header.Get("ETag") == tag {
		t.Errorf("%s", next.text)
	}
	h.want(412, h.do("DELETE", "/api/v1/pools/cc1-a100", "", `If-Match: "999999"`))
	h.want(412, h.do("DELETE", "/api/v1/facilities/changchun-1", "", "If-Match: "+tag))
	h.want(409, h.do("DELETE", "/api/v1/facilities/changchun-1", "")) // it has a pool
	for i := range 5 {
		h.want(200, h.do("PUT", fmt.Sprintf("/api/v1/pools/p%d", i), `{"facility": "changchun-1", "classes": [{"count": 1, "cpu_milli": 1000, "memory_mib": 1000}]}`))
		h.want(202, h.do("POST", "/api/v1/workloads", one(fmt.Sprint("w", i), 1, "")))
	}
	for _, list := range []string{"pools", "capacity", "workloads"} {
		seen, cursor, pages := map[string]bool{}, "", 0
		for {
			r := h.want(200, h.do("GET", "/api/v1/"+list+"?limit=2&cursor="+cursor, ""))
			for _, item := range r.body["items"].([]any) {
				name := fmt.Sprint(at(item, "id"), at(item, "pool"))
				if seen[name] {
					t.Errorf("%s: %s comes twice", list, name)
				}
				seen[name] = true
			}
			pages++
			if cursor, _ = r.body["next_cursor"].(string); cursor == "" {
				break
			}
		}
		if want := map[string]int{"pools": 6, "capacity": 6, "workloads": 5}[list]; len(seen) != want || pages != 3 {
			t.Errorf("%s: %d in %d pages", list, len(seen), pages)
		}
	}
}

func TestSignals(t *testing.T) {
	h := start(t)
	hour := time.Now().UTC().Truncate(time.Hour)
	forecast := func(issued time.Time, unit string) string {
		return fmt.Sprintf(`{"issued_at": %q, "unit": %q, "points": [{"start": %q, "end": %q, "value": 412.0}]}`, issued.Format(time.RFC3339), unit, hour.Format(time.RFC3339), hour.Add(2*time.Hour).Format(time.RFC3339))
	}
	h.want(200, h.do("PUT", "/api/v1/signals/carbon/CN-JL", forecast(hour, "g/kWh")))
	if r := h.want(200, h.do("GET", "/api/v1/signals/carbon/CN-JL", "")); at(r.body, "points", 0, "value") != 412.0 || r.body["stale"] != false {
		t.Errorf("%s", r.text)
	}
	h.want(409, h.do("PUT", "/api/v1/signals/carbon/CN-JL", forecast(hour.Add(-time.Hour), "g/kWh")))
	for path, unit := range map[string]string{"carbon/CN-JL": "kg/MWh", "price/CN-JL": "g/kWh"} {
		if r := h.want(422, h.do("PUT", "/api/v1/signals/"+path, forecast(hour, unit))); at(r.body, "errors", 0, "location") != "body.unit" {
			t.Errorf("%s", r.text)
		}
	}
	h.want(422, h.do("PUT", "/api/v1/signals/weather/CN-JL", forecast(hour, "g/kWh")))
	h.want(404, h.do("GET", "/api/v1/signals/price/CN-JL", ""))
	jilin := h.as(h.roleToken("jl", access.Scheduler, "22"))
	jilin.want(403, jilin.do("PUT", "/api/v1/signals/carbon/CN-JL", forecast(hour, "g/kWh"))) // zones are of no region
}

func TestErrorsOfComputeNameTheKey(t *testing.T) {
	h := centre(t)
	for _, c := range [][4]string{
		{"PUT", "/api/v1/facilities/x", `{"names": {"zh": "", "en": ""}, "region": "22"}`, "body.region"},
		{"PUT", "/api/v1/facilities/x", `{"names": {"zh": "", "en": ""}, "region": "220100", "security_grade": 9}`, "body.security_grade"},
		{"PUT", "/api/v1/facilities/x", `{"names": {"zh": "", "en": ""}, "region": "220100", "colour": 9}`, "body.colour"},
		{"PUT", "/api/v1/pools/x", `{"facility": "nowhere", "classes": [{"count": 1, "cpu_milli": 1, "memory_mib": 1}]}`, "body.facility"},
		{"PUT", "/api/v1/pools/x", `{"facility": "changchun-1", "nodes": [{"id": "a", "cpu_milli": -1, "memory_mib": 1}]}`, "body.nodes[0]"},
		{"PUT", "/api/v1/queues/x", `{"nominal": {"gold": 1}}`, "body.nominal.gold"},
		{"POST", "/api/v1/workloads", `{"name": "x", "tasks": []}`, "body.tasks"},
		{"POST", "/api/v1/workloads", `{"name": "x", "tasks": [{"name": "main", "cpu_milli": 1}]}`, "body.tasks[0]"},
		{"POST", "/api/v1/workloads", one("x", 1, `, "shape": "round"`), "body.shape"},
		{"POST", "/api/v1/workloads", one("x", 1, `, "objective": "happiest"`), "body.objective"},
		{"POST", "/api/v1/workloads", one("x", 1, `, "security": {"data_grade": "cosmic"}`), "body.security.data_grade"},
	} {
		r := h.do(c[0], c[1], c[2])
		if r.status != 422 || !strings.Contains(r.text, `"location":"`+c[3]) {
			t.Errorf("%v: %d %s", c, r.status, r.text)
		}
	}
}

func TestNobodyPlacesOrSeesBeyondTheRegion(t *testing.T) {
	h := centre(t)
	h.far()
	jilin, beijing := h.as(h.roleToken("jl", access.Scheduler, "22")), h.as(h.roleToken("bj", access.Operator, "11"))
	r := jilin.want(201, jilin.do("POST", "/api/v1/workloads", one("here", 60, "")))
	if at(r.body, "decision", "assignments", 0, "facility") != "changchun-1" {
		t.Errorf("%s", r.text)
	}
	id := r.body["id"].(string)
	// The pool at home is full now; the one that is free is another's.
	waits := jilin.want(202, jilin.do("POST", "/api/v1/workloads", one("more", 60, "")))
	why := jilin.want(200, jilin.do("GET", "/api/v1/workloads/"+waits.body["id"].(string)+"/explanation", ""))
	full := jilin.want(409, jilin.do("POST", "/api/v1/reservations", `{"pool": "bj1", "resources": {"cpu_milli": 1000}}`))
	for _, r := range []reply{waits, why, full} {
		if strings.Contains(r.text, "beijing") || strings.Contains(r.text, `"pool":"bj1"`) {
			t.Errorf("tells of another region: %s", r.text)
		}
	}
	jilin.want(403, jilin.do("POST", "/api/v1/workloads", one("there", 1, `, "affinity": {"regions": ["11"]}`)))
	jilin.want(403, jilin.do("POST", "/api/v1/workloads", one("there", 1, `, "affinity": {"regions": ["2"]}`)))
	lease := at(r.body, "lease", "id")
	beijing.want(404, beijing.do("POST", "/api/v1/reservations:release", fmt.Sprintf(`{"lease": %q}`, lease)))
	for _, path := range []string{"facilities/changchun-1", "pools/cc1-a100", "workloads/" + id, "workloads/" + id + "/explanation", "workloads/" + id + "/events"} {
		beijing.want(404, beijing.do("GET", "/api/v1/"+path, ""))
	}
	beijing.want(404, beijing.do("DELETE", "/api/v1/workloads/"+id, ""))
	beijing.want(404, beijing.do("DELETE", "/api/v1/pools/cc1-a100", ""))
	beijing.want(404, beijing.do("POST", "/api/v1/facilities/changchun-1/lose", ""))
	beijing.want(403, beijing.do("PUT", "/api/v1/facilities/changchun-1", strings.Replace(changchun, "220100", "110000", 1)))
	beijing.want(403, beijing.do("PUT", "/api/v1/facilities/new", changchun))
	beijing.want(409, beijing.do("PUT", "/api/v1/pools/cc1-a100", `{"facility": "beijing-1", "classes": [{"count": 1, "cpu_milli": 1000, "memory_mib": 1000}]}`))
	beijing.want(403, beijing.do("PUT", "/api/v1/queues/all", `{}`))
	for _, list := range []string{"facilities", "pools", "capacity", "workloads"} {
		if r := beijing.want(200, beijing.do("GET", "/api/v1/"+list, "")); strings.Contains(r.text, "changchun") || strings.Contains(r.text, id) {
			t.Errorf("%s: %s", list, r.text)
		}
	}
}

// events are read from a watch until stop says that it saw enough.
func (h *hub) events(ctx context.Context, query string, stop func(event map[string]any) bool) error {
	req, err := http.NewRequestWithContext(ctx, "GET", h.server.URL+"/api/v1/watch"+query, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+h.token)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/event-stream" {
		return fmt.Errorf("status %s, %s", resp.Status, resp.Header.Get("Content-Type"))
	}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data: ")
		if !ok {
			if lines.Text() == ": watching" && stop(nil) {
				return nil
			}
			continue
		}
		var e map[string]any
		if err := json.Unmarshal([]byte(data), &e); err != nil {
			return err
		}
		if stop(e) {
			return nil
		}
	}
	return fmt.Errorf("the stream ended: %w", context.Cause(ctx))
}

func TestAWatchGoesOnWhereItEnded(t *testing.T) {
	h := centre(t)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	ids := map[string]bool{}
	for i := range 5 {
		ids[h.want(201, h.do("POST", "/api/v1/workloads", one(fmt.Sprint("w", i), 1, ""))).body["id"].(string)] = true
	}
	last := 0.0
	for len(ids) > 0 { // three events of each stream, then anew
		n := 0
		err := h.events(ctx, fmt.Sprintf("?since=%.0f", last), func(e map[string]any) bool {
			if e == nil {
				return false
			}
			if seq := e["seq"].(float64); seq != last+1 {
				t.Errorf("event %v follows %v", seq, last)
			}
			last = e["seq"].(float64)
			if e["to"] == "reserved" {
				delete(ids, e["object"].(string))
			}
			n++
			return n == 3 || len(ids) == 0
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	h.want(410, h.do("GET", "/api/v1/watch?since=999999", ""))
	h.want(422, h.do("GET", "/api/v1/watch?since=-1", ""))
}

func TestAWatchShowsTheRegionAloneAndEndsWithItsToken(t *testing.T) {
	h := centre(t)
	h.far()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	jilin := h.as(h.roleToken("jl", access.Reader, "22"))
	seen := map[any]bool{}
	if err := jilin.events(ctx, "?since=0", func(e map[string]any) bool { seen[at(e, "object")] = true; return e["object"] == "cc1-a100" }); err != nil {
		t.Fatal(err)
	}
	begun := make(chan bool, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- jilin.events(ctx, "?since=0", func(e map[string]any) bool {
			seen[at(e, "object")] = true
			if e == nil {
				begun <- true
			}
			return false
		})
	}()
	<-begun
	if err := h.tokens.Revoke(t.Context(), "jl"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || ctx.Err() != nil {
		t.Errorf("the stream of a revoked token: %v", err)
	}
	if seen["beijing-1"] || seen["bj1"] || !seen["changchun-1"] {
		t.Errorf("it saw %v", seen)
	}
}

// What a person describes comes back as it was meant: reading what was shown
// gives the same thing.
func TestDescriptionsComeBack(t *testing.T) {
	for _, in := range []string{
		`{"name": "x", "tasks": [{"name": "main", "memory_mib": 1, "duration": "90s"}]}`,
		fmt.Sprintf(train, "2026-11-26T00:00:00Z", "2026-11-27T00:00:00Z"),
		`{"name": "x", "objective": {"carbon_price": 2, "hour_price": 3}, "gang": "minimum", "shape": "spread", "priority": 7,
			"tasks": [{"name": "a", "count": 4, "min_count": 2, "cpu_milli": 1, "disk_gib": 3, "power_w": 4, "duration": "1h", "duration_p95": "2h", "interruptible": true, "checkpoint": "5m",
				"accelerators": {"count": 2, "models": ["A"], "speed": {"A": 2}, "memory_mib": 5}}],
			"window": {"deferrable": true}, "data": [{"dataset": "d", "at": ["f"], "read_gib": 1.5, "copy": true}],
			"affinity": {"facilities": ["f"], "not_facilities": ["g"], "pools": ["p"], "regions": ["22"], "archs": ["arm64"], "labels": {"a": "b"}}, "budget": {"money": 5, "carbon_kg": 6}}`,
	} {
		var first WorkloadIn
		if err := json.Unmarshal([]byte(in), &first); err != nil {
			t.Fatal(err)
		}
		meant, err := first.workload("")
		if err != nil {
			t.Fatal(err)
		}
		var again WorkloadIn
		if err := json.Unmarshal([]byte(asJSON(describeWorkload(meant))), &again); err != nil {
			t.Fatal(err)
		}
		same, err := again.workload("")
		if diff := cmp.Diff(meant, same); diff != "" || err != nil {
			t.Errorf("%s: %v %s", in, err, diff)
		}
	}
	for _, pue := range []string{`1.25`, `{"constant": 1.3, "load": [[0, 1.5], [1, 1.2]], "temperature": [[-20, 0], [30, 0.1]]}`, `{"live": "zone-1"}`} {
		var first, again FacilityIn
		if err := json.Unmarshal([]byte(`{"names": {"zh": "甲", "en": "A"}, "region": "220100", "pue": `+pue+`}`), &first); err != nil {
			t.Fatal(err)
		}
		meant, err := first.facility("f")
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(asJSON(describeFacility(meant))), &again); err != nil {
			t.Fatal(err)
		}
		same, err := again.facility("f")
		if diff := cmp.Diff(meant, same); diff != "" || err != nil {
			t.Errorf("%s: %v %s", pue, err, diff)
		}
	}
	var pool, again PoolIn
	if err := json.Unmarshal([]byte(a100), &pool); err != nil {
		t.Fatal(err)
	}
	meant, err := pool.pool("p")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(asJSON(describePool(meant))), &again); err != nil {
		t.Fatal(err)
	}
	same, err := again.pool("p")
	if diff := cmp.Diff(meant, same, cmp.Comparer(func(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) })); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	var _ schedule.Pool = same
}

func TestASimulationKeepsNothing(t *testing.T) {
	h := centre(t)
	h.want(202, h.do("POST", "/api/v1/workloads", one("large", 70, "")))
	r := h.want(200, h.do("POST", "/api/v1/simulate", `{
		"facilities": {"baicheng-1": {"names": {"zh": "白城", "en": "Baicheng"}, "region": "220800"}},
		"pools": {"bc1": {"facility": "baicheng-1", "classes": [{"count": 2, "cpu_milli": 128000, "memory_mib": 1000}]}},
		"states": {"changchun-1": "cordoned"}, "workloads": [`+one("more", 64, "")+`]}`))
	for path, want := range map[string]float64{"before placed": 1, "before waiting": 1, "after placed": 2, "after waiting": 0} {
		side, key, _ := strings.Cut(path, " ")
		if got := at(r.body, side, key); got != want {
			t.Errorf("%s is %v, want %v: %s", path, got, want, r.text)
		}
	}
	if at(r.body, "before", "facilities", 0, "used", "cpu_milli") != 1.0 || at(r.body, "after", "facilities", 0, "used", "cpu_milli") != 134.0/256 {
		t.Errorf("%s", r.text)
	}
	for body, at := range map[string]string{
		`{"pools": {"x": {"facility": "nowhere", "classes": [{"count": 1, "cpu_milli": 1, "memory_mib": 1}]}}}`: "body.pools.x.facility",
		`{"states": {"changchun-1": "gone"}}`: "body.states.changchun-1",
		`{"signals": [{"kind": "carbon", "zone": "z", "issued_at": "2026-11-26T00:00:00Z", "unit": "t", "points": []}]}`: "body.signals[0].unit",
		`{"facilities": {"f": {"names": {"zh": "", "en": ""}, "region": "x"}}}`:                                          "body.facilities.f.region",
	} {
		if r := h.want(422, h.do("POST", "/api/v1/simulate", body)); !strings.Contains(r.text, `"location":"`+at) {
			t.Errorf("%s: %s", body, r.text)
		}
	}
	if r := h.want(200, h.do("GET", "/api/v1/pools", "")); len(r.body["items"].([]any)) != 1 {
		t.Errorf("%s", r.text)
	}
	jilin := h.as(h.roleToken("jl", access.Scheduler, "22"))
	jilin.want(403, jilin.do("POST", "/api/v1/simulate", `{}`))
}

func TestADecisionTellsBoundAndGap(t *testing.T) {
	d := schedule.Decision{At: time.Unix(0, 0), Bound: 120.5, Gap: 0.004, Reasons: []schedule.Reason{schedule.Because(schedule.PlannedTogether, 39, "2026-11-26T07:00:00Z", "120.50", "0.40")}}
	body, err := json.Marshal(showDecision(&d))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"bound":120.5`, `"gap":0.004`, "at most 0.40 % more than the bound of 120.50 yuan", "下界 120.50 元"} {
		if !strings.Contains(string(body), want) {
			t.Errorf("%s does not say %s", body, want)
		}
	}
}
