package hub

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/enrolment"
	"github.com/songhua-io/hub/internal/registry"
)

// Who is let in at routes that name no action of the table of rights: everybody,
// or whoever shows what only a device or a gateway has. A route that is neither
// here nor asks for an action fails the test.
const (
	everybody = "everybody"
	senders   = "senders"
	console   = "console"   // who may read devices; all others are asked to sign in
	issuers   = "issuers"   // who has been there; a hub without an issuer lets in nobody
	roadPages = "roads"     // who may read roads; all others are asked to sign in
	record    = "record"    // who may read the record of changes
	published = "published" // everybody, each to what is published or granted; who shows what is no token is told so
	compute   = "compute"   // who may read compute; all others are asked to sign in
	applies   = "applies"   // who may apply for datasets; all others are asked to sign in
	alarms    = "alarms"    // who may read alerts; all others are asked to sign in
	righted   = "righted"   // who may read corrections; all others are asked to sign in
	quietens  = "quietens"  // who may silence alerts
	keeps     = "keeps"     // who keeps the catalogue; all others are asked to sign in
)

var byOtherMeans = map[string]string{
	"GET /healthz": everybody, "GET /readyz": everybody, "GET /openapi.json": everybody, "GET /docs": everybody,
	"GET /static/": everybody, "GET /": console, "GET /audit": record, "GET /alerts": alarms, "POST /alerts/silences": quietens, "POST /alerts/silences/{id}/end": quietens, "GET /corrections": righted, "GET /corrections/{id}": righted, "GET /compute": compute, "GET /compute/workloads/{id}": compute, "GET /roads": roadPages, "GET /roads/units/{id}": roadPages, "GET /roads/intersections/{node}": roadPages, "GET /signin": everybody, "GET /signin/oidc": issuers, "GET /signin/callback": issuers, "POST /signout": everybody,
	"GET /ping": everybody, "GET /health": everybody, "GET /mqtt": everybody, // as far as CONNECT, which shows who it is
	"GET /metrics":        everybody, // on loopback alone; see TestMetricsAreOpenOnLoopbackAlone
	"POST /api/v1/enroll": senders, "POST /api/v1/renew": senders,
	"POST /api/v1/devices/{id}/telemetry": senders, "POST /api/v1/devices/{id}/telemetry/senml": senders, "POST /api/v1/devices/{id}/telemetry/senml-cbor": senders,
	"POST /api/v1/devices/{id}/telemetry/json": senders, "POST /api/v1/devices/{id}/telemetry/influx": senders, "POST /api/v1/devices/{id}/telemetry/{format}": senders,
	"POST /api/v1/devices/{id}/v2x": senders, "POST /api/v2/write": senders, "POST /prometheus/api/v1/write": senders, "POST /prometheus/api/v1/otlp/v1/metrics": senders,
	"GET /api/v1/devices/{id}/commands": senders, "POST /api/v1/devices/{id}/commands/{cid}/reply": senders,
	"POST /api/v1/objections": everybody, "POST /api/v1/objections/{id}/status": everybody, "POST /api/v1/objections/{id}/messages": everybody, // the last two with a ticket's secret
	"GET /sensorthings/v1.1/{path}": published,
	// The catalogue is public.
	"GET /catalog": everybody, "GET /catalog.ttl": everybody, "GET /catalog.jsonld": everybody, "GET /catalog.rdf": everybody, "GET /catalog/changes": everybody, "GET /catalog/changes.ttl": everybody, "GET /catalog/changes.jsonld": everybody, "GET /catalog/changes.rdf": everybody,
	"GET /catalog/vocabulary": everybody, "GET /catalog/record/{id}": everybody, "GET /catalog/provider/{code}": everybody, "GET /catalog/service/{id}": everybody, "GET /catalog/class/{path}": everybody, "GET /catalog/law/{path}": everybody,
	"GET /catalog/dataset/{id}": everybody, "GET /catalog/dataset/{id}/release/{version}": everybody, "GET /catalog/dataset/{id}/interface/{name}": everybody, "GET /ckan/api/3/action/{action}": everybody, "POST /ckan/api/3/action/{action}": everybody,

	"GET /runbooks": everybody, "GET /runbooks/{alert}": everybody,
	"GET /catalog/law": everybody, "GET /catalog/about": everybody,
	"GET /catalog/basemap/{z}/{x}/{y}": everybody, "GET /catalog/dataset/{id}/apply": everybody, "POST /catalog/dataset/{id}/apply": everybody, // of a dataset that is there it takes a right
	"GET /catalog/objection/new": everybody, "POST /catalog/objection/new": everybody, "GET /catalog/objection": everybody, "POST /catalog/objection": everybody, "POST /catalog/objection/message": everybody, // with a ticket's secret
	"GET /catalog/applications": applies, "GET /catalog/applications/{id}": applies,
	"GET /steward": keeps, "GET /steward/new": keeps, "POST /steward/new": keeps, "GET /steward/datasets/{id}": keeps, "POST /steward/datasets/{id}": keeps, "POST /steward/datasets/{id}/act": keeps,
	"GET /steward/applications": keeps, "GET /steward/applications/{id}": keeps, "POST /steward/applications/{id}": keeps, "GET /steward/objections": keeps, "GET /steward/objections/{id}": keeps, "POST /steward/objections/{id}": keeps,
	"GET /api/v1/devices/{id}/config": senders, "POST /api/v1/devices/{id}/config/reported": senders,
	"GET /catalog/dataset/{id}/release/{version}/{name}": everybody, // as far as its dataset is open to them: TestWhoMayDownload
}

