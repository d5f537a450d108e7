package api

import (
	"fmt"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/access"
)

const soilDataset = `{"id": "soil", "title": {"zh": "土壤墒情", "en": "Soil moisture (soil)"}, "abstract": {"zh": "示范农场的土壤墒情"}, "region": "220100",
	"provider": {"name": {"zh": "某市农业局"}, "code": "91220101MA00000000"}, "contact": {"name": {"zh": "张三"}, "phone": "0431-88888888"}, "path": ["3", "01"],
	"items": [{"name": "time", "title": {"zh": "时间"}, "type": "datetime"}, {"name": "moisture", "title": {"zh": "含水量"}, "unit": "%"}],
	"source": {"kind": "series", "selector": "soil", "bin": "1h", "by": ["device"]},
	"share": {"class": "conditional", "condition": {"zh": "履职"}, "scope": {"zh": "全省"}, "purpose": {"zh": "防灾"}, "basis": [{"title": {"zh": "条例"}, "article": "第二十九条"}]},
	"open": {"class": "none", "basis": [{"title": {"zh": "条例"}, "article": "第三十三条"}]},
	"cycle": {"kind": "periodic", "period": "1h"}}`

const soilPath = "/api/v1/datasets/soil"

// published makes the dataset public.
func (h *hub) published() {
	h.Helper()
	h.want(200, h.do("PUT", soilPath, soilDataset))
	h.want(200, h.do("POST", soilPath+"/submit", ""))
	h.want(200, h.do("POST", soilPath+"/sign", `{"by": "李四"}`))
	h.want(200, h.do("POST", soilPath+"/publish", ""))
}

func TestDatasetsGoThroughTheirStates(t *testing.T) {
	h := start(t)
	reader := h.as(h.roleToken("reader", access.Reader, ""))
	made := h.want(200, h.do("PUT", soilPath, soilDataset))
	if made.header.Get("ETag") != `"1"` || made.body["state"] != "draft" {
		t.Errorf("%s", made.text)
	}
	h.want(404, reader.do("GET", soilPath, "")) // nobody's business yet
	h.want(412, h.do("POST", soilPath+"/submit", "", `If-Match: "7"`))
	h.want(409, h.do("POST", soilPath+"/publish", ""))
	h.published()
	r := h.want(200, reader.do("GET", soilPath, ""))
	if r.body["code"] != "3-01/000001" || r.body["state"] != "published" || r.body["signed"] != "李四" {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("PUT", soilPath, strings.Replace(soilDataset, "示范", "两个", 1)))
	if r := h.want(200, reader.do("GET", soilPath, "")); r.body["change"] != nil || !strings.Contains(r.text, "示范") {
		t.Errorf("a change is seen before it is published: %s", r.text)
	}
	if r := h.want(200, h.do("GET", soilPath, "")); r.body["change"] == nil {
		t.Errorf("%s", r.text)
	}
	for query, n := range map[string]int{"": 1, "?state=published": 1, "?state=draft": 1, "?q=墒情": 1, "?q=other": 0, "?region=22": 1, "?region=11": 0, "?limit=1": 1} {
		if r := h.want(200, h.do("GET", "/api/v1/datasets"+query, "")); len(r.body["items"].([]any)) != n {
			t.Errorf("%s: %s", query, r.text)
		}
	}
	h.want(422, h.do("POST", soilPath+"/withdraw", `{"reason": ""}`))
	h.want(200, h.do("POST", soilPath+"/withdraw", `{"reason": "传感器已拆除"}`, "Idempotency-Key: gone"))
	if r := h.want(200, h.do("POST", soilPath+"/withdraw", `{"reason": "传感器已拆除"}`, "Idempotency-Key: gone")); r.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("%v", r.header)
	}
	if r := h.want(200, reader.do("GET", soilPath, "")); r.body["state"] != "withdrawn" || r.body["reason"] != "传感器已拆除" {
		t.Errorf("no tombstone: %s", r.text)
	}
	if r := h.want(409, h.do("PUT", soilPath, soilDataset)); !strings.Contains(r.text, "never given again") {
		t.Errorf("%s", r.text)
	}
	page := h.want(200, h.do("GET", soilPath+"/versions?limit=2", ""))
	items := page.body["items"].([]any)
	if v := items[0].(map[string]any); len(items) != 2 || v["act"] != "withdraw" || v["actor"] != "root" || v["before"] == nil {
		t.Errorf("%s", page.text)
	}
	rest := h.want(200, h.do("GET", soilPath+"/versions?cursor="+page.body["next_cursor"].(string), ""))
	if n := len(rest.body["items"].([]any)); n != 4 {
		t.Errorf("%d versions on the second page", n)
	}
	if r := h.want(200, h.do("GET", "/api/v1/audit?object=dataset%20soil", "")); len(r.body["items"].([]any)) != 6 {
		t.Errorf("not every change is on record: %s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/audit/verify", "")); r.body["intact"] != true {
		t.Errorf("%s", r.text)
	}
}

