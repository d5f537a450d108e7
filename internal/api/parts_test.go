package api

import (
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/client"
	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/release"
)

// farms puts a release of two probes in two districts, by the hour, of a dataset
// that is given by grants.
func (h *hub) farms() {
	h.Helper()
	document := strings.NewReplacer(`{"name": "moisture"`, `{"name": "device", "title": {"zh": "探头"}, "type": "string"}, {"name": "acid", "title": {"zh": "酸度"}, "type": "integer"}, {"name": "site", "title": {"zh": "位置"}, "type": "geometry"}, {"name": "moisture"`,
		`"region": "220100"`, `"region": "2201"`).Replace(soilDataset)
	h.want(200, h.do("PUT", soilPath, document))
	for _, act := range [][2]string{{"/submit", ""}, {"/sign", `{"by": "李四"}`}, {"/publish", ""}} {
		h.want(200, h.do("POST", soilPath+act[0], act[1]))
	}
	rec, err := h.api.Catalog.Get("soil")
	if err != nil {
		h.Fatal(err)
	}
	d := rec.Dataset()
	from := time.Date(2026, 10, 31, 16, 0, 0, 0, time.UTC)
	t := &release.Table{Columns: make([]release.Column, len(d.Items))}
	for i, it := range d.Items {
		t.Columns[i].Item = it
	}
	h.where = nil
	for d := range 2 {
		for hour := range 24 {
			for i := range t.Columns {
				switch c := &t.Columns[i]; c.Name {
				case "time":
					c.Integers = append(c.Integers, from.Add(time.Duration(hour)*time.Hour).UnixMilli())
				case "device":
					c.Strings = append(c.Strings, fmt.Sprintf("probe-%d", d))
				case "acid":
					c.Integers = append(c.Integers, int64(700_000*(d+1)+hour))
				case "site":
					c.Strings = append(c.Strings, fmt.Sprintf(`{"type":"Point","coordinates":[12%d.5,43]}`, d))
				case "moisture":
					c.Numbers = append(c.Numbers, float64(1000*(d+1)+hour)+0.5)
				}
			}
			t.Rows++
		}
		h.where = append(h.where, release.Stretch{Rows: 24, Regions: []string{fmt.Sprintf("22010%d", 2+d)}, Bin: time.Hour, Key: []string{fmt.Sprintf("probe-%d", d)}})
	}
	_, err = h.releases.Put(h.Context(), release.Draft{Dataset: d, Table: t, Key: []string{"device", "time"}, Period: catalog.Period{From: from, To: from.Add(24 * time.Hour)}, Privacy: []byte("{}"),
		Recipe: release.Recipe{Transform: release.Transform{ID: "test/1"}, Source: json.RawMessage(`{"region":"2201"}`), Inputs: []release.Input{{ID: "soil{device=\"probe-1\"}"}}}})
	if err != nil {
		h.Fatal(err)
	}
}

const soilRelease = "/catalog/dataset/soil/release/1/"

