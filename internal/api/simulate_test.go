package api

import (
	"testing"
	"time"
)

// TestEveryOptionOfASimulationCounts changes one thing at a time and compares
// what becomes of the same work before and after.
func TestEveryOptionOfASimulationCounts(t *testing.T) {
	h := centre(t)
	h.far()
	h.want(201, h.do("POST", "/api/v1/workloads", `{"name": "runs", "affinity": {"pools": ["bj1"]}, "tasks": [{"name": "main", "cpu_milli": 32000, "duration": "1h"}]}`))
	hour := time.Now().UTC().Truncate(time.Hour)
	curve := func(kind, unit, values string) string {
		return `{"kind": "` + kind + `", "zone": "CN-JL", "issued_at": "` + hour.Format(time.RFC3339) + `", "unit": "` + unit + `", "points": [` + values + `]}`
	}
	point := func(from, to int, value string) string {
		at := func(n int) string { return hour.Add(time.Duration(n) * time.Hour).Format(time.RFC3339) }
		return `{"start": "` + at(from) + `", "end": "` + at(to) + `", "value": ` + value + `}`
	}
	here := `, "affinity": {"facilities": ["changchun-1"]}`
	soon := hour.Add(8 * time.Hour).Format(time.RFC3339)
	for name, one := range map[string]struct {
		scenario string
		holds    func(before, after any) bool
	}{
		"a pool that is gone": {`"remove_pools": ["bj1"]`, func(b, a any) bool { return at(b, "displaced") == nil && at(a, "displaced") == 1.0 }},
		"a pool that is larger": {`"pools": {"cc1-a100": {"facility": "changchun-1", "engine": "none", "classes": [{"count": 1, "cpu_milli": 500000, "memory_mib": 1000}]}}, "workloads": [` + one("w", 400, "") + `]`,
			func(b, a any) bool { return at(b, "waiting") == 1.0 && at(a, "placed") == 1.0 }},
		"a facility with other air": {`"facilities": {"changchun-1": {"names": {"zh": "甲", "en": "A"}, "region": "220100", "grid_zone": "CN-JL", "pue": 2.5}}, "workloads": [` + one("w", 8, here) + `]`,
			func(b, a any) bool {
				return near(at(a, "energy_kwh"), 2, at(b, "energy_kwh")) && near(at(a, "carbon_kg"), 2, at(b, "carbon_kg"))
			}},
		"a facility without power": {`"facilities": {"changchun-1": {"names": {"zh": "甲", "en": "A"}, "region": "220100", "power_cap_w": 110}}, "workloads": [` + one("w", 8, here) + `]`,
			func(b, a any) bool { return at(b, "placed") == 1.0 && at(a, "waiting") == 1.0 }},
		"a state": {`"states": {"changchun-1": "draining"}, "workloads": [` + one("w", 8, here) + `]`,
			func(b, a any) bool { return at(b, "placed") == 1.0 && at(a, "waiting") == 1.0 }},
		"another price": {`"signals": [` + curve("price", "CNY/kWh", point(0, 9, "1.2")) + `], "workloads": [` + one("w", 8, here) + `]`,
			func(b, a any) bool { return near(at(a, "cost"), 2, at(b, "cost")) }},
		"another curve of carbon": {`"signals": [` + curve("carbon", "g/kWh", point(0, 3, "900")+","+point(3, 9, "50")) + `],
			"workloads": [` + one("w", 8, here+`, "objective": "greenest", "window": {"deferrable": true, "deadline": "`+soon+`"}`) + `]`,
			func(b, a any) bool { return at(b, "placed") == 1.0 && at(a, "deferred") == 1.0 }},
		"more work": {`"workloads": [` + one("w", 8, "") + `, ` + one("x", 400, "") + `]`,
			func(b, a any) bool {
				return at(b, "placed") == 1.0 && at(a, "placed") == 1.0 && at(a, "waiting") == 1.0
			}},
	} {
		r := h.want(200, h.do("POST", "/api/v1/simulate", `{`+one.scenario+`}`))
		if !one.holds(at(r.body, "before"), at(r.body, "after")) {
			t.Errorf("%s: %s", name, r.text)
		}
	}
}

// near reports whether a is factor times b.
func near(a any, factor float64, b any) bool {
	x, _ := a.(float64)
	y, _ := b.(float64)
	return y > 0 && x > 0.999*factor*y && x < 1.001*factor*y
}
