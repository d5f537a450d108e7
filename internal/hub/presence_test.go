package hub

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/songhua-io/hub/internal/codec"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/ingest"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/store/volume"
)

// whole builds a hub with its doors on free ports of loopback.
func whole(t *testing.T, dir string, change ...func(*hub)) *hub {
	t.Helper()
	h := notBuilt(dir, change...)
	if err := h.build(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.end(t) })
	return h
}

// notBuilt is a hub before it is built.
func notBuilt(dir string, change ...func(*hub)) *hub {
	cfg := config.Default()
	cfg.Data = dir
	cfg.MQTT.ConnectTimeout = patience // a machine that stalls is no slow sender
	cfg.Listen = config.Listen{HTTP: "127.0.0.1:0", HTTPS: config.Off, MQTT: "127.0.0.1:0", MQTTS: config.Off, CoAP: config.Off, CoAPS: config.Off}
	log := slog.New(slog.DiscardHandler)
	h := &hub{cfg: cfg, options: Options{Log: log}, log: log, clock: time.Now, encrypted: volume.Encrypted, started: time.Now(), metrics: prometheus.NewRegistry(), stack: newStack(log)}
	for _, c := range change {
		c(h)
	}
	return h
}

// end is an orderly end; a second one does nothing.
func (h *hub) end(t testing.TB) {
	t.Helper()
	if err := h.stack.stop(); err != nil {
		t.Error(err)
	}
}

func (h *hub) register(t testing.TB, s registry.Spec) string {
	t.Helper()
	made, err := h.registry.Create(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return made.Secret
}

// report lets a device report at a time of its own.
func (h *hub) report(t *testing.T, device string, at time.Time) {
	t.Helper()
	var d ingest.Delivery
	d.Add(device, codec.JSON, fmt.Appendf(nil, `{"ts": %d, "level": 1}`, at.UnixMilli()))
	if err := h.pipeline.Ingest(&d); err != nil || d.Messages[0].Accepted != 1 {
		t.Fatalf("%v, %+v", err, d.Messages[0].Rejects)
	}
}

// values returns how many series an instant query finds.
func (h *hub) values(t testing.TB, promql string) int {
	t.Helper()
	resp, err := http.DefaultClient.Do(h.request(t, http.MethodGet, "/prometheus/api/v1/query?query="+url.QueryEscape(promql), h.admin(t), nil))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", resp.Status, err)
	}
	return len(answer.Data.Result)
}

// history returns a device's presence from its first change on, as "state reason".
func (h *hub) history(t *testing.T, device string) []string {
	t.Helper()
	page, err := h.presence.History(t.Context(), device, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	lines := make([]string, len(page))
	for i, c := range page {
		lines[len(page)-1-i] = string(c.State) + " " + string(c.Reason)
	}
	return lines
}

// link is an MQTT 3.1.1 connection of a device, byte by byte.
type link struct {
	t *testing.T
	net.Conn
}

func (h *hub) connect(t *testing.T, device, secret string, keepAlive uint16) link {
	t.Helper()
	conn, err := net.Dial("tcp", h.at.MQTT)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	l := link{t, conn}
	body := append([]byte("\x00\x04MQTT\x04\xc2"), byte(keepAlive>>8), byte(keepAlive))
	for _, s := range []string{"client-" + device, device, secret} {
		body = text(body, s)
	}
	l.send(0x10, body)
	l.expect([]byte{0x20, 2, 0, 0})
	return l
}

func text(p []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(p, uint16(len(s))), s...)
}

func (l link) send(head byte, body []byte) {
	l.t.Helper()
	if _, err := l.Write(append(protowire.AppendVarint([]byte{head}, uint64(len(body))), body...)); err != nil {
		l.t.Fatal(err)
	}
}

func (l link) expect(want []byte) {
	l.t.Helper()
	l.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(l, got); err != nil || string(got) != string(want) {
		l.t.Fatalf("the hub answers % x, %v; want % x", got, err, want)
	}
}

