package http_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	nethttp "net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/ingest/http"
	"github.com/songhua-io/hub/internal/quota"
	"github.com/songhua-io/hub/internal/telemetry"
)

// house is a hub with the HTTP door in a real server.
type house struct {
	*doortest.Hub
	url string
}

func open(tb testing.TB, cfg http.Config) *house {
	return openWith(tb, cfg, ingest.DefaultConfig())
}

func openWith(tb testing.TB, cfg http.Config, bounds ingest.Config, quotas ...func(*quota.Config)) *house {
	tb.Helper()
	hub := doortest.Start(tb, bounds, quotas...)
	door := http.New(cfg, http.Deps{Pipeline: hub.Pipeline, Gate: hub, Mail: &hub.Mail, Quotas: hub.Quotas, Log: hub.Log, Metrics: hub.Metrics})
	mux := nethttp.NewServeMux()
	for _, r := range door.Routes() {
		mux.Handle(r.Pattern, r.Handler)
	}
	server := httptest.NewServer(mux)
	tb.Cleanup(server.Close)
	hub.Register("t1", telemetry.KindSensor)
	hub.Register("t2", telemetry.KindSensor)
	hub.Register("gw", telemetry.KindGateway)
	hub.Allow("gw", "t1")
	hub.Allow("gw", "ghost")
	return &house{hub, server.URL}
}

// answer is what came back.
type answer struct {
	code   int
	header nethttp.Header
	body   string
}

func (h *house) post(tb testing.TB, path, secret, contentType string, body io.Reader, headers ...string) answer {
	tb.Helper()
	req, err := nethttp.NewRequest("POST", h.url+path, body)
	if err != nil {
		tb.Fatal(err)
	}
	if secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := nethttp.DefaultClient.Do(req)
	if err != nil {
		tb.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		tb.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(b)}
}

// now is a time within the accepted window, in milliseconds.
func now() int64 { return time.Now().UnixMilli() }

