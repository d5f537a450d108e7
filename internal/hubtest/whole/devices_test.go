package whole

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/sys/unix"

	"github.com/songhua-io/hub/internal/hubtest"
	"github.com/songhua-io/hub/internal/simulate/load"
)

func start(t *testing.T) *hubtest.Hub {
	t.Helper()
	if testing.Short() {
		t.Skip("runs whole programs; make test")
	}
	return hubtest.Start(t, hubtest.Build(t, ""), t.TempDir())
}

// patience is how long a test waits for what must come: long enough for a
// machine that is busy with other things.
const patience = 3 * time.Minute

// connect opens an MQTT connection and returns it with a channel that closes
// when it is lost.
func connect(t *testing.T, h *hubtest.Hub, device, secret string) (paho.Client, <-chan struct{}) {
	t.Helper()
	lost := make(chan struct{})
	c := paho.NewClient(paho.NewClientOptions().AddBroker("tcp://" + h.MQTT).SetClientID(device).SetUsername(device).SetPassword(secret).
		SetAutoReconnect(false).SetWriteTimeout(patience).SetConnectionLostHandler(func(paho.Client, error) { close(lost) }))
	if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("connect %s: %v", device, token.Error())
	}
	return c, lost
}

func publish(t *testing.T, c paho.Client, device, body string) {
	t.Helper()
	if token := c.Publish("devices/"+device+"/telemetry", 1, false, body); !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("publish for %s: %v", device, token.Error())
	}
}

// post sends telemetry by HTTP and returns status and body.
func post(t *testing.T, h *hubtest.Hub, device, secret, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.HTTP+"/api/v1/devices/"+device+"/telemetry", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}

func eventually(t *testing.T, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if holds() {
			return
		}
	}
	t.Fatalf("not within %v: %s", limit, what)
}

func has(t *testing.T, h *hubtest.Hub, promql string) bool {
	t.Helper()
	return hasAt(t, h, promql, time.Time{})
}

func hasAt(t *testing.T, h *hubtest.Hub, promql string, at time.Time) bool {
	t.Helper()
	found, err := h.Query(t.Context(), promql, at)
	if err != nil {
		t.Fatal(err)
	}
	return len(found) > 0
}

func TestDisablingOrRotatingADeviceEndsItsSessions(t *testing.T) {
	h := start(t)
	secret := h.AddDevice(t, "t1", "sensor")
	for _, action := range []string{"disable", "rotate"} {
		c, lost := connect(t, h, "t1", secret)
		publish(t, c, "t1", `{"a": 1}`)
		var made struct{ Secret string }
		if err := h.Do(t.Context(), http.MethodPost, "/api/v1/devices/t1/"+action, nil, &made); err != nil {
			t.Fatal(err)
		}
		select {
		case <-lost:
		case <-time.After(patience):
			t.Errorf("after %s the MQTT connection lives on", action)
		}
		if status, body := post(t, h, "t1", secret, `{"a": 1}`); status != http.StatusUnauthorized && status != http.StatusForbidden {
			t.Errorf("after %s HTTP answers %d %s", action, status, body)
		}
		if action == "disable" {
			if err := h.Do(t.Context(), http.MethodPost, "/api/v1/devices/t1/enable", nil, nil); err != nil {
				t.Fatal(err)
			}
		} else {
			secret = made.Secret
		}
		if status, body := post(t, h, "t1", secret, `{"a": 1}`); status != http.StatusOK {
			t.Errorf("let in again, HTTP answers %d %s", status, body)
		}
	}
}

