package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

const releaseOfSoil = `{"dataset": "soil", "from": "2026-11-01T00:00:00+08:00", "to": "2026-11-02T00:00:00+08:00"}`

// makeRelease stands for who makes rows: a day of a dataset, long enough that no
// buffer on the way to a reader holds it.
func (h *hub) makeRelease(ctx context.Context, o ReleaseOrder) (*release.Manifest, error) {
	rec, err := h.api.Catalog.Get(o.Dataset)
	if err != nil {
		return nil, err
	}
	h.answered = o.Ticket
	d := rec.Dataset()
	const rows = 150_000
	h.where = []release.Stretch{{Rows: rows, Regions: []string{"220100"}, Bin: time.Millisecond}}
	t := &release.Table{Rows: rows, Columns: []release.Column{{Item: d.Items[0], Integers: make([]int64, rows)}, {Item: d.Items[1], Numbers: make([]float64, rows)}}}
	for i := range rows {
		t.Columns[0].Integers[i] = o.Period.From.UnixMilli() + int64(i)
		t.Columns[1].Numbers[i] = float64(i) * 1.000001
	}
	return h.releases.Put(ctx, release.Draft{Dataset: d, Table: t, Key: []string{"time"}, Period: o.Period, Replaces: o.Replaces, Reason: o.Reason, Recipe: release.Recipe{Transform: release.Transform{ID: "test/1"}}})
}

const soilFile = "/catalog/dataset/soil/release/1/data.ndjson"

// openToAll is the soil dataset, open to everybody.
var openToAll = strings.NewReplacer(`"open": {"class": "none", "basis": [{"title": {"zh": "条例"}, "article": "第三十三条"}]}`, `"open": {"class": "unconditional"}, "licence": "https://creativecommons.org/licenses/by/4.0/"`,
	`"share": {"class": "conditional"`, `"share": {"class": "unconditional"`).Replace(soilDataset)

func (h *hub) publishedToAll() {
	h.Helper()
	h.want(200, h.do("PUT", soilPath, openToAll))
	for _, act := range [][2]string{{"/submit", ""}, {"/sign", `{"by": "李四"}`}, {"/publish", ""}} {
		h.want(200, h.do("POST", soilPath+act[0], act[1]))
	}
	h.want(201, h.do("POST", "/api/v1/releases", releaseOfSoil))
}

func TestReleasesAreMadeShownAndVerified(t *testing.T) {
	h := start(t)
	h.publishedToAll()
	second := strings.Replace(releaseOfSoil, "}", `, "replaces": 1, "reason": {"zh": "迟到数据", "en": "late data"}}`, 1)
	if r := h.want(201, h.do("POST", "/api/v1/releases", second)); r.body["version"] != 2. || at(r.body, "diff", "same") != 150_000. {
		t.Errorf("%.400s", r.text)
	}
	reader := h.as(h.roleToken("reader", access.Reader, ""))
	r := h.want(200, reader.do("GET", "/api/v1/releases?dataset=soil&limit=1", ""))
	if at(r.body, "items", 0, "version") != 1. || at(r.body, "items", 0, "rows") != 150_000. {
		t.Errorf("%s", r.text)
	}
	r = h.want(200, reader.do("GET", "/api/v1/releases?cursor="+r.body["next_cursor"].(string), ""))
	if at(r.body, "items", 0, "version") != 2. || r.body["next_cursor"] != nil || at(r.body, "items", 0, "reason", "en") != "late data" {
		t.Errorf("%s", r.text)
	}
	if r = h.want(200, reader.do("GET", "/api/v1/releases/soil/1", "")); r.body["format"] != release.Format || at(r.body, "recipe", "transform", "id") != "test/1" {
		t.Errorf("%s", r.text)
	}
	if r = h.want(200, h.do("POST", "/api/v1/releases/soil/2/verify", "")); r.body["ok"] != true || at(r.body, "files", 0, "rebuilt") != "same" {
		t.Errorf("%s", r.text)
	}
	h.want(404, reader.do("GET", "/api/v1/releases/soil/3", ""))
	h.want(404, reader.do("GET", "/api/v1/releases?dataset=none", ""))
	h.want(422, h.do("POST", "/api/v1/releases", strings.Replace(releaseOfSoil, "2026-11-02", "2026-10-02", 1)))
	h.want(403, reader.do("POST", "/api/v1/releases", releaseOfSoil))
	h.want(404, h.as(h.roleToken("elsewhere", access.Steward, "11")).do("POST", "/api/v1/releases/soil/1/verify", ""))
	if _, err := h.releases.Remove(t.Context(), "soil", 1, catalog.Text{ZH: "保存期满", EN: "its retention is over"}); err != nil {
		t.Fatal(err)
	}
	if r = h.want(410, h.as("").do("GET", soilFile, "")); !strings.Contains(r.text, "保存期满") {
		t.Errorf("%s", r.text)
	}
}

