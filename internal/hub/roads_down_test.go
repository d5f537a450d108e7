package hub

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/command"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// order is a message that a unit's client received.
type order struct {
	topic string
	body  map[string]any
}

// unitClient is a roadside unit's MQTT client.
type unitClient struct {
	paho.Client
	heard chan order
}

func (h *hub) unitClient(t *testing.T, id, secret string) *unitClient {
	t.Helper()
	u := &unitClient{heard: make(chan order, 100)}
	u.Client = paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetClientID("unit").SetUsername(id).SetPassword(secret).SetAutoReconnect(false).
		SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) {
			s := order{topic: m.Topic()}
			if json.Unmarshal(m.Payload(), &s.body) != nil {
				s.body = map[string]any{"raw": string(m.Payload())}
			}
			u.heard <- s
		}))
	u.done(t, u.Connect())
	t.Cleanup(func() { u.Disconnect(100) })
	return u
}

func (u *unitClient) done(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("no answer, or %v", token.Error())
	}
}

// hear subscribes and reports whether it was let.
func (u *unitClient) hear(t *testing.T, filter string, qos byte) bool {
	t.Helper()
	token := u.Subscribe(filter, qos, nil).(*paho.SubscribeToken)
	if !token.WaitTimeout(patience) {
		t.Fatal("no SUBACK")
	}
	return token.Error() == nil && token.Result()[filter] < 0x80
}

func (u *unitClient) next(t *testing.T) order {
	t.Helper()
	select {
	case s := <-u.heard:
		return s
	case <-time.After(patience):
		t.Fatal("nothing comes down")
	}
	panic("unreachable")
}

func (u *unitClient) say(t *testing.T, topic, payload string) {
	t.Helper()
	u.done(t, u.Publish(topic, 1, false, payload))
}

// issue asks a device for something by the API, and returns the command's id.
func (h *hub) issue(t *testing.T, device, body string) string {
	t.Helper()
	code, text := h.ask(t, h.admin(t), http.MethodPost, "/api/v1/devices/"+device+"/commands", []byte(body))
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(text), &made); code != http.StatusCreated || err != nil {
		t.Fatalf("%d %s", code, text)
	}
	return made.ID
}

