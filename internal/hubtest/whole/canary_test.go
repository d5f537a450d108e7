//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package whole

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/udp"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/hubtest"
)

// canaries are secrets by what they are; each is found nowhere but where it is
// meant to be.
type canaries map[string]string

// plant makes up a secret that nobody accepts, with bytes that encodings change.
func (c canaries) plant(what string) string {
	c[what] = "canary+/=" + rand.Text()
	return c[what]
}

// forms are how a secret looks in other clothes.
func forms(secret string) []string {
	quoted := strconv.Quote(secret)
	return []string{
		secret, quoted[1 : len(quoted)-1], url.QueryEscape(secret), url.PathEscape(secret),
		hex.EncodeToString([]byte(secret)), strings.ToUpper(hex.EncodeToString([]byte(secret))),
		base64.RawStdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte(secret)),
		strings.Trim(fmt.Sprint([]byte(secret)), "[]"),
	}
}

// leaks names the canaries that a text holds in any form.
func (c canaries) leaks(text []byte) (found []string) {
	for what, secret := range c {
		for _, f := range forms(secret) {
			// Base64 without its last character, which what follows may change.
			if bytes.Contains(text, []byte(f)) || len(f) > 20 && bytes.Contains(text, []byte(f[:len(f)-1])) {
				found = append(found, what)
				break
			}
		}
	}
	return found
}

// cage is a hub with canaries in it, and what it was heard to say.
type cage struct {
	*hubtest.Hub
	t *testing.T
	canaries
	mu     sync.Mutex
	spoken map[string][]byte // by where
}

func (c *cage) heard(where string, text []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spoken[where] = append(c.spoken[where], text...)
}

// send makes a request of HTTP and keeps what is answered.
func (c *cage) send(method, path, body string, want int, headers ...string) []byte {
	c.t.Helper()
	text := c.ask(method, path, body, want, headers...)
	c.heard("the answer to "+method+" "+strings.SplitN(path, "?", 2)[0], text)
	return text
}

// ask is send for answers that are meant to hold a secret.
func (c *cage) ask(method, path, body string, want int, headers ...string) []byte {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.HTTP+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	if resp.StatusCode != want {
		c.t.Errorf("%s %s: %s, want %d: %.300s", method, path, resp.Status, want, text)
	}
	for name, values := range resp.Header {
		if name != "Set-Cookie" { // the cookie is where a token is meant to be
			c.heard("the header "+name+" of "+path, []byte(strings.Join(values, "\n")))
		}
	}
	return text
}

// bearer is the header of a token.
func bearer(secret string) []string { return []string{"Authorization", "Bearer " + secret} }

// issue plants the secrets that the hub itself makes.
func (c *cage) issue() {
	c.t.Helper()
	admin := append(bearer(c.Token), "Content-Type", "application/json")
	made := func(path, body string, more ...string) (out struct{ Secret, Token string }) {
		c.t.Helper()
		if err := json.Unmarshal(c.ask(http.MethodPost, path, body, http.StatusCreated, append(more, admin...)...), &out); err != nil {
			c.t.Fatal(err)
		}
		return out
	}
	c.canaries["the admin's token"] = c.Token
	c.canaries["a device's secret"] = made("/api/v1/devices", `{"id": "t1"}`, "Idempotency-Key", "again").Secret
	c.canaries["a secret that people chose"] = "chosen-" + rand.Text()
	made("/api/v1/devices", fmt.Sprintf(`{"id": "t2", "secret": %q}`, c.canaries["a secret that people chose"]))
	c.canaries["a token"] = made("/api/v1/tokens", `{"name": "reader", "role": "reader"}`).Token
	c.canaries["a gateway's token"] = made("/api/v1/tokens", `{"name": "gw", "role": "gateway"}`).Token
	carried := made("/api/v1/enrolments", `{"name": "one", "uses": 2}`).Token
	c.canaries["an enrolment token"], _, _ = strings.Cut(carried, ".") // the rest is public
	for _, name := range []string{"secrets.key", "authority/root.key", "authority/hub.key"} {
		text, err := os.ReadFile(filepath.Join(c.Dir, name))
		if err != nil {
			c.t.Fatal(err)
		}
		key := strings.TrimSpace(string(text))
		if block, _ := pem.Decode(text); block != nil {
			key = string(block.Bytes[len(block.Bytes)/3:]) // what every key begins with is no secret
		}
		c.canaries["the key in "+name] = key
	}
}

