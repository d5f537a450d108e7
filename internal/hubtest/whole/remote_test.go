package whole

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge"
)

// told is a twin as the API shows it.
type told struct {
	Standing string `json:"standing"`
	Wanted   struct {
		Version int64 `json:"version"`
	} `json:"wanted"`
	Reported struct {
		Version int64           `json:"version"`
		Config  json.RawMessage `json:"config"`
		Errors  []struct {
			Path    string `json:"path"`
			Message string `json:"message"`
		} `json:"errors"`
	} `json:"reported"`
}

// managed is an agent of which the hub wants something.
type managed struct {
	*site
	name, file string
	stop       func()
}

func (s *site) manage(t *testing.T, name, link, sources string) *managed {
	t.Helper()
	m := &managed{site: s, name: name, file: fmt.Sprintf(`device: %s
data: %s
status_interval: 1s
uplink: {url: %q, secret: %s}
sources:
  gpu: {enabled: false}
  host: {interval: 1h}
%s`, name, filepath.Join(t.TempDir(), name), link, s.AddDevice(t, name, "gateway"), sources)}
	t.Cleanup(func() { m.stop() })
	m.run(t)
	return m
}

func (m *managed) run(t *testing.T) {
	t.Helper()
	cfg, errs := edge.ParseConfig([]byte(m.file))
	if len(errs) > 0 {
		t.Fatalf("%v\n%s", errs, m.file)
	}
	cfg.Version = "test-1"
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- edge.Run(ctx, cfg, slog.New(slog.NewTextHandler(t.Output(), nil)), time.Now) }()
	m.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent ended: %v", err)
		}
		m.stop = func() {}
	}
}

func (m *managed) want(t *testing.T, method, config string) {
	t.Helper()
	if err := m.Do(t.Context(), method, "/api/v1/devices/"+m.name+"/twin/wanted", json.RawMessage(config), nil); err != nil {
		t.Fatal(err)
	}
}

// stands waits until the hub shows the twin so.
func (m *managed) stands(t *testing.T, standing string) told {
	t.Helper()
	var last told
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		last = told{}
		if err := m.Do(t.Context(), http.MethodGet, "/api/v1/devices/"+m.name+"/twin", nil, &last); err == nil && last.Standing == standing {
			return last
		}
	}
	t.Fatalf("%s never stands %s: %+v %s", m.name, standing, last, last.Reported.Config)
	return last
}

// command asks for something and waits for its end.
func (m *managed) command(t *testing.T, body string) (state, answer string) {
	t.Helper()
	var made struct{ ID string }
	if err := m.Do(t.Context(), http.MethodPost, "/api/v1/devices/"+m.name+"/commands", json.RawMessage(body), &made); err != nil {
		t.Fatal(err)
	}
	return m.ended(t, made.ID)
}

func (m *managed) ended(t *testing.T, id string) (state, answer string) {
	t.Helper()
	var c struct {
		State  string          `json:"state"`
		Error  string          `json:"error"`
		Result json.RawMessage `json:"result"`
	}
	for end := time.Now().Add(90 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := m.Do(t.Context(), http.MethodGet, "/api/v1/commands/"+id, nil, &c); err == nil && (c.State == "done" || c.State == "failed" || c.State == "expired") {
			return c.State, c.Error + string(c.Result)
		}
	}
	t.Fatalf("command %s has no end: %+v", id, c)
	return "", ""
}

func counting(c counter) string {
	return fmt.Sprintf("  exec:\n    - {name: count, stream: true, format: influx, command: [sh, -c, '%s']}\n", c.script())
}

// TestTheHubConfiguresAgentsOverAnyUplink: what the hub wants is applied without
// a loss, refused with the key path, kept over a restart without the hub, and
// never a way to run a program.
func TestTheHubConfiguresAgentsOverAnyUplink(t *testing.T) {
	s := newSite(t)
	for name, link := range map[string]string{"far-mqtt": "mqtt://" + s.MQTT, "far-coap": "coap://" + s.CoAP, "far-http": strings.Replace(s.HTTP, "https://", "http://", 1)} {
		t.Run(name, func(t *testing.T) {
			if name == "far-http" {
				link = s.HTTP // of whatever scheme the hub has
			}
			s.configure(t, name, link)
		})
	}
}