func sumOf(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// TestANarrowedGrantGetsItsPart downloads every file by a grant of two items, a
// district and some hours, whole and by ranges, and asks what there is before.
func TestANarrowedGrantGetsItsPart(t *testing.T) {
	h := start(t)
	h.farms()
	met := h.as(h.roleToken("met", access.Public, ""))
	id := h.granted(met, `{"items": ["time", "moisture"], "area": "220102", "from": "2026-10-31T17:00:00Z", "to": "2026-10-31T20:30:00Z"}`)
	const want = "time,moisture\r\n2026-10-31T17:00:00Z,1001.5\r\n2026-10-31T18:00:00Z,1002.5\r\n2026-10-31T19:00:00Z,1003.5\r\n"

	listed := h.want(200, met.do("GET", "/api/v1/releases?dataset=soil", ""))
	if at(listed.body, "items", 0, "rows") != nil || at(listed.body, "items", 0, "files", 0, "sha256") != nil || at(listed.body, "items", 0, "grant") != id || !strings.Contains(listed.text, "首次下载") {
		t.Errorf("%s", listed.text)
	}
	r := h.want(200, met.do("GET", soilRelease+"data.csv", ""))
	etag := r.header.Get("ETag")
	if r.text != want || etag != `"`+sumOf(want)+`"` || r.header.Get("Vary") != "Authorization" {
		t.Errorf("%q %v", r.text, r.header)
	}
	if rows, err := csv.NewReader(strings.NewReader(r.text)).ReadAll(); err != nil || len(rows) != 4 {
		t.Error(rows, err)
	}
	if name := r.header.Get("Content-Disposition"); !strings.Contains(name, "soil-v1-part-") {
		t.Error(name)
	}
	for name, wants := range map[string][]string{
		"data.csv-metadata.json": {`"name":"moisture"`}, "data.ndjson": {`{"time":"2026-10-31T17:00:00Z","moisture":1001.5}`}, "data.parquet": {"PAR1", "moisture"}, "manifest.json": {`"cut":{`, `"area":"220102"`},
	} {
		r := h.want(200, met.do("GET", soilRelease+name, ""))
		for _, s := range wants {
			if !strings.Contains(r.text, s) {
				t.Errorf("%s has no %s", name, s)
			}
		}
		for _, outside := range []string{"acid", "酸度", "probe", "device", "site", "2002.5", "1004.5", "220103"} {
			if all := r.text + fmt.Sprint(r.header); strings.Contains(all, outside) {
				t.Errorf("%s has %q: %.300s", name, outside, all)
			}
		}
		if got := `"` + sumOf(r.text) + `"`; got != r.header.Get("ETag") {
			t.Errorf("%s: %s %s", name, got, r.header.Get("ETag"))
		}
	}
	for _, none := range []string{"data.geojson", "privacy.json"} {
		h.want(404, met.do("GET", soilRelease+none, ""))
	}
	first, rest := h.want(206, met.do("GET", soilRelease+"data.csv", "", "Range: bytes=0-19")), h.want(206, met.do("GET", soilRelease+"data.csv", "", "Range: bytes=20-", "If-Range: "+etag))
	if first.text+rest.text != want {
		t.Errorf("%q %q", first.text, rest.text)
	}
	h.want(304, met.do("GET", soilRelease+"data.csv", "", "If-None-Match: "+etag))
	if r := h.want(200, met.do("HEAD", soilRelease+"data.csv", "")); r.header.Get("Content-Length") != fmt.Sprint(len(want)) {
		t.Error(r.header)
	}

	for _, path := range []string{"/api/v1/releases?dataset=soil", "/api/v1/releases/soil/1"} {
		r := h.want(200, met.do("GET", path, ""))
		of := r.body
		if items, ok := r.body["items"].([]any); ok {
			of = items[0].(map[string]any)
		}
		if of["rows"] != 3. || at(of, "files", 0, "sha256") != sumOf(want) || at(of, "files", 0, "size") != float64(len(want)) || at(of, "files", 0, "url") != soilRelease+"data.csv?grant="+id || len(of["files"].([]any)) != 4 {
			t.Errorf("%s: %s", path, r.text)
		}
		for _, outside := range []string{"acid", "privacy.json", "geojson", "probe", "site"} {
			if strings.Contains(r.text, outside) {
				t.Errorf("%s names %q: %s", path, outside, r.text)
			}
		}
		if got := h.want(200, h.do("GET", path, "")); !strings.Contains(got.text, "privacy.json") || at(got.body, "grant") != nil {
			t.Errorf("a steward sees a part: %s", got.text)
		}
	}
	if r := h.want(200, h.do("GET", "/api/v1/releases/soil/1?grant="+id, "")); at(r.body, "rows") != 3. {
		t.Errorf("a steward who asks what the grant gives: %s", r.text)
	}
	other := h.as(h.roleToken("other", access.Public, ""))
	h.want(403, other.do("GET", soilRelease+"data.csv?grant="+id, ""))
	h.want(404, other.do("GET", "/api/v1/releases/soil/1?grant="+id, ""))

	found := h.want(200, h.do("GET", "/api/v1/audit?action=releases.read", ""))
	items := found.body["items"].([]any)
	if len(items) != 5 { // each file once, however often it was asked for
		t.Errorf("%d downloads on record: %s", len(items), found.text)
	}
	for _, want := range []string{`"actor":"met"`, `release soil/1`, sumOf(want), id, `220102`} {
		if !strings.Contains(found.text, want) {
			t.Errorf("no %s on record: %s", want, found.text)
		}
	}
}

// TestOfSeveralGrants the one that has more is read by, or the one that is named.
func TestOfSeveralGrants(t *testing.T) {
	h := start(t)
	h.farms()
	met := h.as(h.roleToken("met", access.Public, ""))
	ids := map[string]string{}
	for _, item := range []string{"moisture", "acid"} {
		ids[item] = h.granted(met, `{"items": ["`+item+`"]}`)
	}
	head := func(query string) string {
		line, _, _ := strings.Cut(h.want(200, met.do("GET", soilRelease+"data.csv"+query, "")).text, "\r\n")
		return line
	}
	if got := []string{head(""), head("?grant=" + ids["moisture"]), head("?grant=" + ids["acid"])}; !slices.Equal(got, []string{"acid", "moisture", "acid"}) {
		t.Error(got)
	}
	h.want(403, met.do("GET", soilRelease+"data.csv?grant=g-99", ""))
	all := h.granted(met, `{}`)
	if got := head(""); got != "time,device,acid,site,moisture" {
		t.Error(got)
	}
	h.want(200, met.do("GET", soilRelease+"privacy.json", ""))
	h.want(200, h.do("POST", "/api/v1/grants/"+all+"/revoke", `{"reason": {"zh": "用于他途"}}`))
	h.want(404, met.do("GET", soilRelease+"privacy.json", ""))

	// What the dataset does not give out any more is in no part, whatever was granted.
	document := strings.NewReplacer(`{"name": "moisture"`, `{"name": "device", "title": {"zh": "探头"}, "type": "string"}, {"name": "acid", "title": {"zh": "酸度"}, "type": "integer", "share": "none", "open": "none"}, {"name": "moisture"`,
		`"region": "220100"`, `"region": "2201"`, `"share": {"class": "conditional"`, `"share": {"class": "none"`).Replace(soilDataset)
	document = strings.Replace(document, `{"name": "moisture"`, `{"name": "moisture", "share": "conditional"`, 1)
	h.want(200, h.do("PUT", soilPath, document))
	for _, act := range [][2]string{{"/submit", ""}, {"/sign", `{"by": "李四"}`}, {"/publish", ""}} {
		h.want(200, h.do("POST", soilPath+act[0], act[1]))
	}
	if r := h.want(403, met.do("GET", soilRelease+"data.csv?grant="+ids["acid"], "")); !strings.Contains(r.text, "信息项") {
		t.Errorf("%s", r.text)
	}
	if got := head("?grant=" + ids["moisture"]); got != "moisture" {
		t.Error(got)
	}
	if r := h.want(200, met.do("GET", "/api/v1/releases?dataset=soil&grant="+ids["acid"], "")); len(r.body["items"].([]any)) != 0 {
		t.Errorf("%s", r.text)
	}
	h.want(404, met.do("GET", "/api/v1/releases/soil/1?grant="+ids["acid"], ""))
}

// TestAPartThatCannotBeMade is told why.
func TestAPartThatCannotBeMade(t *testing.T) {
	h := start(t)
	h.farms()
	h.where = h.where[:1]
	met := h.as(h.roleToken("met", access.Public, ""))
	h.granted(met, `{"area": "220102"}`)
	if r := h.want(http.StatusConflict, met.do("GET", soilRelease+"data.csv", "")); !strings.Contains(r.text, "cannot be cut") {
		t.Errorf("%s", r.text)
	}
	if r := h.want(200, h.do("GET", "/api/v1/audit?action=releases.read", "")); len(r.body["items"].([]any)) != 0 {
		t.Errorf("%s", r.text)
	}
}

// breaking ends answers of files after some bytes, as connections do.
type breaking struct{ after int64 }

func (b breaking) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := http.DefaultTransport.RoundTrip(r)
	if err == nil && strings.HasPrefix(r.URL.Path, "/catalog/") && resp.ContentLength > b.after {
		resp.Body = &broken{resp.Body, io.LimitReader(resp.Body, b.after)}
	}
	return resp, err
}

