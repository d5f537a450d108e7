package deliver

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/catalog"
	"github.com/songhua-io/hub/internal/catalog/catalogtest"
	"github.com/songhua-io/hub/internal/catalog/outbox"
	"github.com/songhua-io/hub/internal/catalog/province"
)

// codes has every code that usual datasets need.
func codes() Codes {
	return Codes{
		Share: map[string]string{"unconditional": "01"}, Open: map[string]string{"unconditional": "1"}, Cycle: map[string]string{"24h": "每日"},
		Type: map[string]string{"number": "N"}, Format: map[string]string{"text/csv": "03", "application/vnd.apache.parquet": "09", "application/json": "05"}, Grade: map[string]string{"general": "一般"},
	}
}

func config(change func(*Config)) Config {
	var c Config
	c.SetDefaults()
	c.Name, c.Platform, c.Codes = "province-1", "省平台", codes()
	change(&c)
	return c
}

func platform(t *testing.T, c Config, transport http.RoundTripper) *Platform {
	t.Helper()
	if errs := c.Check("province[0]"); len(errs) > 0 {
		t.Fatal(errs)
	}
	p, err := New(c, transport)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func item(number int64) outbox.Item {
	e := catalogtest.Usual(7, int(number))
	return outbox.Item{Dataset: e.Dataset.ID, Number: number, Entry: e, Snapshot: catalog.NewSnapshot(number, []*catalog.Entry{e}, nil)}
}

func file(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestADatasetIsSentWithItsHeadersAndTheCodeThatComesBackIsKept over TLS where both
// sides show who they are.
func TestADatasetIsSentWithItsHeadersAndTheCodeThatComesBackIsKept(t *testing.T) {
	var got []*http.Request
	var bodies [][]byte
	answer := `{"code": 0, "msg": "ok", "data": {"resourceCode": "22A0000012", "receipt": "R-1"}}`
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		got, bodies = append(got, r), append(bodies, body)
		_, _ = io.WriteString(w, answer)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	pair := server.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]}))
	c := config(func(c *Config) {
		c.URL, c.HeadersFile = server.URL+"/catalogue", file(t, "headers", "X-App-Key: s3cret\nX-Region: 220000\n")
		c.Certificate, c.Key, c.CA = file(t, "cert.pem", certificate), file(t, "key.pem", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))), file(t, "ca.pem", certificate)
		c.Answer = Answer{OK: "code", Values: []string{"0"}, Message: "msg", Code: "data.resourceCode", Receipt: "data.receipt"}
	})
	p := platform(t, c, nil)
	it := item(3)
	known, err := p.Send(t.Context(), it)
	if err != nil || known.Code != "22A0000012" || known.Receipt != "R-1" {
		t.Fatalf("%+v %v", known, err)
	}
	var sent []province.Resource
	if err := json.Unmarshal(bodies[0], &sent); err != nil || len(sent) != 1 || sent[0].Cycle != "每日" || got[0].Header.Get("X-App-Key") != "s3cret" || got[0].Header.Get("X-Region") != "220000" ||
		got[0].Header.Get("Idempotency-Key") != it.Dataset+"-3" || got[0].Header.Get("Catalogue-Action") != "publish" || len(got[0].TLS.PeerCertificates) != 1 {
		t.Errorf("%v %v %s", err, got[0].Header, bodies[0])
	}
	gone := outbox.Item{Dataset: it.Dataset, Number: 4, Reason: "并入另一数据集", Known: known}
	if _, err := p.Send(t.Context(), gone); err != nil || !bytes.Contains(bodies[1], []byte("22A0000012")) || !bytes.Contains(bodies[1], []byte("并入另一数据集")) || got[1].Header.Get("Catalogue-Action") != "withdraw" {
		t.Errorf("%v %s", err, bodies)
	}
	gone.Known = outbox.Known{}
	if _, err := p.Send(t.Context(), gone); err != nil || len(bodies) != 2 {
		t.Errorf("what never arrived is withdrawn there: %v", err)
	}
	var no *outbox.Refused
	answer = `{"code": 4001, "msg": "分类不存在"}`
	if _, err := p.Send(t.Context(), item(5)); !errors.As(err, &no) || !strings.Contains(no.Text.ZH, "分类不存在") {
		t.Errorf("%v", err)
	}
	answer = `<html>`
	if _, err := p.Send(t.Context(), item(5)); err == nil || errors.As(err, &no) && no.Text.ZH == "" {
		t.Errorf("%v", err)
	}
}

// TestWhatAPlatformSaysDecidesWhetherItIsTriedAgain by the status.
func TestWhatAPlatformSaysDecidesWhetherItIsTriedAgain(t *testing.T) {
	status := 0
	p := platform(t, config(func(c *Config) { c.URL = "https://p.example.test/x" }), answers(func(*http.Request) (int, string) { return status, "不行" }))
	for code, final := range map[int]bool{400: true, 409: true, 413: true, 422: true, 301: false, 401: false, 403: false, 404: false, 408: false, 429: false, 500: false, 503: false} {
		status = code
		_, err := p.Send(t.Context(), item(1))
		var no *outbox.Refused
		if err == nil || errors.As(err, &no) != final {
			t.Errorf("%d: %v", code, err)
		}
	}
}