// bodies are of routes that read what they got before they ask who sent it.
var bodies = map[string]string{
	"POST /api/v1/enroll": `{"token": "x", "device": "walker-none", "csr": "x"}`, "POST /api/v1/renew": `{"csr": "x"}`,
}

// served is one route of the running hub.
type served struct {
	name, method, path string
	action             access.Action
}

// routes are those of the whole public surface, as the hub itself describes it.
func (h *hub) routes(t *testing.T) (all []served) {
	t.Helper()
	code, text := h.ask(t, "", http.MethodGet, "/openapi.json", nil)
	var spec struct {
		Paths map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal([]byte(text), &spec); err != nil || code != 200 {
		t.Fatalf("%d %v", code, err)
	}
	for path, methods := range spec.Paths {
		for method, op := range methods {
			var o struct {
				Action access.Action `json:"x-action"`
			}
			method = strings.ToUpper(method)
			if err := json.Unmarshal(op, &o); err != nil || !slices.Contains([]string{"GET", "POST", "PUT", "PATCH", "DELETE"}, method) {
				continue // not an operation
			}
			all = append(all, served{method + " " + path, method, path, o.Action})
		}
	}
	if len(all) < 60 {
		t.Fatalf("only %d routes are described", len(all))
	}
	slices.SortFunc(all, func(a, b served) int { return strings.Compare(a.name, b.name) })
	return all
}

// at fills the path's parameters. A stream is asked for events that never were,
// so that it ends.
func (s served) at(id string) string {
	if s.path == "/api/v1/watch" {
		return s.path + "?since=never" // an answer that ends
	}
	return strings.NewReplacer("{id}", id, "{name}", id, "{cid}", id, "{format}", "json", "{$}", "", "{kind}", "carbon", "{zone}", id, "{node}", id, "{z}", "15", "{x}", "0", "{y}", "0.png").Replace(s.path)
}

// pages are the rights that pages ask for themselves.
var pages = map[string]access.Action{console: access.ReadDevices, compute: access.ReadCompute, roadPages: access.ReadRoads, applies: access.ApplyGrants, keeps: access.WriteDatasets,
	alarms: access.ReadAlerts, righted: access.ReadCorrections, quietens: access.SilenceAlerts, record: access.ReadAudit}

// TestEveryRouteAsksWhoComes walks all routes of the running hub, those of other
// packages too, with every role, with a device's secret and with nothing.
func TestEveryRouteAsksWhoComes(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Address.FailuresPerMinute = 1_000_000 }) // it shows many that are wrong
	callers := map[string]string{"a stranger": "", "a wrong token": "sh_wrong", "device": h.register(t, registry.Spec{ID: "walker"})}
	for _, role := range access.Roles() {
		if role != access.Device {
			callers[string(role)] = h.token(t, access.Token{Name: "of-" + string(role), Role: role})
		}
	}
	known := map[string]bool{}
	for _, r := range h.routes(t) {
		means := byOtherMeans[r.name]
		known[r.name] = true
		if r.action == "" && means == "" {
			t.Errorf("%s asks for no right; give it an action of internal/access, or say here who may take it and why", r.name)
		}
		if r.action != "" && means != "" {
			t.Errorf("%s asks for %s and stands here as open to %s", r.name, r.action, means)
		}
		for who, token := range callers {
			code, text := h.ask(t, token, r.method, r.at("none-"+strings.ReplaceAll(who, " ", "-")), []byte(cmp.Or(bodies[r.name], "{}")))
			in := code != 401 && code != 403
			right, ofPage := pages[means]
			want := means == everybody || ofPage && access.May(access.Role(who), right) || r.action != "" && token != "" && access.May(access.Role(who), r.action)
			if means == senders {
				want = false // nobody speaks for walker-none
			}
			if means == published {
				want = who != "a wrong token" && who != "device"
			}
			if in != want && !(means == senders && !strings.Contains(r.path, "{") && (who == "device" || who == string(access.Gateway))) {
				t.Errorf("%s as %s: %d, let in should be %v: %.200s", r.name, who, code, want, text)
			}
			if (who == "a stranger" || who == "a wrong token") && !in && code != 401 {
				t.Errorf("%s as %s: %d", r.name, who, code)
			}
		}
	}
	for name := range byOtherMeans {
		if !known[name] && name != "GET /signin" {
			t.Errorf("%s is not served; take it out of the list", name)
		}
	}
	for _, path := range []string{"/api/v1/query", "/debug/pprof/", "/api", "/prometheus/metrics", "/admin"} {
		if code, text := h.ask(t, callers["admin"], http.MethodGet, path, nil); code != 404 {
			t.Errorf("%s is served: %d %.200s", path, code, text)
		}
	}
}

