package api

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/schedule"
)

// plainBodies are read directly, and others that are near to them are not.
var plainBodies = []string{
	`{"name":"a","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"训练—一","tenant":"t-1","priority":7,"objective":"greenest","gang":"all","shape":"spread","tasks":[{"name":"a","count":2,"min_count":1,"cpu_milli":1,"memory_mib":2,"disk_gib":3,"power_w":4,"duration":"90s","duration_p95":"2h","interruptible":true,"checkpoint":"1m"},{"name":"b","cpu_milli":1,"duration":"1h","interruptible":false}]}`,
	` { "name" : "a" ,` + "\n\t" + `"tasks" : [ { "name" : "main" , "accelerators" : { "count" : 2 , "milli":1000, "models" : [ "A100" , "V100" ] , "memory_mib" : 0 } , "duration" : "1h" } ] } `,
	`{"name":"a","priority":0,"gang":"","tasks":[{"name":"main","cpu_milli":1,"accelerators":{},"duration":"1h"}]}`,
}

var otherBodies = []string{
	``, `{}`, `null`, `[]`, `{"name":"a"}`, `{"name":"a","tasks":[]}`, `{"name":"a","tasks":null}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}x`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}],}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"},]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":100}]}`,
	`{"name":"a","tasks":[{"cpu_milli":100,"duration":"1h"}]}`,
	`{"tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"NAME":"a","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","name":"b","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a\u0041","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a<b>&c","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	"{\"name\":\"a\u2028b\",\"tasks\":[{\"name\":\"main\",\"cpu_milli\":100,\"duration\":\"1h\"}]}",
	"{\"name\":\"a\xffb\",\"tasks\":[{\"name\":\"main\",\"cpu_milli\":100,\"duration\":\"1h\"}]}",
	`{"name":"a","unknown":1,"tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":1.5,"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":1e2,"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":-1,"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":007,"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":"100","duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":null,"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":100,"duration":"an hour"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":100,"duration":"-1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","duration":"1h"}]}`,
	`{"name":"a","objective":"dearest","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","objective":"","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","objective":{"carbon_price":2},"tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","gang":"some","tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","priority":5000,"tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","window":{"deferrable":true},"tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","payload":{"x":[1, 2]},"tasks":[{"name":"main","cpu_milli":100,"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","accelerators":{"count":2,"milli":1,"models":["A100"]},"duration":"1h"}]}`,
	`{"name":"a","tasks":[{"name":"main","cpu_milli":99999999999999999999,"duration":"1h"}]}`,
}

// ordinary keeps a request from being read directly.
const ordinary = "Accept: application/json;q=0.9"

// What is read directly is what is read the ordinary way: the same is taken, as
// the same under a key, and of what is not the same is said.
func TestBothWaysSayTheSame(t *testing.T) {
	h := start(t)
	h.far()
	for i, body := range append(plainBodies, otherBodies...) {
		s := scan{b: []byte(body)}
		if s.workload(); i < len(plainBodies) && !s.ended() {
			t.Errorf("%s is not read directly", body)
		}
		first, second := []string{"Content-Type: application/json"}, []string{"Content-Type: application/json", ordinary}
		if i%2 == 1 {
			first, second = second, first
		}
		for path, text := range map[string]string{"/api/v1/workloads": body, "/api/v1/workloads:batch": `{"workloads":[` + body + `]}`} {
			key := fmt.Sprintf("Idempotency-Key: %d", i)
			one, two := h.do(http.MethodPost, path, text, append(first, key)...), h.do(http.MethodPost, path, text, append(second, key)...)
			if one.status != two.status || one.header.Get("Content-Type") != two.header.Get("Content-Type") {
				t.Errorf("%s %s: %d %s, then %d %s", path, text, one.status, one.text, two.status, two.text)
			}
			if one.status/100 != 2 || strings.Contains(one.text, `"problem"`) {
				if one.text != two.text {
					t.Errorf("%s %s:\n%s\n%s", path, text, one.text, two.text)
				}
				continue
			}
			type answer struct {
				ID, State string
				Repeated  bool
				Decision  any
			}
			var a, b struct {
				answer
				Results []answer
			}
			if err := json.Unmarshal([]byte(one.text), &a); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(two.text), &b); err != nil {
				t.Fatal(err)
			}
			x, y := append(a.Results, a.answer)[0], append(b.Results, b.answer)[0]
			if x.Repeated || !y.Repeated {
				t.Errorf("%s: the second is no repetition: %s", body, two.text)
			}
			if y.Repeated = false; x.ID == "" || !cmp.Equal(x, y) {
				t.Errorf("%s:\n%s", body, cmp.Diff(x, y))
			}
		}
	}
}

