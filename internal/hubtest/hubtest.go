// Package hubtest runs the real hub as a child process, so that tests can talk
// to it as its users do and kill it as the world does.
package hubtest

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Build compiles cmd/hub with the tags, once per set of tags and process, and
// returns the path of the program.
func Build(t testing.TB, tags string) string {
	t.Helper()
	built.Lock()
	defer built.Unlock()
	if path, ok := built.paths[tags]; ok {
		return path
	}
	dir, err := os.MkdirTemp("", "songhua-hubtest-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "hub")
	cmd := exec.Command("go", "build", "-tags", tags, "-o", path, "github.com/songhua-io/hub/cmd/hub")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the hub: %v\n%s", err, out)
	}
	built.paths[tags] = path
	return path
}

var built = struct {
	sync.Mutex
	paths map[string]string
}{paths: map[string]string{}}

// Clean removes what Build made. For TestMain.
func Clean() {
	built.Lock()
	defer built.Unlock()
	for _, path := range built.paths {
		os.RemoveAll(filepath.Dir(path))
	}
	clear(built.paths)
}

// Hub is a hub that runs as a child process on loopback.
type Hub struct {
	Dir   string
	HTTP  string `json:"http"`  // base URL
	HTTPS string `json:"https"` // base URL
	MQTT  string `json:"mqtt"`  // address:port
	CoAP  string `json:"coap"`  // address:port
	MQTTS string `json:"mqtts"`
	CoAPS string `json:"coaps"`
	Token string

	cmd    *exec.Cmd
	output *tail
	ended  chan struct{}
	err    error // of Wait; valid once ended is closed
}

// patience is how long a hub may take for what it does at once, on a machine that
// has other things to do.
const patience = 3 * time.Minute