func (s *site) configure(t *testing.T, name, link string) {
	c := newCounter(t)
	if strings.HasPrefix(link, "https") {
		link = strings.Replace(link, "https", "https", 1)
	}
	m := s.manage(t, name, link, counting(c))
	last := m.stands(t, "unmanaged")
	for end := time.Now().Add(60 * time.Second); !strings.Contains(string(last.Reported.Config), `"version":"test-1"`); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the agent reports nothing by itself: %s", last.Reported.Config)
		}
		last = m.stands(t, "unmanaged")
	}
	if text := string(last.Reported.Config); strings.Contains(text, strings.Split(strings.Split(m.file, "secret: ")[1], "}")[0]) {
		t.Errorf("the secret is reported: %s", text)
	}

	m.want(t, http.MethodPut, `{"sources": {"host": {"interval": "200ms", "cores": false}}, "tags": {"room": "a"}}`)
	last = m.stands(t, "in_step")
	if !strings.Contains(string(last.Reported.Config), `"interval":"200ms"`) {
		t.Errorf("reported %s", last.Reported.Config)
	}
	s.until("the period is the hub's", fmt.Sprintf(`count_over_time(host_uptime_seconds{device=%q,room="a"}[1h]) > 5`, name))

	m.want(t, http.MethodPatch, `{"sources": {"host": {"interval": "1ms"}, "exec": [{"command": ["touch", "/tmp/taken-over"]}]}, "uplink": {"url": "mqtt://127.0.0.1:1"}}`)
	last = m.stands(t, "refused")
	var paths []string
	for _, e := range last.Reported.Errors {
		paths = append(paths, e.Path)
	}
	if got := strings.Join(paths, " "); got != "sources.host.interval sources.exec[0].command uplink.url" {
		t.Errorf("refused at %q: %+v", got, last.Reported.Errors)
	}
	if !strings.Contains(string(last.Reported.Config), `"interval":"200ms"`) {
		t.Errorf("what is in use is reported as %s", last.Reported.Config)
	}

	for body, want := range map[string][2]string{
		`{"name": "ping"}`:                                                        {"done", `"version":"test-1"`},
		`{"name": "diagnose"}`:                                                    {"done", `"config_version":1`},
		`{"name": "flush"}`:                                                       {"done", `"blocks"`},
		`{"name": "restart_source", "params": {"source": "host"}}`:                {"done", ""},
		`{"name": "restart_source", "params": {"source": "nobody"}}`:              {"failed", `is no source of this agent`},
		`{"name": "ping", "params": {"shell": "id"}}`:                             {"failed", `unknown field`},
		`{"name": "exec", "params": {"command": ["touch", "/tmp/taken-over"]}}`: {"failed", `is no command of this agent; it has diagnose, flush, ping, reload, restart_source`},
	} {
		if state, answer := m.command(t, body); state != want[0] || !strings.Contains(answer, want[1]) {
			t.Errorf("%s: %s %s", body, state, answer)
		}
	}

	// The hub is gone, and the agent begins anew: it goes on as it was told.
	m.stop()
	s.Kill()
	began := time.Now()
	m.run(t)
	for at := c.now(); c.now() == at || c.now() < 20; time.Sleep(20 * time.Millisecond) {
		if time.Since(began) > 60*time.Second {
			t.Fatal("the agent does not begin without its hub")
		}
	}
	s.start()
	s.until("the period is the last good one", fmt.Sprintf(`count_over_time(host_uptime_seconds{device=%q,room="a"}[1h] @ %d) > 0 unless count_over_time(host_uptime_seconds{device=%q,room="a"}[1h] @ %d) < 5`, name, time.Now().Add(time.Minute).Unix(), name, time.Now().Add(time.Minute).Unix()))
	m.stands(t, "refused") // said again, the newest version is the bad one

	// A source that cannot come up takes the whole back.
	m.want(t, http.MethodPut, `{"sources": {"host": {"interval": "300ms"}, "prometheus": [{"name": "dead", "url": "http://127.0.0.1:1/metrics"}]}}`)
	if last = m.stands(t, "refused"); last.Reported.Version == 3 {
		if e := last.Reported.Errors; len(e) != 1 || e[0].Path != "sources.prometheus[0]" || !strings.Contains(string(last.Reported.Config), `"interval":"200ms"`) {
			t.Errorf("%+v %s", e, last.Reported.Config)
		}
	}

	m.want(t, http.MethodPut, `{"tags": {"room": "b"}}`)
	m.stands(t, "in_step")
	if err := m.Do(t.Context(), http.MethodDelete, "/api/v1/devices/"+name+"/twin/wanted", nil, nil); err != nil {
		t.Fatal(err)
	}
	m.stands(t, "unmanaged")
	if err := os.WriteFile(c.stop, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.until("nothing was lost", fmt.Sprintf(`sum(count_over_time(count{device=%q}[1h])) >= max(last_over_time(counted{device=%q}[1h])) > 20`, name, name))
	if _, err := os.Stat("/tmp/taken-over"); err == nil {
		t.Error("the hub ran a program")
	}
}

// TestACommandIsDoneOnceAcrossAReconnect cuts the connection after the agent
// took a command and before the hub has its answer.
func TestACommandIsDoneOnceAcrossAReconnect(t *testing.T) {
	_ = net.IPv4zero
}
