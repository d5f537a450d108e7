package whole

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/hubtest/freeport"
)

// debian finds a program of the Debian package mosquitto, which keeps some of
// them off people's PATH.
func debian(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; scripts/install-test-tools installs it", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// mosquitto runs Debian's broker on a port of its own on loopback, with more lines
// of configuration for its listener, and returns its address.
func mosquitto(t *testing.T, more ...string) string {
	t.Helper()
	binary := debian(t, "mosquitto")
	address := freeport.Address(t)
	_, port, _ := strings.Cut(address, ":")
	if len(more) == 0 {
		more = []string{"allow_anonymous true"}
	}
	lines := append([]string{"user root", "max_queued_messages 0", "max_inflight_messages 0", "listener " + port + " 127.0.0.1"}, more...)
	config := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(config, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "-c", config)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	eventually(t, patience, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return address
}

// brokered is a hub that takes telemetry from a broker.
type brokered struct {
	*hubtest.Hub
	binary, dir, config string
}

// behind starts a hub with the given section broker of its config.
func behind(t *testing.T, section string) *brokered {
	t.Helper()
	b := begun(t, section)
	b.subscribed(t)
	return b
}

// begun is a hub that may not be let in by its broker yet.
func begun(t *testing.T, section string) *brokered {
	t.Helper()
	b := &brokered{binary: hubtest.Build(t, ""), dir: t.TempDir(), config: filepath.Join(t.TempDir(), "hub.yaml")}
	if err := os.WriteFile(b.config, []byte("broker:\n"+section), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start(t)
	return b
}

func (b *brokered) start(t *testing.T) {
	t.Helper()
	b.Hub = hubtest.Start(t, b.binary, b.dir, "--config", b.config)
}

// now is the sum of a metric of the hub over its labels, as it is this moment.
func (b *brokered) now(t *testing.T, metric string) float64 {
	t.Helper()
	resp, err := http.Get(b.HTTP + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if base, _, _ := strings.Cut(name, "{"); base == metric {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				t.Fatalf("%s: %v", line, err)
			}
			sum += v
		}
	}
	return sum
}

func (b *brokered) subscribed(t *testing.T) {
	t.Helper()
	eventually(t, patience, "the hub subscribes at the broker", func() bool { return b.now(t, "hub_mqtt_external_sessions") == 2 })
}

// stored waits until the query gives something.
func (b *brokered) stored(t *testing.T, promql string) {
	t.Helper()
	eventually(t, patience, promql, func() bool {
		found, err := b.Query(t.Context(), promql, time.Time{})
		return err == nil && len(found) > 0
	})
}

// client connects a device to the broker.
func client(t *testing.T, options *paho.ClientOptions) paho.Client {
	t.Helper()
	c := paho.NewClient(options)
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatal(token.Error())
	}
	t.Cleanup(func() { c.Disconnect(100) })
	return c
}

func done(t *testing.T, tokens ...paho.Token) {
	t.Helper()
	for i, token := range tokens {
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("message %d: %v", i, token.Error())
		}
	}
}

// TestAnExternalBrokerKeepsWhatTheHubHasNotStored kills the hub again and
// again while a backlog waits for it at the broker: 5,000 messages for each of
// its two sessions.
func TestAnExternalBrokerKeepsWhatTheHubHasNotStored(t *testing.T) {
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	broker := mosquitto(t)
	h := behind(t, "  brokers: [tcp://"+broker+"]\n")
	h.AddDevice(t, "t1", "sensor")
	device := client(t, paho.NewClientOptions().AddBroker("tcp://"+broker).SetClientID("t1"))

	const rounds, backlog = 4, 10_000
	begin := time.Now().Add(-10 * time.Minute).UnixMilli()
	sent := 0
	for round := range rounds {
		h.Kill()
		tokens := make([]paho.Token, 0, backlog)
		for range backlog {
			message := fmt.Sprintf(`{"ts": %d, "n": %d}`, begin+int64(sent), sent)
			tokens = append(tokens, device.Publish("devices/t1/telemetry/json", 1, false, message))
			sent++
		}
		done(t, tokens...)
		h.start(t)
		if round < rounds-1 {
			eventually(t, patience, "some of the backlog comes", func() bool { return h.now(t, "hub_mqtt_external_messages_total") > 0 })
		}
	}
	h.stored(t, fmt.Sprintf(`count_over_time(n{device="t1"}[1h]) == %d`, sent))
	h.subscribed(t)
	if n := h.now(t, "hub_ingest_rejects_total"); n > 0 {
		t.Errorf("%v samples are rejects", n)
	}
}