// TestAReleaseAnswersATicket that is about its dataset, and none that is mistyped.
func TestAReleaseAnswersATicket(t *testing.T) {
	h := start(t)
	h.publishedToAll()
	h.want(201, h.do("POST", "/api/v1/objections", `{"kind": "error", "dataset": "soil", "text": "偏高"}`))
	h.want(201, h.do("POST", "/api/v1/objections", `{"kind": "access", "contact": "a@example.org", "text": "我的数据"}`))
	answers := func(ticket string) string {
		return strings.Replace(releaseOfSoil, "}", `, "replaces": 1, "reason": {"zh": "探头偏差", "en": "the probe was off"}, "ticket": "`+ticket+`"}`, 1)
	}
	for ticket, why := range map[string]string{"t-9": "ticket", "t-2": "about dataset"} {
		if r := h.do("POST", "/api/v1/releases", answers(ticket)); r.status < 400 || !strings.Contains(r.text, why) {
			t.Errorf("ticket %s: %d %.400s", ticket, r.status, r.text)
		}
	}
	if got := h.releases.List("soil"); len(got) != 1 || h.answered != "" {
		t.Errorf("%d releases after orders that were refused, and %q is answered", len(got), h.answered)
	}
	h.want(201, h.do("POST", "/api/v1/releases", answers("t-1")))
	if h.answered != "t-1" {
		t.Errorf("the order answers %q", h.answered)
	}
}

func TestWhoMayDownload(t *testing.T) {
	h := start(t)
	h.published()
	h.want(201, h.do("POST", "/api/v1/releases", releaseOfSoil))
	stranger, met := h.as(""), h.as(h.roleToken("met", access.Reader, ""))
	h.want(401, stranger.do("GET", soilFile, ""))
	if r := h.want(403, met.do("GET", soilFile, "")); !strings.Contains(r.text, "hub grant apply") || !strings.Contains(r.text, "授权") {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("GET", soilFile, "")) // a steward's work
	grant := func(to *hub, scope string) {
		t.Helper()
		h.granted(to, scope)
	}
	for _, elsewhere := range []string{`{"from": "2026-11-02T00:00:00Z"}`, `{"to": "2026-10-31T16:00:00Z"}`} {
		grant(met, elsewhere)
		if r := h.want(403, met.do("GET", soilFile, "")); !strings.Contains(r.text, "outside of the time") || !strings.Contains(r.text, "授权时段") {
			t.Errorf("%s", r.text)
		}
	}
	grant(met, `{"area": "220100", "from": "2026-10-01T00:00:00Z"}`)
	h.want(200, met.do("GET", soilFile, ""))
	r := h.want(206, met.do("GET", soilFile, "", "Range: bytes=0-8"))
	if r.text != `{"time":"` {
		t.Errorf("%q", r.text)
	}
	h.want(404, met.do("GET", strings.Replace(soilFile, "/1/", "/2/", 1), ""))
	h.want(404, met.do("GET", strings.Replace(soilFile, "ndjson", "xlsx", 1), ""))
	h.want(403, h.as(h.roleToken("other", access.Reader, "")).do("GET", soilFile, "")) // another's grant
	seldom := h.as(h.roleToken("seldom", access.Reader, ""))
	grant(seldom, `{"rate": 2}`)
	for range 2 {
		h.want(206, seldom.do("GET", soilFile, "", "Range: bytes=0-8"))
	}
	if r := h.want(429, seldom.do("GET", soilFile, "")); r.header.Get("Retry-After") == "" || !strings.Contains(r.text, "授权") {
		t.Errorf("%v %s", r.header, r.text)
	}
	h.want(200, met.do("GET", soilFile, "")) // whose grant has no rate
	h.want(200, h.do("POST", soilPath+"/suspend", `{"reason": "数据有误"}`))
	if r := h.want(403, met.do("GET", soilFile, "")); !strings.Contains(r.text, "数据有误") {
		t.Errorf("%s", r.text)
	}
	h.want(200, h.do("POST", soilPath+"/withdraw", `{"reason": "x"}`))
	h.want(410, met.do("GET", soilFile, ""))
}