// becomes waits until a command is in a state.
func (h *hub) becomes(t *testing.T, id string, state command.State) (c command.Command) {
	t.Helper()
	soon(t, "command "+id+" is "+string(state), func() bool {
		var err error
		if c, err = h.commands.Get(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		return c.State == state
	})
	return c
}

const config1 = `{"name": "v2x.config", "params": {"bsmConfig": {"sampleMode": "ByAll", "upLimit": 50}}}`

func TestOrdersReachAUnitInItsDialect(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	secret := h.register(t, registry.Spec{ID: "rsu-1", Kind: "rsu", Region: "220100", Tags: map[string]string{"esn": "R328328"}})
	u := h.unitClient(t, "rsu-1", secret)
	waits := h.issue(t, "rsu-1", config1)
	if !u.hear(t, "V2X/RSU/R328328/#", 1) {
		t.Fatal("it may not hear its own topics")
	}
	s := u.next(t)
	seq, _ := s.body["seqNum"].(string)
	if bsm, _ := s.body["bsmConfig"].(map[string]any); s.topic != "V2X/RSU/R328328/CONFIG/DOWN" || bsm["sampleMode"] != "ByAll" || bsm["upLimit"] != 50.0 || s.body["ack"] != true || seq == "" {
		t.Fatalf("%+v", s)
	}
	h.becomes(t, waits, command.Received)
	u.say(t, s.topic+"/ACK", `{"seqNum": "`+seq+`", "errorCode": 0}`)
	if c := h.becomes(t, waits, command.Done); !strings.Contains(string(c.Result), "已完成") {
		t.Errorf("%s", c.Result)
	}

	id := h.issue(t, "rsu-1", `{"name": "v2x.manage", "params": {"HBRate": 30, "reboot": 1}}`)
	if s = u.next(t); s.topic != "V2X/RSU/R328328/MNG/DOWN" || s.body["hbRate"] != 30.0 || s.body["rsuEsn"] != "R328328" {
		t.Fatalf("%+v", s)
	}
	u.say(t, s.topic+"/ACK", `{"seqNum": `+s.body["seqNum"].(string)+`, "errorCode": 1, "errorDesc": "no reboot at noon"}`)
	if c := h.becomes(t, id, command.Failed); c.Reason != command.ByDevice || !strings.Contains(string(c.Result), "参数错误：no reboot at noon") {
		t.Errorf("%+v %s", c, c.Result)
	}

	id = h.issue(t, "rsu-1", `{"name": "v2x.query", "params": {"infoId": 1}}`)
	if s = u.next(t); s.topic != "V2X/RSU/R328328/INFOQuery" {
		t.Fatalf("%+v", s)
	}
	told := `{"seqNum": "` + s.body["seqNum"].(string) + `", "rsuId": "1", "rsuEsn": "R328328", "Infotype": 1, "InfoValue": {"BSM": 98123}}`
	u.say(t, "V2X/RSU/INFOQuery/Response", told)
	if c := h.becomes(t, id, command.Done); string(c.Result) != `{"counts":{"bsm":98123}}` {
		t.Errorf("%s", c.Result)
	}
	u.say(t, "V2X/RSU/INFOQuery/Response", strings.Replace(told, "98123", "98124", 1)) // the next of an interval
	if code, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/rejects?device=rsu-1", nil); code != 200 || strings.Contains(text, "malformed") {
		t.Errorf("%s", text)
	}
	// What nobody asked for, and what names a person, is told, and not kept.
	u.say(t, "V2X/RSU/R328328/MAP/DOWN/ACK", `{"seqNum": "77", "errorCode": 0}`)
	u.say(t, "V2X/RSU/R328328/MAP/DOWN/ACK", `{"seqNum": "77", "errorCode": 1, "errorDesc": "吉A·12345"}`)
	soon(t, "both are rejects", func() bool {
		_, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/rejects?device=rsu-1", nil)
		return strings.Contains(text, "seqNum 77 is no command of this device") && strings.Contains(text, "plate") && !strings.Contains(text, "12345")
	})
}

// TestAnOrderIsTheSameAtEveryDelivery: without a PUBACK it comes again over the
// next connection, byte for byte.
func TestAnOrderIsTheSameAtEveryDelivery(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	secret := h.register(t, registry.Spec{ID: "R1", Kind: "rsu"})
	id := h.issue(t, "R1", `{"name": "v2x.map", "params": {"mapSlice": "m1", "eTag": "e1", "map": {"nodes": []}}}`)
	var first, second order
	for i, into := range []*order{&first, &second} {
		u := h.unitClient(t, "R1", secret)
		if !u.hear(t, "V2X.RSU.MAP.DOWN", 0) {
			t.Fatal("it may not hear its own topics")
		}
		*into = u.next(t)
		if c := h.becomes(t, id, command.Sent); c.Attempts != i+1 {
			t.Errorf("%+v", c)
		}
		u.Disconnect(100)
	}
	a, _ := json.Marshal(first.body)
	if b, _ := json.Marshal(second.body); string(a) != string(b) || first.topic != "V2X.RSU.MAP.DOWN" {
		t.Errorf("%s, then %s", a, b)
	}
	c, err := h.commands.Get(t.Context(), id)
	if err != nil || first.body["seqNum"] != strconv.FormatInt(c.Seq(), 10) {
		t.Errorf("%s, %+v, %v", a, c, err)
	}
}