func TestAValueHoldsTwoAndAHalfPeriodsAndEndsWhenItsDeviceGoes(t *testing.T) {
	h := start(t)
	var made struct{ Secret string }
	slow := map[string]string{"id": "slow", "kind": "sensor", "period": "1h"}
	quick := map[string]string{"id": "quick", "kind": "sensor", "period": "1m"}
	secrets := map[string]string{}
	for _, d := range []map[string]string{slow, quick} {
		if err := h.Do(t.Context(), http.MethodPost, "/api/v1/devices", d, &made); err != nil {
			t.Fatal(err)
		}
		secrets[d["id"]] = made.Secret
	}
	now := time.Now()
	report := func(device string, at time.Time) {
		t.Helper()
		if status, body := post(t, h, device, secrets[device], fmt.Sprintf(`{"ts": %d, "level": 1}`, at.UnixMilli())); status != http.StatusOK {
			t.Fatalf("%s: %d %s", device, status, body)
		}
	}
	report("slow", now.Add(-40*time.Minute))
	report("quick", now)
	for _, c := range []struct {
		device string
		after  time.Duration
		stands bool
	}{
		{"quick", 149 * time.Second, true}, {"quick", 151 * time.Second, false},
		{"slow", 151 * time.Second, true}, {"slow", 109 * time.Minute, true}, {"slow", 111 * time.Minute, false},
	} {
		if got := hasAt(t, h, fmt.Sprintf(`level{device=%q}`, c.device), now.Add(c.after)); got != c.stands {
			t.Errorf("the value of %s stands %v later: %v", c.device, c.after, got)
		}
	}

	// A connection that breaks ends the series at once, whatever the period.
	login := "\x10\x00\x00\x04MQTT\x04\xc2\x00\x3c\x00\x02c1\x00\x04slow" + string([]byte{0, byte(len(secrets["slow"]))}) + secrets["slow"]
	conn, err := net.Dial("tcp", h.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	packet := []byte(login)
	packet[1] = byte(len(packet) - 2)
	if _, err := conn.Write(packet); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	report("slow", time.Now())
	eventually(t, patience, "it is online", func() bool { return has(t, h, `device_presence{device="slow"} == 1`) })
	conn.Close()
	eventually(t, patience, "its series ends", func() bool { return !has(t, h, `level{device="slow"}`) })
	eventually(t, patience, "its presence is 0", func() bool { return has(t, h, `device_presence{device="slow"} == 0`) })
}

func TestAFloodOfSeriesHurtsOnlyItsSender(t *testing.T) {
	h := start(t)
	flood, calm := h.AddDevice(t, "flood", "sensor"), h.AddDevice(t, "calm", "sensor")
	stored := 0
	for batch := range 10 {
		var body strings.Builder
		for i := range 1000 {
			fmt.Fprintf(&body, "m,run=%d-%d value=1\n", batch, i)
		}
		status, text := post(t, h, "flood", flood, body.String())
		if status == http.StatusOK {
			stored++
		}
		if batch == 9 && !strings.Contains(text, "series_limit") {
			t.Errorf("after %d batches of new series the answer is %d %.300s", batch+1, status, text)
		}
		if status, text := post(t, h, "calm", calm, fmt.Sprintf(`{"level": %d}`, batch)); status != http.StatusOK {
			t.Errorf("another device is answered %d %s", status, text)
		}
	}
	found, err := h.Query(t.Context(), `count(m{device="flood"})`, time.Time{})
	if err != nil || len(found) != 1 || fmt.Sprint(found[0].Value[1]) != "2000" {
		t.Errorf("the flood made %v series, %v; it may have 2000", found, err)
	}
}

// maxIdleBytes is what an idle MQTT connection may cost the hub.
const maxIdleBytes = 10 << 10

func TestFiveThousandIdleConnectionsBesideFiveHundredBusyOnes(t *testing.T) {
	const idle, busy = 5000, 500
	h := startWith(t, t.TempDir(), "quotas:\n  device:\n    connections: 5000\n")
	raiseFiles(t, 3*(idle+busy))
	secrets := map[string]string{}
	var batch struct {
		Devices []map[string]string `json:"devices"`
	}
	for i := range busy + 1 {
		batch.Devices = append(batch.Devices, map[string]string{"id": fmt.Sprintf("busy-%03d", i), "kind": "sensor", "period": "10s"})
	}
	var made struct {
		Devices []struct{ ID, Secret string }
	}
	if err := h.Do(t.Context(), http.MethodPost, "/api/v1/devices:batch", batch, &made); err != nil {
		t.Fatal(err)
	}
	for _, d := range made.Devices {
		secrets[d.ID] = d.Secret
	}
	work := func() {
		result, err := load.MQTT(t.Context(), load.Config{Address: h.MQTT, Connections: busy, Window: 1, Messages: 40, Start: time.Now().Add(-5 * time.Minute),
			Login: func(i int) (string, string) { id := fmt.Sprintf("busy-%03d", i); return id, secrets[id] }})
		if err != nil || result.Acknowledged != busy*40 || result.Refused > 0 || result.Broken > 0 {
			t.Fatalf("busy connections: %v, %v", result, err)
		}
	}
	work() // what the work itself takes is in memory now
	before := resident(t, h)
	quiet := make([]net.Conn, 0, idle)
	defer func() {
		for _, c := range quiet {
			c.Close()
		}
	}()
	login := func(i int) []byte {
		client := fmt.Sprintf("idle-%04d", i)
		secret := secrets["busy-500"]
		p := []byte("\x10\x00\x00\x04MQTT\x04\xc2\x00\x00\x00" + string(rune(len(client))) + client + "\x00\x08busy-500\x00" + string(rune(len(secret))) + secret)
		p[1] = byte(len(p) - 2)
		return p
	}
	for i := range idle {
		c, err := net.Dial("tcp", h.MQTT)
		if err != nil {
			t.Fatal(err)
		}
		quiet = append(quiet, c)
		if _, err := c.Write(login(i)); err != nil {
			t.Fatal(err)
		}
		answer := make([]byte, 4)
		if _, err := io.ReadFull(c, answer); err != nil || answer[3] != 0 {
			t.Fatalf("idle connection %d: CONNACK % x, %v", i, answer, err)
		}
	}
	// What the collector holds beyond what lives is as much again, or nothing, by when
	// it ran; it runs every two minutes at least, and gives back what it does not need.
	each := (resident(t, h) - before) / idle
	for end := time.Now().Add(patience); each > maxIdleBytes && time.Now().Before(end); time.Sleep(time.Second) {
		each = (resident(t, h) - before) / idle
	}
	t.Logf("an idle connection takes %d bytes", each)
	if each > maxIdleBytes {
		t.Errorf("an idle connection takes %d bytes; at most %d are allowed", each, maxIdleBytes)
	}
	work()
}

// resident is the hub's memory in bytes.
func resident(t testing.TB, h *hubtest.Hub) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", h.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var size, pages int
	if _, err := fmt.Sscan(string(data), &size, &pages); err != nil {
		t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

func raiseFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < n {
		limit.Cur, limit.Max = n, max(limit.Max, n)
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("this test needs %d open files: %v", n, err)
			}
			t.Skipf("this test needs %d open files: %v", n, err)
		}
	}
}