// overHTTP shows right and wrong secrets in every place that HTTP has for one.
func (c *cage) overHTTP() {
	right := c.canaries["a device's secret"]
	telemetry := "/api/v1/devices/t1/telemetry"
	jsonBody := []string{"Content-Type", "application/json"}
	c.send("POST", telemetry, `{"a": 1}`, 200, append(bearer(right), jsonBody...)...)
	c.send("POST", telemetry, `{"a": `, 400, append(bearer(right), jsonBody...)...)
	c.send("POST", telemetry, `{"a": 1}`, 415, append(bearer(right), "Content-Type", "image/png")...)
	c.send("POST", "/api/v1/devices/t2/telemetry", `{"a": 1}`, 403, append(bearer(right), jsonBody...)...)
	c.send("POST", telemetry, `{"a": 1}`, 401, append(bearer(c.plant("a wrong device secret")), jsonBody...)...)
	c.send("POST", "/api/v2/write?org="+url.QueryEscape(c.plant("an organisation")), "m v=1", 401, "Authorization", "Token "+c.plant("a wrong token of Influx"))
	c.send("POST", "/api/v2/write", "m v=1", 204, "Authorization", "Token "+right)
	for _, path := range []string{"/prometheus/api/v1/otlp/v1/metrics", "/prometheus/api/v1/write"} {
		c.send("POST", path, "x", 401, "Authorization", "Bearer "+c.plant("a wrong token at "+path), "Content-Type", "application/x-protobuf", "X-Api-Key", c.plant("a header at "+path))
		c.send("POST", path, "x", 400, "Authorization", "Bearer "+right, "Content-Type", "application/x-protobuf")
	}
	basic := func(password string) string {
		return "Basic " + base64.StdEncoding.EncodeToString([]byte("grafana:"+password))
	}
	c.send("GET", "/prometheus/api/v1/query?query=up", "", 200, "Authorization", basic(c.canaries["a token"]))
	c.send("GET", "/prometheus/api/v1/query?query=up", "", 401, "Authorization", basic(c.plant("a wrong password of basic authentication")))
	c.send("GET", "/prometheus/api/v1/query?query=(", "", 400, bearer(c.canaries["a token"])...)
	c.send("GET", "/api/v1/devices", "", 401, "Cookie", "songhua_session="+c.plant("a wrong cookie"))
	c.send("GET", "/", "", 401, "Cookie", "songhua_session="+c.Token)
	c.send("GET", "/", "", 401, "Cookie", "songhua_session="+c.plant("a wrong cookie of a page"))
	c.send("GET", "/?token="+url.QueryEscape(c.Token), "", 303)
	c.send("GET", "/?token="+url.QueryEscape(c.plant("a wrong token in an address")), "", 401)
	c.send("GET", "/api/v1/devices?token="+url.QueryEscape(c.plant("a token in the API's query")), "", 401)
	c.send("POST", telemetry+"?token="+url.QueryEscape(c.plant("a token in a device's query")), `{}`, 401)
	c.send("GET", "/api/v1/nothing?token="+url.QueryEscape(c.plant("a token on no path")), "", 404)
	c.send("POST", "/signin", url.Values{"token": {c.plant("a wrong token of the form")}}.Encode(), 401, "Content-Type", "application/x-www-form-urlencoded")
}

