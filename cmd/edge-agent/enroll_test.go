package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/songhua-io/hub/internal/hubtest"
)

func enrolmentToken(t *testing.T, h *hubtest.Hub, name string) string {
	t.Helper()
	var made struct{ Token string }
	if err := h.Do(t.Context(), http.MethodPost, "/api/v1/enrolments", map[string]any{"name": name, "kind": "node", "uses": 3}, &made); err != nil {
		t.Fatal(err)
	}
	return made.Token
}

func TestEnrolling(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a whole hub; make test")
	}
	defer hubtest.Clean()
	binary := hubtest.Build(t, "")
	h, other := hubtest.Start(t, binary, t.TempDir(), "--coap", "off", "--coaps", "off"), hubtest.Start(t, binary, t.TempDir(), "--coap", "off", "--coaps", "off")
	token := enrolmentToken(t, h, "nodes")
	data, config := t.TempDir(), filepath.Join(t.TempDir(), "agent.yaml")

	for name, c := range map[string]struct {
		args   []string
		code   int
		stderr string
	}{
		"nothing":           {nil, 2, "--hub URL and --token T"},
		"in clear text":     {[]string{"--hub", "http://192.0.2.1:8080", "--token", token, "--device", "n1"}, 1, "clear text"},
		"no address":        {[]string{"--hub", "hub.example", "--token", token, "--device", "n1"}, 1, "https://hub.example:8443"},
		"another hub":       {[]string{"--hub", other.HTTPS, "--token", token, "--device", "n1"}, 1, "not the hub that the token is of"},
		"an unknown token":  {[]string{"--hub", h.HTTP, "--token", "she_x", "--device", "n1"}, 1, "401"},
		"an impossible id":  {[]string{"--hub", h.HTTPS, "--token", token, "--device", "a b"}, 1, "--device"},
		"a name for a tag":  {[]string{"--hub", h.HTTPS, "--token", token, "--device", "n1", "--tag", "x"}, 2, "name=value"},
		"another authority": {[]string{"--hub", h.HTTPS, "--token", token, "--device", "n1", "--ca", filepath.Join(other.Dir, "authority", "root.pem")}, 1, "certificate"},
	} {
		code, _, stderr := call(t, append([]string{"enroll", "--config", config, "--data", data}, c.args...)...)
		if code != c.code || !strings.Contains(stderr, c.stderr) {
			t.Errorf("%s: %d %s", name, code, stderr)
		}
	}
	if _, err := os.Stat(config); err == nil {
		t.Error("what failed left a config")
	}

	code, stdout, stderr := call(t, "enroll", "--hub", h.HTTPS, "--token", token, "--device", "n1", "--config", config, "--data", data)
	if code != 0 || !strings.Contains(stdout, "edge-agent run --config "+config) {
		t.Fatalf("%d %s %s", code, stdout, stderr)
	}
	if code, _, stderr := call(t, "check", config); code != 0 {
		t.Errorf("the config that was written: %s", stderr)
	}
	publish(t, h, data)

	// A config that is there stays, and what it needs is told.
	mine := write(t, "data: "+t.TempDir()+"\nuplink: {secret: s} # mine\n")
	code, stdout, stderr = call(t, "enroll", "--hub", h.HTTPS, "--token", token, "--device", "n2", "--config", mine)
	if code != 0 || !strings.Contains(stdout, "url: mqtts://"+h.MQTTS) || !strings.Contains(stdout, "renew: "+h.HTTPS) {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
	if text, err := os.ReadFile(mine); err != nil || !strings.Contains(string(text), "# mine") {
		t.Errorf("%s, %v", text, err)
	}
	if code, _, stderr := call(t, "enroll", "--hub", h.HTTPS, "--token", token, "--device", "n3", "--config", config); code != 1 || !strings.Contains(stderr, "is of the device n1") {
		t.Errorf("the config of another device: %d %s", code, stderr)
	}
}

// publish sends with the files that were written, by a program of others.
func publish(t *testing.T, h *hubtest.Hub, data string) {
	t.Helper()
	if _, err := exec.LookPath("mosquitto_pub"); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("mosquitto_pub is not installed; scripts/install-test-tools installs it")
		}
		t.Log("mosquitto_pub is not installed")
		return
	}
	dir := filepath.Join(data, "identity")
	host, port, _ := strings.Cut(h.MQTTS, ":")
	cmd := exec.Command("mosquitto_pub", "-h", host, "-p", port, "--cafile", filepath.Join(dir, "hub-ca.pem"), "--cert", filepath.Join(dir, "device.pem"),
		"--key", filepath.Join(dir, "device.key"), "-q", "1", "-t", "devices/n1/telemetry", "-m", `{"temperature": 21.5}`)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("mosquitto_pub: %v %s", err, out)
	}
}
