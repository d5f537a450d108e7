package edge

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/songhua-io/hub/internal/config/strict"
	"github.com/songhua-io/hub/internal/config/structdoc"
	"github.com/songhua-io/hub/internal/edge/source/host"
	"github.com/songhua-io/hub/internal/edge/source/mqtt"
	"github.com/songhua-io/hub/internal/edge/source/push"
	"github.com/songhua-io/hub/internal/edge/source/udp"
	"github.com/songhua-io/hub/internal/edge/spool"
	"github.com/songhua-io/hub/internal/hubtest/freeport"
	"github.com/songhua-io/hub/internal/progress"
)

// TestMain runs the agent instead of the tests when the environment holds a
// config, so that a test can kill it.
func TestMain(m *testing.M) {
	if config := os.Getenv("EDGE_TEST_AGENT"); config != "" {
		os.Exit(childAgent(config))
	}
	os.Exit(m.Run())
}

func TestTheMachineIsReportedWithoutAnyConfig(t *testing.T) {
	b := startBroker(t)
	h := b.hub("rsu-7")
	cfg := testConfig(t, b.url())
	cfg.Sources.Host = host.DefaultConfig()
	cfg.Sources.Host.Interval.Interval = 200 * time.Millisecond
	cfg.StatusInterval = 300 * time.Millisecond
	startAgent(t, cfg)
	for _, metric := range []string{"host_cpu_percent", "host_memory_used_bytes", "host_disk_used_bytes", "host_load1", "host_uptime_seconds", "edge_source_up", "edge_spool_blocks"} {
		until(t, metric, func() bool { return h.has(metric) })
	}
}

func TestNothingIsLostWhenTheCableIsPulled(t *testing.T) {
	b := startBroker(t)
	h := b.hub("rsu-7")
	c := newCable(t, b.port)
	cfg, url := pushed(t, c.url())
	stop := startAgent(t, cfg)
	const n = 400
	for i := range n {
		switch {
		case i%100 == 50:
			until(t, "the agent is connected", func() bool { return h.missing("cable", i) == 0 })
			c.pull()
		case i%100 == 80:
			c.plug()
		}
		send(t, url, "cable", i)
	}
	until(t, "every sample arrives", func() bool { return h.missing("cable", n) == 0 })
	stop()
	r, err := spool.Inspect(SpoolDir(cfg))
	if err != nil || r.Lost.Samples != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestNothingIsLostWhileTheBrokerIsAway(t *testing.T) {
	b := startBroker(t)
	h := b.hub("rsu-7")
	cfg, url := pushed(t, b.url())
	startAgent(t, cfg)
	const n = 150
	for i := range n {
		switch i {
		case 50:
			b.stop()
		case 100:
			b.start()
		}
		send(t, url, "away", i)
	}
	until(t, "every sample arrives", func() bool { return h.missing("away", n) == 0 })
}

// pushed is an agent that takes telemetry by HTTP, and where.
func pushed(t *testing.T, url string) (Config, string) {
	cfg := testConfig(t, url)
	address := fmt.Sprintf("127.0.0.1:%d", freeport.New(t))
	cfg.Sources.HTTP = []push.Config{{Listen: address}}
	return cfg, "http://" + address + "/telemetry"
}

// send gives a sample to the agent, and repeats it until the agent says that it
// is on disk.
func send(t *testing.T, url, metric string, i int) {
	t.Helper()
	body := fmt.Sprintf(`{"ts": %d, %q: %d}`, time.Now().UnixMilli(), metric, i)
	until(t, "the agent takes a sample", func() bool {
		resp, err := http.Post(url, "application/json", strings.NewReader(body))
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
	})
}

func TestNothingIsLostWhenTheAgentIsKilled(t *testing.T) {
	b := startBroker(t)
	h := b.hub("rsu-7")
	cfg, url := pushed(t, b.url())
	child := startChild(t, cfg)
	const n, rounds = 200, 8
	for i := range n {
		if i%(n/rounds) == n/rounds-1 {
			child.kill(t)
			child = startChild(t, cfg)
		}
		send(t, url, "kill", i)
	}
	until(t, "every sample arrives", func() bool { return h.missing("kill", n) == 0 })
	child.kill(t)
}

// child is an agent in a process of its own.
type child struct{ cmd *exec.Cmd }

func startChild(t *testing.T, cfg Config) child {
	t.Helper()
	config, err := json.Marshal(cfg)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "EDGE_TEST_AGENT="+string(config))
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := child{cmd}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return c
}

func (c child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.cmd.Wait() // says that it was killed
}

