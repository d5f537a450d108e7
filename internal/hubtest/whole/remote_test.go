package whole

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	name, secret, file string
	log                io.Writer
	stop               func()
}

func (s *site) manage(t *testing.T, name, link, sources string) *managed {
	t.Helper()
	m := s.managed(t, name, link, sources)
	m.run(t)
	return m
}

func (s *site) managed(t *testing.T, name, link, sources string) *managed {
	t.Helper()
	secret := s.AddDevice(t, name, "gateway")
	m := &managed{site: s, name: name, secret: secret, stop: func() {}, file: fmt.Sprintf(`device: %s
data: %s
status_interval: 1s
uplink: {url: %q, secret: %s, tls: {ca: %s}}
sources:
  gpu: {enabled: false}
  host: {interval: 1h}
%s`, name, filepath.Join(t.TempDir(), name), link, secret, s.files.CA, sources)}
	m.log = t.Output()
	t.Cleanup(func() { m.stop() })
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
	go func() { ended <- edge.Run(ctx, cfg, slog.New(slog.NewTextHandler(m.log, nil)), time.Now) }()
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
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
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
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := m.Do(t.Context(), http.MethodGet, "/api/v1/commands/"+id, nil, &c); err == nil && (c.State == "done" || c.State == "failed" || c.State == "expired") {
			return c.State, c.Error + string(c.Result)
		}
	}
	t.Fatalf("%s: command %s has no end: %+v", m.name, id, c)
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
	for name, link := range map[string]string{"far-mqtt": "mqtt://" + s.MQTT, "far-coap": "coap://" + s.CoAP, "far-http": s.HTTP} {
		t.Run(name, func(t *testing.T) { s.configure(t, name, link) })
	}
}

func (s *site) configure(t *testing.T, name, link string) {
	c, taken := newCounter(t), filepath.Join(t.TempDir(), "taken-over")
	m := s.manage(t, name, link, counting(c))
	last := m.stands(t, "unmanaged")
	for end := time.Now().Add(patience); !strings.Contains(string(last.Reported.Config), `"version":"test-1"`); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("the agent reports nothing by itself: %s", last.Reported.Config)
		}
		last = m.stands(t, "unmanaged")
	}
	if text := string(last.Reported.Config); strings.Contains(text, m.secret) {
		t.Errorf("the secret is reported: %s", text)
	}

	m.want(t, http.MethodPut, `{"sources": {"host": {"interval": "200ms", "cores": false}}, "tags": {"room": "a"}}`)
	last = m.stands(t, "in_step")
	if !strings.Contains(string(last.Reported.Config), `"interval":"200ms"`) {
		t.Errorf("reported %s", last.Reported.Config)
	}
	s.until("the period is the hub's", fmt.Sprintf(`count_over_time(host_uptime_seconds{device=%q,room="a"}[1h]) > 5`, name))

	m.want(t, http.MethodPatch, `{"sources": {"host": {"interval": "1ms"}, "exec": [{"command": ["touch", "`+taken+`"]}]}, "uplink": {"url": "mqtt://127.0.0.1:1"}}`)
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
		`{"name": "ping"}`:     {"done", `"version":"test-1"`},
		`{"name": "diagnose"}`: {"done", `"config_version":1`},
		`{"name": "flush"}`:    {"done", `"blocks"`},
		`{"name": "restart_source", "params": {"source": "host"}}`:            {"done", ""},
		`{"name": "restart_source", "params": {"source": "nobody"}}`:          {"failed", `is no source of this agent`},
		`{"name": "ping", "params": {"shell": "id"}}`:                         {"failed", `unknown field`},
		`{"name": "exec", "params": {"command": ["touch", "` + taken + `"]}}`: {"failed", `is no command of this agent; it has diagnose, flush, ping, reload, restart_source`},
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
		if time.Since(began) > patience {
			t.Fatal("the agent does not begin without its hub")
		}
	}
	s.start()
	s.until("the period is the last good one", fmt.Sprintf(`count(count_over_time(host_uptime_seconds{device=%q,room="a"}[1h]) > 5 and last_over_time(timestamp(host_uptime_seconds{device=%q,room="a"})[1h:1s]) > %d)`, name, name, began.Unix()))
	m.stands(t, "refused") // said again, the newest version is the bad one

	// A source that cannot come up takes the whole back.
	m.want(t, http.MethodPut, `{"sources": {"host": {"interval": "300ms"}, "prometheus": [{"name": "dead", "url": "http://127.0.0.1:1/metrics"}]}}`)
	last = m.stands(t, "refused")
	if e := last.Reported.Errors; last.Reported.Version != 3 || len(e) != 1 || e[0].Path != "sources.prometheus[0]" || !strings.Contains(string(last.Reported.Config), `"interval":"200ms"`) {
		t.Errorf("%d %+v %s", last.Reported.Version, e, last.Reported.Config)
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
	s.until("the count is at its end", fmt.Sprintf(`last_over_time(counted{device=%q}[1h]) > 20`, name))
	s.complete(t, name)
	if _, err := os.Stat(taken); err == nil {
		t.Error("the hub ran a program")
	}
}

