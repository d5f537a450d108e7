//lint:file-ignore SA1019 go-coap takes pion's dtls.Config and nothing newer.

package hub

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	piondtls "github.com/pion/dtls/v3"
	"github.com/plgd-dev/go-coap/v3/dtls"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/message/pool"
	"github.com/plgd-dev/go-coap/v3/udp"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// said is what a client was answered: a code in the manner of its protocol,
// when it may come again, and the words.
type said struct {
	ok   bool
	code string
	wait string // seconds
	text string
}

// refusedAndLetInAgain tries until it is refused, looks at how, and tries until
// it is let in again.
func refusedAndLetInAgain(t *testing.T, try func() said, code, key string) {
	t.Helper()
	var s said
	for range 200 {
		if s = try(); !s.ok {
			break
		}
	}
	if n, err := strconv.Atoi(s.wait); s.ok || s.code != code || err != nil || n < 1 || n > 60 || !strings.Contains(s.text, key) {
		t.Fatalf("answered %+v; want %s, a time, and the name %s", s, code, key)
	}
	soon(t, "it is let in again", func() bool { return try().ok })
}

func ctxOf(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// dial5 connects an MQTT 5 client.
func dial5(t *testing.T, h *hub, device, secret, client string) (*paho.Client, said) {
	t.Helper()
	nc, err := net.Dial("tcp", h.at.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	c := paho.NewClient(paho.ClientConfig{Conn: nc, PacketTimeout: patience})
	ack, err := c.Connect(ctxOf(t), &paho.Connect{ClientID: client, CleanStart: true, KeepAlive: 60, Username: device, UsernameFlag: true, Password: []byte(secret), PasswordFlag: true})
	if ack == nil {
		t.Fatalf("no CONNACK: %v", err)
	}
	s := said{ok: ack.ReasonCode == 0, code: fmt.Sprintf("%#x", ack.ReasonCode)}
	if p := ack.Properties; p != nil {
		s.text, s.wait = p.ReasonString, p.User.Get("retry-after")
	}
	return c, s
}

// publish5 returns a function that publishes with QoS 1.
func publish5(t *testing.T, h *hub, device, secret string) func() said {
	t.Helper()
	c, s := dial5(t, h, device, secret, device)
	if !s.ok {
		t.Fatalf("CONNACK %+v", s)
	}
	return func() said {
		ack, err := c.Publish(ctxOf(t), &paho.Publish{QoS: 1, Topic: "devices/" + device + "/telemetry", Payload: []byte(`{"a":1}`)})
		if ack == nil {
			t.Fatalf("no PUBACK: %v", err)
		}
		s := said{ok: ack.ReasonCode == 0, code: fmt.Sprintf("%#x", ack.ReasonCode)}
		if p := ack.Properties; p != nil {
			s.text, s.wait = p.ReasonString, p.User.Get("retry-after")
		}
		return s
	}
}

// poster is a CoAP connection of any kind.
type poster interface {
	Post(ctx context.Context, path string, format message.MediaType, payload io.ReadSeeker, opts ...message.Option) (*pool.Message, error)
}

func post(t *testing.T, c poster, device string, opts ...message.Option) said {
	t.Helper()
	m, err := c.Post(ctxOf(t), "/devices/"+device+"/telemetry", message.AppJSON, strings.NewReader(`{"a":1}`), opts...)
	if err != nil {
		t.Fatal(err)
	}
	s := said{ok: m.Code() == codes.Changed, code: fmt.Sprintf("%d.%02d", m.Code()>>5, m.Code()&31)}
	if age, err := m.Options().GetUint32(message.MaxAge); err == nil {
		s.wait = strconv.Itoa(int(age))
	}
	if body, err := m.ReadBody(); err == nil {
		s.text = string(body)
	}
	return s
}

// postCoAP returns a function that posts to the plain door.
func postCoAP(t *testing.T, h *hub, device string) func(secret string) said {
	t.Helper()
	c, err := udp.Dial(h.at.CoAP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return func(secret string) said {
		return post(t, c, device, message.Option{ID: message.URIQuery, Value: []byte("token=" + secret)})
	}
}

// dialCoAPS opens a session of a device.
func dialCoAPS(t *testing.T, h *hub, device, secret string) poster {
	t.Helper()
	c, err := dtls.Dial(h.at.CoAPS, &piondtls.Config{
		PSK: func([]byte) ([]byte, error) { return []byte(secret), nil }, PSKIdentityHint: []byte(device),
		CipherSuites: []piondtls.CipherSuiteID{piondtls.TLS_PSK_WITH_AES_128_GCM_SHA256},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// postCoAPS returns a function that posts in a session of its own.
func postCoAPS(t *testing.T, h *hub, device, secret string) func() said {
	t.Helper()
	c := dialCoAPS(t, h, device, secret)
	return func() said { return post(t, c, device) }
}

// ask sends a request on a connection of its own and checks the header fields of
// every answer that is limited.
func ask(t *testing.T, h *hub, method, path, authorization, policy string) said {
	t.Helper()
	do := func() (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctxOf(t), method, h.at.HTTP+path, strings.NewReader(`{"a":1}`))
		if err != nil {
			t.Fatal(err)
		}
		r.Close = true
		r.Header.Set("Authorization", authorization)
		if method == http.MethodPost {
			r.Header.Set("Content-Type", "application/json")
		}
		return http.DefaultClient.Do(r)
	}
	resp, err := do()
	for range 10 { // one too many is closed unanswered when this machine takes longer than toldWithin to ask
		if err != nil {
			resp, err = do()
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	s := said{ok: resp.StatusCode < 400, code: strconv.Itoa(resp.StatusCode), wait: resp.Header.Get("Retry-After"), text: string(body)}
	if s.code == "429" || s.ok {
		limits, left := resp.Header.Get("RateLimit-Policy"), resp.Header.Get("RateLimit")
		if !strings.HasPrefix(limits, `"`+policy) || !strings.Contains(limits, ";q=") || !strings.Contains(left, ";r=") {
			t.Fatalf("RateLimit-Policy %s, RateLimit %s; want those of %s", limits, left, policy)
		}
		if s.code == "429" && (!strings.Contains(left, ";r=0;t="+s.wait) || !strings.Contains(s.text, "#quota-exceeded") || !strings.Contains(s.text, `"violated-policies":["`+policy)) {
			t.Fatalf("RateLimit %s, Retry-After %s, %s", left, s.wait, s.text)
		}
	}
	return s
}

func (h *hub) device(t *testing.T, id string) string {
	t.Helper()
	return h.register(t, registry.Spec{ID: id, Kind: "sensor", Region: "220100"})
}

// TestWhatADeviceSends sends too much through every door, of every kind that is
// counted; nothing that was acknowledged is lost, and others feel nothing.
func TestWhatADeviceSends(t *testing.T) {
	for _, c := range []struct {
		what string
		set  func(*config.Config)
	}{
		{"messages", func(c *config.Config) { c.Quotas.Device.MessagesPerSecond = 1 }},
		{"bytes", func(c *config.Config) { c.Quotas.Device.BytesPerSecond = 7 }},
		{"samples", func(c *config.Config) { c.Quotas.Device.SamplesPerSecond = 1 }},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			h := everyDoor(t, t.TempDir(), func(cfg *config.Config) {
				c.set(cfg)
				cfg.MQTT.MaxHold = 0 // an MQTT 5 client is told at once
			})
			key := "quotas.device." + c.what + "_per_second"
			t.Run("mqtt", func(t *testing.T) {
				refusedAndLetInAgain(t, publish5(t, h, "by-mqtt", h.device(t, "by-mqtt")), "0x97", key)
			})
			t.Run("mqtt 3.1.1", func(t *testing.T) { // it is held until it may
				client := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetProtocolVersion(4).SetUsername("by-old").SetPassword(h.device(t, "by-old")))
				for i, token := 0, client.Connect(); i < 5; i++ {
					if !token.WaitTimeout(patience) || token.Error() != nil {
						t.Fatalf("message %d: %v", i, token.Error())
					}
					token = client.Publish("devices/by-old/telemetry", 1, false, `{"a":1}`)
				}
				client.Disconnect(0)
			})
			t.Run("coap", func(t *testing.T) {
				secret, try := h.device(t, "by-coap"), postCoAP(t, h, "by-coap")
				refusedAndLetInAgain(t, func() said { return try(secret) }, "4.29", key)
			})
			t.Run("coaps", func(t *testing.T) {
				refusedAndLetInAgain(t, postCoAPS(t, h, "by-coaps", h.device(t, "by-coaps")), "4.29", key)
			})
			t.Run("http", func(t *testing.T) {
				secret := h.device(t, "by-http")
				refusedAndLetInAgain(t, func() said {
					return ask(t, h, "POST", "/api/v1/devices/by-http/telemetry", "Bearer "+secret, "device-")
				}, "429", key)
			})
			if s := publish5(t, h, "other", h.device(t, "other"))(); !s.ok {
				t.Errorf("another device was answered %+v", s)
			}
		})
	}
}

func TestSeriesOfADevice(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Device.Series = 1 })
	c, _ := dial5(t, h, "t1", h.device(t, "t1"), "t1")
	if ack, err := c.Publish(ctxOf(t), &paho.Publish{QoS: 1, Topic: "devices/t1/telemetry", Payload: []byte(`{"a":1}`)}); err != nil || ack.ReasonCode != 0 {
		t.Fatalf("the first series: %+v, %v", ack, err)
	}
	ack, _ := c.Publish(ctxOf(t), &paho.Publish{QoS: 1, Topic: "devices/t1/telemetry", Payload: []byte(`{"b":1}`)})
	if ack == nil || ack.ReasonCode != 0x97 || !strings.Contains(ack.Properties.ReasonString, "series_limit") {
		t.Errorf("a second series: %+v", ack)
	}
}

// TestConnectionsOfADevice opens one more than a device may have, at every door
// that has connections, and closes one.
func TestConnectionsOfADevice(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Device.Connections = 1 })
	const key = "quotas.device.connections"
	t.Run("mqtt", func(t *testing.T) {
		secret := h.device(t, "by-mqtt")
		first, _ := dial5(t, h, "by-mqtt", secret, "a")
		if _, s := dial5(t, h, "by-mqtt", secret, "b"); s.ok || s.code != "0x97" || s.wait == "" || !strings.Contains(s.text, key) {
			t.Errorf("a second: %+v", s)
		}
		if _, s := dial5(t, h, "by-mqtt", secret, "a"); !s.ok { // takes the place of the first
			t.Errorf("the same client again: %+v", s)
		}
		_ = first
	})
	t.Run("mqtt 3.1.1", func(t *testing.T) {
		secret := h.device(t, "by-old")
		open := func(client string) (paho3.Client, error) {
			c := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetProtocolVersion(4).SetClientID(client).SetUsername("by-old").SetPassword(secret).SetConnectRetry(false))
			token := c.Connect()
			if !token.WaitTimeout(patience) {
				t.Fatal("no CONNACK")
			}
			return c, token.Error()
		}
		first, err := open("a")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := open("b"); err == nil || !strings.Contains(strings.ToLower(err.Error()), "server unavailable") {
			t.Errorf("a second: %v", err)
		}
		first.Disconnect(0)
		soon(t, "there is room again", func() bool {
			c, err := open("b")
			c.Disconnect(0)
			return err == nil
		})
	})
	t.Run("coaps", func(t *testing.T) {
		secret := h.device(t, "by-coaps")
		first, second := postCoAPS(t, h, "by-coaps", secret), postCoAPS(t, h, "by-coaps", secret)
		if s := first(); !s.ok {
			t.Fatalf("the first: %+v", s)
		}
		if s := second(); s.code != "4.29" || s.wait == "" || !strings.Contains(s.text, key) {
			t.Errorf("a second: %+v", s)
		}
	})
	t.Run("http", func(t *testing.T) {
		secret := h.device(t, "by-http")
		path := "/api/v1/devices/by-http/commands?wait="
		ctx, cancel := context.WithCancel(t.Context())
		waiting := make(chan error, 1)
		go func() {
			for { // until none of those below is in its place
				r, _ := http.NewRequestWithContext(ctx, "GET", h.at.HTTP+path+"60s", nil)
				r.Header.Set("Authorization", "Bearer "+secret)
				resp, err := http.DefaultClient.Do(r)
				if err != nil {
					waiting <- err
					return
				}
				resp.Body.Close()
			}
		}()
		try := func() said { return ask(t, h, "GET", path+"1ms", "Bearer "+secret, "device-") }
		soon(t, "the first waits", func() bool { s := try(); return s.code == "429" && strings.Contains(s.text, key) })
		cancel()
		if err := <-waiting; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		soon(t, "there is room again", func() bool {
			r, _ := http.NewRequestWithContext(t.Context(), "GET", h.at.HTTP+path+"1ms", nil)
			r.Header.Set("Authorization", "Bearer "+secret)
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				return false
			}
			resp.Body.Close()
			return resp.StatusCode == 200
		})
	})
}

