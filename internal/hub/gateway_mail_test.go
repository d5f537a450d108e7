package hub

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
)

// TestAGatewayHearsOfItsDevicesOverMQTTUntilTheyAreTakenFromIt: a device that is
// disabled, given to another gateway or removed is heard no more, its neighbours are.
func TestAGatewayHearsOfItsDevicesOverMQTTUntilTheyAreTakenFromIt(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	admin := h.admin(t)
	secret := h.register(t, registry.Spec{ID: "gw", Kind: "gateway"})
	for _, id := range []string{"kept", "disabled", "given", "removed"} {
		h.register(t, registry.Spec{ID: id, Gateway: "gw"})
	}
	wait := func(token paho3.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("no answer within %s, or %v", patience, token.Error())
		}
	}
	heard := make(chan paho3.Message, 100)
	client := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetUsername("gw").SetPassword(secret).SetAutoReconnect(false).
		SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { heard <- m }))
	wait(client.Connect())
	defer client.Disconnect(0)
	issue := func(device string) string {
		return h.must(t, http.MethodPost, "/api/v1/devices/"+device+"/commands", admin, map[string]string{"name": "reboot", "expires_in": "1h"}).ID
	}
	hears := func(device, id string) {
		t.Helper()
		var command struct{ ID string }
		select {
		case m := <-heard:
			if err := json.Unmarshal(m.Payload(), &command); err != nil || m.Topic() != "devices/"+device+"/commands" || command.ID != id {
				t.Errorf("heard %s %s, want %s of %s", m.Topic(), m.Payload(), id, device)
			}
		case <-time.After(patience):
			t.Fatalf("the command to %s does not come", device)
		}
	}
	for _, id := range []string{"kept", "disabled", "given", "removed"} {
		wait(client.Subscribe("devices/"+id+"/#", 1, nil))
		asked := issue(id)
		hears(id, asked)
		wait(client.Publish("devices/"+id+"/commands/"+asked+"/reply", 1, false, `{"result": 7}`))
		if c, err := h.commands.Wait(t.Context(), asked); err != nil || string(c.Result) != "7" {
			t.Errorf("%s answered %s, %v", id, c.Result, err)
		}
	}
	h.must(t, http.MethodPost, "/api/v1/devices/disabled/disable", admin, struct{}{})
	if _, err := h.registry.Update(t.Context(), registry.Spec{ID: "given", Gateway: "another"}, 0); err != nil {
		t.Fatal(err)
	}
	issue("disabled")
	issue("given")
	h.must(t, http.MethodDelete, "/api/v1/devices/removed", admin, nil)
	for range 3 { // what were for others would have come before the last of these
		hears("kept", issue("kept"))
	}
	over(t, "what is heard of those that were taken", when(t, func() bool { return h.value(t, "hub_mqtt_refused_total") >= 3 }))
	for _, id := range []string{"disabled", "given", "removed", "gw2"} {
		token := client.Subscribe("devices/"+id+"/commands", 1, nil)
		if !token.WaitTimeout(patience) || token.Error() == nil && token.(*paho3.SubscribeToken).Result()["devices/"+id+"/commands"] != 0x80 {
			t.Errorf("the subscription to %s: %v", id, token.Error())
		}
	}
	if n := len(heard); n > 0 {
		m := <-heard
		t.Errorf("%d messages more, the first %s %s", n, m.Topic(), strings.TrimSpace(string(m.Payload())))
	}
}