func TestPlacementsOfASchedulerHaveAQuota(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		role         access.Role
		method, path string
		want         string
	}{
		{access.Scheduler, http.MethodPost, "/api/v1/workloads", "token-placements"},
		{access.Scheduler, http.MethodPost, "/api/v1/reservations", "token-placements"},
		{access.Scheduler, http.MethodGet, "/api/v1/workloads", "token-calls"},
		{access.Scheduler, http.MethodPost, "/api/v1/simulate", "token-calls"},
		{access.Operator, http.MethodPost, "/api/v1/workloads", "token-calls"},
		{access.Admin, http.MethodPost, "/api/v1/workloads:batch", "token-calls"},
	} {
		as := h.as(h.roleToken(fmt.Sprintf("%s-%s-%d", c.role, strings.ToLower(c.method), len(c.path)), c.role, ""))
		if got := as.do(c.method, c.path, "{}").header.Get("RateLimit-Policy"); !strings.Contains(got, c.want) {
			t.Errorf("%s %s of %s: %q", c.method, c.path, c.role, got)
		}
	}
}

// What a scan takes encoding/json takes as the same, the schema has nothing
// against, and has the same form for the digest of its key.
func FuzzScan(f *testing.F) {
	for _, body := range append(plainBodies, otherBodies...) {
		f.Add([]byte(body))
	}
	registry := huma.NewMapRegistry("#/", huma.DefaultSchemaNamer)
	schema := registry.Schema(reflect.TypeFor[WorkloadIn](), false, "")
	f.Fuzz(func(t *testing.T, body []byte) {
		s := scan{b: body}
		got := s.workload()
		if !s.ended() {
			return
		}
		var want WorkloadIn
		if err := json.Unmarshal(body, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(objectiveIn{})); diff != "" {
			t.Error(diff)
		}
		if text, err := json.Marshal(want); err != nil || string(text) != string(appendWanted(nil, &got)) {
			t.Errorf("%s and %s, %v", text, appendWanted(nil, &got), err)
		}
		var tree any
		if err := json.Unmarshal(body, &tree); err != nil {
			t.Fatal(err)
		}
		var found huma.ValidateResult
		if huma.Validate(registry, schema, huma.NewPathBuffer(nil, 0), huma.ModeWriteToServer, tree, &found); len(found.Errors) > 0 {
			t.Error(found.Errors)
		}
	})
}