func TestMessagesOfALocalBrokerAreAcknowledgedWhenTheyAreOnDisk(t *testing.T) {
	local, up := startBroker(t), startBroker(t)
	h := up.hub("rsu-7")
	cfg := testConfig(t, up.url())
	m := mqtt.Config{}
	m.SetDefaults()
	m.URL, m.Topics, m.Levels = local.url(), []string{"sensors/#"}, map[string]int{"room": 2}
	cfg.Sources.MQTT = []mqtt.Config{m}
	child := startChild(t, cfg)

	publisher := paho.NewClient(paho.NewClientOptions().AddBroker(strings.Replace(local.url(), "mqtt", "tcp", 1)).SetClientID("sensor"))
	wait(t, publisher.Connect())
	t.Cleanup(func() { publisher.Disconnect(50) })
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			wait(t, publisher.Publish("sensors/hall/1", 1, false, fmt.Sprintf(`{"ts": %d, "local": %d}`, time.Now().UnixMilli(), i)))
		}
	}
	until(t, "the agent is subscribed", func() bool {
		wait(t, publisher.Publish("sensors/hall/1", 1, false, `{"hello": 1}`))
		return h.has("hello")
	})
	for round := range 5 {
		publish(round*100, round*100+50)
		child.kill(t) // messages in flight are not acknowledged to the broker
		publish(round*100+50, round*100+100)
		child = startChild(t, cfg)
	}
	until(t, "every sample arrives", func() bool { return h.missing("local", 500) == 0 })
	child.kill(t)
}

func TestFramesAreHandedOnAsTheyAre(t *testing.T) {
	b := startBroker(t)
	h := b.hub("rsu-7")
	cfg := testConfig(t, b.url())
	u := udp.Config{}
	u.SetDefaults()
	u.Listen = fmt.Sprintf("127.0.0.1:%d", freeport.New(t))
	cfg.Sources.UDP = []udp.Config{u}
	startAgent(t, cfg)
	conn, err := net.Dial("udp", u.Listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	frame := []byte{0x0a, 0x00, 0xff, 0x28}
	until(t, "the frame arrives", func() bool {
		_, _ = conn.Write(frame) // refused until the agent listens
		h.mu.Lock()
		defer h.mu.Unlock()
		return len(h.raw) > 0 && bytes.Equal(h.raw[0], frame)
	})
}

func TestALossIsReportedToTheHub(t *testing.T) {
	b := startBroker(t)
	cfg := testConfig(t, "mqtt://127.0.0.1:1") // nobody
	cfg.Spool.MaxSize, cfg.Uplink.MaxMessage = spool.MinBytes, 1<<20
	s, err := spool.Open(spool.Config{Dir: SpoolDir(cfg), MaxBytes: spool.MinBytes}, testLog(t), time.Now)
	if err != nil {
		t.Fatal(err)
	}
	block := append([]byte{0, byte(len(suffixJSON))}, suffixJSON+`{"old": 1, "pad": "`+strings.Repeat("x", 1<<19)+`"}`...)
	began := time.Now().Add(-time.Hour).UnixMilli()
	for i := range int64(40) {
		if _, err := s.Append(spool.Block{Samples: 3, From: began + 1000*i, To: began + 1000*i + 500, Data: block}); err != nil {
			t.Fatal(err)
		}
	}
	lost := s.Stats().LostSamples
	if lost == 0 || len(s.Losses()) == 0 {
		t.Fatal("nothing is lost yet")
	}
	// Two blocks of one time: what the hub refuses of them stands apart.
	for range 2 {
		if err := s.Refuse(spool.Block{Seq: 1000 + uint64(len(s.Losses())), Samples: 7, From: began, To: began + 500}); err != nil {
			t.Fatal(err)
		}
	}
	losses := s.Losses()
	last := losses[len(losses)-1]
	lost = s.Stats().LostSamples
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	cfg.Uplink.URL, cfg.StatusInterval = b.url(), 500*time.Millisecond
	h := b.hub("rsu-7")
	startAgent(t, cfg)
	until(t, "the sum and the last loss arrive", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		want := fmt.Sprintf(`{"from":%d,"to":%d,"blocks":%d,"samples":%d,"reason":%q}`, last.From, last.To, last.Blocks, last.Samples, last.Reason)
		return h.states["edge_loss"] == want && h.samples[fmt.Sprintf("edge_spool_lost_samples_total %d", lost)] > 0
	})
	until(t, "every loss arrives", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		times := map[int64]bool{}
		for _, l := range losses {
			at := l.To
			for times[at] {
				at++
			}
			times[at] = true
			n, there := h.points[fmt.Sprintf("edge_loss_samples %s @%d", l.Reason, at)]
			from := h.points[fmt.Sprintf("edge_loss_from_seconds %s @%d", l.Reason, at)]
			if !there || n != float64(l.Samples) || l.From != 0 && from != float64(l.From)/1000 {
				return false
			}
		}
		return true
	})
}