func TestADatasetThatAnotherHasIs409(t *testing.T) {
	h := start(t)
	h.published()
	r := h.want(409, h.do("PUT", "/api/v1/datasets/mine", strings.Replace(soilDataset, `"id": "soil"`, `"id": "mine"`, 1)))
	if d, ok := r.body["dataset"].(map[string]any); !ok || d["id"] != "soil" || d["code"] != "3-01/000001" || !strings.Contains(r.text, "一数一源") {
		t.Errorf("%s", r.text)
	}
	r = h.want(422, h.do("PUT", soilPath, `{"id": "soil", "titel": {}, "source": {"kind": "x"}, "share": {"class": "none"}, "open": {"class": "unconditional"}}`))
	if !strings.Contains(r.text, "body.titel") || !strings.Contains(r.text, `did you mean \"title\"`) {
		t.Errorf("%s", r.text)
	}
	r = h.want(422, h.do("PUT", soilPath, `{"id": "soil", "source": {"kind": "x"}, "share": {"class": "none"}, "open": {"class": "unconditional"}}`))
	for _, want := range []string{"body.source.kind", "body.share.basis", "body.open.class", "必须写明法律依据"} {
		if !strings.Contains(r.text, want) {
			t.Errorf("no %q in %s", want, r.text)
		}
	}
}

func TestWhoMayWriteDatasets(t *testing.T) {
	h := start(t)
	for role, code := range map[access.Role]int{access.Steward: 200, access.Operator: 403, access.Reader: 403} {
		h.want(code, h.as(h.roleToken(string(role), role, "")).do("PUT", soilPath, soilDataset))
	}
	home, foreign := h.as(h.roleToken("jl", access.Steward, "22")), h.as(h.roleToken("bj", access.Steward, "11"))
	h.want(200, home.do("PUT", soilPath, strings.Replace(soilDataset, "示范", "两个", 1)))
	h.want(403, foreign.do("PUT", soilPath, soilDataset))
	h.want(404, foreign.do("GET", soilPath, ""))
	h.want(404, foreign.do("POST", soilPath+"/submit", ""))
	h.want(403, home.do("PUT", soilPath, strings.Replace(soilDataset, `"region": "220100"`, `"region": "110000"`, 1)))
	if r := home.do("PUT", soilPath, strings.Replace(soilDataset, `"cycle"`, `"grade": "important", "cycle"`, 1)); r.status != 403 || !strings.Contains(r.text, "important") {
		t.Errorf("a token of grade general writes what is important: %d %s", r.status, r.text)
	}
}

func TestADraftAndTheLineage(t *testing.T) {
	h := start(t)
	r := h.want(200, h.do("POST", "/api/v1/datasets:draft", `{"selector": "soil"}`))
	if r.body["id"] != "soil-220100" || !strings.Contains(r.text, `"unit":"%"`) {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("PUT", "/api/v1/datasets/soil-220100", r.text))
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1"}`))
	r = h.want(200, h.do("GET", "/api/v1/datasets/soil-220100/lineage", ""))
	if d := r.body["devices"].([]any); len(d) != 1 || d[0].(map[string]any)["id"] != "t1" || fmt.Sprint(d[0].(map[string]any)["series"]) != "[soil]" {
		t.Errorf("%s", r.text)
	}
}

const application = `{"dataset": "soil", "way": "share", "body": {"name": {"zh": "某市气象局"}, "code": "91220101MA00000000"}, "purpose": "墒情预报", "scope": {"items": ["moisture"]}}`

