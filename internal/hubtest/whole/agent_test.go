package whole

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge"
	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/hubtest/freeport"
)

func TestMain(m *testing.M) {
	code := m.Run()
	hubtest.Clean()
	os.Exit(code)
}

// site is a hub with certificates of its own authority, on ports that stay its own
// when it is started again.
type site struct {
	*hubtest.Hub
	t           *testing.T
	binary, dir string
	args        []string
	files       hubtest.Certificates
}

// newSite starts a hub; more is more of its config file.
func newSite(t *testing.T, more ...string) *site {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	s := &site{t: t, binary: hubtest.Build(t, ""), dir: t.TempDir(), files: hubtest.NewCertificates(t, "agent-cert")}
	config := s.files.Config(t)
	text, err := os.ReadFile(config)
	if err == nil {
		err = os.WriteFile(config, append(text, strings.Join(more, "\n")...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	s.args = []string{"serve", "--config", config}
	for _, door := range []string{"http", "mqtt", "mqtts", "coap", "coaps"} {
		s.args = append(s.args, "--"+door, freeport.Address(t))
	}
	hubtest.Trust(t, s.files.CA)
	s.start()
	t.Cleanup(func() { s.Kill() })
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

// counter is a program that counts, a sample each time, until it is told to
// stop, and then says how far it came.
type counter struct{ at, stop string }

func newCounter(t *testing.T) counter {
	dir := t.TempDir()
	return counter{filepath.Join(dir, "at"), filepath.Join(dir, "stop")}
}

func (c counter) script() string {
	return fmt.Sprintf(`i=0; while [ ! -e %s ]; do i=$((i+1)); echo "count value=$i $(date +%%s%%N)"; echo $i > %s; sleep 0.02; done; echo "counted value=$i"; sleep 600`, c.stop, c.at)
}

// reach waits until the program counted to n, which it does without a hub.
func (c counter) reach(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(patience); c.now() < n; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the count stands at %d, never at %d", c.now(), n)
		}
	}
}

func (c counter) now() (n int) {
	if text, err := os.ReadFile(c.at); err == nil {
		n, _ = strconv.Atoi(strings.TrimSpace(string(text))) // empty while it is written
	}
	return n
}

// TestTheAgentLosesNothingOverAnyUplink kills the hub while the agents report
// a count, and finds every number of it afterwards.
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
		{"agent-http", s.HTTP, "  tls: {ca: " + s.files.CA + "}\n"},
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, len(agents))
	counters := make([]counter, len(agents))
	for i, a := range agents {
		counters[i] = newCounter(t)
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
      command: [sh, -c, '%s']
`, a.name, filepath.Join(t.TempDir(), a.name), a.url, secret, a.extra, counters[i].script())
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
	s.until("every uplink brings the count", `count(count_over_time(count[1h])) == 7`)
	s.Kill()
	for _, c := range counters { // nobody stopped it: it is not at its end
		c.reach(t, c.now()+100)
	}
	s.start()
	for i, a := range agents {
		s.until(a.name+" is back", fmt.Sprintf(`last_over_time(count{device=%q}[1h]) > %d`, a.name, counters[i].now()))
		if err := os.WriteFile(counters[i].stop, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.until(a.name+" lost nothing", fmt.Sprintf(`sum(count_over_time(count{device=%q}[1h])) == sum(last_over_time(counted{device=%q}[1h])) > 100`, a.name, a.name))
		s.until(a.name+" reports its host", fmt.Sprintf(`last_over_time(host_uptime_seconds{device=%q}[1h]) > 0`, a.name))
		s.until(a.name+" has an empty loss ledger", fmt.Sprintf(`last_over_time(edge_spool_lost_samples_total{device=%q}[1h]) == 0`, a.name))
	}
}

// until asks until the query gives something.
func (s *site) until(what, promql string) {
	s.t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		found, err := s.Query(s.t.Context(), promql, time.Time{})
		if last = err; err == nil && len(found) > 0 {
			return
		}
	}
	now, _ := s.Query(s.t.Context(), strings.Split(promql, "==")[0], time.Time{})
	s.t.Fatalf("never: %s: %s (now %v, %v)\n%s", what, promql, now, last, s.Output())
}
