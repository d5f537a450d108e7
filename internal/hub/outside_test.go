package hub

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/klauspost/compress/snappy"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp"
	"github.com/prometheus/prometheus/prompb"

	"github.com/songhua-io/hub/internal/access"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/telemetry"
)

// outside is an engine elsewhere that keeps all that reaches it, or is away. It
// tells nothing of it to who reads.
type outside struct {
	taker
	mu     sync.Mutex
	raw    bytes.Buffer // bodies of requests, of series that a test looks for
	values map[string][]float64
}

// newOutside returns one that looks into requests which hold the text.
func newOutside(t *testing.T, text string) *outside {
	o := &outside{values: map[string][]float64{}}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.takes.Load() {
			http.Error(w, "in maintenance", http.StatusServiceUnavailable)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path != "/api/v1/write" {
			_, _ = io.WriteString(w, `{"status": "success", "data": {"resultType": "matrix", "result": []}}`)
			return
		}
		if strings.Contains(r.Header.Get("Content-Type"), "v2.Request") {
			http.Error(w, "unsupported", http.StatusUnsupportedMediaType)
			return
		}
		if body, err = snappy.Decode(nil, body); err != nil {
			t.Error(err)
		}
		if bytes.Contains(body, []byte(text)) {
			o.take(t, body)
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(o.Close)
	return o
}

func (o *outside) take(t *testing.T, body []byte) {
	var r prompb.WriteRequest
	if err := r.Unmarshal(body); err != nil {
		t.Error(err)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.raw.Write(body)
	for _, s := range r.Timeseries {
		var metric, device string
		for _, l := range s.Labels {
			switch l.Name {
			case "__name__":
				metric = l.Value
			case "device":
				device = l.Value
			}
		}
		for _, p := range s.Samples {
			o.values[metric+" "+device] = append(o.values[metric+" "+device], p.Value)
		}
	}
}

// has returns the values of a device's metric, each once, without the markers of
// its absence.
func (o *outside) has(metric, device string) []float64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	all := slices.DeleteFunc(slices.Clone(o.values[metric+" "+device]), math.IsNaN)
	slices.Sort(all)
	return slices.Compact(all)
}

// fill commits samples of other series until the queue is full. Their labels are
// long: there are few of them.
func (h *hub) fill(t *testing.T) {
	t.Helper()
	var writes []*telemetry.Write
	for range 10 {
		w := &telemetry.Write{}
		for range 1000 {
			id := h.plain.Series([]telemetry.Label{{Name: "__name__", Value: "other"}, {Name: "text", Value: fmt.Sprint(len(writes), len(w.Points)) + strings.Repeat("x", 8000)}})
			w.Points = append(w.Points, telemetry.Point{Series: id, Time: time.Now().UnixMilli(), Value: 1})
		}
		writes = append(writes, w)
	}
	for i := 0; h.far.Full() == nil; i++ {
		w := writes[i%len(writes)]
		for j := range w.Points {
			w.Points[j].Time++
		}
		if err := h.plain.Commit([]*telemetry.Write{w}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAFullQueueIsToldAtEveryDoor in the words of its protocol: sessions live on,
// nothing is acknowledged that is not kept, nothing kept that is refused, and
// what is sent again when there is room is taken by the same session.
func TestAFullQueueIsToldAtEveryDoor(t *testing.T) {
	if testing.Short() {
		t.Skip("it writes 256 MiB")
	}
	o := newOutside(t, "told_at")
	h := everyDoor(t, t.TempDir(), func(c *config.Config) {
		o.keeps(c, 0)
		c.MQTT.MaxHold = 100 * time.Millisecond
	})
	body := func(n int) string { return fmt.Sprintf(`{"ts": %d, "told_at": %d}`, time.Now().UnixMilli(), n) }
	topic := func(device string) string { return "devices/" + device + "/telemetry" }

	five, _ := dial5(t, h, "five", h.device(t, "five"), "five")
	by5 := func(n int) said {
		ack, err := five.Publish(ctxOf(t), &paho.Publish{QoS: 1, Topic: topic("five"), Payload: []byte(body(n))})
		if ack == nil {
			t.Fatalf("no PUBACK: %v", err)
		}
		s := said{ok: ack.ReasonCode == 0, code: fmt.Sprintf("%#x", ack.ReasonCode)}
		if p := ack.Properties; p != nil {
			s.text, s.wait = p.ReasonString, p.User.Get("retry-after")
		}
		return s
	}
	// One hears nothing of the hub for longer than it waits, and comes back.
	var lost atomic.Int32
	held := map[string]paho3.Token{}
	old := map[string]func(n int){}
	for device, keepAlive := range map[string]time.Duration{"patient": time.Minute, "hasty": time.Second} {
		c := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetProtocolVersion(4).SetClientID(device).SetUsername(device).SetPassword(h.device(t, device)).
			SetCleanSession(false).SetConnectRetryInterval(time.Second).SetMaxReconnectInterval(time.Second).SetKeepAlive(keepAlive).SetPingTimeout(keepAlive).SetConnectionLostHandler(func(paho3.Client, error) {
			if device == "patient" {
				lost.Add(1)
			}
		}))
		if token := c.Connect(); !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatal(token.Error())
		}
		defer c.Disconnect(0)
		old[device] = func(n int) { held[device] = c.Publish(topic(device), 1, false, body(n)) }
	}
	coap := func(c poster, device string, opts ...message.Option) func(int) said {
		return func(n int) said {
			m, err := c.Post(ctxOf(t), "/devices/"+device+"/telemetry", message.AppJSON, strings.NewReader(body(n)), opts...)
			if err != nil {
				t.Fatal(err)
			}
			s := said{ok: m.Code() == codes.Changed, code: fmt.Sprintf("%d.%02d", m.Code()>>5, m.Code()&31)}
			if age, err := m.Options().GetUint32(message.MaxAge); err == nil {
				s.wait = fmt.Sprint(age)
			}
			if text, err := m.ReadBody(); err == nil {
				s.text = string(text)
			}
			return s
		}
	}
	plain, err := udp.Dial(h.at.CoAP)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	doors := []struct {
		device, code string
		try          func(n int) said
	}{
		{"five", "0x97", by5},
		{"coap", "5.03", coap(plain, "coap", message.Option{ID: message.URIQuery, Value: []byte("token=" + h.device(t, "coap"))})},
		{"coaps", "5.03", coap(dialCoAPS(t, h, "coaps", h.device(t, "coaps")), "coaps")},
	}
	for _, d := range doors {
		if s := d.try(1); !s.ok {
			t.Fatalf("%s, while the engine is away: %+v", d.device, s)
		}
	}
	acknowledged := func() {
		t.Helper()
		for device, token := range held {
			if !token.WaitTimeout(patience) || token.Error() != nil {
				t.Errorf("%s of MQTT 3.1.1 was not acknowledged while there was room: %v", device, token.Error())
			}
		}
	}
	for _, publish := range old {
		publish(1)
	}
	acknowledged()

	h.fill(t)
	before, _, _ := h.pipeline.Totals()
	for _, publish := range old {
		publish(2)
	}
	for _, d := range doors {
		for n := range 3 {
			if s := d.try(100 + n); s.ok || s.code != d.code || s.wait == "" || s.wait == "0" || !strings.Contains(s.text, "engine") {
				t.Errorf("%s, while the queue is full: %+v, want %s, a time and a reason", d.device, s, d.code)
			}
		}
	}
	if held["patient"].WaitTimeout(2 * time.Second) {
		t.Error("MQTT 3.1.1 was acknowledged while the queue was full")
	}
	delete(held, "hasty") // paho calls it complete when it sends it again
	if after, _, _ := h.pipeline.Totals(); after != before {
		t.Error("something was taken")
	}

	o.takes.Store(true)
	acknowledged()
	for _, d := range doors {
		soon(t, d.device+" is let in again", func() bool { return d.try(2).ok })
	}
	if lost.Load() != 0 {
		t.Error("the connection of MQTT 3.1.1 ended")
	}
	for _, device := range []string{"five", "patient", "hasty", "coap", "coaps"} {
		soon(t, "the engine has what was acknowledged of "+device, func() bool { return len(o.has("told_at", device)) == 2 })
		if got := o.has("told_at", device); !slices.Equal(got, []float64{1, 2}) {
			t.Errorf("%s: the engine has %v, want what was acknowledged: [1 2]", device, got)
		}
	}
}

// TestGradedSeriesDoNotLeave: samples above general, their names and labels stay
// on the encrypted volume, with an engine elsewhere alone or beside the store
// here; who may see them reads them. What was committed before a grade was
// raised leaves, also when it still waits; nothing committed after that does.
func TestGradedSeriesDoNotLeave(t *testing.T) {
	for name, local := range map[string]time.Duration{"alone": 0, "beside the store here": time.Hour} {
		t.Run(name, func(t *testing.T) {
			o := newOutside(t, "")
			data, volume := t.TempDir(), filepath.Join(t.TempDir(), "volume")
			h := whole(t, data, o.behind(local), gradedIn(volume), encryptedBy("dm-crypt", nil))
			h.give(t, "id: camera\nnames: {en: Camera}\nmetrics: [{name: track_of_people, grade: important}, {name: exposure}]")
			h.give(t, "id: door\nnames: {en: Door}\nmetrics: [{name: opened}]")
			secrets := map[string]string{"c1": h.register(t, registry.Spec{ID: "c1", Model: "camera"}),
				"vault": h.register(t, registry.Spec{ID: "vault", Grade: "core"}), "d1": h.register(t, registry.Spec{ID: "d1", Model: "door"})}
			report := func(device, values string) {
				t.Helper()
				if answer := h.post(t, device, secrets[device], fmt.Sprintf(`{"ts": %d, %s}`, time.Now().UnixMilli(), values)); !strings.Contains(answer, `"accepted":`) {
					t.Fatal(answer)
				}
			}
			report("c1", `"tags": {"lens": "secretlens"}, "track_of_people": 7001`)
			report("c1", `"exposure": 1`)
			report("vault", `"tags": {"shelf": "secretshelf"}, "gold_bars": 7002, "opened": 7003`)
			report("d1", `"opened": 1`)
			// The grade is raised while the first waits.
			h.give(t, "id: door\nnames: {en: Door}\nmetrics: [{name: opened, grade: core}]")
			report("d1", `"tags": {"who": "secretguest"}, "opened": 7004`)
			if found := mentions(t, filepath.Join(data, queueDir), "secret"); found != nil {
				t.Errorf("%v wait for the engine with labels of graded series", found)
			}

			o.takes.Store(true)
			if err := h.far.Settle(ctxOf(t)); err != nil {
				t.Fatal(err)
			}
			report("vault", `"tags": {"shelf": "secretshelf"}, "gold_bars": 7005`)
			report("c1", `"exposure": 2`)
			if err := h.far.Settle(ctxOf(t)); err != nil {
				t.Fatal(err)
			}
			if got := o.has("exposure", "c1"); !slices.Equal(got, []float64{1, 2}) {
				t.Errorf("of a general series the engine has %v", got)
			}
			if got := o.has("opened", "d1"); !slices.Equal(got, []float64{1}) {
				t.Errorf("of a series whose grade was raised the engine has %v, want what was committed before", got)
			}
			o.mu.Lock()
			for _, secret := range []string{"track_of_people", "gold_bars", "vault", "secretlens", "secretshelf", "secretguest"} {
				if bytes.Contains(o.raw.Bytes(), []byte(secret)) {
					t.Errorf("the engine was sent %q", secret)
				}
			}
			for series, values := range o.values {
				if slices.ContainsFunc(values, func(v float64) bool { return v > 7000 && v < 7006 }) {
					t.Errorf("the engine was sent a graded value of %s", series)
				}
			}
			o.mu.Unlock()
			if _, err := os.Stat(filepath.Join(volume, queueDir)); err == nil {
				t.Error("graded series have a queue to the engine")
			}

			admin := h.token(t, access.Token{Name: "may", Role: access.Admin})
			reader := h.token(t, access.Token{Name: "may-not", Role: access.Reader})
			for expr, want := range map[string]string{
				`track_of_people{lens="secretlens"}`: "7001", `max_over_time(gold_bars[1h])`: "7005", `opened{who="secretguest"}`: "7004", `exposure`: "2", `device_presence{device="vault"}`: "1",
			} {
				if want == "2" && local == 0 {
					continue // it is at the engine alone, which here cannot be read
				}
				path := "/prometheus/api/v1/query?query=" + strings.NewReplacer("{", "%7B", "}", "%7D", `"`, "%22", "[", "%5B", "]", "%5D").Replace(expr)
				soon(t, "who may see it reads "+expr+" as "+want, func() bool { // the hub tells of presence when it gets to it
					code, text := h.ask(t, admin, http.MethodGet, path, nil)
					return code == http.StatusOK && strings.Contains(text, `"`+want+`"`)
				})
				if code, text := h.ask(t, reader, http.MethodGet, path, nil); code != http.StatusOK || strings.Contains(text, `"`+want+`"`) != (want == "2") {
					t.Errorf("who may not reads %s as %d %s", expr, code, text)
				}
			}
		})
	}
}
