package whole

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/hubtest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	hubtest.Clean()
	os.Exit(code)
}

// site is a hub with certificates of its own authority, on ports that stay the
// same when it is started again.
type site struct {
	*hubtest.Hub
	t           *testing.T
	binary, dir string
	args        []string
	files       hubtest.Certificates
}

func newSite(t *testing.T) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	s := &site{t: t, binary: hubtest.Build(t, ""), dir: t.TempDir(), files: hubtest.NewCertificates(t, "agent-cert")}
	config := s.files.Config(t)
	s.args = []string{"serve", "--config", config}
	hubtest.Trust(t, s.files.CA)
	s.start()
	t.Cleanup(func() { s.Kill() })
	at, err := url.Parse(s.HTTP)
	if err != nil {
		t.Fatal(err)
	}
	s.args = []string{"serve", "--config", config, "--http", at.Host, "--mqtt", s.MQTT, "--mqtts", s.MQTTS, "--coap", s.CoAP, "--coaps", s.CoAPS}
	return s
}

func (s *site) start() {
	s.t.Helper()
	var err error
	if s.Hub, err = hubtest.Launch(s.binary, s.dir, s.args...); err != nil {
		s.t.Fatal(err)
	}
}

// TestHubsRunSideBySide: every door of a hub under test is on a port of its own,
// also those that a config file leaves to their defaults.
func TestHubsRunSideBySide(t *testing.T) {
	a, b := newSite(t), newSite(t)
	for door, at := range map[string][2]string{
		"http": {a.HTTP, b.HTTP}, "mqtt": {a.MQTT, b.MQTT}, "mqtts": {a.MQTTS, b.MQTTS}, "coap": {a.CoAP, b.CoAP}, "coaps": {a.CoAPS, b.CoAPS},
	} {
		if at[0] == "" || at[0] == at[1] {
			t.Errorf("%s is at %q and %q", door, at[0], at[1])
		}
	}
}

// The counting source gives so many samples: at firstLines it waits until it may
// go on, at lines it is done.
const firstLines, lines = 200, 300

// TestTheAgentLosesNothingOverAnyUplink kills the hub while the agent reports
// a count, and finds every number of it afterwards, also of those that were
// counted while there was no hub.
func TestTheAgentLosesNothingOverAnyUplink(t *testing.T) {
	s := newSite(t)
	_, wsHost, _ := strings.Cut(s.HTTP, "://")
	agents := []struct{ name, url, extra string }{
		{"agent-mqtt", "mqtt://" + s.MQTT, ""},
		{"agent-mqtts", "mqtts://" + s.MQTTS, "  tls: {ca: " + s.files.CA + "}\n"},
		{"agent-cert", "mqtts://" + s.MQTTS, "  tls: {ca: " + s.files.CA + ", certificate: " + s.files.DeviceCert + ", key: " + s.files.DeviceKey + "}\n"},
		{"agent-wss", "wss://" + wsHost + "/mqtt", "  tls: {ca: " + s.files.CA + "}\n"},
		{"agent-coap", "coap://" + s.CoAP, ""},
		{"agent-coaps", "coaps://" + s.CoAPS, ""},
	}
	counts := t.TempDir()
	goOn := filepath.Join(counts, "go-on")
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, len(agents))
	for _, a := range agents {
		secret := s.AddDevice(t, a.name, "gateway")
		if a.name == "agent-cert" {
			secret = `""`
		}
		text := fmt.Sprintf(`device: %s
data: %s
status_interval: 1s
uplink:
  url: %s
  secret: %s
%ssources:
  host: {enabled: true, interval: 1s}
  exec:
    - name: count
      stream: true
      format: influx
      command: [sh, -c, 'i=0; while [ $i -lt %d ]; do i=$((i+1)); echo "count value=$i $(date +%%s%%N)"; echo $i > %s; while [ $i -eq %d ] && [ ! -e %s ]; do sleep 0.05; done; sleep 0.02; done; sleep 600']
`, a.name, filepath.Join(t.TempDir(), a.name), a.url, secret, a.extra, lines, filepath.Join(counts, a.name), firstLines, goOn)
		cfg, errs := edge.ParseConfig([]byte(text))
		if len(errs) > 0 {
			t.Fatalf("%s: %v\n%s", a.name, errs, text)
		}
		go func() { ended <- edge.Run(ctx, cfg, slog.New(slog.DiscardHandler), time.Now) }()
	}
	defer func() {
		stop()
		for range agents {
			if err := <-ended; err != nil {
				t.Errorf("an agent ended: %v", err)
			}
		}
	}()
	s.until("every uplink brings the count", `count(count_over_time(count[1h])) == 6`)
	s.Kill()
	if err := os.WriteFile(goOn, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, a := range agents {
		eventually(t, 2*patience, a.name+" counts to the end without a hub", func() bool {
			text, _ := os.ReadFile(filepath.Join(counts, a.name))
			return strings.TrimSpace(string(text)) == strconv.Itoa(lines)
		})
	}
	s.start()
	for _, a := range agents {
		s.until(a.name+" lost nothing", fmt.Sprintf(`sum(count_over_time(count{device=%q}[1h])) == %d`, a.name, lines))
		s.until(a.name+" reports its host", fmt.Sprintf(`host_uptime_seconds{device=%q} > 0`, a.name))
		s.until(a.name+" has an empty loss ledger", fmt.Sprintf(`edge_spool_lost_samples_total{device=%q} == 0`, a.name))
	}
}

// until asks until the query gives something.
func (s *site) until(what, promql string) {
	s.t.Helper()
	var last error
	for end := time.Now().Add(2 * patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		found, err := s.Query(s.t.Context(), promql, time.Time{})
		if last = err; err == nil && len(found) > 0 {
			return
		}
	}
	now, _ := s.Query(s.t.Context(), strings.Split(promql, "==")[0], time.Time{})
	s.t.Fatalf("never: %s: %s (now %v, %v)\n%s", what, promql, now, last, s.Output())
}
