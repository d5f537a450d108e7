package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
)

func TestPayloadsAreShownToWhoAsks(t *testing.T) {
	h := start(t)
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1", "region": "220100"}`))
	h.desk.entries = []RejectEntry{{ID: "a1", Device: "t1", Stage: "decode", Reason: "malformed", Size: 3, Payload: []byte("{x}")}, {ID: "b2", Device: "other"}}
	list := h.want(200, h.do("GET", "/api/v1/rejects", ""))
	if strings.Contains(list.text, `"payload"`) || !strings.Contains(list.text, `"size":3`) {
		t.Errorf("a list: %s", list.text)
	}
	if list := h.want(200, h.do("GET", "/api/v1/rejects?payload=true", "")); !strings.Contains(list.text, `"payload":"e3h9"`) {
		t.Errorf("a list with payloads: %s", list.text)
	}
	if one := h.want(200, h.do("GET", "/api/v1/rejects/a1", "")); one.body["payload"] != "e3h9" || one.body["id"] != "a1" {
		t.Errorf("one: %s", one.text)
	}
	for _, id := range []string{"zz", "no-id"} {
		if r := h.want(404, h.do("GET", "/api/v1/rejects/"+id, "")); !strings.Contains(r.text, "hub rejects") {
			t.Errorf("%s: %s", id, r.text)
		}
	}
	h.want(422, h.do("GET", "/api/v1/rejects?cursor="+cursor("no-id"), ""))
	jilin := h.as(h.roleToken("jl", access.Operator, "22"))
	jilin.want(200, jilin.do("GET", "/api/v1/rejects/a1", ""))
	jilin.want(404, jilin.do("GET", "/api/v1/rejects/b2", ""))
}

func TestAnUnfinishedReplayTellsHowFarItCame(t *testing.T) {
	h := start(t)
	h.desk.entries = []RejectEntry{{ID: "a", Device: "t1"}, {ID: "b", Device: "t1"}, {ID: "c", Device: "t1"}}
	busy := errors.New("the hub is busy")
	for _, c := range []struct {
		name  string
		err   error
		code  int
		after string
	}{
		{"rate or queue", &Later{Err: busy, After: 1500 * time.Millisecond}, 429, "2"},
		{"shutdown", &Later{Err: busy, After: 10 * time.Second, Closing: true}, 503, "10"},
		{"its time", fmt.Errorf("replay: %w", context.DeadlineExceeded), 503, "1"},
		{"its own failure", busy, 500, ""},
	} {
		h.desk.fail = c.err
		r := h.do("POST", "/api/v1/rejects:replay", `{"all": true}`)
		if r.status != c.code || r.header.Get("Retry-After") != c.after || r.body["count"] != 2.0 || !strings.Contains(r.text, "after 2 messages") {
			t.Errorf("%s: %d, Retry-After %q: %s", c.name, r.status, r.header.Get("Retry-After"), r.text)
		}
	}
}