// TestASlowSubscriberIsSentAwayAndSlowsNobody never reads what it subscribed to.
func TestASlowSubscriberIsSentAwayAndSlowsNobody(t *testing.T) {
	h := start(t)
	secret := h.AddDevice(t, "t1", "sensor")
	conn, err := net.Dial("tcp", h.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(4096); err != nil {
		t.Fatal(err)
	}
	login := []byte("\x10\x00\x00\x04MQTT\x04\xc2\x00\x00\x00\x04slow\x00\x02t1\x00" + string(rune(len(secret))) + secret)
	login[1] = byte(len(login) - 2)
	subscribe := []byte("\x82\x17\x00\x01\x00\x12devices/t1/rejects\x01")
	if _, err := conn.Write(append(login, subscribe...)); err != nil {
		t.Fatal(err)
	}
	c, _ := connect(t, h, "t1", secret)
	defer c.Disconnect(0)
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	garbage := strings.Repeat("x", 2000)
	for sent := 0; ; sent++ {
		publish(t, c, "t1", `{"`+garbage+`": `) // a reject, told to the subscriber
		if sent%200 == 199 && has(t, h, `hub_mqtt_slow_readers_total > 0`) {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("after %d rejects the subscriber that reads nothing is still there", sent)
		}
	}
}