type answers func(*http.Request) (int, string)

// RoundTrip implements http.RoundTripper.
func (f answers) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	code, text := f(r)
	w.WriteHeader(code)
	_, _ = io.WriteString(w, text)
	return w.Result(), nil
}

// TestAnUnknownCodeKeepsADatasetAtHome and nothing is asked of the platform.
func TestAnUnknownCodeKeepsADatasetAtHome(t *testing.T) {
	asked := 0
	c := config(func(c *Config) { c.URL = "https://p.example.test/x"; delete(c.Codes.Cycle, "24h") })
	p := platform(t, c, answers(func(*http.Request) (int, string) { asked++; return 200, "" }))
	_, err := p.Send(t.Context(), item(1))
	var no *outbox.Refused
	if !errors.As(err, &no) || asked != 0 || !strings.Contains(no.Text.ZH, "更新周期") || !strings.Contains(no.Text.EN, `"24h0m0s"`) || !strings.Contains(no.Text.EN, "add the platform's code under cycle") {
		t.Errorf("%d asked, %v", asked, err)
	}
}

// TestFilesAreThereWholeAndReceiptsAreReadBesideThem.
func TestFilesAreThereWholeAndReceiptsAreReadBesideThem(t *testing.T) {
	dir := t.TempDir()
	c := config(func(c *Config) {
		c.Directory, c.Format, c.MaxFiles = dir, "csv", 4
		c.Answer = Answer{OK: "ok", Values: []string{"true"}, Message: "why", Code: "信息资源代码"}
	})
	p := platform(t, c, nil)
	if err := os.WriteFile(filepath.Join(dir, ".part-killed"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	it := item(3)
	known, err := p.Send(t.Context(), it)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, it.Dataset+"-3")
	body, err := os.ReadFile(name + ".csv")
	if there, _ := filepath.Glob(filepath.Join(dir, ".*")); err != nil || !bytes.HasPrefix(body, []byte("\uFEFF类,项,目")) || bytes.Count(body, []byte("\r\n")) != 6 || len(there) != 0 {
		t.Errorf("%v %v %s", err, there, body)
	}
	it.Known = known
	if _, _, err := p.Look(t.Context(), it); !errors.Is(err, outbox.ErrAlike) {
		t.Errorf("without a receipt: %v", err)
	}
	receipt := func(text string) {
		if err := os.WriteFile(name+".receipt.json", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	receipt(`{"ok": false, "why": "缺少联系人"}`)
	var no *outbox.Refused
	if _, _, err := p.Look(t.Context(), it); !errors.As(err, &no) || !strings.Contains(no.Text.ZH, "缺少联系人") {
		t.Errorf("%v", err)
	}
	receipt(`{"ok": true, "信息资源代码": "22A0000012"}`)
	known, drift, err := p.Look(t.Context(), it)
	if err != nil || known.Code != "22A0000012" || known.Receipt == "" || len(drift) != 0 {
		t.Errorf("%+v %v %v", known, drift, err)
	}
	if _, err := p.Send(t.Context(), outbox.Item{Dataset: it.Dataset, Number: 4, Reason: "撤回", Known: known}); err != nil {
		t.Error(err)
	}
	if body, err := os.ReadFile(filepath.Join(dir, it.Dataset+"-4.withdraw.csv")); err != nil || !bytes.Contains(body, []byte("22A0000012,撤销,撤回")) {
		t.Errorf("%v %s", err, body)
	}
	if _, err := p.Send(t.Context(), item(5)); err != nil {
		t.Error(err)
	}
	if _, err := p.Send(t.Context(), item(6)); err == nil || errors.As(err, &no) && no.Text.ZH == "" || !strings.Contains(err.Error(), "max_files") {
		t.Errorf("a directory that nobody empties: %v", err)
	}
}

// TestAnOutletIsCheckedBeforeAnythingIsSentToIt.
func TestAnOutletIsCheckedBeforeAnythingIsSentToIt(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"platform":      func(c *Config) { c.Platform = "" },
		"codes.cycle":   func(c *Config) { c.Codes.Cycle["sometimes"] = "9" },
		"one of url":    func(c *Config) { c.Directory = "/tmp/out" },
		"not encrypted": func(c *Config) { c.URL = "http://p.example.test" },
		"belong":        func(c *Config) { c.Certificate = "x" },
		"neither csv":   func(c *Config) { c.Format = "xlsx" },
		"POST nor PUT":  func(c *Config) { c.Method = "GET" },
		"answer.values": func(c *Config) { c.Answer.OK = "code" },
		"from the root": func(c *Config) { c.URL, c.Directory = "", "out" },
		"timeout":       func(c *Config) { c.Timeout = -time.Second },
		"max_files":     func(c *Config) { c.MaxFiles = -1 },
		"reconcile":     func(c *Config) { c.Reconcile = -time.Second },
	} {
		c := config(func(c *Config) { c.URL = "https://p.example.test/x" })
		change(&c)
		var all []string
		for _, e := range c.Check("province[0]") {
			all = append(all, e.Error())
		}
		if text := strings.Join(all, "\n"); !strings.Contains(text, want) {
			t.Errorf("%s: %s", want, text)
		}
	}
}
