package hub

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// computing is a hub with what its API takes and says of compute.
type computing struct {
	*hub
	t     *testing.T
	admin string
}

func compute0(t *testing.T) *computing {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Schedule.Live.Every = time.Hour }) // rounds are the test's
	return &computing{h, t, h.token(t, access.Token{Name: "boss", Role: access.Admin})}
}

// do asks as the admin and reads the answer.
func (c *computing) do(method, path, body string) (answer map[string]any) {
	c.t.Helper()
	code, text := c.ask(c.t, c.admin, method, path, []byte(body))
	if code/100 != 2 {
		c.t.Fatalf("%s %s: %d %s", method, path, code, text)
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// says lets a device report over HTTP at a time.
func (c *computing) says(device, secret string, at time.Time, metrics string) {
	c.t.Helper()
	answer := c.post(c.t, device, secret, fmt.Sprintf(`{"ts": %d, %s}`, at.UnixMilli(), metrics))
	if !strings.Contains(answer, `"rejected":[]`) {
		c.t.Fatal(answer)
	}
}

func (c *computing) round() {
	c.t.Helper()
	if err := c.live.Round(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
}

// within follows a path of keys and indices into an answer, as text.
func within(v any, path ...any) string {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return ""
			}
			v = l[p]
		}
	}
	return fmt.Sprint(v)
}

// reasons are the codes and texts of a decision.
func reasons(answer map[string]any) string {
	b, _ := json.Marshal(answer["decision"].(map[string]any)["reasons"]) //nolint:errcheck // it was JSON
	return string(b)
}

const place = "/api/v1/workloads?dry_run=place"

func cpus(n int) string {
	return fmt.Sprintf(`{"name": "w", "objective": "fastest", "tasks": [{"name": "main", "cpu_milli": %d, "memory_mib": 512, "duration": "1h"}]}`, n*1000)
}

// TestWhatAgentsReportOfNodesIsInUse declares nothing live: devices with the ids
// of nodes report by the door what the agent's sources do, and work goes to the
// node that is idle. A device of another region counts for nothing, and an agent
// that reports less than is leased frees nothing.
func TestWhatAgentsReportOfNodesIsInUse(t *testing.T) {
	c := compute0(t)
	n1 := c.register(t, registry.Spec{ID: "n1", Kind: "node", Region: "220100"})
	n2 := c.register(t, registry.Spec{ID: "n2", Kind: "node", Region: "110000"})
	c.do("PUT", "/api/v1/facilities/cc-1", `{"names": {"zh": "长春", "en": "Changchun"}, "region": "220100"}`)
	c.do("PUT", "/api/v1/pools/cc-gpu", `{"facility": "cc-1", "engine": "none", "accelerator": {"model": "A100", "shareable": true}, "nodes": [
		{"id": "n1", "cpu_milli": 8000, "memory_mib": 16384, "accelerators": 2}, {"id": "n2", "cpu_milli": 8000, "memory_mib": 16384, "accelerators": 2}]}`)
	now := time.Now().Add(-10 * time.Second)
	busy := `"host_cpu_percent": 75, "host_cpu_count": 8, "host_memory_used_bytes": 4294967296`
	c.says("n1", n1, now, busy)
	c.says("n2", n2, now, busy)
	if code, text := c.ask(t, n1, http.MethodPost, "/api/v2/write?precision=ms", fmt.Appendf(nil,
		"gpu_memory_used_bytes,gpu=0 value=500 %[1]d\ngpu_memory_total_bytes,gpu=0 value=1000 %[1]d\ngpu_memory_used_bytes,gpu=1 value=20 %[1]d\ngpu_memory_total_bytes,gpu=1 value=1000 %[1]d\n", now.UnixMilli())); code/100 != 2 {
		t.Fatal(code, text)
	}
	c.round()
	free := func(resource string) string {
		return within(c.do("GET", "/api/v1/pools/cc-gpu", ""), "capacity", "free", resource)
	}
	if cpu, memory, gpu := free("cpu_milli"), free("memory_mib"), free("accelerator_milli"); cpu != "10000" || memory != "28672" || gpu != "3500" {
		t.Errorf("of two nodes, of which one uses 6 CPUs, 4 GiB and half a device, %s, %s and %s are free", cpu, memory, gpu)
	}
	d := c.do("POST", place, cpus(4))
	if node := within(d, "decision", "assignments", 0, "node"); node != "n2" {
		t.Errorf("it goes to %s, which is busy: %v", node, d)
	}
	got := c.do("POST", "/api/v1/reservations", `{"pool": "cc-gpu", "resources": {"cpu_milli": 8000, "memory_mib": 512}, "ttl": "10m"}`)
	if within(got, "lease", "token") == "" {
		t.Fatal(got)
	}
	c.says("n1", n1, now.Add(time.Second), `"host_cpu_percent": 0, "host_cpu_count": 8, "host_memory_used_bytes": 0`)
	c.round()
	if cpu := free("cpu_milli"); cpu != "8000" {
		t.Errorf("8 of 16 CPUs are leased and none is seen in use: %s are free", cpu)
	}
}