// Answers are what encoding/json makes of them.
func TestAnswersHaveOneForm(t *testing.T) {
	texts := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "a", "长春", "\"", "\\", "<&>", "a\u2028", "\xff", "\n", "—", "\x7f"}))
	floats := rapid.OneOf(rapid.Float64Range(-1e30, 1e30), rapid.SampledFrom([]float64{0, 1, -1, 1e-6, 1e-7, 1e21, 1e20, 0.1, 1e-300, 123456.789}))
	whole := rapid.Int64Range(-5, 1<<40)
	times := rapid.Custom(func(t *rapid.T) time.Time { return time.Unix(0, rapid.Int64Range(0, 1<<62).Draw(t, "at")).UTC() })
	some := rapid.Custom(func(t *rapid.T) *time.Time {
		at := times.Draw(t, "at")
		if rapid.Bool().Draw(t, "there") {
			return &at
		}
		return nil
	})
	reason := rapid.Custom(func(t *rapid.T) reasonOut {
		return reasonOut{texts.Draw(t, "code"), rapid.SliceOfN(texts, 0, 2).Draw(t, "args"), text{texts.Draw(t, "zh"), texts.Draw(t, "en")}}
	})
	score := rapid.Custom(func(t *rapid.T) scoreOut {
		return scoreOut{texts.Draw(t, "scorer"), floats.Draw(t, "value"), texts.Draw(t, "unit"), floats.Draw(t, "cost")}
	})
	part := rapid.Custom(func(t *rapid.T) assignmentOut {
		return assignmentOut{texts.Draw(t, "task"), int(whole.Draw(t, "index")), texts.Draw(t, "facility"), texts.Draw(t, "pool"), texts.Draw(t, "node"), rapid.SliceOfN(rapid.IntRange(0, 15), 0, 3).Draw(t, "devices"),
			rapid.MapOfN(rapid.SampledFrom(schedule.DimensionNames[:]), whole, 0, 3).Draw(t, "use"), times.Draw(t, "start"), times.Draw(t, "end")}
	})
	lease := rapid.Custom(func(t *rapid.T) leaseOut {
		return leaseOut{texts.Draw(t, "id"), texts.Draw(t, "facility"), rapid.Uint64().Draw(t, "token"), texts.Draw(t, "state"), texts.Draw(t, "workload"), texts.Draw(t, "tenant"),
			rapid.SliceOfN(part, 0, 2).Draw(t, "parts"), times.Draw(t, "created"), some.Draw(t, "expires"), texts.Draw(t, "output")}
	})
	rapid.Check(t, func(t *rapid.T) {
		w := WorkloadOut{ID: texts.Draw(t, "id"), State: texts.Draw(t, "state"), Since: some.Draw(t, "since"), By: texts.Draw(t, "by"), Created: some.Draw(t, "created"),
			Reasons: rapid.SliceOfN(reason, 0, 2).Draw(t, "reasons"), Leases: rapid.SliceOfN(lease, 0, 2).Draw(t, "leases"), Version: whole.Draw(t, "version"), Repeated: rapid.Bool().Draw(t, "repeated")}
		if len(w.Leases) > 0 {
			w.Lease = &w.Leases[0]
		}
		if rapid.Bool().Draw(t, "queued") {
			w.Queue, w.Workload = &queueTurn{Rank: 3, P50: w.Since}, &WorkloadIn{Name: w.State}
		}
		if rapid.Bool().Draw(t, "decided") {
			w.Decision = &decisionOut{At: times.Draw(t, "at"), Assignments: rapid.SliceOfN(part, 0, 2).Draw(t, "parts"), Until: some.Draw(t, "until"), Reasons: w.Reasons, EnergyKWh: floats.Draw(t, "energy"),
				CarbonKg: floats.Draw(t, "carbon"), Cost: floats.Draw(t, "cost"), TransferGiB: floats.Draw(t, "transfer"), Wait: texts.Draw(t, "wait"), Scores: rapid.SliceOfN(score, 0, 3).Draw(t, "scores"), DataAge: texts.Draw(t, "age"),
				RunnersUp: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) runnerUpOut {
					return runnerUpOut{texts.Draw(t, "facility"), texts.Draw(t, "pool"), floats.Draw(t, "cost"), score.Draw(t, "worse")}
				}), 0, 2).Draw(t, "runners")}
			if rapid.Bool().Draw(t, "refused") {
				w.Decision.Refused = []refusalOut{{Facility: w.ID}}
			}
		}
		if got, want := string(appendWorkload(nil, &w)), string(appendJSON(nil, w)); got != want {
			t.Fatalf("\n%s\n%s", got, want)
		}
	})
}

// TestNoFieldIsForgotten: with every field set, what is appended is what
// encoding/json writes; so a field that is new is missed here.
func TestNoFieldIsForgotten(t *testing.T) {
	var w WorkloadOut
	fill(reflect.ValueOf(&w).Elem(), 0)
	if got, want := string(appendWorkload(nil, &w)), string(appendJSON(nil, w)); got != want {
		t.Errorf("\n%s\n%s", got, want)
	}
}

// fill sets everything in a value to something.
func fill(v reflect.Value, depth int) {
	if depth > 12 {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Int, reflect.Int64:
		v.SetInt(7)
	case reflect.Uint64:
		v.SetUint(7)
	case reflect.Float64:
		v.SetFloat(1.5)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		if v.Type() == reflect.TypeFor[json.RawMessage]() {
			v.SetBytes([]byte("{}"))
			return
		}
		fill(v.Index(0), depth+1)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		one := reflect.New(v.Type().Elem()).Elem()
		fill(one, depth+1)
		v.SetMapIndex(reflect.ValueOf("x").Convert(v.Type().Key()), one)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1, 0).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				fill(v.Field(i), depth+1)
			}
		}
	}
}