type broken struct {
	io.Closer
	some io.Reader
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.some.Read(p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// TestTheClientOfOthersGetsAPart lists what a grant gives, and downloads it through
// connections that break.
func TestTheClientOfOthersGetsAPart(t *testing.T) {
	h := start(t)
	h.farms()
	met := h.roleToken("met", access.Public, "")
	id := h.granted(h.as(met), `{"items": ["time", "moisture"], "area": "220102"}`)
	c, err := client.New(h.server.URL, met)
	if err != nil {
		t.Fatal(err)
	}
	c.HTTP.Transport = breaking{100}
	for _, known := range []bool{false, true} {
		all, err := c.DatasetReleases(t.Context(), "soil", id)
		if err != nil || len(all) != 1 || all[0].Grant != id || all[0].Cut.Area != "220102" || !slices.Equal(all[0].Columns, []string{"time", "moisture"}) || len(all[0].Files) != 4 || (all[0].Rows != nil) != known {
			t.Fatalf("%+v %v", all, err)
		}
		for _, f := range all[0].Files {
			var text strings.Builder
			hash, err := c.Download(t.Context(), f, &text)
			if err != nil || hash != sumOf(text.String()) || known && f.SHA256 != hash {
				t.Errorf("%s: %s %v", f.Name, hash, err)
			}
			if f.Name == "data.csv" && (strings.Count(text.String(), "\r\n") != 25 || !strings.HasPrefix(text.String(), "time,moisture\r\n")) {
				t.Errorf("%s", text.String())
			}
		}
	}
	all, err := c.DatasetReleases(t.Context(), "soil", "")
	if err != nil {
		t.Fatal(err)
	}
	other := all[0].Files[0]
	other.SHA256 = strings.Repeat("0", 64)
	if _, err := c.Download(t.Context(), other, io.Discard); !errors.Is(err, client.ErrChanged) {
		t.Error(err)
	}
	h.want(200, h.do("POST", "/api/v1/grants/"+id+"/revoke", `{"reason": {"zh": "用于他途"}}`))
	if _, err := c.Download(t.Context(), all[0].Files[0], io.Discard); client.StatusOf(err) != 403 {
		t.Error(err)
	}
}
