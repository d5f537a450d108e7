package api

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/road"
	"github.com/songhua-io/hub/internal/schedule/loop"
)

// hardware is what holds a key.
type hardware struct {
	key *ecdsa.PrivateKey
	csr string
}

func newHardware(t testing.TB) hardware {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	return hardware{key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))}
}

func certificateOf(t testing.TB, r reply) *x509.Certificate {
	t.Helper()
	text, _ := r.body["certificate"].(string)
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		t.Fatalf("no certificate in %s", r.text)
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// token makes an enrolment token.
func (h *hub) enrolmentToken(body string) string {
	h.Helper()
	return h.want(201, h.do("POST", "/api/v1/enrolments", body)).body["token"].(string)
}

func (h *hub) enrol(token, device string, hw hardware, more string) reply {
	h.Helper()
	body, err := json.Marshal(map[string]string{"token": token, "device": device, "csr": hw.csr})
	if err != nil {
		h.Fatal(err)
	}
	return h.as("").do("POST", "/api/v1/enroll", strings.TrimSuffix(string(body), "}")+more+"}")
}

func TestADeviceRegistersItselfWithinTheScopeOfItsToken(t *testing.T) {
	h := start(t)
	token := h.enrolmentToken(`{"name": "ring-road", "kind": "rsu", "site": "ring-road", "region": "220100", "prefix": "rsu-"}`)
	hw := newHardware(t)
	for name, c := range map[string]struct {
		device, more string
		code         int
		says         string
	}{
		"another id":     {"probe-1", ``, 403, `does not begin with \"rsu-\"`},
		"another kind":   {"rsu-1", `, "kind": "node"`, 403, "its kind"},
		"another site":   {"rsu-1", `, "site": "plant"`, 403, "its site"},
		"another region": {"rsu-1", `, "region": "110000"`, 403, "its region"},
		"no id":          {"rsu-\\u0000", ``, 422, "device id"},
		"a bad tag":      {"rsu-1", `, "tags": {"kind": "x"}`, 422, "reserved"},
	} {
		r := h.enrol(token, strings.ReplaceAll(c.device, `\u0000`, "\x00"), hw, c.more)
		if r.status != c.code || !strings.Contains(r.text, c.says) {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}
	if r := h.enrol(token, "rsu-1", hardware{csr: "x"}, ""); r.status != 422 || !strings.Contains(r.text, "signing request") {
		t.Errorf("no request: %d %s", r.status, r.text)
	}

	r := h.want(201, h.enrol(token, "rsu-1", hw, `, "tags": {"serial": "A7"}, "secret": true`))
	cert := certificateOf(t, r)
	d, err := h.registry.Get("rsu-1")
	if err != nil || d.Kind != "rsu" || d.Site != "ring-road" || d.Region != "220100" || d.Tags["serial"] != "A7" {
		t.Fatalf("%+v, %v", d, err)
	}
	if _, err := h.registry.AuthenticateCertificate(cert, h.authority.Issued(cert)); err != nil || !hw.key.PublicKey.Equal(cert.PublicKey) {
		t.Errorf("its certificate: %v", err)
	}
	if _, err := h.registry.Authenticate(t.Context(), "rsu-1", []byte(r.body["secret"].(string))); err != nil {
		t.Errorf("its secret: %v", err)
	}
	if r.body["ca"] != string(h.authority.Root()) || r.body["doors"].(map[string]any)["https"] == "" {
		t.Errorf("answered %s", r.text)
	}
	if text := h.want(200, h.do("GET", "/api/v1/audit", "")).text; !strings.Contains(text, `"object":"device rsu-1"`) || !strings.Contains(text, `"actor":"ring-road"`) || strings.Contains(text, token[:20]) {
		t.Errorf("the record says %s", text)
	}
	if list := h.want(200, h.do("GET", "/api/v1/enrolments", "")).text; !strings.Contains(list, `"used":1`) || strings.Contains(list, "she_") {
		t.Errorf("the list says %s", list)
	}
}

func TestATokenIsUsedAsOftenAsItSays(t *testing.T) {
	h := start(t)
	once := h.enrolmentToken(`{"name": "once"}`)
	first := newHardware(t)
	r := h.want(201, h.enrol(once, "t1", first, `, "secret": true`))
	if again := h.want(201, h.enrol(once, "t1", first, `, "secret": true`)); again.body["secret"] != r.body["secret"] {
		t.Error("the same device with the same key gets another secret when the answer got lost")
	}
	if r := h.enrol(once, "t2", newHardware(t), ""); r.status != 401 || !strings.Contains(r.text, "all of its 1 uses are taken") {
		t.Errorf("another device: %d %s", r.status, r.text)
	}
	if r := h.enrol(once, "t1", newHardware(t), ""); r.status != 409 || !strings.Contains(r.text, "hub device replace t1") {
		t.Errorf("another key: %d %s", r.status, r.text)
	}
	h.want(200, h.do("POST", "/api/v1/devices/t1/rotate", ""))
	if r := h.enrol(once, "t1", first, ""); r.status != 409 {
		t.Errorf("the same key after a rotation: %d %s", r.status, r.text)
	}

	bulk := h.enrolmentToken(`{"name": "bulk", "uses": 10}`)
	var in atomic.Int64
	var all sync.WaitGroup
	for i := range 25 {
		hw := newHardware(t)
		all.Go(func() {
			if h.enrol(bulk, fmt.Sprintf("b%02d", i), hw, "").status == 201 {
				in.Add(1)
			}
		})
	}
	all.Wait()
	if in.Load() != 10 || h.registry.Len() != 11 {
		t.Errorf("%d of 10 got in, %d devices", in.Load(), h.registry.Len())
	}
}

func TestTokensThatLetNobodyIn(t *testing.T) {
	clock := &shifted{}
	h := startWith(t, loop.DefaultConfig(), clock.now)
	revoked := h.enrolmentToken(`{"name": "revoked"}`)
	h.want(204, h.do("DELETE", "/api/v1/enrolments/revoked", ""))
	h.want(404, h.do("DELETE", "/api/v1/enrolments/revoked", ""))
	short := h.enrolmentToken(fmt.Sprintf(`{"name": "short", "expires": %q}`, time.Now().Add(time.Hour).Format(time.RFC3339Nano)))
	clock.pass(time.Hour)
	for token, says := range map[string]string{revoked: "was revoked", short: "expired", "she_x": "unknown"} {
		if r := h.enrol(token, "t1", newHardware(t), ""); r.status != 401 || !strings.Contains(r.text, says) {
			t.Errorf("%.10s…: %d %s", token, r.status, r.text)
		}
	}
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"bad name":     {`{"name": "a b"}`, 422},
		"bad kind":     {`{"name": "x", "kind": "toaster"}`, 422},
		"bad region":   {`{"name": "x", "region": "220"}`, 422},
		"too many":     {`{"name": "x", "uses": 10000000}`, 422},
		"in the past":  {`{"name": "x", "expires": "2020-01-01T00:00:00Z"}`, 422},
		"twice":        {`{"name": "short"}`, 409},
		"unknown keys": {`{"name": "x", "colour": "red"}`, 422},
	} {
		if r := h.do("POST", "/api/v1/enrolments", c.body); r.status != c.code {
			t.Errorf("%s: %d %s", name, r.status, r.text)
		}
	}
	jilin := h.as(h.roleToken("jl", access.Operator, "22"))
	jilin.want(403, jilin.do("POST", "/api/v1/enrolments", `{"name": "x"}`))
	jilin.want(201, jilin.do("POST", "/api/v1/enrolments", `{"name": "x", "region": "2201"}`))
	jilin.want(403, jilin.do("DELETE", "/api/v1/enrolments/short", ""))
}

func TestAnAddressThatErrsTooOftenWaits(t *testing.T) {
	h := start(t)
	token := h.enrolmentToken(`{"name": "good"}`)
	var r reply
	for range 100 {
		if r = h.enrol("she_guess", "t1", newHardware(t), ""); r.status != 401 {
			break
		}
	}
	if r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("after many guesses: %d %s", r.status, r.text)
	}
	if r := h.enrol(token, "t1", newHardware(t), ""); r.status != 429 {
		t.Errorf("the right one at once: %d %s", r.status, r.text)
	}
}