// publish sends a message with QoS 1 and waits until it is stored.
func (l link) publish(topic string, payload []byte) {
	l.t.Helper()
	l.send(0x32, append(append(text(nil, topic), 0, 7), payload...))
	l.expect([]byte{0x40, 2, 0, 7})
}

// spark is a Sparkplug payload: its sequence number, and metrics of doubles.
func spark(seq uint64, metrics ...string) []byte {
	var p []byte
	for _, name := range metrics {
		var m []byte
		m = protowire.AppendString(protowire.AppendTag(m, 1, protowire.BytesType), name)
		if name == "bdSeq" {
			m = protowire.AppendVarint(protowire.AppendTag(m, 4, protowire.VarintType), 8)
			m = protowire.AppendVarint(protowire.AppendTag(m, 11, protowire.VarintType), 3)
		} else {
			m = protowire.AppendVarint(protowire.AppendTag(m, 4, protowire.VarintType), 10)
			m = protowire.AppendFixed64(protowire.AppendTag(m, 13, protowire.Fixed64Type), math.Float64bits(20))
		}
		p = protowire.AppendBytes(protowire.AppendTag(p, 2, protowire.BytesType), m)
	}
	return protowire.AppendVarint(protowire.AppendTag(p, 3, protowire.VarintType), seq)
}

// Every way in which a device comes and goes, through the real doors: what the
// history says in the end.
func TestComingAndGoing(t *testing.T) {
	h := whole(t, t.TempDir())
	for _, c := range []struct {
		name   string
		period time.Duration
		act    func(t *testing.T, id, secret string)
		want   string
	}{
		{"lost", 0, func(t *testing.T, id, secret string) {
			h.connect(t, id, secret, 0).Close()
		}, "online connected, offline lost"},
		{"keep_alive", 0, func(t *testing.T, id, secret string) {
			h.connect(t, id, secret, 1)
		}, "online connected, offline keep_alive"},
		{"protocol", 0, func(t *testing.T, id, secret string) {
			h.connect(t, id, secret, 0).send(0xf0, nil)
		}, "online connected, offline protocol"},
		{"revoked", 0, func(t *testing.T, id, secret string) {
			h.connect(t, id, secret, 0)
			if _, err := h.registry.Disable(t.Context(), id, 0); err != nil {
				t.Fatal(err)
			}
		}, "online connected, offline revoked"},
		{"rotated", 0, func(t *testing.T, id, secret string) {
			h.connect(t, id, secret, 0)
			if _, err := h.registry.Rotate(t.Context(), id, 0); err != nil {
				t.Fatal(err)
			}
		}, "online connected, offline revoked"},
		{"taken_over", 0, func(t *testing.T, id, secret string) {
			h.connect(t, id, secret, 0)
			second := h.connect(t, id, secret, 0)
			soon(t, "one connection is ended", func() bool { return h.mqttEnded(t, "taken_over") > 0 })
			second.Close()
		}, "online connected, offline lost"},
		{"disconnect", 100 * time.Millisecond, func(t *testing.T, id, secret string) {
			l, begin := h.connect(t, id, secret, 0), time.Now()
			soon(t, "2.5 periods", func() bool { return time.Since(begin) > 300*time.Millisecond })
			l.send(0xe0, nil)
		}, "online connected, offline disconnect"},
		{"silent_period", 100 * time.Millisecond, func(t *testing.T, id, _ string) {
			h.report(t, id, time.Now())
		}, "online telemetry, offline silent_period"},
		{"death", 0, func(t *testing.T, id, secret string) {
			l := h.connect(t, id, secret, 0)
			l.publish("spBv1.0/g/NBIRTH/"+id, spark(0, "bdSeq", "temp"))
			l.publish("spBv1.0/g/DBIRTH/"+id+"/plc", spark(1, "speed"))
			soon(t, "both are there", func() bool { return h.values(t, `{__name__=~"temp|speed"}`) == 2 })
			l.publish("spBv1.0/g/DDEATH/"+id+"/plc", spark(2))
			if temp, speed := h.values(t, "temp"), h.values(t, "speed"); temp != 1 || speed != 0 {
				t.Errorf("after the unit's death there are %d series of the node and %d of the unit", temp, speed)
			}
			l.publish("spBv1.0/g/NDEATH/"+id, spark(0, "bdSeq"))
			soon(t, "the node's series are ended", func() bool { return h.values(t, "temp") == 0 })
			l.publish("spBv1.0/g/NBIRTH/"+id, spark(0, "bdSeq", "temp"))
		}, "online connected, offline death, online telemetry"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.act(t, c.name, h.register(t, registry.Spec{ID: c.name, Period: c.period}))
			var got string
			defer func() {
				if t.Failed() {
					t.Logf("history: %s", got)
				}
			}()
			soon(t, c.want, func() bool {
				// A device that is late may be seen so or not, by when the second strikes.
				got = strings.ReplaceAll(strings.Join(h.history(t, c.name), ", "), "late silent_period, ", "")
				return got == c.want
			})
		})
	}
}