// TestNoRouteCrossesTheRegion walks all routes as an admin of another region, with
// objects that are there.
func TestNoRouteCrossesTheRegion(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	secret := h.register(t, registry.Spec{ID: "zq-here", Region: "220100", Site: "zq-here"})
	if answer := h.post(t, "zq-here", secret, `{"zq_level": 1}`); !strings.Contains(answer, `"accepted":1`) {
		t.Fatal(answer)
	}
	h.post(t, "zq-here", secret, `{"zq_level": `)
	home := h.token(t, access.Token{Name: "home", Role: access.Admin, Region: "22"})
	h.token(t, access.Token{Name: "zq-here", Role: access.Reader, Region: "2201"})
	if _, _, err := h.enrolment.Create(t.Context(), enrolment.Token{Name: "zq-here", Region: "220100", Uses: 1}); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][3]string{
		{"PUT", "/api/v1/sites/zq-here", `{"names": {"zh": "甲", "en": "zq-here"}, "region": "220100"}`},
		{"POST", "/api/v1/devices/zq-here/commands", `{"name": "zq-reboot"}`},
		{"PUT", "/api/v1/devices/zq-here/twin/wanted", `{"zq": 1}`},
		{"POST", "/api/v1/rollouts", `{"name": "zq-all", "devices": ["zq-here"]}`},
		{"PUT", "/api/v1/facilities/zq-here", `{"names": {"zh": "甲", "en": "zq-here"}, "region": "220100"}`},
		{"PUT", "/api/v1/pools/zq-here", `{"facility": "zq-here", "classes": [{"count": 1, "cpu_milli": 1000, "memory_mib": 1000}]}`},
		{"PUT", "/api/v1/datasets/zq-here", `{"id": "zq-here", "region": "220100", "source": {"kind": "series", "selector": "zq_level"}, "share": {"class": "unconditional"}, "open": {"class": "unconditional"}}`},
		{"POST", "/api/v1/workloads", `{"name": "zq-work", "tasks": [{"name": "main", "cpu_milli": 1000, "duration": "1h"}]}`},
	} {
		if code, text := h.ask(t, home, c[0], c[1], []byte(c[2])); code/100 != 2 {
			t.Fatalf("%v: %d %s", c, code, text)
		}
	}
	ids := map[string]string{"commands": h.first(t, home, "/api/v1/commands"), "rollouts": h.first(t, home, "/api/v1/rollouts"), "rejects": "", "workloads": h.first(t, home, "/api/v1/workloads")}
	soon(t, "the reject is listed", func() bool { ids["rejects"] = h.first(t, home, "/api/v1/rejects"); return ids["rejects"] != "" })
	foreign := h.token(t, access.Token{Name: "foreign", Role: access.Admin, Region: "11"})
	program := h.token(t, access.Token{Name: "program", Role: access.Gateway, Region: "11"})
	for _, r := range h.routes(t) {
		id := "zq-here"
		if parts := strings.Split(r.path, "/"); len(parts) > 3 && ids[parts[3]] != "" {
			id = ids[parts[3]]
		}
		for who, token := range map[string]string{"admin": foreign, "gateway": program} {
			code, text := h.ask(t, token, r.method, r.at(id), []byte(`{"all": true}`))
			if strings.Contains(r.path, "{id}") && code/100 == 2 || strings.Contains(r.path, "{name}") && code/100 == 2 {
				t.Errorf("%s as %s of another region: %d %.200s", r.name, who, code, text)
			}
			if r.path != "/metrics" && strings.Contains(strings.ReplaceAll(text, r.at(id), ""), "zq_") || r.path != "/metrics" && strings.Contains(text, `"zq-`) && code/100 == 2 { // figures of the hub are of all its pools
				t.Errorf("%s tells %s of another region: %d %.300s", r.name, who, code, text)
			}
		}
	}
	if d := h.registry.Device("zq-here"); d == nil || d.Disabled {
		t.Errorf("the device is %+v", d)
	}
	if h.first(t, home, "/api/v1/rejects") == "" || h.first(t, home, "/api/v1/sites") == "" {
		t.Error("what another region owns is gone")
	}
}

// first is the id of the first thing of a list; empty when there is none.
func (h *hub) first(t *testing.T, token, path string) string {
	t.Helper()
	code, text := h.ask(t, token, http.MethodGet, path, nil)
	var page struct{ Items []struct{ ID string } }
	if err := json.Unmarshal([]byte(text), &page); err != nil || code != 200 {
		t.Fatalf("%s: %d %s", path, code, text)
	}
	if len(page.Items) == 0 {
		return ""
	}
	return page.Items[0].ID
}

func TestMetricsAreOpenOnLoopbackAlone(t *testing.T) {
	for listen, open := range map[[2]string]bool{
		{"127.0.0.1:8080", "off"}: true, {"[::1]:8080", "localhost:8443"}: true, {"127.0.0.1:8080", ":8443"}: false, {"0.0.0.0:8080", "off"}: false, {"10.0.0.1:80", "off"}: false,
	} {
		h := &hub{}
		h.cfg.Listen.HTTP, h.cfg.Listen.HTTPS = listen[0], listen[1]
		if r := h.metricsRoute(); r.Own != open || (r.Action == access.ReadHub) == open {
			t.Errorf("%v: %+v", listen, r)
		}
	}
}
