package hub

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/plgd-dev/go-coap/v3/message"
	"github.com/plgd-dev/go-coap/v3/message/codes"
	"github.com/plgd-dev/go-coap/v3/udp"

	"github.com/songhua-io/hub/internal/codec/v2x"
	"github.com/songhua-io/hub/internal/config"
	"github.com/songhua-io/hub/internal/registry"
	"github.com/songhua-io/hub/internal/simulate/roads"
)

// unitSpeaks connects a unit, and returns how it publishes with QoS 1.
func (h *hub) unitSpeaks(t *testing.T, device, secret string) func(topic string, payload []byte) {
	t.Helper()
	done := func(token paho3.Token) {
		t.Helper()
		if !token.WaitTimeout(patience) || token.Error() != nil {
			t.Fatalf("%v", token.Error())
		}
	}
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + h.at.MQTT).SetClientID(device).SetUsername(device).SetPassword(secret).SetAutoReconnect(false))
	done(c.Connect())
	t.Cleanup(func() { c.Disconnect(0) })
	return func(topic string, payload []byte) {
		t.Helper()
		done(c.Publish(topic, 1, false, payload))
	}
}

// moments gives frames that a unit sends, each of a moment of its own before the
// present: two of one moment have the same octets, and are one message that came
// again.
type moments struct{ next time.Time }

func (m *moments) frame(t *testing.T, message string) (frame []byte) {
	t.Helper()
	m.next = m.next.Add(-time.Second)
	w := roads.New(roads.Config{Seed: 5, Units: 4, Vehicles: 8, Connected: 1, Start: m.next.Add(-10 * time.Second)})
	for range 100 {
		w.Step(func(u roads.Uplink) {
			if u.Message == message {
				frame = slices.Clone(u.Payload)
			}
		})
	}
	if frame == nil {
		t.Fatalf("no %s is played", message)
	}
	return frame
}

func heartbeat(esn string, at time.Time) []byte {
	return fmt.Appendf(nil, `{"rsuId":%q,"rsuEsn":%q,"timestamp":%d,"seqNum":"1","protocolVersion":"V1","rsuStatus":"normal"}`, esn, esn, at.UnixMilli())
}

func uplinkOf(at time.Time, frame []byte) []byte {
	p := binary.LittleEndian.AppendUint64([]byte("R1\x00\x00\x00\x00\x00\x00"), uint64(at.UnixMilli()))
	return append(binary.LittleEndian.AppendUint16(p, uint16(len(frame))), frame...)
}

// taken is how many messages of a unit the minutes have that are written.
func (h *hub) taken(t *testing.T, unit string) int {
	t.Helper()
	return int(h.valueSoon(t, fmt.Sprintf(`sum(sum_over_time(rsu_messages{device=%q, kind="rsu", site="crossing"}[1h]))`, unit)))
}

// valueSoon is that of the first series of an instant query in ten minutes; 0 where
// there is none.
func (h *hub) valueSoon(t *testing.T, promql string) (v float64) {
	t.Helper()
	_, text := h.ask(t, h.admin(t), http.MethodGet, "/prometheus/api/v1/query?time="+fmt.Sprint(time.Now().Add(10*time.Minute).Unix())+"&query="+url.QueryEscape(promql), nil)
	if i := strings.Index(text, `"value":[`); i >= 0 {
		_, rest, _ := strings.Cut(text[i:], `,"`)
		fmt.Sscan(strings.ReplaceAll(rest, `"`, " "), &v)
	}
	return v
}

// TestUnitsSpeakAtEveryDoor sends V2X as units do, with real clients: what is
// counted, who may, what is refused, and that no payload is anywhere.
// TestMapsOutliveARestart: units tell them seldom.
func TestMapsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	h := whole(t, dir)
	secret := h.register(t, registry.Spec{ID: "rsu-1", Kind: "rsu", Tags: map[string]string{"esn": "R1"}})
	of := &moments{time.Now()}
	for _, kind := range []string{"MAP", "SPAT"} {
		req := h.request(t, http.MethodPost, "/api/v1/devices/rsu-1/v2x", secret, nil)
		req.Header.Set("Content-Type", "application/octet-stream")
		req.Body = io.NopCloser(bytes.NewReader(of.frame(t, kind)))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", kind, resp.Status)
		}
	}
	nodes := func(h *hub) (of []string) {
		_, text := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/roads/units", nil)
		var page struct{ Items []struct{ Nodes []string } }
		if err := json.Unmarshal([]byte(text), &page); err != nil || len(page.Items) != 1 {
			t.Fatalf("%v: %s", err, text)
		}
		return page.Items[0].Nodes
	}
	was := nodes(h)
	if len(was) == 0 {
		t.Fatal("no node is told of the unit")
	}
	for range 2 { // from the journal, and from its snapshot
		h.end(t)
		h = whole(t, dir)
		if is := nodes(h); !slices.Equal(was, is) {
			t.Errorf("nodes were %v and are %v", was, is)
		}
	}
}