// overTheAPI puts secrets into bodies that are refused, and asks again for what
// was answered once.
func (c *cage) overTheAPI() {
	admin := append(bearer(c.Token), "Content-Type", "application/json")
	put := func(what string) string { return strconv.Quote(c.plant(what)) }
	c.send("POST", "/api/v1/devices", `{"id": "no id", "secret": `+put("the secret of an impossible device")+`}`, 422, admin...)
	c.send("POST", "/api/v1/devices", `{"id": "t1", "secret": `+put("the secret of a device that exists")+`}`, 409, admin...)
	c.send("POST", "/api/v1/devices", `{"id": "t9", "secret": "`+c.plant("a secret that is too long")+strings.Repeat("x", 200)+`"}`, 422, admin...)
	c.send("POST", "/api/v1/devices", `{"id": "t9", "secret": [`+put("a secret that is a list")+`]}`, 422, admin...)
	c.send("POST", "/api/v1/devices", `{"id": "t9", "password": `+put("a secret under an unknown name")+`}`, 422, admin...)
	c.send("POST", "/api/v1/devices", `{"id": "t9", "secret": "`+c.plant("a secret in half a body"), 400, admin...)
	c.send("POST", "/api/v1/devices:batch", `{"devices": [{"id": "t9", "secret": "short"}, {"id": "no id", "secret": `+put("a secret in a batch")+`}]}`, 422, admin...)
	c.send("POST", "/api/v1/enroll", `{"token": `+put("a wrong enrolment token")+`, "device": "e1", "csr": "none"}`, 401, admin...)
	c.send("POST", "/api/v1/enroll", `{"token": `+put("an enrolment token beside a wrong field")+`, "device": 7, "x": 1}`, 422, admin...)
	c.send("POST", "/api/v1/enroll", `{"token": "`+c.plant("an enrolment token that is too long")+strings.Repeat("x", 300)+`", "device": "e1", "csr": "none"}`, 422, admin...)
	c.send("POST", "/api/v1/enroll", `{"token": "`+c.canaries["an enrolment token"]+`", "device": "e1", "csr": "none"}`, 422, admin...)
	c.ask("POST", "/api/v1/devices", `{"id": "t1"}`, 201, append([]string{"Idempotency-Key", "again"}, admin...)...) // shown again to who has the key
	c.ask("POST", "/api/v1/devices/t2/rotate", "", 200, bearer(c.Token)...)
}

// overMQTT connects with right and wrong passwords, and breaks off in between.
func (c *cage) overMQTT() {
	for _, password := range []string{c.canaries["a device's secret"], c.plant("a wrong MQTT password")} {
		for _, address := range []string{"tcp://" + c.MQTT, "ws://" + strings.TrimPrefix(c.HTTP, "http://") + "/mqtt", "ssl://" + c.MQTTS} {
			o := paho.NewClientOptions().AddBroker(address).SetClientID("c").SetUsername("t1").SetPassword(password).SetConnectRetry(false).
				SetAutoReconnect(false).SetTLSConfig(&tls.Config{InsecureSkipVerify: true}) //nolint:gosec // what the hub says is tested, not who it is
			client := paho.NewClient(o)
			token := client.Connect()
			if right := token.WaitTimeout(patience) && token.Error() == nil; right != (password == c.canaries["a device's secret"]) {
				c.t.Errorf("%s with a password that is right or wrong: %v", address, token.Error())
			} else if right {
				publish(c.t, client, "t1", `{"a": 1}`)
				client.Publish("devices/t2/telemetry", 1, false, "x").WaitTimeout(patience)
				client.Disconnect(100)
			}
		}
	}
	secret := c.plant("a password in a broken CONNECT")
	head := "\x00\x04MQTT\x05\xc2\x00\x3c\x00\x00\x01c\x00\x02t1\x00"
	broken := head + string(rune(len(secret))) + secret + "more"
	c.raw("tcp", c.MQTT, "\x10"+string(rune(len(broken)))+broken)
	c.raw("tcp", c.MQTT, c.plant("what is no MQTT"))
	c.raw("tcp", c.MQTTS, c.plant("what is no TLS"))
	c.raw("tcp", strings.TrimPrefix(c.HTTP, "http://"), "GET /?token="+c.plant("a token in a broken request")+" HTTP/9\r\n\r\n")
	c.raw("tcp", strings.TrimPrefix(c.HTTP, "http://"), "GET / HTTP/1.1\r\nHost: h\r\nAuthorization Bearer "+c.plant("a token in a broken header")+"\r\n\r\n")
	c.raw("tcp", strings.TrimPrefix(c.HTTPS, "https://"), "GET /?token="+c.plant("a token in the clear at the encrypted door")+" HTTP/1.1\r\n\r\n")
	c.raw("udp", c.CoAP, c.plant("what is no CoAP"))
	c.raw("udp", c.CoAPS, c.plant("what is no DTLS"))
}