func TestAnAwaitedDeviceEnrolsAsWhatItIs(t *testing.T) {
	h := start(t)
	made := h.want(201, h.do("POST", "/api/v1/devices", `{"id": "t1", "kind": "meter", "site": "plant-a", "region": "220100", "awaited": true}`))
	if made.body["secret"] != nil || made.body["awaited"] != true {
		t.Errorf("registered: %s", made.text)
	}
	h.want(422, h.do("PATCH", "/api/v1/devices/t1", `{"awaited": false}`))
	h.want(200, h.do("PATCH", "/api/v1/devices/t1", `{"tags": {"floor": "2"}}`))
	wrong := h.enrolmentToken(`{"name": "wrong", "region": "11", "uses": 5}`)
	h.want(403, h.enrol(wrong, "t1", newHardware(t), ""))
	right := h.enrolmentToken(`{"name": "right", "region": "22", "uses": 5}`)
	h.want(201, h.enrol(right, "t1", newHardware(t), `, "kind": "node"`))
	d, err := h.registry.Get("t1")
	if err != nil || d.Kind != "meter" || d.Tags["floor"] != "2" || d.Awaited {
		t.Errorf("%+v, %v", d, err)
	}
	h.want(409, h.enrol(right, "t1", newHardware(t), ""))

	// New hardware: the old one is out, and what comes next is in.
	before := h.want(201, h.enrol(right, "t2", newHardware(t), `, "region": "220200"`))
	replaced := h.want(200, h.do("POST", "/api/v1/devices/t2/replace", `{"serial": "B9", "model": "mk2"}`))
	if replaced.body["secret"] != nil || replaced.body["awaited"] != true || replaced.body["tags"].(map[string]any)["serial"] != "B9" {
		t.Errorf("replaced: %s", replaced.text)
	}
	cert := certificateOf(t, before)
	if _, err := h.registry.AuthenticateCertificate(cert, true); !errors.Is(err, registry.ErrUnauthorized) {
		t.Errorf("the old hardware's certificate: %v", err)
	}
	next := certificateOf(t, h.want(201, h.enrol(right, "t2", newHardware(t), "")))
	if _, err := h.registry.AuthenticateCertificate(next, true); err != nil {
		t.Errorf("the new hardware's certificate: %v", err)
	}
	if r := h.want(200, h.do("POST", "/api/v1/devices/t2/replace", `{"secret": true}`)); len(r.body["secret"].(string)) != 43 {
		t.Errorf("replaced with a secret: %s", r.text)
	}
}