func TestUnitsSpeakAtEveryDoor(t *testing.T) {
	dir := t.TempDir()
	h := everyDoor(t, dir, func(c *config.Config) {
		c.Listen.HTTPS, c.Listen.MQTTS, c.Listen.CoAPS = config.Off, config.Off, config.Off
	})
	secrets := map[string]string{}
	for _, s := range []registry.Spec{
		{ID: "rsu-1", Kind: "rsu", Site: "crossing", Tags: map[string]string{"esn": "R1"}, Period: time.Minute},
		{ID: "R2", Kind: "rsu", Site: "crossing", Gateway: "gate"},
		{ID: "gate", Kind: "gateway"},
	} {
		secrets[s.ID] = h.register(t, s)
	}
	unit, gate := h.unitSpeaks(t, "rsu-1", secrets["rsu-1"]), h.unitSpeaks(t, "gate", secrets["gate"])
	now := time.Now()
	of := &moments{now}
	bsm, spat, lanes := of.frame(t, "BSM"), of.frame(t, "SPAT"), of.frame(t, "MAP")
	own := 0
	for topic, p := range map[string][]byte{
		"devices/rsu-1/v2x/uper":   bsm,
		"devices/rsu-1/v2x/framed": uplinkOf(now, spat),
		"V2X/RSU/R1/MAP/UP":        lanes,
		"V2X.RSU.R1.SPAT.UP":       spat,
		"V2X.RSU.HB.UP":            heartbeat("R1", now),
		"v2x/v1/rsu/rsu-1/hb/up":   heartbeat("R1", now.Add(time.Millisecond)),
	} {
		unit(topic, p)
		if topic != "V2X/RSU/R1/MAP/UP" { // which counts each time
			unit(topic, p) // again: it is counted once
		}
		own++
	}
	soon(t, "the unit is online by what it says", func() bool { return string(h.presence.Of("rsu-1").State) == "online" })

	// By a gateway: named by topic, by payload, and by nothing that is known.
	gate("V2X/RSU/R2/SPAT/UP", spat)
	gate("V2X.RSU.HB.UP", heartbeat("R2", now))
	gate("devices/R2/v2x/uper", bsm)

	// What is refused: in the name of another, of nobody, and what names a person.
	const plate = "吉A12345"
	refuse := func(speak func(string, []byte), topic string, p []byte, reason string) {
		t.Helper()
		before := h.refused(t, reason)
		speak(topic, p)
		if n := h.refused(t, reason) - before; n != 1 {
			t.Errorf("%s: %v rejects of reason %s, want 1", topic, n, reason)
		}
	}
	refuse(unit, "V2X/RSU/R2/HB/UP", heartbeat("R2", now), "not_permitted")
	refuse(unit, "devices/R2/v2x/uper", bsm, "not_permitted")
	refuse(gate, "V2X/RSU/R1/HB/UP", heartbeat("R1", now), "not_permitted")
	refuse(gate, "V2X.RSU.HB.UP", heartbeat("R9", now), "not_permitted")
	refuse(gate, "V2X.RSU.SPAT.UP", spat, "not_permitted")
	refuse(unit, "V2X/RSU/R1/HB/UP", []byte(`{"rsuId":"R1","rsuEsn":"R1","remark":"`+plate+`"}`), "personal_data")
	refuse(unit, "devices/rsu-1/v2x/uper", bsm[:len(bsm)-4], "malformed")
	refuse(unit, "devices/rsu-1/v2x/other", bsm, "unsupported")
	refuse(unit, "V2X/RSU/R1/NONE/UP", bsm, "unsupported")

	own += h.byHTTP(t, secrets["rsu-1"], now, of) + h.byCoAP(t, secrets["rsu-1"], now, of)

	// All minutes are over when the unit's own time is past them, and that of the
	// vehicles that it hears.
	after := now.Add(5 * time.Minute)
	unit("V2X.RSU.HB.UP", heartbeat("R1", after))
	unit("devices/rsu-1/v2x/framed", uplinkOf(after, bsm))
	gate("V2X/RSU/R2/HB/UP", heartbeat("R2", after))
	gate("devices/R2/v2x/framed", uplinkOf(after, bsm))
	soon(t, fmt.Sprintf("%d messages of rsu-1 are counted", own), func() bool { return h.taken(t, "rsu-1") == own })
	soon(t, "3 messages of R2 are counted", func() bool { return h.taken(t, "R2") == 3 })
	if p := h.presence.Of("rsu-1").Period; p != 0 {
		t.Errorf("its period is learned as %s, and it is that of its heartbeat", p)
	}
	_, metadata := h.ask(t, h.admin(t), http.MethodGet, "/prometheus/api/v1/metadata?metric=rsu_bytes", nil)
	if !strings.Contains(metadata, `"unit":"By"`) {
		t.Errorf("metadata %s", metadata)
	}

	_, desk := h.ask(t, h.admin(t), http.MethodGet, "/api/v1/rejects?limit=100&payload=true", nil)
	if !strings.Contains(desk, "personal_data") || !strings.Contains(desk, "吉A") || strings.Contains(desk, plate) {
		t.Errorf("the desk says %s", desk)
	}
	h.end(t)
	var frame v2x.MessageFrame
	if _, _, err := frame.Decode(bsm); err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"plate": plate, "id of a vehicle": string(frame.BsmFrame.ID[:]), "frame": string(bsm[4:20])} {
		if found := mentions(t, dir, text); len(found) > 0 {
			t.Errorf("the %s is in %v", what, found)
		}
	}
}