// granted gives somebody a grant to the soil dataset, and returns its id.
func (h *hub) granted(to *hub, scope string) string {
	h.Helper()
	r := h.want(201, to.do("POST", "/api/v1/grants", strings.Replace(application, `{"items": ["moisture"]}`, scope, 1)))
	id := r.body["id"].(string)
	h.want(200, h.do("POST", "/api/v1/grants/"+id+"/check", `{"right": true}`))
	h.want(200, h.do("POST", "/api/v1/grants/"+id+"/decide", `{"grant": true, "reason": {"zh": "可"}}`))
	return id
}

// TestADownloadEndsWithTheRightToIt reads slowly while the right to read ends, and
// sees an error, not a short body that looks whole.
func TestADownloadEndsWithTheRightToIt(t *testing.T) {
	for name, end := range map[string]func(h *hub, clock *shifted){
		"suspended": func(h *hub, _ *shifted) { h.want(200, h.do("POST", soilPath+"/suspend", `{"reason": "x"}`)) },
		"grade raised": func(h *hub, _ *shifted) {
			h.want(200, h.do("POST", soilPath+"/sign", `{"by": "王五", "items": {"moisture": "important"}}`))
		},
		"grant revoked": func(h *hub, _ *shifted) {
			h.want(200, h.do("POST", "/api/v1/grants/g-1/revoke", `{"reason": {"zh": "用于他途"}}`))
		},
		"grant expired": func(h *hub, clock *shifted) {
			clock.pass(time.Hour)
			ctx, stop := context.WithCancel(context.Background())
			h.Cleanup(stop)
			go h.api.Catalog.Run(ctx) //nolint:errcheck // it ends with ctx
		},
		"token revoked": func(h *hub, _ *shifted) { h.want(204, h.do("DELETE", "/api/v1/tokens/met", "")) },
	} {
		for part, scope := range map[string]string{"whole": "{}", "part": `{"from": "2026-10-31T16:00:01Z"}`} {
			t.Run(name+" "+part, func(t *testing.T) {
				if name == "grant expired" {
					scope += `, "until": "` + time.Now().Add(time.Hour).Format(time.RFC3339Nano) + `"`
				}
				clock := &shifted{}
				h := startWith(t, loop.DefaultConfig(), clock.now)
				h.published()
				h.want(201, h.do("POST", "/api/v1/releases", releaseOfSoil))
				met := h.roleToken("met", access.Reader, "")
				h.granted(h.as(met), scope)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, h.server.URL+soilFile, nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("Authorization", "Bearer "+met)
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil || resp.StatusCode != 200 {
					t.Fatal(resp.Status, err)
				}
				end(h, clock)
				began := time.Now()
				if name == "grant expired" { // what is read meanwhile is what may be
					h.eventually("the end of the grant", func() bool { return at(h.do("GET", "/api/v1/grants/g-1", "").body, "state") == "expired" })
				}
				n, err := io.Copy(io.Discard, resp.Body)
				if err == nil || n+1000 >= resp.ContentLength {
					t.Errorf("%d of %d bytes, %v", n+1000, resp.ContentLength, err)
				}
				t.Log("ended after", time.Since(began), fmt.Sprint(err))
			})
		}
	}
}
