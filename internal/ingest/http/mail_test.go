package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	nethttp "net/http"
	"strings"
	"testing"
	"time"

	"github.com/songhua-io/hub/internal/ingest/doortest"
	"github.com/songhua-io/hub/internal/ingest/http"
)

func (h *house) get(t *testing.T, path, device string) answer {
	t.Helper()
	req, err := nethttp.NewRequestWithContext(t.Context(), "GET", h.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+doortest.Secret(device))
	res, err := nethttp.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func TestCommandsByLongPoll(t *testing.T) {
	h := open(t, http.DefaultConfig())
	if a := h.get(t, "/api/v1/devices/t1/commands", "t1"); a.code != 200 || a.body != "[]\n" {
		t.Errorf("with nothing to do: %d %s", a.code, a.body)
	}
	got := make(chan answer)
	go func() { got <- h.get(t, "/api/v1/devices/t1/commands?wait=30s", "t1") }()
	for h.Mail.Listeners("t1") == 0 {
		time.Sleep(time.Millisecond)
	}
	h.Mail.Post("t1", "c-1", `{"id":"c-1"}`)
	if a := <-got; a.code != 200 || a.body != `[{"id":"c-1"}]`+"\n" {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a := h.get(t, "/api/v1/devices/t1/commands", "t1"); a.body != `[{"id":"c-1"}]`+"\n" {
		t.Errorf("what was not confirmed does not come again: %s", a.body)
	}
	if a := h.get(t, "/api/v1/devices/t1/commands?received=c-1", "t1"); a.body != "[]\n" || !h.Mail.Received("t1", "c-1") {
		t.Errorf("after it was confirmed: %s", a.body)
	}
	secret := doortest.Secret("t1")
	for _, c := range []struct {
		path, secret, body string
		code               int
	}{
		{"/api/v1/devices/t1/commands/c-1/reply", secret, `{"state":"done"}`, 204},
		{"/api/v1/devices/t1/commands/c-9/reply", secret, `{}`, 404},
		{"/api/v1/devices/t1/commands/c-1/reply", secret, `bad`, 422},
		{"/api/v1/devices/t1/commands/c-1/reply", secret, strings.Repeat("x", 300<<10), 413},
		{"/api/v1/devices/t1/commands/c-1/reply", doortest.Secret("t2"), `{}`, 403},
		{"/api/v1/devices/t1/commands/c-1/reply", "guess", `{}`, 401},
		{"/api/v1/devices/t1/commands/c-1/reply", doortest.Secret("gw"), `{"state":"done"}`, 204},
		{"/api/v1/devices/t1/config/reported", secret, `{"version":1}`, 204},
		{"/api/v1/devices/t1/config/reported", secret, `bad`, 422},
		{"/api/v1/devices/t1/config/reported", doortest.Secret("t2"), `{}`, 403},
	} {
		if a := h.post(t, c.path, c.secret, "application/json", strings.NewReader(c.body)); a.code != c.code {
			t.Errorf("%s with %.20s: %d %s, want %d", c.path, c.body, a.code, a.body, c.code)
		}
	}
	if reply, report := h.Mail.Said("t1", "c-1"); reply != `{"state":"done"}` || report != `{"version":1}` {
		t.Errorf("the hub heard %q, %q", reply, report)
	}
	for _, path := range []string{"/api/v1/devices/t1/commands?wait=2h", "/api/v1/devices/t1/config?wait=x"} {
		if a := h.get(t, path, "t1"); a.code != 400 {
			t.Errorf("%s: %d", path, a.code)
		}
	}
	if a := h.get(t, "/api/v1/devices/t1/commands", "t2"); a.code != 403 {
		t.Errorf("another's commands: %d", a.code)
	}
}

func TestWantedConfigurationByLongPoll(t *testing.T) {
	h := open(t, http.DefaultConfig())
	if a := h.get(t, "/api/v1/devices/t1/config", "t1"); a.code != 204 {
		t.Errorf("with nothing wanted: %d %s", a.code, a.body)
	}
	h.Mail.Want("t1", `{"version":1,"config":{}}`)
	if a := h.get(t, "/api/v1/devices/t1/config", "t1"); a.code != 200 || a.body != `{"version":1,"config":{}}`+"\n" {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a := h.get(t, "/api/v1/devices/t1/config?version=1", "t1"); a.code != 304 {
		t.Errorf("with the known version: %d", a.code)
	}
	got := make(chan answer)
	go func() { got <- h.get(t, "/api/v1/devices/t1/config?version=1&wait=30s", "t1") }()
	time.AfterFunc(20*time.Millisecond, func() { h.Mail.Want("t1", `{"version":2,"config":{"a":1}}`) })
	if a := <-got; a.code != 200 || a.body != `{"version":2,"config":{"a":1}}`+"\n" {
		t.Errorf("%d %s", a.code, a.body)
	}
}

// A device that is revoked while it waits is answered at once, and refused
// from then on.
func TestRevocationEndsALongPoll(t *testing.T) {
	h := open(t, http.DefaultConfig())
	got := make(chan answer)
	go func() { got <- h.get(t, "/api/v1/devices/t1/commands?wait=1m", "t1") }()
	for h.Mail.Listeners("t1") == 0 {
		time.Sleep(time.Millisecond)
	}
	h.Revoke("t1")
	if a := <-got; a.code != 200 || a.body != "[]\n" {
		t.Errorf("%d %s", a.code, a.body)
	}
	if a := h.get(t, "/api/v1/devices/t1/commands", "t1"); a.code != 401 {
		t.Errorf("after its revocation: %d", a.code)
	}
}

// A device that is taken from its gateway is not heard there any more, also by a
// request that waits.
func TestAGatewayThatWaitsHearsNothingOfADeviceThatWasTakenFromIt(t *testing.T) {
	h := open(t, http.DefaultConfig())
	h.Mail.Want("t1", `{"version":1,"config":{}}`)
	commands, config := make(chan answer, 1), make(chan answer, 1)
	go func() { config <- h.get(t, "/api/v1/devices/t1/config?version=1&wait=1m", "gw") }()
	for h.Mail.Watchers("t1") == 0 {
		time.Sleep(time.Millisecond)
	}
	wait := func() { commands <- h.get(t, "/api/v1/devices/t1/commands?wait=2s", "gw") }
	go wait()
	for h.Mail.Listeners("t1") == 0 {
		select {
		case <-commands: // it came and went unseen
			go wait()
		case <-time.After(time.Millisecond):
		}
	}
	h.Deny("gw", "t1")
	h.Mail.Post("t1", "c-1", `{"id":"c-1"}`)
	h.Mail.Want("t1", `{"version":2,"config":{}}`)
	if a := <-commands; a.body != "[]\n" {
		t.Errorf("commands: %d %s", a.code, a.body)
	}
	if a := <-config; a.code == 200 {
		t.Errorf("configuration: %d %s", a.code, a.body)
	}
	if a := h.get(t, "/api/v1/devices/t1/commands", "gw"); a.code != 403 {
		t.Errorf("from then on: %d %s", a.code, a.body)
	}
}

// What a sender that was revoked meanwhile had begun to send is not stored.
func TestRevocationEndsAnUpload(t *testing.T) {
	h := open(t, http.DefaultConfig())
	conn, err := net.Dial("tcp", strings.TrimPrefix(h.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	const body = `{"a":1}`
	fmt.Fprintf(conn, "POST /api/v1/devices/t1/telemetry HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", doortest.Secret("t1"), len(body))
	r := bufio.NewReader(conn)
	// The door reads the body: it has let the sender in.
	if first, err := nethttp.ReadResponse(r, nil); err != nil || first.StatusCode != nethttp.StatusContinue {
		t.Fatalf("%v, %v", first, err)
	}
	h.Revoke("t1")
	fmt.Fprint(conn, body)
	last, err := nethttp.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer last.Body.Close()
	if last.StatusCode != nethttp.StatusUnauthorized || h.Points() != 0 {
		t.Errorf("answered %s, %d points are stored", last.Status, h.Points())
	}
}
