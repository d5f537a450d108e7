package api

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
)

func (h *hub) devices(ids map[string]string) {
	h.Helper()
	for id, region := range ids {
		h.want(201, h.do("POST", "/api/v1/devices", fmt.Sprintf(`{"id": %q, "region": %q}`, id, region)))
	}
}

func TestCommandsThroughTheAPI(t *testing.T) {
	h := start(t)
	h.devices(map[string]string{"here": "220100", "there": "110000"})
	r := h.want(201, h.do("POST", "/api/v1/devices/here/commands", `{"name": "reboot", "params": {"delay": "5s"}, "expires_in": "90s"}`, "Idempotency-Key: k1"))
	id := r.body["id"].(string)
	if again := h.want(201, h.do("POST", "/api/v1/devices/here/commands", `{"name": "reboot", "params": {"delay": "5s"}, "expires_in": "90s"}`, "Idempotency-Key: k1")); again.body["id"] != id {
		t.Errorf("the same key makes %v besides %s", again.body["id"], id)
	}
	if r.body["state"] != "queued" || r.body["actor"] != "root" || r.body["delivery"] != "at_least_once" {
		t.Errorf("%s", r.text)
	}
	there := h.want(201, h.do("POST", "/api/v1/devices/there/commands", `{"name": "reboot"}`)).body["id"].(string)
	for _, c := range []struct {
		path, body string
		code       int
	}{
		{"/api/v1/devices/nobody/commands", `{"name": "reboot"}`, 404},
		{"/api/v1/devices/here/commands", `{"name": "re boot"}`, 422},
		{"/api/v1/devices/here/commands", `{"name": "reboot", "expires_in": "soon"}`, 422},
		{"/api/v1/devices/here/commands", `{"name": "reboot", "delivery": "perhaps"}`, 422},
		{"/api/v1/rollouts", `{"name": "reboot", "kind": "rsu"}`, 422},
		{"/api/v1/rollouts", `{"name": "reboot", "devices": ["here"], "kind": "rsu"}`, 422},
		{"/api/v1/rollouts", `{"name": "reboot", "devices": ["nobody"]}`, 404},
		{"/api/v1/rollouts", `{"name": "reboot", "rate": -1}`, 422},
	} {
		h.want(c.code, h.do("POST", c.path, c.body))
	}
	jilin := h.as(h.roleToken("jl", access.Operator, "22"))
	if r := jilin.want(200, jilin.do("GET", "/api/v1/commands", "")); strings.Contains(r.text, there) || !strings.Contains(r.text, id) {
		t.Errorf("who sees Jilin only is shown %s", r.text)
	}
	jilin.want(404, jilin.do("GET", "/api/v1/commands/"+there, ""))
	jilin.want(404, jilin.do("POST", "/api/v1/commands/"+there+"/cancel", ""))
	jilin.want(404, jilin.do("POST", "/api/v1/devices/there/commands", `{"name": "reboot"}`))
	if r := h.want(200, h.do("POST", "/api/v1/commands/"+id+"/cancel", "")); r.body["state"] != "failed" || r.body["reason"] != "canceled" {
		t.Errorf("%s", r.text)
	}
	h.want(409, h.do("POST", "/api/v1/commands/"+id+"/cancel", ""))
	whole := h.want(201, h.do("POST", "/api/v1/rollouts", `{"name": "update", "canary": 1}`)).body["id"].(string)
	jilin.want(404, jilin.do("GET", "/api/v1/rollouts/"+whole, "")) // it reaches beyond Jilin
	h.want(200, h.do("POST", "/api/v1/rollouts/"+whole+"/pause", ""))
	h.want(200, h.do("POST", "/api/v1/rollouts/"+whole+"/resume", ""))
	h.want(200, h.do("POST", "/api/v1/rollouts/"+whole+"/stop", ""))
	if r := h.want(200, h.do("GET", "/api/v1/audit", "")); strings.Count(r.text, `"commands.send"`) != 7 {
		t.Errorf("%d changes are on record: %s", strings.Count(r.text, `"commands.send"`), r.text)
	}
}

func TestARevokedTokenIsToldNothingMore(t *testing.T) {
	h := start(t)
	h.devices(map[string]string{"here": "220100"})
	id := h.want(201, h.do("POST", "/api/v1/devices/here/commands", `{"name": "reboot", "expires_in": "1h"}`)).body["id"].(string)
	waiting := h.as(h.roleToken("waiting", access.Operator, ""))
	got := make(chan reply, 1)
	go func() { got <- waiting.do("GET", "/api/v1/commands/"+id+"?wait=1m", "") }()
	for { // until the request is under way
		if k, err := h.tokens.Get("waiting"); err != nil || !k.LastUse.IsZero() {
			break
		}
		runtime.Gosched()
	}
	h.want(204, h.do("DELETE", "/api/v1/tokens/waiting", ""))
	if r := <-got; r.status != 401 || strings.Contains(r.text, "reboot") {
		t.Errorf("%d %s", r.status, r.text)
	}
}

func TestTwinsThroughTheAPI(t *testing.T) {
	h := start(t)
	h.devices(map[string]string{"here": "220100", "there": "110000"})
	if r := h.want(200, h.do("GET", "/api/v1/devices/here/twin", "")); r.body["standing"] != "unmanaged" || r.body["wanted"] != nil {
		t.Errorf("%s", r.text)
	}
	r := h.want(200, h.do("PUT", "/api/v1/devices/here/twin/wanted", `{"interval": "10s", "a": 1}`))
	if r.body["standing"] != "pending" || r.header.Get("ETag") != `"1"` {
		t.Errorf("%s %s", r.header.Get("ETag"), r.text)
	}
	h.want(412, h.do("PATCH", "/api/v1/devices/here/twin/wanted", `{"a": null}`, `If-Match: "7"`))
	h.want(200, h.do("PATCH", "/api/v1/devices/here/twin/wanted", `{"a": null}`, `If-Match: "1"`))
	h.want(422, h.do("PUT", "/api/v1/devices/here/twin/wanted", `[1]`))
	h.want(404, h.do("PUT", "/api/v1/devices/nobody/twin/wanted", `{}`))
	if err := h.api.Twins.Report(t.Context(), "here", []byte(`{"version": 2, "config": {"interval": "60s"}}`)); err != nil {
		t.Fatal(err)
	}
	if r := h.want(200, h.do("GET", "/api/v1/devices/here/twin", "")); r.body["standing"] != "drifted" || !strings.Contains(r.text, `"path":"/interval"`) {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("PUT", "/api/v1/devices/there/twin/wanted", `{}`))
	if r := h.want(200, h.do("GET", "/api/v1/twins?standing=drifted", "")); len(r.body["items"].([]any)) != 1 {
		t.Errorf("%s", r.text)
	}
	jilin := h.as(h.roleToken("jl", access.Operator, "22"))
	jilin.want(404, jilin.do("GET", "/api/v1/devices/there/twin", ""))
	if r := jilin.want(200, jilin.do("GET", "/api/v1/twins", "")); strings.Contains(r.text, "there") {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("DELETE", "/api/v1/devices/here/twin/wanted", ""))
	if r := h.want(200, h.do("GET", "/api/v1/devices/here/twin/history", "")); len(r.body["items"].([]any)) != 3 {
		t.Errorf("%s", r.text)
	}
}