func TestAnApplicationIsDecidedWithReasonAndLaw(t *testing.T) {
	h := start(t)
	h.published()
	applicant, other := h.as(h.roleToken("weather", access.Reader, "")), h.as(h.roleToken("other", access.Reader, ""))
	r := h.want(422, applicant.do("POST", "/api/v1/grants", strings.Replace(application, "91220101MA00000000", "91220101MA00000001", 1)))
	if !strings.Contains(r.text, "body.body.code") {
		t.Errorf("%s", r.text)
	}
	r = h.want(201, applicant.do("POST", "/api/v1/grants", application))
	id := r.body["id"].(string)
	at := "/api/v1/grants/" + id
	if r.body["state"] != "applied" || r.body["applicant"] != "weather" || r.body["due"] == nil || r.body["due_by"] == "" {
		t.Errorf("%s", r.text)
	}
	h.want(200, applicant.do("GET", at, ""))
	h.want(404, other.do("GET", at, ""))
	if r := h.want(200, other.do("GET", "/api/v1/grants", "")); len(r.body["items"].([]any)) != 0 {
		t.Errorf("%s", r.text)
	}
	h.want(403, applicant.do("POST", at+"/check", `{"right": true}`))
	h.want(404, h.as(h.roleToken("bj", access.Steward, "11")).do("POST", at+"/check", `{"right": true}`))
	h.want(422, h.do("POST", at+"/check", `{"right": false}`))
	h.want(200, h.do("POST", at+"/check", `{"right": true}`))
	h.want(200, h.do("POST", at+"/review", `{"opinion": "用途相符"}`))
	if r := h.want(200, applicant.do("GET", at, "")); r.body["opinions"] != nil {
		t.Errorf("an applicant reads the opinions: %s", r.text)
	}
	h.want(422, h.do("POST", at+"/decide", `{"grant": false, "reason": {"zh": "不可"}}`))
	h.want(412, h.do("POST", at+"/decide", `{"grant": true, "reason": {"zh": "可"}}`, `If-Match: "1"`))
	if r := h.want(200, h.do("POST", at+"/decide", `{"grant": true, "reason": {"zh": "可"}}`)); r.body["state"] != "granted" || r.body["expires"] == nil {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("POST", at+"/revoke", `{"reason": {"zh": "用于他途"}, "law": [{"title": {"zh": "条例"}, "article": "第三十条"}]}`)); r.body["state"] != "revoked" || !strings.Contains(r.text, "用于他途") {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/audit?object=grant%20"+id, "")); len(r.body["items"].([]any)) != 5 {
		t.Errorf("%s", r.text)
	}
}

func TestAnObjectionIsOneThread(t *testing.T) {
	h := start(t)
	h.published()
	stranger := h.as("")
	h.want(422, stranger.do("POST", "/api/v1/objections", `{"kind": "error", "dataset": "none", "text": "x"}`))
	r := h.want(201, stranger.do("POST", "/api/v1/objections", `{"kind": "error", "dataset": "soil", "text": "九月三日的数值有误", "contact": "赵六"}`))
	at, secret := "/api/v1/objections/"+r.body["id"].(string), r.body["secret"].(string)
	own := func(more string) string { return fmt.Sprintf(`{"secret": %q%s}`, secret, more) }
	h.want(401, stranger.do("GET", at, ""))
	h.want(404, stranger.do("POST", at+"/status", `{"secret": "wrong"}`))
	h.want(403, h.as(h.roleToken("reader", access.Reader, "")).do("GET", at, ""))
	h.want(403, h.as(h.roleToken("bj", access.Steward, "11")).do("GET", at, ""))
	h.want(200, h.do("POST", at+"/answer", `{"text": "已核实"}`))
	if r := h.want(200, stranger.do("POST", at+"/status", own(""))); r.body["state"] != "answered" || len(r.body["thread"].([]any)) != 2 {
		t.Errorf("%s", r.text)
	}
	h.want(200, stranger.do("POST", at+"/messages", own(`, "text": "四日也有误"`)))
	h.want(422, h.do("POST", at+"/close", `{"outcome": "rejected", "text": "不成立"}`))
	if r := h.want(200, h.do("POST", at+"/close", `{"outcome": "corrected", "text": "已更正"}`)); r.body["outcome"] != "corrected" || len(r.body["thread"].([]any)) != 4 {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/objections?state=closed", "")); len(r.body["items"].([]any)) != 1 || strings.Contains(r.text, "赵六") {
		t.Errorf("%s", r.text)
	}
	r = h.want(200, h.do("GET", "/api/v1/audit?object=ticket", ""))
	if n := len(r.body["items"].([]any)); n != 4 || strings.Contains(r.text, "赵六") || strings.Contains(r.text, "有误") || strings.Contains(r.text, secret) {
		t.Errorf("%d entries: %s", n, r.text)
	}
}