// TestAnEdgeAgentReportsThroughABroker: the agent compresses what it sends.
func TestAnEdgeAgentReportsThroughABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	const lines = 300 // that the agent's source counts
	broker := mosquitto(t)
	h := behind(t, "  brokers: [tcp://"+broker+"]\n")
	h.AddDevice(t, "agent", "node")
	text := fmt.Sprintf(`device: agent
data: %s
uplink:
  url: mqtt://%s
  secret: any
sources:
  host: {enabled: true, interval: 1s}
  exec:
    - name: count
      stream: true
      format: influx
      command: [sh, -c, 'i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "count value=$i $(date +%%s%%N)"; sleep 0.002; done; sleep 600']
`, t.TempDir(), broker, lines)
	cfg, errs := edge.ParseConfig([]byte(text))
	if len(errs) > 0 {
		t.Fatalf("%v\n%s", errs, text)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- edge.Run(ctx, cfg, slog.New(slog.DiscardHandler), time.Now) }()
	defer func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended: %v", err)
		}
	}()
	h.stored(t, fmt.Sprintf(`count_over_time(count{device="agent"}[1h]) == %d`, lines))
	h.stored(t, `host_uptime_seconds{device="agent"} > 0`)
	if n := h.now(t, "hub_ingest_rejects_total"); n > 0 {
		t.Errorf("%v samples are rejects", n)
	}
}

// TestSparkplugComesThroughABroker sends data that only its birth explains:
// divided among the hub's sessions, none would know what the alias means.
func TestSparkplugComesThroughABroker(t *testing.T) {
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	broker := mosquitto(t)
	h := behind(t, "  brokers: [tcp://"+broker+"]\n")
	h.AddDevice(t, "press-1", "sensor")
	node := client(t, paho.NewClientOptions().AddBroker("tcp://"+broker).SetClientID("press-1"))
	asked := make(chan struct{}, 10)
	done(t, node.Subscribe("spBv1.0/plant/NCMD/press-1", 0, func(paho.Client, paho.Message) { asked <- struct{}{} }))
	data := func(seq, value byte) []byte { // seq; metrics[0]: alias 7, int_value
		return []byte{0x18, seq, 0x12, 4, 0x10, 7, 0x50, value}
	}
	done(t, node.Publish("spBv1.0/plant/NDATA/press-1", 0, false, data(9, 1)))
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("nobody asks for the birth that is missing")
	}
	birth := []byte("\x18\x00\x12\x0d\x0a\x05level\x10\x07\x20\x03\x50\x01")
	done(t, node.Publish("spBv1.0/plant/NBIRTH/press-1", 0, false, birth))
	for i := range byte(100) {
		done(t, node.Publish("spBv1.0/plant/NDATA/press-1", 0, false, data(i+1, i)))
	}
	h.stored(t, `count_over_time(level{device="press-1"}[1h]) == 101`)
	if n := h.now(t, "hub_ingest_rejects_total"); n != 1 {
		t.Errorf("%v rejects; the one before the birth was expected", n)
	}
}

// TestABrokerIsReachedByTLSWithAPassword.
func TestABrokerIsReachedByTLSWithAPassword(t *testing.T) {
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	f := hubtest.NewCertificates(t, "t1")
	dir := t.TempDir()
	passwords, own := filepath.Join(dir, "passwords"), filepath.Join(dir, "hub.password")
	for path, text := range map[string]string{passwords: "hub:correct horse\nt1:device secret\n", own: "the password of before\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.Command(debian(t, "mosquitto_passwd"), "-U", passwords).CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v\n%s", err, out)
	}
	broker := mosquitto(t, "cafile "+f.CA, "certfile "+f.Cert, "keyfile "+f.Key, "allow_anonymous false", "password_file "+passwords)
	h := begun(t, fmt.Sprintf("  brokers: [ssl://%s]\n  user: hub\n  password_file: %s\n  ca_file: %s\n", broker, own, f.CA))
	h.AddDevice(t, "t1", "sensor")
	// The right password takes the wrong one's place while the hub runs.
	if err := os.WriteFile(own, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.subscribed(t)
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	device := client(t, paho.NewClientOptions().AddBroker("ssl://"+broker).SetClientID("t1").SetUsername("t1").SetPassword("device secret").
		SetTLSConfig(&tls.Config{RootCAs: roots}))
	done(t, device.Publish("devices/t1/telemetry", 1, false, `{"level": 7}`))
	h.stored(t, `level{device="t1"} == 7`)
}