// raw sends bytes and keeps what comes back until the other side is done.
func (c *cage) raw(network, address, text string) {
	c.t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		c.t.Fatal(err)
	}
	if network == "udp" {
		return
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	answer, _ := io.ReadAll(conn) // a reset is an end too
	c.heard("what "+address+" answers to noise", answer)
}

// overCoAP shows right and wrong tokens and keys.
func (c *cage) overCoAP() {
	conn, err := udp.Dial(c.CoAP)
	if err != nil {
		c.t.Fatal(err)
	}
	defer conn.Close()
	for _, secret := range []string{c.canaries["a device's secret"], c.canaries["a gateway's token"], c.plant("a wrong token of CoAP")} {
		for _, body := range []string{`{"a": 1}`, `{"a": `} {
			ctx, cancel := context.WithTimeout(c.t.Context(), patience)
			resp, err := conn.Post(ctx, "/devices/t1/telemetry", message.AppJSON, strings.NewReader(body), message.Option{ID: message.URIQuery, Value: []byte("token=" + secret)})
			cancel()
			if err != nil {
				c.t.Fatal(err)
			}
			if text, err := resp.ReadBody(); err == nil {
				c.heard("an answer of CoAP", text)
			}
		}
	}
	to, err := net.ResolveUDPAddr("udp", c.CoAPS)
	if err != nil {
		c.t.Fatal(err)
	}
	for right, key := range map[bool]string{true: c.canaries["a device's secret"], false: c.plant("a wrong pre-shared key")} {
		session, err := piondtls.Dial("udp", to, &piondtls.Config{
			PSK: func([]byte) ([]byte, error) { return []byte(key), nil }, PSKIdentityHint: []byte("t1"),
			CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_GCM_SHA256},
		})
		if err != nil {
			c.t.Fatal(err)
		}
		limit := patience
		if !right {
			limit = 3 * time.Second // nothing is answered
		}
		ctx, cancel := context.WithTimeout(c.t.Context(), limit)
		if err := session.HandshakeContext(ctx); (err == nil) != right {
			c.t.Errorf("a handshake with a key that is right: %v: %v", right, err)
		}
		cancel()
		session.Close()
	}
}

// throughAnAgent runs an agent with a secret that the hub refuses, then with a
// right one, both at its lowest level of logging.
func (c *cage) throughAnAgent() {
	for what, secret := range map[string]string{"right": c.canaries["a device's secret"], "wrong": c.plant("a wrong secret of an agent")} {
		var said bytes.Buffer
		var mu sync.Mutex
		log := slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			return said.Write(p)
		}), &slog.HandlerOptions{Level: slog.LevelDebug}))
		cfg, faults := edge.ParseConfig([]byte(fmt.Sprintf("device: t1\ndata: %s\nstatus_interval: 1s\nuplink:\n  url: mqtt://%s\n  secret: %q\n", c.t.TempDir(), c.MQTT, secret)))
		if len(faults) > 0 {
			c.t.Fatal(faults)
		}
		ctx, stop := context.WithCancel(c.t.Context())
		ended := make(chan error, 1)
		go func() { ended <- edge.Run(ctx, cfg, log, time.Now) }()
		length := func() int { mu.Lock(); defer mu.Unlock(); return said.Len() }
		if what == "right" {
			eventually(c.t, patience, "the agent reports", func() bool { return has(c.t, c.Hub, `edge_uptime_seconds{device="t1"}`) })
		} else {
			eventually(c.t, patience, "the agent says that it is refused", func() bool { return length() > 0 && strings.Contains(c.Output(), "mqtt login refused") })
		}
		stop()
		if err := <-ended; err != nil {
			c.t.Error(err)
		}
		c.heard("the agent's log", said.Bytes())
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// asked is everything that the hub shows to who may see all.
func (c *cage) asked() {
	for _, path := range []string{
		"/metrics", "/healthz", "/readyz", "/openapi.json", "/docs", "/", "/signin",
		"/api/v1/devices", "/api/v1/devices/t1", "/api/v1/devices/t1/presence", "/api/v1/tokens", "/api/v1/enrolments", "/api/v1/knocks", "/api/v1/authority",
		"/api/v1/audit", "/api/v1/rejects?payload=true", "/api/v1/stats", "/api/v1/commands", "/api/v1/twins",
		"/prometheus/api/v1/status/config", "/prometheus/api/v1/status/flags", "/prometheus/api/v1/status/tsdb", "/prometheus/api/v1/labels",
		"/prometheus/api/v1/metadata", "/prometheus/api/v1/series?match[]=" + url.QueryEscape(`{__name__!=""}`),
	} {
		c.send("GET", path, "", 200, bearer(c.Token)...)
	}
}

