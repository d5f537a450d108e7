package whole

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/hubtest"
)

// mosquitto runs Debian's broker on a free port of loopback and returns its
// address.
func mosquitto(t *testing.T) string {
	t.Helper()
	program, err := exec.LookPath("mosquitto")
	if err != nil {
		program = "/usr/sbin/mosquitto" // Debian keeps it off people's PATH
		if _, err := os.Stat(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatal("mosquitto is not installed; scripts/install-test-tools installs it")
			}
			t.Skip("mosquitto is not installed")
		}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(free.Addr().String())
	free.Close()
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %s 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nmax_inflight_messages 0\n", port)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-c", config)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := "127.0.0.1:" + port
	eventually(t, 10*time.Second, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return address
}

// TestAnExternalBrokerKeepsWhatTheHubHasNotStored kills the hub while devices
// publish to the broker.
func TestAnExternalBrokerKeepsWhatTheHubHasNotStored(t *testing.T) {
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	broker := mosquitto(t)
	config := filepath.Join(t.TempDir(), "hub.yaml")
	if err := os.WriteFile(config, []byte("broker:\n  brokers: [tcp://"+broker+"]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	binary, dir := hubtest.Build(t, ""), t.TempDir()
	h := hubtest.Start(t, binary, dir, "--config", config)
	h.AddDevice(t, "t1", "sensor")
	eventually(t, 20*time.Second, "the hub subscribes at the broker", func() bool {
		found, err := h.Query(t.Context(), `hub_mqtt_external_sessions == 2`, time.Time{})
		return err == nil && len(found) > 0
	})

	const messages = 3000
	client := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + broker).SetClientID("t1"))
	if token := client.Connect(); !token.WaitTimeout(10*time.Second) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	defer client.Disconnect(100)
	base := time.Now().Add(-time.Minute).UnixMilli()
	for i := range messages {
		token := client.Publish("devices/t1/telemetry/json", 1, false, fmt.Sprintf(`{"ts": %d, "n": %d}`, base+int64(i), i))
		if !token.WaitTimeout(10*time.Second) || token.Error() != nil {
			t.Fatalf("message %d: %v", i, token.Error())
		}
		if i == messages/3 {
			h.Kill()
		}
	}
	h = hubtest.Start(t, binary, dir, "--config", config)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	eventually(t, 60*time.Second, fmt.Sprintf("all %d messages are stored", messages), func() bool {
		found, err := h.Query(ctx, fmt.Sprintf(`count_over_time(n{device="t1"}[10m]) == %d`, messages), time.Time{})
		return err == nil && len(found) > 0
	})
}
