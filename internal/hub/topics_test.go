package hub

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/registry"
)

// speaker is a real client of either version as a test uses it.
type speaker struct {
	subscribe func(filter string) (granted bool)
	publish   func(topic, payload string, retain bool)
	heard     chan string // topic and payload of what came
	cut       func()      // the connection breaks
}

const foreignWill = "devices/t2/telemetry"

// speakers connect as t1, with a will in the name of t2.
var speakers = map[string]func(*testing.T, *hub, string) speaker{
	"3.1.1": func(t *testing.T, h *hub, secret string) speaker {
		s := speaker{heard: make(chan string, 100)}
		var conn net.Conn
		c := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://"+h.at.MQTT).SetClientID("three").SetUsername("t1").SetPassword(secret).
			SetAutoReconnect(false).SetWill(foreignWill, `{"will": 1}`, 1, false).
			SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { s.heard <- m.Topic() + " " + string(m.Payload()) }).
			SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (_ net.Conn, err error) {
				conn, err = net.Dial("tcp", h.at.MQTT)
				return conn, err
			}))
		done := func(token paho3.Token) error {
			if !token.WaitTimeout(patience) {
				t.Fatalf("no answer within %s", patience)
			}
			return token.Error()
		}
		if err := done(c.Connect()); err != nil {
			t.Fatal(err)
		}
		s.subscribe = func(filter string) bool {
			token := c.Subscribe(filter, 1, nil).(*paho3.SubscribeToken)
			granted := done(token) == nil
			for _, code := range token.Result() { // by the filter, without what shares it
				granted = granted && code < 0x80
			}
			return granted
		}
		s.publish = func(topic, payload string, retain bool) { _ = done(c.Publish(topic, 1, retain, payload)) }
		s.cut = func() { conn.Close() }
		return s
	},
	"5": func(t *testing.T, h *hub, secret string) speaker {
		s := speaker{heard: make(chan string, 100)}
		conn, err := net.Dial("tcp", h.at.MQTT)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(conn), PacketTimeout: patience, OnClientError: func(error) {}, OnServerDisconnect: func(*paho.Disconnect) {},
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				s.heard <- p.Packet.Topic + " " + string(p.Packet.Payload)
				return true, nil
			}}})
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		if ack, err := c.Connect(ctx, &paho.Connect{ClientID: "five", CleanStart: true, KeepAlive: 60, UsernameFlag: true, Username: "t1", PasswordFlag: true, Password: []byte(secret),
			WillMessage: &paho.WillMessage{Topic: foreignWill, QoS: 1, Payload: []byte(`{"will": 1}`)}}); err != nil {
			t.Fatalf("%+v %v", ack, err)
		}
		s.subscribe = func(filter string) bool {
			ack, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
			return err == nil && ack.Reasons[0] < 0x80
		}
		s.publish = func(topic, payload string, retain bool) {
			_, _ = c.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Retain: retain, Payload: []byte(payload)})
		}
		s.cut = func() { conn.Close() }
		return s
	},
}

// TestNoTopicLeadsOutOfTheOwnName with real clients: wildcards, shared and $
// topics, wills and labels that name another device.
func TestNoTopicLeadsOutOfTheOwnName(t *testing.T) {
	for version, connect := range speakers {
		t.Run(version, func(t *testing.T) {
			h := whole(t, t.TempDir())
			secret := h.register(t, registry.Spec{ID: "t1", Region: "220100", Site: "plant"})
			h.register(t, registry.Spec{ID: "t2"})
			s := connect(t, h, secret)
			admin, err := os.ReadFile(h.at.TokenFile)
			if err != nil {
				t.Fatal(err)
			}
			for filter, want := range map[string]bool{
				"#": false, "+/+/commands": false, "devices/#": false, "devices/+/commands": false, "devices/t2/commands": false, "devices/t2/#": false,
				"$SYS/#": false, "$share/g/devices/t2/commands": false, "$share/g/devices/t1/commands": false, "devices/t1/#": true, "devices/t1/+": true,
			} {
				if got := s.subscribe(filter); got != want {
					t.Errorf("subscribed %s: %v, want %v", filter, got, want)
				}
			}
			for _, id := range []string{"t2", "t1"} { // the one to t1 comes last, and is waited for
				if code, text := h.ask(t, strings.TrimSpace(string(admin)), http.MethodPost, "/api/v1/devices/"+id+"/commands", []byte(`{"name": "to-`+id+`"}`)); code != 201 {
					t.Fatalf("%d %s", code, text)
				}
			}
			// What asks for being retained is stored as ever (3.1.1), or refused by the
			// client itself, which was told (5): nobody gets it later.
			s.publish("devices/t1/telemetry", `{"kept": 1}`, true)
			s.publish("devices/t1/telemetry", `{"tags": {"device": "t2", "region": "999999", "site": "forged", "kind": "rsu", "room": "a"}, "level": 1}`, false)
			s.publish("devices/t1/telemetry/influx", "line,device=t2,region=999999 value=1", false)
			s.publish("devices/t1/telemetry/senml", `[{"n": "t2:spoken", "v": 1}, {"n": "t1:own", "v": 1}]`, false)
			for wait := time.After(patience); ; {
				var m string
				select {
				case m = <-s.heard:
				case <-wait:
					t.Fatal("its own command does not come")
				}
				if strings.Contains(m, "t2/") || strings.Contains(m, "to-t2") || strings.Contains(m, "kept") {
					t.Errorf("it hears %s", m)
				}
				if strings.Contains(m, "to-t1") {
					break
				}
			}
			// A device's messages without a time get one each, so that what comes within
			// a millisecond may be stamped some ahead.
			soon(t, "three series are under its own name", func() bool {
				return h.values(t, `{__name__=~"level|line|own", device="t1", region="220100", site="plant", kind="sensor"}`) == 3
			})
			s.cut()
			soon(t, "the will was taken, as a reject of its sender", func() bool {
				_, text := h.ask(t, strings.TrimSpace(string(admin)), http.MethodGet, "/api/v1/rejects?device=t1", nil)
				return strings.Contains(text, foreignWill) || strings.Contains(text, "not_permitted")
			})
			if n := h.values(t, `{device="t2", __name__!="device_presence"} or {region="999999"} or {site="forged"} or {kind="rsu"} or {__name__=~"will|spoken"}`); n != 0 {
				t.Errorf("%d series of another's name", n)
			}
		})
	}
}