// TestDeclaredExpressionsDecide declares live values of all kinds, lets a meter
// report them, and asks for the same work before and after, and when they are
// stale.
func TestDeclaredExpressionsDecide(t *testing.T) {
	c := compute0(t)
	meter := c.register(t, registry.Spec{ID: "meter", Kind: "meter", Region: "220100"})
	far := c.register(t, registry.Spec{ID: "far", Kind: "meter", Region: "110000"})
	c.do("PUT", "/api/v1/facilities/cc-1", `{"names": {"zh": "长春", "en": "Changchun"}, "region": "220100", "power_cap_w": 1000, "pue": 1.5,
		"live": {"pue": "last_over_time(site_pue[1h])", "power_watts": "last_over_time(site_watts[1h])", "outdoor_celsius": "site_outdoor"}}`)
	for _, pool := range []string{"a", "b"} {
		c.do("PUT", "/api/v1/pools/"+pool, `{"facility": "cc-1", "engine": "none", "classes": [{"count": 2, "cpu_milli": 8000, "memory_mib": 16384}],
			"live": {"queue_wait": "last_over_time(queue_`+pool+`[1h])", "cpu_milli": "max(last_over_time(busy_`+pool+`[1h]))"}}`)
	}
	c.round()
	d := c.do("POST", place, cpus(4))
	pool, was := within(d, "decision", "assignments", 0, "pool"), within(d, "decision", "energy_kwh")
	if said := reasons(d); !strings.Contains(said, "live_value_missing") || !strings.Contains(said, "cc-1.power_watts") || !strings.Contains(said, "从未收到") {
		t.Errorf("nothing came yet: %s", said)
	}
	other := map[string]string{"a": "b", "b": "a"}[pool]

	now := time.Now().Add(-10 * time.Second)
	c.says("far", far, now, `"site_watts": 100000, "queue_`+other+`": 100000`)
	c.says("meter", meter, now, `"site_pue": 1.2, "site_watts": 500, "site_outdoor": -12, "queue_`+pool+`": 3600, "queue_`+other+`": 1, "busy_a": 0, "busy_b": 0`)
	c.round()
	d = c.do("POST", place, cpus(4))
	if to := within(d, "decision", "assignments", 0, "pool"); to != other {
		t.Errorf("with an hour of queue at %s it goes to %q: %v", pool, to, d)
	}
	if said, age := reasons(d), within(d, "decision", "data_age"); strings.Contains(said, "live_value") || age == "" || within(d, "decision", "energy_kwh") >= was {
		t.Errorf("all is fresh, and the PUE lower: %s, age %s, %s kWh after %s", said, age, within(d, "decision", "energy_kwh"), was)
	}
	if f := c.do("GET", "/api/v1/facilities/cc-1", ""); within(f, "live_now", "power_watts") != "500" || within(f, "live_now", "pue") != "1.2" {
		t.Errorf("%v", f["live_now"])
	}

	c.says("meter", meter, now.Add(time.Second), `"busy_`+other+`": 16000`)
	c.round()
	if free := within(c.do("GET", "/api/v1/pools/"+other, ""), "capacity", "free", "cpu_milli"); free != "<nil>" { // nothing is left out
		t.Errorf("all of the pool is in use, and %s is free", free)
	}
	c.says("meter", meter, now.Add(2*time.Second), `"site_watts": 995`)
	c.round()
	d = c.do("POST", place, cpus(4))
	if said, _ := json.Marshal(d); within(d, "decision", "assignments", 0) != "" || !strings.Contains(string(said), "power_cap") {
		t.Errorf("4 CPUs draw 16 W, and 5 W are left: %s", said)
	}
}

// TestAStaleValueGivesWayToWhatWasDeclared reports values that were taken ten
// minutes ago, and one of a device that is no node.
func TestAStaleValueGivesWayToWhatWasDeclared(t *testing.T) {
	c := compute0(t)
	meter := c.register(t, registry.Spec{ID: "meter", Kind: "meter", Region: "220100"})
	c.do("PUT", "/api/v1/facilities/cc-1", `{"names": {"zh": "长春", "en": "Changchun"}, "region": "220100", "power_cap_w": 1000,
		"live": {"power_watts": "last_over_time(site_watts[1h])"}}`)
	c.do("PUT", "/api/v1/pools/a", `{"facility": "cc-1", "engine": "none", "classes": [{"count": 2, "cpu_milli": 8000, "memory_mib": 16384}],
		"live": {"queue_wait": "max(last_over_time(queue[1h]))", "cpu_milli": "last_over_time(busy[1h])", "memory_mib": "sum(last_over_time(busy[1h]))"}}`)
	c.says("meter", meter, time.Now().Add(-10*time.Minute), `"site_watts": 999, "queue": 3600, "busy": 16000`)
	c.round()
	d := c.do("POST", place, cpus(4))
	if within(d, "decision", "assignments", 0, "pool") != "a" || within(d, "decision", "expected_wait") == "1h0m0s" {
		t.Errorf("values of ten minutes ago count: %v", d)
	}
	said := reasons(d)
	for _, want := range []string{"live_value_stale", "cc-1.power_watts", "a.queue_wait", "a.memory_mib", "10m", "no live value of a.cpu_milli has come", "未更新，采用申报值", "so what was declared counts"} {
		if !strings.Contains(said, want) {
			t.Errorf("%s is not said: %s", want, said)
		}
	}
	if f := c.do("GET", "/api/v1/facilities/cc-1", ""); within(f, "live_now", "stale", 0, "name") != "power_watts" {
		t.Errorf("%v", f["live_now"])
	}
}