func TestOrdersAreForTheUnitAndItsGateway(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.register(t, registry.Spec{ID: "R1", Kind: "rsu", Gateway: "edge"})
	other := h.unitClient(t, "R2", h.register(t, registry.Spec{ID: "R2", Kind: "rsu", Tags: map[string]string{"esn": "E2"}}))
	sensor := h.unitClient(t, "probe", h.register(t, registry.Spec{ID: "probe"}))
	edge := h.unitClient(t, "edge", h.register(t, registry.Spec{ID: "edge", Kind: "gateway"}))
	for _, c := range []struct {
		who    *unitClient
		filter string
		may    bool
	}{
		{other, "V2X/RSU/R1/#", false}, {other, "V2X/RSU/R1/CONFIG/DOWN", false}, {other, "V2X/RSU/+/CONFIG/DOWN", false}, {other, "V2X/#", false},
		{other, "V2X/RSU/E2/#", true}, {other, "V2X.RSU.E2.CONFIG.DOWN", true}, {other, "V2X.RSU.R1.CONFIG.DOWN", false}, {other, "v2x/v1/rsu/E2/+/down", true},
		{sensor, "V2X/RSU/probe/#", false}, {sensor, "V2X.RSU.CONFIG.DOWN", false},
		{edge, "V2X/RSU/R1/#", true}, {edge, "V2X/RSU/E2/#", false}, {edge, "V2X/RSU/nobody/#", false},
	} {
		if got := c.who.hear(t, c.filter, 1); got != c.may {
			t.Errorf("%s: %v", c.filter, got)
		}
	}
	id := h.issue(t, "R1", config1)
	s := edge.next(t)
	if s.topic != "V2X/RSU/R1/CONFIG/DOWN" {
		t.Fatalf("%+v", s)
	}
	ack := `{"seqNum": "` + s.body["seqNum"].(string) + `", "errorCode": 0}`
	other.say(t, s.topic+"/ACK", ack)            // not its own
	other.say(t, "V2X.RSU.CONFIG.DOWN.ACK", ack) // and none of its numbers
	edge.say(t, "V2X.RSU.CONFIG.DOWN.ACK", ack)  // of whom?
	if c := h.becomes(t, id, command.Received); c.Result != nil {
		t.Errorf("%+v", c)
	}
	edge.say(t, s.topic+"/ACK", ack)
	h.becomes(t, id, command.Done)

	// The gateway is no longer that of the unit: what it subscribed to is silent.
	if _, err := h.registry.Update(t.Context(), registry.Spec{ID: "R1", Kind: "rsu"}, 0); err != nil {
		t.Fatal(err)
	}
	id = h.issue(t, "R1", config1)
	h.issue(t, "R2", config1)
	if s := other.next(t); s.topic == "" {
		t.Error("nothing")
	}
	select {
	case s := <-edge.heard:
		t.Errorf("it hears %+v", s)
	default:
	}
	if c, err := h.commands.Get(t.Context(), id); err != nil || c.State == command.Received {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestOrdersAreCheckedWhenTheyAreIssued(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	h.register(t, registry.Spec{ID: "R1", Kind: "rsu"})
	h.register(t, registry.Spec{ID: "probe"})
	for _, c := range []struct{ device, body, want string }{
		{"R1", `{"name": "v2x.reset"}`, "there is no such order; known are config, manage, map, rsi, query, ota"},
		{"R1", `{"name": "v2x.config", "params": {"bsmConfig": {"upLimit": "fast"}}}`, "command v2x.config is not valid: params.bsmConfig.upLimit"},
		{"probe", config1, "it is of kind sensor"},
	} {
		if code, text := h.ask(t, h.admin(t), http.MethodPost, "/api/v1/devices/"+c.device+"/commands", []byte(c.body)); code != http.StatusUnprocessableEntity || !strings.Contains(text, c.want) {
			t.Errorf("%s: %d %s", c.body, code, text)
		}
	}
	// On devices/{id}/commands they are commands as any other.
	secret := h.register(t, registry.Spec{ID: "R3", Kind: "rsu"})
	u := h.unitClient(t, "R3", secret)
	if !u.hear(t, "devices/R3/commands", 1) {
		t.Fatal("it may not hear its commands")
	}
	id := h.issue(t, "R3", config1)
	if s := u.next(t); s.body["name"] != "v2x.config" || s.body["id"] != id {
		t.Errorf("%+v", s)
	}
}