// overTLS serves the hub over HTTPS and returns a function that renews with a
// client certificate.
func (h *hub) overTLS(t *testing.T) func(own *x509.Certificate, hw hardware, csr string) reply {
	t.Helper()
	server := httptest.NewUnstartedServer(h.api)
	server.Listener = tls.NewListener(server.Listener, h.authority.Server())
	server.Start()
	t.Cleanup(server.Close)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(h.authority.Root())
	return func(own *x509.Certificate, hw hardware, csr string) reply {
		t.Helper()
		cfg := &tls.Config{RootCAs: roots}
		if own != nil {
			cfg.Certificates = []tls.Certificate{{Certificate: [][]byte{own.Raw}, PrivateKey: hw.key}}
		}
		client := http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		body, _ := json.Marshal(map[string]string{"csr": csr})
		resp, err := client.Post("https://"+server.Listener.Addr().String()+"/api/v1/renew", "application/json", strings.NewReader(string(body)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		r := reply{status: resp.StatusCode, header: resp.Header, text: string(text)}
		_ = json.Unmarshal(text, &r.body)
		return r
	}
}

func TestCertificatesAreRenewedByTheirDeviceAlone(t *testing.T) {
	h := start(t)
	renew := h.overTLS(t)
	hw := newHardware(t)
	enrolled := h.want(201, h.enrol(h.enrolmentToken(`{"name": "once"}`), "t1", hw, `, "secret": true`))
	first := certificateOf(t, enrolled)
	other := newHardware(t)
	second := certificateOf(t, h.want(200, renew(first, hw, other.csr)))
	if second.Subject.CommonName != "t1" || second.SerialNumber.Cmp(first.SerialNumber) == 0 {
		t.Errorf("renewed: %v", second.Subject)
	}
	h.want(200, renew(first, hw, hw.csr)) // both are valid until their ends
	h.want(200, renew(second, other, other.csr))
	h.want(401, renew(nil, hw, hw.csr))
	h.want(422, renew(first, hw, "x"))

	secret := enrolled.body["secret"].(string)
	body, _ := json.Marshal(map[string]string{"csr": hw.csr})
	h.want(200, h.as(secret).do("POST", "/api/v1/renew", string(body)))
	h.want(401, h.as("guess").do("POST", "/api/v1/renew", string(body)))
	h.want(401, h.do("POST", "/api/v1/renew", string(body))) // a person's token is no device's secret

	rotated := h.want(200, h.do("POST", "/api/v1/devices/t1/rotate", ""))
	h.want(401, renew(first, hw, hw.csr))
	h.want(401, renew(second, other, hw.csr))
	h.want(401, h.as(secret).do("POST", "/api/v1/renew", string(body)))
	third := certificateOf(t, h.want(200, h.as(rotated.body["secret"].(string)).do("POST", "/api/v1/renew", string(body))))
	h.want(200, renew(third, hw, hw.csr))

	h.want(200, h.do("POST", "/api/v1/devices/t1/disable", ""))
	h.want(401, renew(third, hw, hw.csr))
	h.want(200, h.do("POST", "/api/v1/devices/t1/enable", ""))
	h.want(200, renew(third, hw, hw.csr))

	var r reply
	for range 20 {
		if r = renew(third, hw, hw.csr); r.status != 200 {
			break
		}
	}
	if r.status != 429 || r.header.Get("Retry-After") == "" {
		t.Errorf("a device that renews all the time: %d %s", r.status, r.text)
	}
}

func TestKnocksAreListedUntilTheDeviceIsRegistered(t *testing.T) {
	h := start(t)
	for range 3 {
		h.enrolment.Knock("stranger", "mqtt", addressOf(&http.Request{RemoteAddr: "192.0.2.7:1"}))
	}
	h.enrolment.Knock("not an id", "mqtt", addressOf(&http.Request{RemoteAddr: "192.0.2.7:1"}))
	items := h.want(200, h.do("GET", "/api/v1/knocks", "")).body["items"].([]any)
	if len(items) != 1 {
		t.Fatalf("%v", items)
	}
	if k := items[0].(map[string]any); k["device"] != "stranger" || k["door"] != "mqtt" || k["address"] != "192.0.2.7" || k["count"] != 3.0 {
		t.Errorf("%v", k)
	}
	jilin := h.as(h.roleToken("jl", access.Operator, "22"))
	jilin.want(403, jilin.do("GET", "/api/v1/knocks", ""))
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "stranger"}`))
	if items := h.want(200, h.do("GET", "/api/v1/knocks", "")).body["items"].([]any); len(items) != 0 {
		t.Errorf("registered: %v", items)
	}
}

// BenchmarkEnrolments is enrolments through the whole HTTP surface: token,
// signing request, device stored with its record (an fsync), certificate signed.
// Keys and requests are made before; b.N is how many devices.
func BenchmarkEnrolments(b *testing.B) {
	h := start(b)
	token := h.enrolmentToken(`{"name": "fleet", "uses": 1000000, "region": "220100"}`)
	requests := make([]hardware, 256)
	for i := range requests {
		requests[i] = newHardware(b)
	}
	var next atomic.Int64
	b.SetParallelism(16)
	b.ResetTimer()
	begin := time.Now()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			n := next.Add(1)
			if r := h.enrol(token, fmt.Sprintf("device-%07d", n), requests[n%256], ""); r.status != 201 {
				b.Errorf("%d %s", r.status, r.text)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/time.Since(begin).Minutes(), "enrolments/min")
}

func TestAUnitThatKnocksIsListedUntilItIsRegistered(t *testing.T) {
	h := start(t)
	at := addressOf(&http.Request{RemoteAddr: "192.0.2.7:1"})
	h.enrolment.KnockUnit("R328328", "edge-1", "mqtt", at, &road.Status{Name: "人民大街", At: road.Position{Lat: 43.88, Lon: 125.32}})
	items := h.want(200, h.do("GET", "/api/v1/knocks", "")).body["items"].([]any)
	if k := items[0].(map[string]any); len(items) != 1 || k["device"] != "R328328" || k["kind"] != "rsu" || k["gateway"] != "edge-1" || k["name"] != "人民大街" || k["lat"] != 43.88 || k["lon"] != 125.32 {
		t.Errorf("%v", items)
	}
	h.want(201, h.do("POST", "/api/v1/devices", `{"id": "rsu-7", "kind": "rsu", "tags": {"esn": "R328328"}}`))
	if items := h.want(200, h.do("GET", "/api/v1/knocks", "")).body["items"].([]any); len(items) != 0 {
		t.Errorf("registered: %v", items)
	}
}
