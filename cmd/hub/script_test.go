package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/songhua-io/hub/internal/simulate/roads"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"hub": main})
}

// TestScripts runs testdata/script: what a person types, and what comes back.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"waithub":    waitHub,
			"eventually": eventually,
			"exits":      exits,
			"post":       post,
			"uplinks":    uplinks,
		},
		Condition: func(cond string) (bool, error) {
			if program, ok := strings.CutPrefix(cond, "have:"); ok {
				return have(program)
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// have reports whether a program is installed. With CI=true it must be.
func have(program string) (bool, error) {
	_, err := exec.LookPath(program)
	if err != nil && os.Getenv("CI") == "true" {
		return false, fmt.Errorf("%s is not installed; scripts/install-test-tools installs it", program)
	}
	return err == nil, nil
}

// patience is how long a script waits for what must come, on a machine that has
// other things to do.
const patience = 3 * time.Minute

// waitHub waits until the hub of a data directory is ready and sets HTTP,
// HTTPS, MQTT_HOST, MQTT_PORT, MQTTS_PORT, COAP, COAPS and HUB_TOKEN: waithub DIR
func waitHub(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: waithub DIR")
	}
	dir := ts.MkAbs(args[0])
	var at struct{ HTTP, HTTPS, MQTT, MQTTS, CoAP, CoAPS string }
	deadline := time.Now().Add(patience)
	for ; ; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			ts.Fatalf("the hub of %s was not ready after %s", dir, patience)
		}
		if found, err := filepath.Glob(dir); err == nil && len(found) == 1 {
			dir = found[0]
		}
		data, err := os.ReadFile(filepath.Join(dir, "hub.json"))
		if err != nil || json.Unmarshal(data, &at) != nil {
			continue
		}
		resp, err := http.Get(at.HTTP + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			break
		}
	}
	token, err := os.ReadFile(filepath.Join(dir, "admin.token"))
	ts.Check(err)
	host, port, err := net.SplitHostPort(at.MQTT)
	ts.Check(err)
	ts.Setenv("HTTP", at.HTTP)
	ts.Setenv("HUB_URL", at.HTTP)
	ts.Setenv("MQTT_HOST", host)
	ts.Setenv("MQTT_PORT", port)
	ts.Setenv("HTTPS", at.HTTPS)
	ts.Setenv("MQTTS_PORT", at.MQTTS[strings.LastIndexByte(at.MQTTS, ':')+1:])
	ts.Setenv("COAP", at.CoAP)
	ts.Setenv("COAPS", at.CoAPS)
	ts.Setenv("HUB_TOKEN", strings.TrimSpace(string(token)))
}

// eventually repeats a command until its output holds a text: eventually TEXT
// PROGRAM [ARG…]
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually TEXT PROGRAM [ARG…]")
	}
	var last string
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		_ = ts.Exec(args[1], args[2:]...)
		last = ts.ReadFile("stdout")
		if bytes.Contains([]byte(last), []byte(args[0])) {
			return
		}
	}
	ts.Fatalf("%q did not come within %s; last output:\n%s", args[0], patience, last)
}

// exits runs a command that must end with this code: exits CODE PROGRAM [ARG…]
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM [ARG…]")
	}
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var ended *exec.ExitError
		if !errors.As(err, &ended) {
			ts.Fatalf("%v", err)
		}
		code = ended.ExitCode()
	}
	if fmt.Sprint(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// post sends telemetry of a device, whose secret is 0123456789abcdef0123, and
// prints the status and the answer: post DEVICE BODY|@FILE
func post(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: post DEVICE BODY|@FILE")
	}
	body := args[1]
	if file, ok := strings.CutPrefix(body, "@"); ok {
		body = ts.ReadFile(file)
	}
	req, err := http.NewRequest(http.MethodPost, ts.Getenv("HTTP")+"/api/v1/devices/"+args[0]+"/telemetry", strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("Authorization", "Bearer 0123456789abcdef0123")
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	answer, err := io.ReadAll(resp.Body)
	ts.Check(errors.Join(err, resp.Body.Close()))
	fmt.Fprintf(ts.Stdout(), "%d %s\n", resp.StatusCode, answer)
}

// uplinks sends what a roadside unit has to say in a minute up to now, but for whom it
// sees and hears, of a road net in which it lets its signals go from green to red. Its
// secret is 0123456789abcdef0123: uplinks DEVICE
func uplinks(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: uplinks DEVICE")
	}
	const played = 65 * time.Second
	w := roads.New(roads.Config{Seed: 1, Units: 1, Start: time.Now().Add(-played), Faulty: map[int]roads.Fault{0: roads.NoYellow}})
	for range int(played / (100 * time.Millisecond)) {
		w.Step(func(u roads.Uplink) {
			if u.Message == "BSM" || u.Message == "RSM" {
				return // their times are known by the second of the minute: half a minute later they are none
			}
			kind, media := "", "application/vnd.songhua.v2x.uper"
			if u.Payload[0] == '{' {
				kind, media = "?kind="+map[string]string{"HB": "heartbeat", "INFO": "info"}[u.Message], "application/json"
			}
			req, err := http.NewRequest(http.MethodPost, ts.Getenv("HTTP")+"/api/v1/devices/"+args[0]+"/v2x"+kind, bytes.NewReader(u.Payload))
			ts.Check(err)
			req.Header.Set("Authorization", "Bearer 0123456789abcdef0123")
			req.Header.Set("Content-Type", media)
			resp, err := http.DefaultClient.Do(req)
			ts.Check(err)
			answer, err := io.ReadAll(resp.Body)
			ts.Check(errors.Join(err, resp.Body.Close()))
			if resp.StatusCode != http.StatusOK {
				ts.Fatalf("%s: %s: %s", u.Message, resp.Status, answer)
			}
		})
	}
}
