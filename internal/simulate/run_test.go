package simulate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/mux"
	coapnet "github.com/plgd-dev/go-coap/v3/net"
	"github.com/plgd-dev/go-coap/v3/options"
	"github.com/plgd-dev/go-coap/v3/udp"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/hubtest/freeport"
	"github.com/songhua-io/hub/internal/telemetry"
)

// mosquitto runs the broker on a free port of loopback and returns its address.
func mosquitto(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("mosquitto")
	if err != nil {
		bin = "/usr/sbin/mosquitto"
	}
	if _, err := os.Stat(bin); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("mosquitto is not installed (Debian package mosquitto)")
		}
		t.Skip("needs mosquitto (Debian package mosquitto)")
	}
	port := freeport.New(t)
	addr := fmt.Sprintf("127.0.0.1:%d", port)
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\npersistence false\n", port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for deadline := time.Now().Add(2 * time.Minute); ; {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("mosquitto does not listen on %s: %v", addr, err)
		}
		time.Sleep(10 * time.Millisecond) // between two looks at a condition
	}
}

// heard collects what arrives at the doors, by device.
type heard struct {
	sync.Mutex
	t       *testing.T
	samples map[string]int
	oldest  map[string]int64
	bad     map[string]int
	awaited map[string]bool // topics of roadside units on which nothing came yet
	signal  chan struct{}
}

func (h *heard) take(device, format string, payload []byte) {
	f, ok := codec.FromSuffix([]byte(format))
	if !ok {
		h.t.Errorf("%s sends in format %q", device, format)
	}
	var b telemetry.Batch
	err := codec.Decode(&b, f, codec.Input{Payload: payload, Device: device, Now: time.Now().UnixMilli()})
	h.Lock()
	defer h.Unlock()
	if err != nil || len(b.Rejects) > 0 {
		h.bad[device]++
		return
	}
	h.samples[device] += len(b.Samples)
	if t := b.Samples[0].Time; h.oldest[device] == 0 || t < h.oldest[device] {
		h.oldest[device] = t
	}
	h.look()
}

// look has the test look again.
func (h *heard) look() {
	select {
	case h.signal <- struct{}{}:
	default:
	}
}

// since counts the devices whose oldest sample lies before a time.
func (h *heard) since(t time.Time) int {
	h.Lock()
	defer h.Unlock()
	n := 0
	for _, oldest := range h.oldest {
		if oldest < t.UnixMilli() {
			n++
		}
	}
	return n
}

// silent counts the topics on which nothing came.
func (h *heard) silent() int {
	h.Lock()
	defer h.Unlock()
	return len(h.awaited)
}

func listenCoAP(t *testing.T, h *heard) string {
	t.Helper()
	l, err := coapnet.NewListenUDP("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := mux.NewRouter()
	r.DefaultHandle(mux.HandlerFunc(func(w mux.ResponseWriter, r *mux.Message) {
		path, _ := r.Path()
		device := strings.Split(strings.TrimPrefix(path, "/"), "/")[1]
		body, err := r.ReadBody()
		queries, _ := r.Queries()
		if err != nil || len(queries) != 1 || queries[0] != "token="+Secrets([]byte("k"))(device) {
			t.Errorf("post to %s with queries %v: %v", path, queries, err)
		}
		cf, _ := r.ContentFormat()
		h.take(device, map[int]string{110: "senml", 112: "senml-cbor"}[int(cf)], body)
		if err := w.SetResponse(codes.Changed, 0, nil); err != nil {
			t.Error(err)
		}
	}))
	s := udp.NewServer(options.WithMux(r))
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done; l.Close() })
	return l.LocalAddr().String()
}