// byHTTP sends what the HTTP door takes, and returns how many messages it were.
func (h *hub) byHTTP(t *testing.T, secret string, now time.Time, of *moments) (n int) {
	t.Helper()
	at := now.Add(2 * time.Millisecond)
	for _, c := range []struct {
		query, media string
		body         []byte
		code         int
		says         string
	}{
		{"", "application/vnd.songhua.v2x.uper", of.frame(t, "RSM"), 200, `"accepted":1`},
		{"", "application/vnd.songhua.v2x.framed", uplinkOf(at, of.frame(t, "SPAT")), 200, `"accepted":1`},
		{"", "application/octet-stream", uplinkOf(at, of.frame(t, "MAP")), 200, `"accepted":1`},
		{"?kind=heartbeat", "application/json", heartbeat("R1", at), 200, `"accepted":1`},
		{"", "application/json", heartbeat("R1", at.Add(time.Millisecond)), 200, `"accepted":1`},
		{"?kind=none", "application/json", heartbeat("R1", at), 400, "kind"},
		{"", "text/plain", heartbeat("R1", at), 415, "text/plain"},
		{"", "application/octet-stream", []byte("\x00\x01"), 400, "bit"},
		{"", "application/octet-stream", append(of.frame(t, "SPAT"), 0xff), 200, `"malformed"`},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, h.at.HTTP+"/api/v1/devices/rsu-1/v2x"+c.query, bytes.NewReader(c.body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+secret)
		req.Header.Set("Content-Type", c.media)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != c.code || !strings.Contains(string(text), c.says) {
			t.Errorf("%s %s: %s %s, %v", c.query, c.media, resp.Status, text, err)
		}
		resp.Body.Close()
		if c.code == 200 {
			n++
		}
	}
	return n
}

// byCoAP does the same at the CoAP door.
func (h *hub) byCoAP(t *testing.T, secret string, now time.Time, of *moments) (n int) {
	t.Helper()
	conn, err := udp.Dial(h.at.CoAP)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	at := now.Add(10 * time.Millisecond)
	for _, c := range []struct {
		format message.MediaType
		kind   string
		body   []byte
		want   codes.Code
	}{
		{message.AppOctets, "", uplinkOf(at, of.frame(t, "SPAT")), codes.Changed},
		{message.AppJSON, "heartbeat", heartbeat("R1", at), codes.Changed},
		{message.AppJSON, "none", heartbeat("R1", at), codes.UnsupportedMediaType},
		{message.AppCBOR, "", heartbeat("R1", at), codes.UnsupportedMediaType},
		{message.AppOctets, "", []byte{0}, codes.BadRequest},
	} {
		options := []message.Option{{ID: message.URIQuery, Value: []byte("token=" + secret)}}
		if c.kind != "" {
			options = append(options, message.Option{ID: message.URIQuery, Value: []byte("kind=" + c.kind)})
		}
		resp, err := conn.Post(t.Context(), "/devices/rsu-1/v2x", c.format, bytes.NewReader(c.body), options...)
		if err != nil || resp.Code() != c.want {
			t.Errorf("%v %s: %v, %v; want %v", c.format, c.kind, resp, err, c.want)
			continue
		}
		if c.want == codes.Changed {
			n++
		}
	}
	return n
}

// refused counts rejects of a reason.
func (h *hub) refused(t *testing.T, reason string) (n float64) {
	t.Helper()
	all, err := h.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if f.GetName() == "hub_ingest_rejects_total" && l.GetName() == "reason" && l.GetValue() == reason {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}