// meant are the files that are there to hold a secret, readable by their owner
// alone.
var meant = map[string]string{
	"admin.token": "the admin's token", "secrets.key": "the key in secrets.key",
	"authority/root.key": "the key in authority/root.key", "authority/hub.key": "the key in authority/hub.key",
}

// onDisk searches every file of the data directory.
func (c *cage) onDisk() {
	err := filepath.WalkDir(c.Dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(c.Dir, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if meant[name] != "" && info.Mode().Perm() != 0o600 {
			c.t.Errorf("%s is of mode %v", name, info.Mode())
		}
		for _, what := range c.leaks(bytes.TrimRight(text, "\x00")) { // some are made larger than what they hold
			if meant[name] != what {
				c.t.Errorf("the file %s holds %s", name, what)
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// TestSecretsAreFoundNowhere plants a different secret in every place where
// one is shown, right or wrong, while the hub logs all it can, and then
// searches what it logged, answered, counted and wrote, in several encodings.
func TestSecretsAreFoundNowhere(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			planted := canaries{}
			password := filepath.Join(t.TempDir(), "broker.password")
			if err := os.WriteFile(password, []byte(planted.plant("the password at a broker")), 0o600); err != nil {
				t.Fatal(err)
			}
			away, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
			if err != nil {
				t.Fatal(err)
			}
			defer away.Close()
			h := startWith(t, t.TempDir(), fmt.Sprintf("log:\n  level: debug\n  format: %s\nbroker:\n  brokers: [tcp://%s]\n  user: hub\n  password_file: %s\n", format, away.Addr(), password))
			c := &cage{Hub: h, t: t, canaries: planted, spoken: map[string][]byte{}}
			c.issue()
			c.overHTTP()
			c.overTheAPI()
			c.overMQTT()
			c.overCoAP()
			c.throughAnAgent()
			c.asked()
			if code, err := h.Stop(); err != nil || code != 0 {
				t.Errorf("stopped with %d, %v", code, err)
			}
			c.heard("the log", []byte(h.Output()))
			if !strings.Contains(h.Output(), "hub_ready") || !strings.Contains(h.Output(), "DEBUG") {
				t.Error("the log is not whole, or says too little for this test")
			}
			for where, text := range c.spoken {
				for _, what := range c.leaks(text) {
					t.Errorf("%s holds %s", where, what)
				}
			}
			c.onDisk()
		})
	}
}

func TestACanaryIsFoundInEveryForm(t *testing.T) {
	c := canaries{}
	secret := c.plant("it")
	for _, text := range append(forms(secret), base64.StdEncoding.EncodeToString([]byte(secret+"more"))) {
		if len(c.leaks([]byte("before "+text+" behind"))) != 1 {
			t.Errorf("%q is overlooked", text)
		}
	}
	if c.leaks([]byte(strings.TrimSuffix(secret, secret[len(secret)-3:]))) != nil {
		t.Error("a part is taken for the whole")
	}
}
