package mqtt_test

import (
	"fmt"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// paho311 connects the common MQTT 3.1.1 client of Go.
func paho311(t testing.TB, broker, device, client string, more ...func(*paho3.ClientOptions)) paho3.Client {
	t.Helper()
	o := paho3.NewClientOptions().AddBroker(broker).SetClientID(client).
		SetUsername(device).SetPassword("secret-of-" + device).
		SetProtocolVersion(4).SetAutoReconnect(false).SetConnectTimeout(patience)
	for _, f := range more {
		f(o)
	}
	c := paho3.NewClient(o)
	wait(t, c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func wait(t testing.TB, tok paho3.Token) {
	t.Helper()
	if !tok.WaitTimeout(patience) || tok.Error() != nil {
		t.Fatalf("no answer: %v", tok.Error())
	}
}

func TestPaho311PublishesDurably(t *testing.T) {
	for _, qos := range []byte{0, 1, 2} {
		t.Run(fmt.Sprint("qos", qos), func(t *testing.T) {
			h := start(t, newMemory("t1"))
			c := paho311(t, "tcp://"+h.address, "t1", "a")
			now := time.Now().UnixMilli()
			for i := range 100 {
				wait(t, c.Publish("devices/t1/telemetry", qos, false, line("temperature", i, now+int64(i))))
				if n := h.count(); qos > 0 && n != i+1 {
					t.Fatalf("%d samples are stored when %d were acknowledged", n, i+1)
				}
			}
			eventually(t, "100 samples", func() bool { return h.count() == 100 })
		})
	}
}
