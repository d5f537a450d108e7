package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
)

const probe = `{"id": "songhua/soil-probe@1", "names": {"zh": "土壤探头", "en": "Soil probe"}, "kind": "sensor", "grade": "general",
	"metrics": [{"name": "soil_temperature", "unit": "Cel", "min": -40, "max": 60}]}`

const probePath = "/api/v1/models/songhua%2Fsoil-probe@1"

func TestModelsAreKeptShownAndRemoved(t *testing.T) {
	h := start(t)
	made := h.want(200, h.do("PUT", probePath, probe))
	if made.header.Get("ETag") != `"1"` || made.body["devices"] != 0.0 {
		t.Errorf("%s", made.text)
	}
	changed := strings.Replace(probe, "60}", "70}", 1)
	h.want(412, h.do("PUT", probePath, changed, `If-Match: "7"`))
	if r := h.want(200, h.do("PUT", probePath, changed, `If-Match: "1"`)); r.header.Get("ETag") != `"2"` {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("PUT", probePath, changed)); r.header.Get("ETag") != `"2"` {
		t.Errorf("what changes nothing: %s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/models", "")); len(r.body["items"].([]any)) != 1 {
		t.Errorf("%s", r.text)
	}

	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1", "model": "songhua/soil-probe@1"}`))
	if r := h.want(200, h.do("GET", "/api/v1/devices/t1", "")); r.body["model"] != "songhua/soil-probe@1" || r.body["effective_grade"] != "general" {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/devices?model=songhua/soil-probe@1", "")); len(r.body["items"].([]any)) != 1 {
		t.Errorf("%s", r.text)
	}
	if r := h.want(409, h.do("DELETE", probePath, "")); !strings.Contains(r.text, "1 devices name it") {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("PATCH", "/api/v1/devices/t1", `{"model": null}`))
	h.want(412, h.do("DELETE", probePath, "", `If-Match: "1"`))
	h.want(204, h.do("DELETE", probePath, "", `If-Match: "2"`))
	h.want(404, h.do("GET", probePath, ""))

	r := h.want(200, h.do("GET", "/api/v1/audit", ""))
	noted := 0
	for _, item := range r.body["items"].([]any) {
		if e := item.(map[string]any); e["action"] == string(access.WriteModels) && e["object"] == "model songhua/soil-probe@1" {
			noted++
		}
	}
	if noted != 3 {
		t.Errorf("%d changes on record, want 3: %s", noted, r.text)
	}
}

func TestWhatIsWrongWithAModelIsSaidAtOnce(t *testing.T) {
	h := start(t)
	for _, c := range []struct {
		method, path, body string
		code               int
		says               []string
	}{
		{"PUT", probePath, `{"id": "songhua/soil-probe@1", "names": {"en": "x"}, "metircs": [], "grade": "secret", "commands": {"reboot": {"type": "objekt"}}}`, 422,
			[]string{"body.metircs", `did you mean \"metrics\"?`, "body.grade", "body.commands.reboot"}},
		{"PUT", "/api/v1/models/other", probe, 422, []string{"body.id", "is not the one of the path"}},
		{"PUT", probePath, `{"id": `, 422, []string{"unexpected end"}},
		{"GET", "/api/v1/models/none", "", 404, []string{"hub model list"}},
		{"POST", "/api/v1/devices", `{"id": "t1", "model": "none"}`, 422, []string{"body.model", "hub model add FILE"}},
		{"POST", "/api/v1/devices:batch", `{"devices": [{"id": "t1"}, {"id": "t2", "model": "none"}]}`, 422, []string{"body.devices[1].model", "hub model list"}},
	} {
		r := h.want(c.code, h.do(c.method, c.path, c.body))
		for _, want := range c.says {
			if !strings.Contains(r.text, want) {
				t.Errorf("%s %s: no %q in %s", c.method, c.path, want, r.text)
			}
		}
	}
	h.want(200, h.do("PUT", probePath, probe))
	if r := h.want(422, h.do("POST", "/api/v1/devices", `{"id": "r1", "kind": "rsu", "model": "songhua/soil-probe@1"}`)); !strings.Contains(r.text, "for devices of kind sensor") {
		t.Errorf("%s", r.text)
	}
}

func TestWhoMayWriteModels(t *testing.T) {
	h := start(t)
	for role, code := range map[access.Role]int{access.Operator: 200, access.Reader: 403, access.Scheduler: 403, access.Steward: 403} {
		h.want(code, h.as(h.roleToken(string(role), role, "")).do("PUT", probePath, probe))
	}
	h.want(200, h.as(h.roleToken("r2", access.Reader, "")).do("GET", probePath, ""))
	narrowed := h.as(h.roleToken("jl", access.Admin, "22"))
	h.want(200, narrowed.do("GET", probePath, ""))
	h.want(403, narrowed.do("PUT", probePath, probe))
	h.want(403, narrowed.do("DELETE", probePath, ""))
	if r := h.want(200, h.do("GET", "/openapi.json", "")); !strings.Contains(fmt.Sprint(r.body["components"]), "unknown_metrics") {
		t.Error("the OpenAPI document does not describe a model")
	}
}
