package whole

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/edge"
)

// losses counts what an agent logs of connections that ended or were refused.
type losses struct{ atomic.Int64 }

// Write implements io.Writer: each call is a line of the log.
func (l *losses) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("msg=uplink_lost")) {
		l.Add(1)
	}
	return len(line), nil
}

// TestANewSecretReachesARunningAgent rotates the secrets of agents that run, and
// writes the new ones into their files after the hub has refused the old ones.
func TestANewSecretReachesARunningAgent(t *testing.T) {
	s := newSite(t)
	agents := []struct {
		name, url, file string
		lost            losses
	}{{name: "agent-mqtt", url: "mqtt://" + s.MQTT}, {name: "agent-coap", url: "coap://" + s.CoAP}, {name: "agent-coaps", url: "coaps://" + s.CoAPS}, {name: "agent-http", url: s.HTTP}}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, len(agents))
	for i := range agents {
		a := &agents[i]
		a.file = filepath.Join(t.TempDir(), "secret")
		writeFile(t, a.file, s.AddDevice(t, a.name, "gateway"))
		cfg, errs := edge.ParseConfig(fmt.Appendf(nil, "device: %s\ndata: %s\nuplink:\n  url: %s\n  secret_file: %s\n  tls: {ca: %s}\nsources:\n  host: {enabled: true, interval: 1s}\n",
			a.name, filepath.Join(t.TempDir(), a.name), a.url, a.file, s.files.CA))
		if len(errs) > 0 {
			t.Fatalf("%s: %v", a.name, errs)
		}
		go func() { ended <- edge.Run(ctx, cfg, slog.New(slog.NewTextHandler(&a.lost, nil)), time.Now) }()
	}
	defer func() {
		stop()
		for range agents {
			if err := <-ended; err != nil {
				t.Errorf("an agent ended: %v", err)
			}
		}
	}()
	s.until("every agent reports", `count(host_uptime_seconds) == 4`)
	made := make([]struct{ Secret string }, len(agents))
	for i := range agents {
		if err := s.Do(t.Context(), http.MethodPost, "/api/v1/devices/"+agents[i].name+"/rotate", nil, &made[i]); err != nil {
			t.Fatal(err)
		}
	}
	// All at once: who is refused for long asks seldom, at last every 90 s.
	for i := range agents {
		a := &agents[i]
		eventually(t, 3*patience, a.name+" is refused", func() bool { return a.lost.Load() >= 2 }) // the first may be the end of its session
	}
	written := time.Now()
	for i := range agents {
		writeFile(t, agents[i].file, made[i].Secret)
	}
	for i := range agents {
		a := &agents[i]
		eventually(t, 3*patience, a.name+" reports again", func() bool {
			return has(t, s.Hub, fmt.Sprintf(`timestamp(host_uptime_seconds{device=%q}) > %d`, a.name, written.Unix()))
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