// TestWrongCredentials shows wrong ones about a device until the address is told
// to wait: at every door, and that the right ones are taken afterwards.
func TestWrongCredentials(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Address.FailuresPerMinute = 10_000 })
	const key = "quotas.address.failures_per_minute"
	for _, c := range []struct {
		door, code, wrong string
		try               func(t *testing.T, device, secret string) said
	}{
		{"mqtt", "0x9f", "0x86", func(t *testing.T, device, secret string) said { _, s := dial5(t, h, device, secret, "x"); return s }},
		{"coap", "4.29", "4.01", func(t *testing.T, device, secret string) said { return postCoAP(t, h, device)(secret) }},
		{"http", "429", "401", func(t *testing.T, device, secret string) said {
			return ask(t, h, "POST", "/api/v1/devices/"+device+"/telemetry", "Bearer "+secret, "")
		}},
	} {
		t.Run(c.door, func(t *testing.T) {
			t.Parallel()
			device := "by-" + c.door
			secret := h.device(t, device)
			var s said
			for range 100 {
				if s = c.try(t, device, "wrong"); s.code != c.wrong {
					break
				}
			}
			if s.code != c.code || s.wait == "" || s.wait == "0" || !strings.Contains(s.text, key) && c.door != "coap" { // a stranger's answer is cut
				t.Fatalf("answered %+v", s)
			}
			soon(t, "the right ones are taken", func() bool { return c.try(t, device, secret).ok })
		})
	}
	t.Run("mosquitto", func(t *testing.T) {
		program, err := exec.LookPath("mosquitto_pub")
		if err != nil {
			t.Skip("mosquitto-clients is not installed")
		}
		_, port, _ := net.SplitHostPort(h.at.MQTT)
		h.device(t, "by-tool")
		for range 100 {
			said, err := exec.CommandContext(t.Context(), program, "-V", "5", "-p", port, "-u", "by-tool", "-P", "wrong", "-t", "devices/by-tool/telemetry", "-m", "{}").CombinedOutput()
			if strings.Contains(string(said), "Connection rate exceeded") {
				return
			}
			if err == nil {
				t.Fatalf("it got in: %s", said)
			}
		}
		t.Error("it never says that the connection rate is exceeded")
	})
}

