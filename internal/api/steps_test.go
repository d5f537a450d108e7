package api

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog/register"
)

// steps are one that was done and one that waits, the second for the desk alone.
func (h *hub) steps(_ context.Context, t *register.Ticket, desk bool) ([]register.Step, error) {
	all := []register.Step{{Kind: register.StepReleased, At: time.Unix(1_764_000_000, 0), Dataset: t.Dataset, Version: 2, Replaces: 1, Rows: &register.StepRows{Changed: 3}}}
	if desk {
		all = append(all, register.Step{Kind: register.StepWaiting, Dataset: t.Dataset, Version: 2, Destination: "portal"})
	}
	return all, nil
}

// TestACorrectionAnswersATicket that is open and about its samples, and says so; the
// thread of a ticket has what was done about it.
func TestACorrectionAnswersATicket(t *testing.T) {
	h := start(t)
	h.publishedToAll()
	for _, dataset := range []string{"soil", "soil"} {
		h.want(201, h.do("POST", "/api/v1/objections", `{"kind": "error", "dataset": "`+dataset+`", "text": "偏高"}`))
	}
	filed := h.want(201, h.do("POST", "/api/v1/objections", `{"kind": "rectify", "region": "220100", "text": "我的数据"}`))
	h.want(200, h.do("POST", "/api/v1/objections/t-2/close", `{"outcome": "explained", "text": "无误"}`))
	body := func(metric, ticket string) string {
		return `{"device": "t1", "metric": "` + metric + `", "time": "2025-11-24T16:00:00Z", "value": 5, "reason": "x", "ticket": "` + ticket + `"}`
	}
	for _, c := range [][3]string{{"soil", "t-9", "no ticket of this number in your region"}, {"soil", "9", "no ticket of this number"}, {"soil", "t-2", "is closed (explained)"}, {"wind", "t-1", "is about dataset soil, which is made of no such samples"}} {
		if r := h.want(422, h.do("POST", "/api/v1/corrections", body(c[0], c[1]))); !strings.Contains(r.text, c[2]) || !strings.Contains(r.text, "body.ticket") {
			t.Errorf("%v: %s", c, r.text)
		}
	}
	for _, ticket := range []string{"t-1", "t-3"} {
		if r := h.want(201, h.do("POST", "/api/v1/corrections", body("soil", ticket))); !strings.Contains(r.text, `"ticket":"`+ticket+`"`) {
			t.Errorf("%s", r.text)
		}
	}
	if r := h.want(200, h.do("GET", "/api/v1/corrections?ticket=t-3", "")); strings.Count(r.text, `"ticket"`) != 1 {
		t.Errorf("%s", r.text)
	}
	r := h.want(200, h.do("GET", "/api/v1/objections/t-1", ""))
	for _, want := range []string{`"at":"2025-11-24T16:00:00Z","kind":"released"`, `"rows":{"added":0,"removed":0,"changed":3}`, "替代第 1 版，增 0 行、删 0 行、改 3 行", "portal is still to have version 2 of dataset soil"} {
		if !strings.Contains(r.text, want) {
			t.Errorf("the thread lacks %s: %s", want, r.text)
		}
	}
	_, secret, _ := strings.Cut(filed.text, `"secret":"`)
	secret, _, _ = strings.Cut(secret, `"`)
	if r := h.want(200, h.as("").do("POST", "/api/v1/objections/t-3/status", `{"secret": "`+secret+`"}`)); !strings.Contains(r.text, "released") || strings.Contains(r.text, "portal") {
		t.Errorf("who filed it sees %s", r.text)
	}
}