// ledger counts the commands that an agent's log says were done.
type ledger struct {
	mu   sync.Mutex
	done map[string]int
}

func (l *ledger) Write(line []byte) (int, error) {
	_, rest, found := strings.Cut(string(line), "msg=command_done command=")
	if id, _, _ := strings.Cut(rest, " "); found {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.done[id]++
	}
	return len(line), nil
}

// TestCommandsAreDoneOnceAcrossReconnects kills the hub and cuts the agents off
// while commands are under way.
func TestCommandsAreDoneOnceAcrossReconnects(t *testing.T) {
	s := newSite(t)
	ids := map[*managed][]string{}
	log := &ledger{done: map[string]int{}}
	for name, link := range map[string]string{"far-mqtt": "mqtt://" + s.MQTT, "far-coap": "coap://" + s.CoAP, "far-http": s.HTTP} {
		m := s.managed(t, name, link, "")
		m.log = log
		m.run(t)
		ids[m] = nil
	}
	const rounds, each = 3, 5
	for round := range rounds {
		for m := range ids {
			for range each {
				var made struct{ ID string }
				if err := m.Do(t.Context(), http.MethodPost, "/api/v1/devices/"+m.name+"/commands", map[string]string{"name": "ping"}, &made); err != nil {
					t.Fatal(err)
				}
				ids[m] = append(ids[m], made.ID)
			}
		}
		s.Kill()
		s.start()
		for m := range ids {
			if round == 1 { // the agent begins anew as well
				m.stop()
				m.run(t)
			}
		}
	}
	for m, all := range ids {
		for _, id := range all {
			if state, answer := m.ended(t, id); state != "done" {
				t.Errorf("%s: command %s is %s: %s", m.name, id, state, answer)
			}
		}
	}
	log.mu.Lock()
	defer log.mu.Unlock()
	for m, all := range ids {
		for _, id := range all {
			if n := log.done[id]; n != 1 {
				t.Errorf("%s did command %s %d times", m.name, id, n)
			}
		}
	}
}

// complete fails unless every number of the count is there: the program began
// once again, with the agent, and not with any configuration.
func (s *site) complete(t *testing.T, device string) {
	t.Helper()
	found, err := s.Query(t.Context(), fmt.Sprintf(`count{device=%q}[1h]`, device), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	type point struct {
		at    float64
		value string
	}
	var all []point
	for _, series := range found {
		for _, v := range series.Values {
			all = append(all, point{v[0].(float64), v[1].(string)})
		}
	}
	slices.SortFunc(all, func(a, b point) int { return cmp.Compare(a.at, b.at) })
	begun, next := 0, 1
	for _, p := range all {
		if p.value == "1" {
			begun++
			next = 1
		}
		if p.value != strconv.Itoa(next) {
			t.Fatalf("%s: %s stands where %d is missing (%d samples)", device, p.value, next, len(all))
		}
		next++
	}
	if begun != 2 {
		t.Errorf("%s: the program began %d times, want 2", device, begun)
	}
}