func TestNewConnectionsOfAnAddress(t *testing.T) {
	for _, door := range []string{"mqtt", "http"} {
		t.Run(door, func(t *testing.T) {
			t.Parallel()
			h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Address.ConnectionsPerSecond = 2 })
			secret := h.device(t, "t1")
			const key = "quotas.address.connections_per_second"
			if door == "mqtt" {
				refusedAndLetInAgain(t, func() said { _, s := dial5(t, h, "t1", secret, "x"); return s }, "0x9f", key)
				return
			}
			refusedAndLetInAgain(t, func() said { return ask(t, h, "POST", "/api/v1/devices/t1/telemetry", "Bearer "+secret, "") }, "429", key)
		})
	}
}

func TestConnectionsOfAnAddress(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Address.Connections = 1 })
	secret := h.device(t, "t1")
	c, s := dial5(t, h, "t1", secret, "a")
	if !s.ok {
		t.Fatalf("%+v", s)
	}
	if _, s := dial5(t, h, "t1", secret, "b"); s.code != "0x97" || s.wait == "" || !strings.Contains(s.text, "quotas.address.connections") {
		t.Errorf("a second: %+v", s)
	}
	if s := ask(t, h, "POST", "/api/v1/devices/t1/telemetry", "Bearer "+secret, ""); s.code != "429" || s.wait == "" {
		t.Errorf("at another door: %+v", s)
	}
	if err := c.Disconnect(&paho.Disconnect{}); err != nil {
		t.Fatal(err)
	}
	soon(t, "there is room again", func() bool { _, s := dial5(t, h, "t1", secret, "b"); return s.ok })
}

