package whole

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/hubtest/freeport"
)

// buildAgent compiles cmd/edge-agent as it is released.
func buildAgent(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	path := filepath.Join(t.TempDir(), "edge-agent")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", path, "github.com/songhua-io/hub/cmd/edge-agent")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the agent: %v\n%s", err, out)
	}
	return path
}

// program is an edge-agent that runs.
type program struct {
	t     *testing.T
	cmd   *exec.Cmd
	ended chan struct{}
	// first is how long after its start the first line of the log came.
	first time.Duration

	mu  sync.Mutex
	log []string
}

// startProgram returns when the agent wrote its first line.
func startProgram(t *testing.T, binary string, args ...string) *program {
	t.Helper()
	p := &program{t: t, cmd: exec.Command(binary, args...), ended: make(chan struct{})}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	began, said := time.Now(), make(chan time.Time, 1)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			select {
			case said <- time.Now():
			default:
			}
			p.mu.Lock()
			p.log = append(p.log, lines.Text())
			p.mu.Unlock()
		}
		_ = p.cmd.Wait() // the exit code says how it ended
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
	})
	select {
	case at := <-said:
		p.first = at.Sub(began)
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("%v says nothing", args)
	}
	return p
}

// terminate sends SIGTERM, on which the program is to end with exit code 0.
func (p *program) terminate() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("SIGTERM does not end it\n" + p.said())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		p.t.Errorf("exit code %d after SIGTERM\n%s", code, p.said())
	}
}

func (p *program) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.log, "\n")
}

// memory is a figure of /proc/PID/status in bytes: VmRSS is resident now, VmHWM
// was at most.
func (p *program) memory(key string) int {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	found := regexp.MustCompile(key + `:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		p.t.Fatalf("no %s in\n%s", key, status)
	}
	kib, err := strconv.Atoi(string(found[1]))
	if err != nil {
		p.t.Fatal(err)
	}
	return kib << 10
}

// feed puts lines until the agent says that they are on disk.
func feed(t *testing.T, address, lines string) {
	t.Helper()
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		resp, err := http.Post("http://"+address+"/telemetry", "text/plain", strings.NewReader(lines))
		if last = err; err != nil {
			continue
		}
		text, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode == http.StatusOK {
			return
		}
		last = fmt.Errorf("%s: %s", resp.Status, text)
	}
	t.Fatal("the agent takes nothing: ", last)
}

// inspect returns how many samples wait in the spool and how many were lost.
func inspect(t *testing.T, binary, config string) (waiting, lost int) {
	t.Helper()
	out, err := exec.Command(binary, "spool", "inspect", "--config", config).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	figure := func(line string) (n int) {
		found := regexp.MustCompile(line + ` +\d+ blocks, (\d+) samples`).FindSubmatch(out)
		if found == nil {
			t.Fatalf("spool inspect does not say what is %s:\n%s", line, out)
		}
		n, err := strconv.Atoi(string(found[1]))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	return figure("waiting"), figure("lost")
}

// TestTheAgentAsAProgram fills the spool of a released agent that reaches no
// hub, feeds it 100 samples a second, stops it, and drains it into a hub.
func TestTheAgentAsAProgram(t *testing.T) {
	binary := buildAgent(t)
	hub := hubtest.Start(t, hubtest.Build(t, ""), t.TempDir())
	door, data := freeport.Address(t), t.TempDir()
	secret := hub.AddDevice(t, "agent-program", "gateway")
	write := func(name, url string) string {
		path := filepath.Join(t.TempDir(), name)
		text := fmt.Sprintf("device: agent-program\ndata: %s\nstatus_interval: 1h\nuplink: {url: %q, secret: %s, compress: false, backfill_rate: 0}\nspool: {max_size: 16MiB}\nsources: {host: {interval: 1s}, http: [{listen: %q}]}\n", data, url, secret, door)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	offline, online := write("offline.yaml", "mqtt://127.0.0.1:1"), write("online.yaml", "mqtt://"+hub.MQTT)

	began, fed := time.Now().Add(-time.Hour), 0
	batch := func(n int) string {
		var b bytes.Buffer
		for range n {
			fmt.Fprintf(&b, "fed,pad=%s value=%d %d\n", strings.Repeat("x", 100), fed, began.Add(time.Duration(fed)*time.Millisecond).UnixNano())
			fed++
		}
		return b.String()
	}
	full := startProgram(t, binary, "run", "--config", offline)
	for lost := 0; lost == 0; _, lost = inspect(t, binary, offline) {
		feed(t, door, batch(10_000))
	}
	full.terminate()

	agent := startProgram(t, binary, "run", "--config", offline)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	const bearable = 40e6
	resident := 0
	// Five seconds of it, and more where the collector is not through with the start.
	for end := time.Now().Add(patience); resident == 0 || resident > bearable && time.Now().Before(end); resident = agent.memory("VmRSS") {
		for range 50 {
			<-tick.C
			feed(t, door, batch(10))
		}
	}
	most := agent.memory("VmHWM")
	agent.terminate()
	t.Logf("first line after %s; resident %.1f MB, at most %.1f MB", agent.first.Round(time.Millisecond), float64(resident)/1e6, float64(most)/1e6)
	if resident > bearable {
		t.Errorf("%d B are resident at 100 samples/s with a full spool; 30 MB are wanted, 40 MB bearable", resident)
	}

	waiting, lost := inspect(t, binary, offline)
	if waiting == 0 || lost == 0 {
		t.Fatalf("%d samples wait and %d were lost: the spool is not full", waiting, lost)
	}
	if out, err := exec.Command(binary, "spool", "drain", "--config", online).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left, _ := inspect(t, binary, online); left != 0 {
		t.Errorf("%d samples wait after the drain", left)
	}
	found, err := hub.Query(t.Context(), "count_over_time(fed[2h])", time.Time{})
	if err != nil || len(found) != 1 {
		t.Fatal(found, err)
	}
	stored, err := strconv.Atoi(found[0].Value[1].(string))
	if err != nil || stored+lost < fed || stored > fed {
		t.Errorf("%d samples were fed, %d are stored and %d of any kind lost: %v", fed, stored, lost, err)
	}
}

func TestTheSimulatorAsAProgram(t *testing.T) {
	binary := buildAgent(t)
	hub := hubtest.Start(t, hubtest.Build(t, ""), t.TempDir())
	p := startProgram(t, binary, "simulate", "--hub", hub.HTTP, "--mqtt", hub.MQTT, "--coap", hub.CoAP, "--token", hub.Token, "--sensors", "5", "--rsus", "1", "--nodes", "1")
	eventually(t, patience, "the fleet reports", func() bool {
		found, err := hub.Query(t.Context(), `count(count by (device) ({device!=""})) > 5`, time.Time{})
		return err == nil && len(found) > 0
	})
	p.terminate()
}