func TestAFleetReportsThroughRealDoors(t *testing.T) {
	h := &heard{t: t, samples: map[string]int{}, oldest: map[string]int64{}, bad: map[string]int{}, signal: make(chan struct{}, 1),
		awaited: map[string]bool{"devices/rsu-001/v2x/uper": true, "devices/rsu-003/v2x/framed": true, "V2X.RSU.R000001.INFO.UP": true, "V2X.RSU.R000002.HB.UP": true}}
	addr := mosquitto(t)
	ear := mqtt.NewClient(mqtt.NewClientOptions().AddBroker("tcp://" + addr).SetClientID("ear").SetOrderMatters(true))
	if tok := ear.Connect(); tok.Wait() && tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	defer ear.Disconnect(0)
	tok := ear.Subscribe("#", 1, func(_ mqtt.Client, m mqtt.Message) {
		if level := strings.Split(m.Topic(), "/"); len(level) == 4 && level[2] == "telemetry" {
			h.take(level[1], level[3], m.Payload())
			return
		}
		h.Lock()
		defer h.Unlock()
		delete(h.awaited, m.Topic())
		h.look()
	})
	if tok.Wait() && tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	registered := make(chan []registration, 1)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if device, ok := strings.CutPrefix(r.URL.Path, "/api/v1/devices/"); ok {
			device = strings.TrimSuffix(device, "/telemetry")
			if r.Header.Get("Authorization") != "Bearer "+Secrets([]byte("k"))(device) {
				t.Errorf("post to %s without the secret", r.URL)
			}
			body, err := io.ReadAll(r.Body)
			if err != nil {
				return // it was broken off: the play is over, or it comes again
			}
			h.take(device, map[string]string{"application/json": "json", "text/plain": "influx"}[r.Header.Get("Content-Type")], body)
			return
		}
		if r.Method == http.MethodGet {
			fmt.Fprint(w, `{"items": [{"id": "air-001"}]}`)
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/v1/sites/") {
			return
		}
		var body struct{ Devices []registration }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || r.Header.Get("Authorization") != "Bearer admin" || r.URL.Path != "/api/v1/devices:batch" {
			t.Errorf("registration at %s: %v", r.URL, err)
		}
		registered <- body.Devices
		w.WriteHeader(http.StatusCreated)
	}))
	defer api.Close()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now().Add(-5 * time.Second) // a hub takes its time to start, and units say first who they are
	done := make(chan error, 1)
	go func() {
		done <- Run(ctx, Config{Seed: 1, Sensors: 40, RSUs: 3, Nodes: 4, Start: began},
			Doors{MQTT: addr, CoAP: listenCoAP(t, h), HTTP: api.URL, Admin: "admin"},
			Secrets([]byte("k")), slog.New(slog.DiscardHandler))
	}()
	if devices := <-registered; len(devices) != 46 || len(devices[0].Secret) < 16 || devices[0].Period == "" {
		t.Errorf("%d devices registered, the first: %+v", len(devices), devices[0])
	}
	// What a unit says of itself at the start is lost where the machine stands still
	// for seconds, and comes again after five minutes.
	deadline := time.After(10 * time.Minute)
	// A device may have been away in the oldest hours, hence not all 44.
	for h.since(began.Add(time.Minute)) < 44 || h.since(began.Add(-4*time.Hour)) < 42 || h.silent() > 0 {
		select {
		case <-h.signal:
		case <-deadline:
			t.Fatalf("of 44 devices %d were heard, %d with their history; %d topics of roadside units were silent", h.since(began.Add(time.Hour)), h.since(began.Add(-4*time.Hour)), h.silent())
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := h.since(began.Add(-History - time.Minute)); n > 0 {
		t.Errorf("%d devices sent more history than they should", n)
	}
	h.Lock()
	defer h.Unlock()
	for _, d := range New(Config{Seed: 1, Sensors: 40}).Devices {
		if n := h.bad[d.ID]; n > 0 && !d.garble {
			t.Errorf("%d messages of %s could not be read", n, d.ID)
		}
	}
}

func TestHistoryEndsWhereTheFleetBegins(t *testing.T) {
	for _, d := range demoFleet(1).Devices {
		if d.Door != MQTT {
			continue
		}
		rs := d.between(start().Add(-time.Hour), start())
		if n := len(rs); n == 0 {
			continue
		}
		first, last := rs[0].Time, rs[len(rs)-1].Time
		if first < start().Add(-time.Hour).UnixMilli() || last >= start().UnixMilli() {
			t.Errorf("%s: history from %d to %d", d.ID, first, last)
		}
		if gap := start().Add(d.phase).UnixMilli() - last; d.Present(time.UnixMilli(last).Add(d.Period)) && gap%d.Period.Milliseconds() != 0 {
			t.Errorf("%s: its first live report comes %d ms after its history", d.ID, gap)
		}
	}
}

func TestEveryFormatSaysTheSame(t *testing.T) {
	rs := []Reading{
		{Metric: "pm2_5_ug_m3", Unit: "ug/m3", Time: 1764000000123, Value: 31.5}, {Metric: "light_on", Time: 1764000000123, Value: 1},
		{Metric: "pm2_5_ug_m3", Unit: "ug/m3", Time: 1764000060123, Value: -2.25}, {Metric: "light_on", Time: 1764000060123, Value: 0},
	}
	for _, f := range []Format{SenML, SenMLCBOR, JSON, Influx} {
		msgs, err := f.Encode("air-001", rs, 100)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, m := range msgs {
			var b telemetry.Batch
			kind, _ := codec.FromSuffix([]byte(f.suffix()))
			if err := codec.Decode(&b, kind, codec.Input{Payload: m.Payload, Device: "air-001"}); err != nil {
				t.Fatalf("%s: %v in %s", f.suffix(), err, m.Payload)
			}
			for _, s := range b.Samples {
				got[fmt.Sprint(string(s.Metric), s.Time, s.Value)] = true
			}
		}
		for _, r := range rs {
			if !got[fmt.Sprint(r.Metric, r.Time, r.Value)] {
				t.Errorf("%s lost %+v; it says %v", f.suffix(), r, got)
			}
		}
	}
}

func TestLineProtocolLabelsAccelerators(t *testing.T) {
	d := demoFleet(1).Devices[200]
	rs := d.Read(start(), nil)
	var b telemetry.Batch
	if err := codec.Decode(&b, codec.Influx, codec.Input{Payload: lines(rs), Device: d.ID}); err != nil {
		t.Fatal(err)
	}
	gpus := 0
	for _, s := range b.Samples {
		if string(s.Metric) == "gpu_utilization_percent" && len(s.Tags) == 1 && string(s.Tags[0].Name) == "gpu" {
			gpus++
		}
	}
	if len(b.Samples) != len(rs) || gpus != 4 {
		t.Errorf("%d of %d readings, %d accelerators", len(b.Samples), len(rs), gpus)
	}
}