// TestCallsOfADevice asks for commands, answers and reports at every door.
func TestCallsOfADevice(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Quotas.Device.CallsPerSecond, c.MQTT.MaxHold = 1, 0
	})
	const key = "quotas.device.calls_per_second"
	t.Run("HTTP", func(t *testing.T) {
		secret := "Bearer " + h.device(t, "by-http")
		refusedAndLetInAgain(t, func() said { return ask(t, h, "GET", "/api/v1/devices/by-http/config", secret, "device-calls") }, "429", key)
	})
	t.Run("CoAP", func(t *testing.T) {
		secret := h.device(t, "by-coap")
		c, err := udp.Dial(h.at.CoAP)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		refusedAndLetInAgain(t, func() said {
			m, err := c.Get(ctxOf(t), "/devices/by-coap/config", message.Option{ID: message.URIQuery, Value: []byte("token=" + secret)})
			if err != nil {
				t.Fatal(err)
			}
			s := said{ok: m.Code() == codes.Content, code: fmt.Sprintf("%d.%02d", m.Code()>>5, m.Code()&31)}
			if age, err := m.Options().GetUint32(message.MaxAge); err == nil {
				s.wait = strconv.Itoa(int(age))
			}
			if body, err := m.ReadBody(); err == nil {
				s.text = string(body)
			}
			return s
		}, "4.29", key)
	})
	t.Run("MQTT 5", func(t *testing.T) {
		c, s := dial5(t, h, "by-mqtt", h.device(t, "by-mqtt"), "by-mqtt")
		if !s.ok {
			t.Fatalf("CONNACK %+v", s)
		}
		refusedAndLetInAgain(t, func() said {
			ack, err := c.Publish(ctxOf(t), &paho.Publish{QoS: 1, Topic: "devices/by-mqtt/config/reported", Payload: []byte(`{"version":0,"config":{}}`)})
			if ack == nil {
				t.Fatalf("no PUBACK: %v", err)
			}
			s := said{ok: ack.ReasonCode == 0, code: fmt.Sprintf("%#x", ack.ReasonCode)}
			if p := ack.Properties; p != nil {
				s.text, s.wait = p.ReasonString, p.User.Get("retry-after")
			}
			return s
		}, "0x97", key)
	})
	t.Run("MQTT 3.1.1 is held still", func(t *testing.T) {
		client := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetProtocolVersion(4).SetUsername("by-old").SetPassword(h.device(t, "by-old")))
		for i, token := 0, client.Connect(); i < 5; i++ {
			if !token.WaitTimeout(patience) || token.Error() != nil {
				t.Fatalf("report %d: %v", i, token.Error())
			}
			token = client.Publish("devices/by-old/config/reported", 1, false, `{"version":0,"config":{}}`)
		}
		client.Disconnect(0)
		if _, text := h.ask(t, "", http.MethodGet, "/metrics", nil); !strings.Contains(text, "hub_mqtt_held_total ") || strings.Contains(text, "hub_mqtt_held_total 0\n") {
			t.Error("it was not held")
		}
	})
	t.Run("others and telemetry are not held back", func(t *testing.T) {
		if s := ask(t, h, "GET", "/api/v1/devices/beside/config", "Bearer "+h.device(t, "beside"), "device-calls"); !s.ok {
			t.Errorf("another device: %+v", s)
		}
	})
}

