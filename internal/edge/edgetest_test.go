package edge

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/klauspost/compress/zstd"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/hubtest/freeport"
	"github.com/songhua-io/hub/internal/telemetry"
)

// need returns the path of a program, and skips the test without it.
func need(t *testing.T, name string) string {
	t.Helper()
	for _, p := range []string{name, "/usr/sbin/" + name} {
		if path, err := exec.LookPath(p); err == nil {
			return path
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; CI needs it", name)
	}
	t.Skipf("%s is not installed", name)
	return ""
}

// longWait is how long a test waits for what a machine that is busy with others does
// in its own time.
const longWait = 2 * time.Minute

// until polls what has no event to wait for.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(longWait)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", longWait, what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// broker is a real mosquitto that keeps sessions over a restart.
type broker struct {
	t    *testing.T
	port int
	conf string
	cmd  *exec.Cmd
}

func startBroker(t *testing.T) *broker {
	t.Helper()
	need(t, "mosquitto")
	dir := t.TempDir()
	b := &broker{t: t, port: freeport.New(t), conf: filepath.Join(dir, "mosquitto.conf")}
	conf := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\nautosave_interval 1\nmax_queued_messages 0\nlog_type none\nuser root\n", b.port, dir)
	if err := os.WriteFile(b.conf, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	t.Cleanup(b.stop)
	return b
}

func (b *broker) start() {
	b.t.Helper()
	b.cmd = exec.Command(need(b.t, "mosquitto"), "-c", b.conf)
	if err := b.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	until(b.t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err != nil {
			return false
		}
		return c.Close() == nil
	})
}

// stop ends the broker as an operator would: it writes its sessions down.
func (b *broker) stop() {
	if b.cmd == nil {
		return
	}
	_ = b.cmd.Process.Signal(os.Interrupt)
	_ = b.cmd.Wait()
	b.cmd = nil
}

func (b *broker) url() string { return fmt.Sprintf("mqtt://127.0.0.1:%d", b.port) }

// hub is the far end: a client that decodes what arrives for a device.
type hub struct {
	t      *testing.T
	client paho.Client
	unpack *zstd.Decoder

	mu      sync.Mutex
	samples map[string]int     // "metric value" to how often it arrived
	points  map[string]float64 // "metric first-tag-value @time" to value
	states  map[string]string
	raw     [][]byte
}

func (b *broker) hub(device string) *hub {
	b.t.Helper()
	unpack, err := zstd.NewReader(nil) // never closed: messages may come until the process ends
	if err != nil {
		b.t.Fatal(err)
	}
	h := &hub{t: b.t, unpack: unpack, samples: map[string]int{}, points: map[string]float64{}, states: map[string]string{}}
	opts := paho.NewClientOptions().AddBroker(strings.Replace(b.url(), "mqtt", "tcp", 1)).SetClientID("hub").SetCleanSession(false)
	opts.SetAutoReconnect(true).SetMaxReconnectInterval(200 * time.Millisecond).SetConnectRetry(true).SetConnectRetryInterval(50 * time.Millisecond)
	opts.SetDefaultPublishHandler(func(_ paho.Client, m paho.Message) { h.take(device, m) })
	h.client = paho.NewClient(opts)
	wait(b.t, h.client.Connect())
	wait(b.t, h.client.Subscribe("devices/"+device+"/#", 1, nil))
	b.t.Cleanup(func() { h.client.Disconnect(50) })
	return h
}

func wait(t *testing.T, token paho.Token) {
	t.Helper()
	if !token.WaitTimeout(longWait) || token.Error() != nil {
		t.Fatal("no answer from the broker: ", token.Error())
	}
}

func (h *hub) take(device string, m paho.Message) {
	h.mu.Lock()
	defer h.mu.Unlock()
	payload := m.Payload()
	if bytes.HasPrefix(payload, []byte{0x28, 0xb5, 0x2f, 0xfd}) {
		var err error
		if payload, err = h.unpack.DecodeAll(payload, nil); err != nil {
			h.t.Error(err)
		}
	}
	suffix, ok := strings.CutPrefix(m.Topic(), "devices/"+device+"/telemetry/")
	if !ok {
		if m.Topic() != "devices/"+device+"/config/reported" {
			h.raw = append(h.raw, payload)
		}
		return
	}
	format, ok := codec.FromSuffix([]byte(suffix))
	if !ok {
		h.t.Errorf("topic %s names no format", m.Topic())
	}
	h.decode(device, format, payload)
}

func (h *hub) decode(device string, format codec.Format, payload []byte) {
	var b telemetry.Batch
	if err := codec.Decode(&b, format, codec.Input{Payload: payload, Device: device, Now: time.Now().UnixMilli()}); err != nil || len(b.Rejects) > 0 {
		h.t.Errorf("%v %+v", err, b.Rejects)
	}
	for _, s := range b.Samples {
		h.samples[fmt.Sprintf("%s %g", s.Metric, s.Value)]++
		if len(s.Tags) > 0 {
			h.points[fmt.Sprintf("%s %s @%d", s.Metric, s.Tags[0].Value, s.Time)] = s.Value
		}
	}
	for _, s := range b.States {
		h.states[string(s.Name)] = string(s.Value)
	}
}

// missing returns how many of metric 0 … metric n-1 have not arrived.
func (h *hub) missing(metric string, n int) (missing int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := range n {
		if h.samples[fmt.Sprintf("%s %d", metric, i)] == 0 {
			missing++
		}
	}
	return missing
}

// has reports whether a sample of the metric arrived.
func (h *hub) has(metric string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.samples {
		if strings.HasPrefix(k, metric+" ") {
			return true
		}
	}
	return false
}

// testConfig is an agent that reads nothing by itself.
func testConfig(t *testing.T, url string) Config {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Device, cfg.Data = "rsu-7", t.TempDir()
	cfg.Uplink.URL, cfg.Uplink.Secret = url, "a secret that nobody asks for"
	cfg.Uplink.BackfillRate = 0
	cfg.Sources.Host.Enabled, cfg.Sources.GPU.Enabled = false, false
	return cfg
}

// startAgent runs an agent until the returned function is called.
func startAgent(t *testing.T, cfg Config) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg, testLog(t), time.Now) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			select {
			case err := <-done:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(longWait):
				t.Error("the agent does not end")
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

func testLog(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), nil))
}

// cable is a connection to a broker that can be pulled: what is on its way is
// gone and nobody hears of it until the cable is back.
type cable struct {
	t      *testing.T
	listen net.Listener
	to     string

	mu     sync.Mutex
	pulled bool
	ends   []net.Conn
}

func newCable(t *testing.T, port int) *cable {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cable{t: t, listen: l, to: fmt.Sprintf("127.0.0.1:%d", port)}
	t.Cleanup(func() {
		_ = l.Close()
		c.plug()
	})
	go c.accept()
	return c
}

func (c *cable) url() string { return "mqtt://" + c.listen.Addr().String() }

func (c *cable) accept() {
	for {
		near, err := c.listen.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", c.to)
		if err != nil {
			_ = near.Close()
			continue
		}
		c.mu.Lock()
		c.ends = append(c.ends, near, far)
		c.mu.Unlock()
		go c.carry(near, far)
		go c.carry(far, near)
	}
}

func (c *cable) carry(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		c.mu.Lock()
		pulled := c.pulled
		c.mu.Unlock()
		if pulled {
			continue
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func (c *cable) pull() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = true
}

// plug ends the old connections, as a peer that comes back does.
func (c *cable) plug() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pulled = false
	for _, e := range c.ends {
		_ = e.Close()
	}
	c.ends = nil
}