// mqttEnded returns how many connections ended in one way.
func (h *hub) mqttEnded(t *testing.T, how string) (n float64) {
	t.Helper()
	families, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == "hub_mqtt_disconnects_total" && m.GetLabel()[0].GetValue() == how {
				n += m.GetCounter().GetValue()
			}
		}
	}
	return n
}

// A stop of the hub says nothing of a device, and what was learned of one is
// known to the next start: a probe that reports every hour and that nobody
// declared is held for 2.5 hours, not for five minutes.
func TestRestartInventsNothingAndForgetsNothing(t *testing.T) {
	dir := t.TempDir()
	h := whole(t, dir)
	h.register(t, registry.Spec{ID: "probe"})
	secret := h.register(t, registry.Spec{ID: "unit"})
	now := time.Now()
	for hours := 6; hours >= 0; hours-- {
		h.report(t, "probe", now.Add(-time.Duration(hours)*time.Hour))
	}
	h.connect(t, "unit", secret, 0)
	soon(t, "both are online", func() bool { return len(h.history(t, "probe"))+len(h.history(t, "unit")) == 2 })
	h.end(t)

	h = whole(t, dir)
	if got, ok := (&periods{registry: h.registry, presence: h.presence}).Period("probe", "temperature"); got != time.Hour || !ok {
		t.Errorf("after the restart queries take the period of the probe to be %s", got)
	}
	h.report(t, "probe", now.Add(time.Millisecond))
	if s, _ := h.pipeline.Seen("probe"); s.Period < 50*time.Minute {
		t.Errorf("after the first report it is learned anew: %s", s.Period)
	}
	soon(t, "presence has looked at the report", func() bool { return h.presence.Of("probe").Samples == 1 })
	if got := h.presence.Of("probe").Period; got < 50*time.Minute {
		t.Errorf("presence takes the period of the probe to be %s", got)
	}
	for id, want := range map[string]string{"probe": "[online telemetry]", "unit": "[online connected]"} {
		if got := fmt.Sprint(h.history(t, id)); got != want {
			t.Errorf("history of %s: %s; want %s", id, got, want)
		}
	}
}

// TestEveryDoorComesAndGoes: a device that reports by CoAP, and a child whose
// gateway speaks for it, are there by what is stored of them and go when that
// stops.
func TestEveryDoorComesAndGoes(t *testing.T) {
	h := everyDoor(t, t.TempDir(), func(*config.Config) {})
	const period = 100 * time.Millisecond
	secret := h.register(t, registry.Spec{ID: "by-coap", Period: period})
	if got := postCoAP(t, h, "by-coap")(secret); !got.ok {
		t.Fatalf("%+v", got)
	}
	gateway := h.register(t, registry.Spec{ID: "gate", Kind: "gateway"})
	h.register(t, registry.Spec{ID: "child", Gateway: "gate", Period: period})
	h.connect(t, "gate", gateway, 0).publish("devices/child/telemetry", []byte(`{"level": 1}`))
	for _, id := range []string{"by-coap", "child"} {
		soon(t, id+" has come and gone", func() bool {
			return strings.ReplaceAll(strings.Join(h.history(t, id), ", "), "late silent_period, ", "") == "online telemetry, offline silent_period"
		})
	}
}