// TestTokens calls the API and sends for devices by tokens, and calls without
// one.
func TestTokens(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		c.Quotas.Token.CallsPerSecond, c.Quotas.Token.MessagesPerSecond, c.Quotas.Address.CallsPerSecond = 1, 1, 1
	})
	token := func(name string, role access.Role) string {
		_, secret, err := h.tokens.Create(t.Context(), access.Token{Name: name, Role: role})
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + secret
	}
	for i := range 100 {
		h.device(t, fmt.Sprint("d", i))
	}
	reader, other, gateway := token("reader", access.Reader), token("other", access.Reader), token("gw", access.Gateway)
	t.Run("calls", func(t *testing.T) {
		refusedAndLetInAgain(t, func() said { return ask(t, h, "GET", "/api/v1/devices", reader, "token-calls") }, "429", "quotas.token.calls_per_second")
		if s := ask(t, h, "GET", "/api/v1/devices", other, "token-calls"); !s.ok {
			t.Errorf("another token: %+v", s)
		}
	})
	t.Run("messages", func(t *testing.T) {
		n := 0
		refusedAndLetInAgain(t, func() said {
			n++
			return ask(t, h, "POST", fmt.Sprintf("/api/v1/devices/d%d/telemetry", n%100), gateway, "token-messages")
		}, "429", "quotas.token.messages_per_second")
	})
	t.Run("calls without a token", func(t *testing.T) {
		refusedAndLetInAgain(t, func() said {
			s := ask(t, h, "GET", "/signin", "", "address-calls")
			return s
		}, "429", "quotas.address.calls_per_second")
	})
}