// TestAnExpressionIsCheckedWhenItIsDeclared says where each is wrong.
func TestAnExpressionIsCheckedWhenItIsDeclared(t *testing.T) {
	c := compute0(t)
	facility := func(live string) string {
		return `{"names": {"zh": "长春", "en": "Changchun"}, "region": "220100", "live": ` + live + `}`
	}
	c.do("PUT", "/api/v1/facilities/cc-1", facility(`{}`))
	for _, bad := range []struct{ path, body, key, what string }{
		{"/api/v1/facilities/cc-1", facility(`{"pue": "sum(x"}`), "body.live.pue", "1:"},
		{"/api/v1/facilities/cc-1", facility(`{"power_watts": "x[5m]"}`), "body.live.power_watts", "range vector"},
		{"/api/v1/pools/p", `{"facility": "cc-1", "classes": [{"count": 1, "cpu_milli": 1, "memory_mib": 1}], "live": {"queue_wait": "up{"}}`, "body.live.queue_wait", "1:"},
		{"/api/v1/pools/p", `{"facility": "cc-1", "classes": [{"count": 1, "cpu_milli": 1, "memory_mib": 1}], "live": {"cpu_milli": "` + strings.Repeat("x", 5000) + `"}}`, "body.live.cpu_milli", "5000 bytes"},
	} {
		code, text := c.ask(t, c.admin, http.MethodPut, bad.path, []byte(bad.body))
		if code != http.StatusUnprocessableEntity || !strings.Contains(text, `"`+bad.key+`"`) || !strings.Contains(text, bad.what) {
			t.Errorf("%s: %d %s", bad.key, code, text)
		}
	}
}

// TestSeriesOfPoolsAreOfTheirRegion reads capacity by PromQL as people of two
// regions, and finds no pool in the hub's own metrics.
func TestSeriesOfPoolsAreOfTheirRegion(t *testing.T) {
	c := compute0(t)
	c.do("PUT", "/api/v1/facilities/cc-1", `{"names": {"zh": "长春", "en": "Changchun"}, "region": "220100"}`)
	c.do("PUT", "/api/v1/pools/cc-cpu", `{"facility": "cc-1", "engine": "none", "classes": [{"count": 2, "cpu_milli": 8000, "memory_mib": 16384}]}`)
	c.do("POST", "/api/v1/workloads", cpus(4))
	if err := newPoolSeries(c.hub).write(t.Context()); err != nil {
		t.Fatal(err)
	}
	home, foreign := c.token(t, access.Token{Name: "home", Role: access.Reader, Region: "22"}), c.token(t, access.Token{Name: "foreign", Role: access.Reader, Region: "11"})
	for question, want := range map[string]string{
		`hub_schedule_pool_capacity{pool="cc-cpu",resource="cpu_milli",of="free"}`:           "12000",
		`hub_schedule_pool_free_forecast{pool="cc-cpu",resource="cpu_milli",ahead="6h"}`:     "16000",
		`sum(hub_schedule_pool_capacity{facility="cc-1",resource="memory_mib",of="leased"})`: "512",
	} {
		path := "/prometheus/api/v1/query?query=" + strings.NewReplacer(`"`, "%22", "{", "%7B", "}", "%7D", "=", "%3D").Replace(question)
		if _, text := c.ask(t, home, http.MethodGet, path, nil); !strings.Contains(text, `"`+want+`"`) {
			t.Errorf("%s: %s", question, text)
		}
		if _, text := c.ask(t, foreign, http.MethodGet, path, nil); !strings.Contains(text, `"result":[]`) {
			t.Errorf("%s as a reader of another region: %s", question, text)
		}
	}
	_, text := c.ask(t, foreign, http.MethodGet, "/metrics", nil)
	if strings.Contains(text, "cc-cpu") || !strings.Contains(text, `hub_schedule_capacity{of="free",resource="cpu_milli"} 12000`) {
		t.Errorf("the hub's own metrics: %s", text)
	}
	if code, text := c.ask(t, foreign, http.MethodGet, "/api/v1/capacity/forecast?until=6h", nil); code != 200 || strings.Contains(text, "cc-cpu") {
		t.Errorf("a forecast of another region: %d %s", code, text)
	}
}
