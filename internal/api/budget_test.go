package api

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog/gate"
)

const flowDataset = `{"id": "flow", "region": "220100", "share": {"class": "unconditional"}, "open": {"class": "unconditional"}, "source": {"kind": "roads"},
	"privacy": {"noise": {"epsilon": 0.25, "budget": 0.75, "bound": 8}}}`

// A dataset asks for noise and shows what it has spent; what is wrong with it is
// named field by field.
func TestThePrivacyBudgetIsShown(t *testing.T) {
	h := start(t)
	h.want(200, h.do("PUT", "/api/v1/datasets/flow", flowDataset))
	r := h.want(200, h.do("GET", "/api/v1/datasets/flow/budget?limit=1", ""))
	for _, want := range []string{`"noise":{"epsilon":0.25,"budget":0.75,"bound":8}`, `"together":0.9`, `{"day":"2026-11-20","spent":0.25,"left":0.15,"all":0.75,"versions":1}`} {
		if !strings.Contains(r.text, want) {
			t.Errorf("%s is not in %s", want, r.text)
		}
	}
	r = h.want(200, h.do("GET", "/api/v1/datasets/flow/budget?cursor="+r.body["next_cursor"].(string), ""))
	if items := r.body["items"].([]any); len(items) != 1 || items[0].(map[string]any)["left"] != 0.25 {
		t.Errorf("%s", r.text)
	}
	reader := h.as(h.roleToken("reader", access.Reader, ""))
	h.want(404, reader.do("GET", "/api/v1/datasets/flow/budget", "")) // a draft
	for path, with := range map[string]string{
		"privacy.noise.epsilon": `{"epsilon": 1.5, "bound": 8}`, "privacy.noise.budget": `{"epsilon": 0.5, "budget": 0.25, "bound": 8}`, "privacy.noise.bound": `{"epsilon": 0.5}`,
		"privacy.noise.sigma": `{"sigma": 1}`,
	} {
		r := h.want(422, h.do("PUT", "/api/v1/datasets/flow", strings.Replace(flowDataset, `{"epsilon": 0.25, "budget": 0.75, "bound": 8}`, with, 1)))
		if !strings.Contains(r.text, path) {
			t.Errorf("%s is not named in %s", path, r.text)
		}
	}
	if r := h.want(422, h.do("PUT", "/api/v1/datasets/flow", strings.Replace(flowDataset, `"roads"`, `"compute"`, 1))); !strings.Contains(r.text, "privacy.noise") {
		t.Errorf("%s", r.text)
	}
}

// An overdraw is a conflict, told in both languages.
func TestAnOverdrawIsAConflict(t *testing.T) {
	over := &gate.Overdraw{Asked: gate.Spent{Dataset: "flow", Day: 20_777, Version: 3, MicroEpsilon: 250_000}, Budget: 500_000, Left: 100_000}
	var p *problem
	if err := (&API{}).problemOf(fmt.Errorf("release: %w", over)); !errors.As(err, &p) || p.Status != http.StatusConflict || !strings.Contains(p.Text.ZH, "0.25") || !strings.Contains(p.Detail, "ε 0.4 is spent") {
		t.Errorf("%v", err)
	}
}