func TestRejectsAreCountedAndSaidOnce(t *testing.T) {
	b := startBroker(t)
	h := b.hub("rsu-7")
	cfg := testConfig(t, b.url())
	cfg.StatusInterval = 200 * time.Millisecond
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, cfg, log, time.Now) }()
	until(t, "the agent is connected", func() bool { return h.has("edge_rejected_samples_total") })
	for range 2 {
		wait(t, h.client.Publish("devices/rsu-7/rejects", 1, false, `{"topic":"devices/rsu-7/telemetry","accepted":1,"rejected_total":4,"rejected":[{"index":0,"stage":"validate","reason":"time_future","detail":"2099"}]}`))
	}
	until(t, "the rejects are counted", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.samples["edge_rejected_samples_total 8"] > 0
	})
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := strings.Count(said.String(), "msg=samples_rejected stage=validate reason=time_future detail=2099"); n != 1 {
		t.Errorf("said %d times:\n%s", n, said.String())
	}
}

func TestADrainSendsWhatWaitsAndEnds(t *testing.T) {
	b := startBroker(t)
	cfg, url := pushed(t, "mqtt://127.0.0.1:1")
	stop := startAgent(t, cfg)
	for i := range 20 {
		send(t, url, "drained", i)
	}
	stop()
	h := b.hub("rsu-7")
	cfg.Uplink.URL = b.url()
	if err := Drain(t.Context(), cfg, testLog(t), time.Now, progress.On(io.Discard)); err != nil {
		t.Fatal(err)
	}
	until(t, "every sample arrives", func() bool { return h.missing("drained", 20) == 0 })
	r, err := spool.Inspect(SpoolDir(cfg))
	if err != nil || r.Blocks != 0 {
		t.Errorf("%+v %v", r, err)
	}
}

func TestTheDefaultConfigReadsBackToItself(t *testing.T) {
	cfg, errs := ParseConfig(AnnotatedConfig())
	var got []string
	for _, e := range errs {
		got = append(got, e.Path)
	}
	// Two keys have no default: who the agent is, and its secret.
	if strings.Join(got, " ") != "device uplink.secret_file" {
		t.Error(errs)
	}
	if again := strict.Annotate(&cfg, configDocs()); !bytes.Equal(again, AnnotatedConfig()) {
		t.Errorf("%s", again)
	}
}

func TestTheSecretIsReadFromTheCredentialsOfTheService(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(dir+"/secret", []byte("from systemd\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Uplink.SecretFile, cfg.Uplink.TLS.CA = "${CREDENTIALS_DIRECTORY}/secret", "${CREDENTIALS_DIRECTORY}/ca"
	t.Setenv("CREDENTIALS_DIRECTORY", "") // so that it comes back
	if err := os.Unsetenv("CREDENTIALS_DIRECTORY"); err != nil {
		t.Fatal(err)
	}
	if _, err := cfg.identity(); err == nil || !strings.Contains(err.Error(), "LoadCredential") {
		t.Error(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)
	id, err := cfg.identity()
	if err != nil {
		t.Fatal(err)
	}
	if secret, err := id.Secret.Read(); err != nil || secret != "from systemd" || id.TLS.CA != dir+"/ca" {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestTheCommentsOfTheConfigAreGenerated(t *testing.T) {
	dirs := []string{"internal/edge", "internal/edge/work", "internal/edge/source"}
	for _, d := range []string{"host", "gpu", "scrape", "snmp", "modbus", "command", "file", "mqtt", "udp", "push"} {
		dirs = append(dirs, "internal/edge/source/"+d)
	}
	want, err := structdoc.Generate(structdoc.Options{Package: "edge", Func: "configDocs", Root: "../..", Module: "github.com/songhua-io/hub", Dirs: append(dirs, "internal/edge/trust")})
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("docs.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs.go is not what the comments say; run go generate ./internal/edge")
	}
}

func TestFaultsOfAConfigAreNamedAtOnce(t *testing.T) {
	_, errs := ParseConfig([]byte(`
device: "a b"
uplink: {url: coap://10.0.0.1, window: 0, secret: s}
spool: {max_size: 1MiB}
tags: {device: x}
sources:
  host: {intervall: 5s}
  prometheus:
    - url: ftp://x
    - {url: "http://x/metrics", interval: 1ms}
  modbus:
    - address: plc:502
      units: [{id: 1, registers: [{name: t, address: 65535, type: float32}]}]
  mqtt:
    - {topics: ["a/#/b"], name: host}
  http:
    - listen: 0.0.0.0:80
`))
	var got []string
	for _, e := range errs {
		got = append(got, fmt.Sprintf("%d %s", e.Line, e.Path))
	}
	want := strings.Split(`2 device
3 uplink.url
3 uplink.window
4 spool.max_size
5 tags
7 sources.host.intervall
9 sources.prometheus[0].url
10 sources.prometheus[1].interval
13 sources.modbus[0].units[0].registers[0].address
15 sources.mqtt[0].name
15 sources.mqtt[0].topics
17 sources.http[0].listen`, "\n")
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(got, "\n"))
		for _, e := range errs {
			t.Log(e)
		}
	}
}