func TestEveryFormatIsStoredBeforeItIsAnswered(t *testing.T) {
	h := open(t, http.DefaultConfig())
	senml := fmt.Sprintf(`[{"bn":"t1:","bt":%d,"n":"temperature","u":"Cel","v":21.5},{"n":"humidity","v":40}]`, now()/1000)
	for _, c := range []struct{ path, contentType, body string }{
		{"/api/v1/devices/t1/telemetry", "application/senml+json", senml},
		{"/api/v1/devices/t1/telemetry/json", "", fmt.Sprintf(`{"ts":%d,"pressure":1013,"door_open":true}`, now())},
		{"/api/v1/devices/t1/telemetry", "", fmt.Sprintf("air,room=a co2=400 %d", now()*1e6)},
		{"/api/v1/devices/t1/telemetry", "text/plain; charset=utf-8", fmt.Sprintf("noise value=55 %d", now()*1e6)},
	} {
		a := h.post(t, c.path, doortest.Secret("t1"), c.contentType, strings.NewReader(c.body))
		var got struct {
			Accepted int
			Rejected []any
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != 200 || got.Accepted == 0 || got.Rejected == nil || len(got.Rejected) != 0 {
			t.Errorf("%s: answered %d %s", c.body, a.code, a.body)
		}
	}
	want := map[string][]float64{
		"temperature{device=t1}": {21.5}, "humidity{device=t1}": {40}, "pressure{device=t1}": {1013},
		"door_open{device=t1}": {1}, "air_co2{device=t1,room=a}": {400}, "noise{device=t1}": {55},
	}
	if diff := cmp.Diff(want, h.Values()); diff != "" {
		t.Error(diff)
	}
}

func TestAnswersOfTheContract(t *testing.T) {
	small := http.DefaultConfig()
	small.MaxBody = 1000
	h := open(t, small)
	good := `{"temperature":1}`
	for _, c := range []struct {
		name, path, secret, contentType, body string
		code                                  int
		says                                  string
	}{
		{"no secret", "/api/v1/devices/t1/telemetry", "", "", good, 401, "Authorization"},
		{"wrong secret", "/api/v1/devices/t1/telemetry", "guess", "", good, 401, "secret"},
		{"another's path", "/api/v1/devices/t2/telemetry", doortest.Secret("t1"), "", good, 403, `\"t2\"`},
		{"a path of nobody tells the same", "/api/v1/devices/nobody/telemetry", doortest.Secret("t1"), "", good, 403, "gateway"},
		{"a child that is not registered", "/api/v1/devices/ghost/telemetry", doortest.Secret("gw"), "", good, 404, "hub device add"},
		{"unreadable", "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "application/json", "{", 400, "json"},
		{"unknown type", "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "image/png", good, 415, "image/png"},
		{"unknown format", "/api/v1/devices/t1/telemetry/xml", doortest.Secret("t1"), "", good, 415, "xml"},
		{"V2X", "/api/v1/devices/t1/v2x", doortest.Secret("t1"), "", "00", 415, "V2X"},
		{"too large", "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "", strings.Repeat(" ", 1001), 413, "1000"},
		{"all rejected", "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "application/json", `{"ts":5,"temperature":1}`, 422, "time_past"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := h.post(t, c.path, c.secret, c.contentType, strings.NewReader(c.body))
			if a.code != c.code || !strings.Contains(a.body, c.says) {
				t.Errorf("answered %d %s; want %d with %q", a.code, a.body, c.code, c.says)
			}
			var problem struct {
				Title, Detail string
				Status        int
			}
			if err := json.Unmarshal([]byte(a.body), &problem); err != nil || problem.Status != c.code || problem.Detail == "" ||
				a.header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("is no problem detail: %q, %v", a.header.Get("Content-Type"), err)
			}
		})
	}
	if n := h.Points(); n != 0 {
		t.Errorf("%d points were stored", n)
	}
}

func TestRejectsAreToldWithTheirIndex(t *testing.T) {
	h := open(t, http.DefaultConfig())
	body := fmt.Sprintf(`[{"n":"temperature","t":%d,"v":1},{"n":"temperature","t":300000000,"v":2}]`, now()/1000)
	a := h.post(t, "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "application/senml+json", strings.NewReader(body))
	var got struct {
		Accepted int
		Rejected []struct {
			Index         int
			Stage, Reason string
		}
	}
	if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.code != 200 {
		t.Fatal(a.code, a.body, err)
	}
	if got.Accepted != 1 || len(got.Rejected) != 1 || got.Rejected[0].Index != 1 || got.Rejected[0].Reason != "time_past" {
		t.Errorf("answered %s", a.body)
	}
}

func TestRateAndFailureOfTheStore(t *testing.T) {
	h := openWith(t, http.DefaultConfig(), ingest.DefaultConfig(), func(q *quota.Config) { q.Device.SamplesPerSecond = 1 })
	var a answer
	for range 20 {
		a = h.post(t, "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "application/json", strings.NewReader(`{"a":1,"b":2,"c":3}`))
	}
	if a.code != 429 || a.header.Get("Retry-After") == "" || a.header.Get("Retry-After") == "0" {
		t.Errorf("answered %d, Retry-After %q", a.code, a.header.Get("Retry-After"))
	}
	h.Break(io.ErrShortWrite)
	a = h.post(t, "/api/v1/devices/t2/telemetry", doortest.Secret("t2"), "application/json", strings.NewReader(`{"a":1}`))
	if a.code != 503 || a.header.Get("Retry-After") == "" {
		t.Errorf("a failed commit was answered %d %s", a.code, a.body)
	}
}

func gzipped(tb testing.TB, b []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(b); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}

func zstded(tb testing.TB, b []byte) []byte {
	e, err := zstd.NewWriter(nil)
	if err != nil {
		tb.Fatal(err)
	}
	return e.EncodeAll(b, nil)
}

func TestCompressedBodiesAndBombs(t *testing.T) {
	h := open(t, http.DefaultConfig())
	packers := map[string]func(testing.TB, []byte) []byte{"gzip": gzipped, "zstd": zstded}
	for encoding, pack := range packers {
		body := fmt.Appendf(nil, `{"ts":%d,"%s":1}`, now(), encoding)
		for range 3 { // readers are used again
			a := h.post(t, "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "application/json", bytes.NewReader(pack(t, body)), "Content-Encoding", encoding)
			if a.code != 200 {
				t.Errorf("%s: %d %s", encoding, a.code, a.body)
			}
		}
		bomb := pack(t, make([]byte, 100<<20))
		a := h.post(t, "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "application/json", bytes.NewReader(bomb), "Content-Encoding", encoding)
		if a.code != 413 {
			t.Errorf("%s bomb of %d bytes: %d %s", encoding, len(bomb), a.code, a.body)
		}
		a = h.post(t, "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "application/json", strings.NewReader("not packed"), "Content-Encoding", encoding)
		if a.code != 400 {
			t.Errorf("%s that is none: %d %s", encoding, a.code, a.body)
		}
	}
	a := h.post(t, "/api/v1/devices/t1/telemetry", doortest.Secret("t1"), "", strings.NewReader("x"), "Content-Encoding", "br")
	if a.code != 415 {
		t.Errorf("br: %d", a.code)
	}
}

func TestTelegrafWrites(t *testing.T) {
	h := open(t, http.DefaultConfig())
	at := now()
	lines := fmt.Sprintf("cpu,device=t1,cpu=cpu0 usage=1 %d\nmem,host=a used=2 %d\nsay,device=t1 text=\"two\nlines,device=t2\",n=3 %d\nx,device=ghost v=1 %d\nx,device=t2 v=1 %d\n",
		at*1e6, at*1e6, at*1e6, at*1e6, at*1e6)
	a := h.post(t, "/api/v2/write?org=o&bucket=b", "", "text/plain; charset=utf-8", bytes.NewReader(gzipped(t, []byte(lines))),
		"Content-Encoding", "gzip", "Authorization", "Token "+doortest.Secret("gw"))
	if a.code != 422 || !strings.Contains(a.body, `"code":"unprocessable entity"`) || !strings.Contains(a.body, "4 stored, 2 rejected") {
		t.Errorf("answered %d %s", a.code, a.body)
	}
	want := map[string][]float64{"cpu_usage{cpu=cpu0,device=t1}": {1}, "mem_used{device=gw,host=a}": {2}, "say_n{device=t1}": {3}}
	if diff := cmp.Diff(want, h.Values()); diff != "" {
		t.Error(diff)
	}
	a = h.post(t, "/api/v2/write?precision=s", "", "", strings.NewReader(fmt.Sprintf("power value=4 %d", at/1000)), "Authorization", "Token "+doortest.Secret("t2"))
	if a.code != 204 || a.body != "" {
		t.Errorf("answered %d %s", a.code, a.body)
	}
	if v := h.Values()["power{device=t2}"]; len(v) != 1 || v[0] != 4 {
		t.Errorf("power is %v", v)
	}
	for _, c := range []struct {
		query, token, body string
		code               int
		word               string
	}{
		{"precision=h", doortest.Secret("t2"), "a v=1", 400, "invalid"},
		{"", "guess", "a v=1", 401, "unauthorized"},
		{"", doortest.Secret("t2"), "no fields here", 400, "invalid"},
	} {
		a := h.post(t, "/api/v2/write?"+c.query, "", "", strings.NewReader(c.body), "Authorization", "Token "+c.token)
		var e struct{ Code, Message string }
		if err := json.Unmarshal([]byte(a.body), &e); err != nil || a.code != c.code || e.Code != c.word || e.Message == "" {
			t.Errorf("%q answered %d %s", c.body, a.code, a.body)
		}
	}
}