// Start runs `hub serve` in dir with every door on a free port of loopback and
// returns when it is ready.
func Start(t testing.TB, binary, dir string, args ...string) *Hub {
	t.Helper()
	h, err := Launch(binary, dir, append([]string{"serve"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Kill() })
	return h
}

// Launch is Start for callers that take the error; args begin with the
// subcommand, and their flags have the last word over the free ports.
func Launch(binary, dir string, args ...string) (*Hub, error) {
	h := &Hub{Dir: dir, output: &tail{most: 1 << 20}, ended: make(chan struct{})}
	_ = os.Remove(filepath.Join(dir, "hub.json"))
	h.cmd = exec.Command(binary, slices.Concat(args[:1], []string{"--data", dir}, freePorts(), args[1:])...)
	h.cmd.Stdout, h.cmd.Stderr = h.output, h.output
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := h.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { h.err = h.cmd.Wait(); close(h.ended) }()
	if err := h.waitReady(patience); err != nil {
		h.Kill()
		return nil, fmt.Errorf("%w\n%s", err, h.Output())
	}
	return h, nil
}

// freePorts asks for any free port at every door: a door left to its default,
// or to a config file, would meet the hub of another test on its port.
func freePorts() (flags []string) {
	for _, door := range []string{"http", "https", "mqtt", "mqtts", "coap", "coaps"} {
		flags = append(flags, "--"+door, "127.0.0.1:0")
	}
	return flags
}

func (h *Hub) waitReady(limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for time.Now().Before(deadline) {
		select {
		case <-h.ended:
			return fmt.Errorf("the hub ended before it was ready: %v", h.err)
		case <-time.After(10 * time.Millisecond):
		}
		data, err := os.ReadFile(filepath.Join(h.Dir, "hub.json"))
		if err != nil || json.Unmarshal(data, h) != nil {
			continue
		}
		token, err := os.ReadFile(filepath.Join(h.Dir, "admin.token"))
		if err != nil {
			continue
		}
		h.Token = strings.TrimSpace(string(token))
		resp, err := http.Get(h.HTTP + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("the hub was not ready after %v", limit)
}

// Output returns the end of what the hub printed.
func (h *Hub) Output() string { return h.output.String() }

// PID returns the process id.
func (h *Hub) PID() int { return h.cmd.Process.Pid }

// Ended is closed when the process is gone.
func (h *Hub) Ended() <-chan struct{} { return h.ended }

// ExitCode returns the exit code of an ended hub; -1 when a signal ended it.
func (h *Hub) ExitCode() int { <-h.ended; return h.cmd.ProcessState.ExitCode() }

// Kill ends the process with SIGKILL and waits until it is gone. A nil Hub was
// never started.
func (h *Hub) Kill() {
	if h == nil {
		return
	}
	_ = h.cmd.Process.Kill()
	<-h.ended
}

// Freeze stops every thread of the process where it is and returns when no
// system call of it is under way; Thaw lets it go on.
func (h *Hub) Freeze() error {
	if err := h.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", h.PID()))
		if err != nil {
			return err
		}
		moving := len(stats) == 0
		for _, path := range stats {
			data, err := os.ReadFile(path)
			_, state, _ := bytes.Cut(data, []byte(") "))
			moving = moving || err == nil && !bytes.HasPrefix(state, []byte("T"))
		}
		if !moving {
			return nil
		}
	}
	return fmt.Errorf("the hub was not frozen within %v", patience)
}

// Thaw lets a frozen process go on.
func (h *Hub) Thaw() error { return h.cmd.Process.Signal(syscall.SIGCONT) }

// Stop sends SIGTERM and returns the exit code, or an error when it does not end.
func (h *Hub) Stop() (int, error) {
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	select {
	case <-h.ended:
		return h.ExitCode(), nil
	case <-time.After(patience):
		return 0, fmt.Errorf("the hub did not stop within %v\n%s", patience, h.Output())
	}
}

// Do makes an API request with the admin token, sends body as JSON unless nil,
// and reads the answer into answer unless nil. Answers of 400 and above are
// errors with the body's text.
func (h *Hub) Do(ctx context.Context, method, path string, body, answer any) error {
	text, err := h.fetch(ctx, method, path, body)
	if err != nil || answer == nil {
		return err
	}
	return json.Unmarshal(text, answer)
}

func (h *Hub) fetch(ctx context.Context, method, path string, body any) ([]byte, error) {
	var in io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, h.HTTP+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+h.Token)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 400 {
		return nil, fmt.Errorf("%s %s: %s: %.4096s", method, path, resp.Status, text)
	}
	return text, err
}

// AddDevice registers a device and returns its secret.
func (h *Hub) AddDevice(t testing.TB, id, kind string) string {
	t.Helper()
	var made struct{ Secret string }
	if err := h.Do(t.Context(), http.MethodPost, "/api/v1/devices", map[string]string{"id": id, "kind": kind}, &made); err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

// Series is one series of an answer: raw samples of a range selector, or one
// value of an instant one.
type Series struct {
	Metric map[string]string `json:"metric"`
	Values [][2]any          `json:"values"`
	Value  [2]any            `json:"value"`
}

// Query asks for an instant query at the given time; the zero time means now.
func (h *Hub) Query(ctx context.Context, promql string, at time.Time) ([]Series, error) {
	form := url.Values{"query": {promql}}
	if !at.IsZero() {
		form.Set("time", fmt.Sprintf("%.3f", float64(at.UnixMilli())/1000))
	}
	var answer struct {
		Data struct {
			Result []Series `json:"result"`
		} `json:"data"`
	}
	err := h.Do(ctx, http.MethodGet, "/prometheus/api/v1/query?"+form.Encode(), nil, &answer)
	return answer.Data.Result, err
}

// Sum adds up the samples of one of the hub's own metrics whose labels hold
// every one of the given texts, such as reason="conflict"; 0 when there is none.
func (h *Hub) Sum(ctx context.Context, metric string, labels ...string) (sum float64, err error) {
	text, err := h.fetch(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		rest, ok := strings.CutPrefix(strings.TrimSpace(line), metric)
		at := strings.LastIndexByte(rest, ' ')
		if !ok || at < 0 || rest[0] != '{' && at > 0 {
			continue
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest[:at], l) }) {
			continue
		}
		v, err := strconv.ParseFloat(rest[at+1:], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", line, err)
		}
		sum += v
	}
	return sum, nil
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	most int
	data []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.data = append(t.data, p...)
	if over := len(t.data) - t.most; over > 0 {
		t.data = append(t.data[:0], t.data[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.data)
}

// Trust makes this process believe certificates of an authority for the rest
// of the test: a hub with TLS is asked over https.
func Trust(t testing.TB, caFile string) {
	t.Helper()
	pem, err := os.ReadFile(caFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("%s holds no certificate", caFile)
	}
	before := http.DefaultTransport
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots}
	http.DefaultTransport = transport
	t.Cleanup(func() { http.DefaultTransport = before })
}