// TestSeriesThatATokenBegins are bounded; those in use go on, and a device begins
// its own.
func TestSeriesThatATokenBegins(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Token.SeriesPerHour = 2 })
	_, secret, err := h.tokens.Create(t.Context(), access.Token{Name: "gw", Role: access.Gateway})
	if err != nil {
		t.Fatal(err)
	}
	var own [3]string
	for i := range own {
		own[i] = h.device(t, fmt.Sprint("d", i))
	}
	post := func(device int, secret string) said {
		return ask(t, h, "POST", fmt.Sprintf("/api/v1/devices/d%d/telemetry", device), "Bearer "+secret, "device-")
	}
	for _, device := range []int{0, 1, 0} {
		if s := post(device, secret); !s.ok {
			t.Errorf("device %d: %+v", device, s)
		}
	}
	if s := post(2, secret); s.code != "422" || !strings.Contains(s.text, "series_limit") || !strings.Contains(s.text, "token gw has used up its quota of series (quotas.token.series_per_hour)") {
		t.Errorf("a third series: %+v", s)
	}
	if s := post(2, own[2]); !s.ok {
		t.Errorf("the device itself: %+v", s)
	}
	if s := post(2, secret); !s.ok {
		t.Errorf("a series that is in use: %+v", s)
	}
}

// TestCallsOfATokenThatAreUnderWay are bounded, those of a gateway that wait among
// them.
func TestCallsOfATokenThatAreUnderWay(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(c *config.Config) { c.Quotas.Token.Connections = 2 })
	poll := func(ctx context.Context, bearer string, device int, wait string) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/api/v1/devices/d%d/commands?wait=%s", h.at.HTTP, device, wait), nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", bearer)
		return http.DefaultClient.Do(r)
	}
	_, secret, err := h.tokens.Create(t.Context(), access.Token{Name: "busy", Role: access.Gateway})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		h.device(t, fmt.Sprint("d", i))
	}
	busy := "Bearer " + secret
	stay, leave := context.WithCancel(t.Context())
	defer leave()
	for i := range 2 {
		go func() {
			for stay.Err() == nil { // the one below may have come between
				if resp, err := poll(stay, busy, i, "1m"); err == nil {
					resp.Body.Close()
				}
			}
		}()
	}
	full := func() bool {
		resp, err := poll(t.Context(), busy, 9, "1ms")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusTooManyRequests && resp.Header.Get("Retry-After") == "10" && strings.Contains(string(body), "quotas.token.connections")
	}
	soon(t, "the third of a token that may have two is refused", full)
	leave()
	soon(t, "it is let in when the others are gone", func() bool {
		resp, err := poll(t.Context(), busy, 9, "1ms")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}
